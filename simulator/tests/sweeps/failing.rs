use crate::{Place, read};

/// Disks that lie are found out in some of ten seeds.
const LYING: &str = "name = \"lying\"\n[cluster]\nvoters = 3\nworkers = 0\n[run]\nwarmup = \"3s\"\nduration = \"6s\"\n[[fault]]\nkind = \"crash-all\"\nevery = \"1s..2s\"\nlasts = \"100ms\"\n";

#[test]
fn the_first_failures_are_shrunk_to_files_that_replay_and_pictures() {
    let place = Place::new();
    std::fs::write(place.path("lying.toml"), LYING).unwrap();
    let sweep = "sweep --scenario lying.toml --seeds 0..40 --sabotage lying-sync --max-failures 2 --jobs 1";
    let shrink = "--shrink --shrink-max 1 --shrink-time 3s --artifacts kept/here";
    let ran = place.run(&format!("{sweep} {shrink} --json"));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shrunk: Vec<_> = lines.iter().filter(|line| line["type"] == "shrunk").collect();
    let summary = lines.last().unwrap();
    assert_eq!((shrunk.len(), &summary["failures"]), (1, &2.into()), "{}", ran.out);
    let first = &summary["failed"][0];
    assert_eq!(shrunk[0]["reproduce"], first["reproduce"]);
    assert!(first["reproduce"].as_str().unwrap().ends_with(" --scenario lying.toml --sabotage lying-sync"));
    let picture = read(&place.path(shrunk[0]["picture"].as_str().unwrap()));
    assert!(picture.starts_with("<!") && picture.contains(first["property"].as_str().unwrap()));
    let replay = shrunk[0]["replay"].as_str().unwrap().strip_prefix("cargo sim ").unwrap();
    let replayed = place.run(replay);
    assert_eq!(replayed.code, Some(1), "{}", replayed.err);
    assert!(replayed.out.contains("replay       as recorded, event by event"), "{}", replayed.out);
    // Without the lie there is nothing to shrink, and it is another sweep.
    let ran = place.run(&format!("sweep --scenario lying.toml --seeds 0..40 --time 1ms --resume {shrink}"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("nothing to resume: no such sweep is kept"), "{}", ran.err);
    assert!(!ran.out.contains("shrunk"), "{}", ran.out);
}

#[test]
fn what_cannot_be_shrunk_is_said() {
    let place = Place::new();
    let held =
        std::fs::read_to_string(place.path("short.toml")).unwrap() + "[expect]\noutcome = \"safety\"\n";
    std::fs::write(place.path("short.toml"), held).unwrap();
    let ran = place.run("sweep --scenario short.toml --seeds 0..2 --shrink --shrink-max 1");
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let said = "not shrunk   cargo sim --seed 0 --scenario short.toml\n      held cannot be shrunk\n";
    assert!(ran.out.contains(said), "{}", ran.out);
}
