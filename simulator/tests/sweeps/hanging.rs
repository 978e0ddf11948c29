use crate::Place;

/// A week of virtual time: no machine gets through it within the milliseconds that it is given here.
const LONG: &str = "name = \"long\"\n[run]\nduration = \"168h\"\n";

#[test]
fn a_seed_that_takes_too_long_is_given_up() {
    let place = Place::new();
    std::fs::write(place.path("long.toml"), LONG).unwrap();
    let sweep = "sweep --scenario long.toml --seeds 0..2 --jobs 2 --hang 1ms --no-history";
    let ran = place.run(sweep);
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert!(ran.out.contains("failed       2\n"), "{}", ran.out);
    let line = "  cargo sim --seed 1 --scenario long.toml\n      HUNG: given up after ";
    assert!(ran.out.contains(line), "{}", ran.out);
    let (runs, summary) = place.run(&format!("{sweep} --json")).json();
    assert!(runs.iter().all(|run| run["outcome"] == "hung" && run["failed"] == true), "{runs:?}");
    assert_eq!(summary["failed_as"], serde_json::json!({ "hung": 2 }));
}

#[test]
fn a_seed_that_ends_in_time_is_left_alone() {
    let place = Place::new();
    let ran = place.run("sweep --scenario short.toml --seeds 0..4 --hang 1h --no-history");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}
