use crate::Place;

#[test]
fn two_sweeps_at_once_keep_one_history() {
    let place = Place::new();
    let children: Vec<_> = (0..3)
        .map(|number| {
            let from = number * 100;
            place.spawn(&format!("sweep --scenario short.toml --seeds {from}..{} --jobs 1", from + 5))
        })
        .collect();
    for child in children {
        let ran = child.ended();
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    }
    let history = place.history();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0]["seeds"], 15);
    let sweeps = history[0]["sweeps"].as_array().unwrap();
    assert_eq!(sweeps.len(), 3);
    assert!(sweeps.iter().all(|sweep| sweep["state"] == "complete" && sweep["runs"] == 5), "{sweeps:?}");
}

#[test]
fn a_history_that_is_held_or_broken_stops_no_sweep() {
    let place = Place::new();
    let sweep = "sweep --scenario short.toml --seeds 0..2 --history held.redb";
    assert_eq!(place.run(sweep).code, Some(0));
    let held = redb::Database::open(place.path("held.redb")).unwrap();
    let ran = place.run(sweep);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("no history is kept: another process has held.redb open"), "{}", ran.err);
    assert!(ran.out.contains("runs         2 of 2"), "{}", ran.out);
    drop(held);
    std::fs::write(place.path("held.redb"), "broken").unwrap();
    let ran = place.run(sweep);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("no history is kept: held.redb: "), "{}", ran.err);
    let ran = place.run(&format!("{sweep} --resume"));
    assert_eq!(ran.code, Some(2), "whoever asks to go on wants to know");
    assert!(ran.err.contains("cannot resume: held.redb: "), "{}", ran.err);
}

#[test]
fn a_history_lists_builds_by_commit_or_version() {
    let place = Place::new();
    assert_eq!(place.run("history").out, "No sweep is kept yet.\n");
    assert_eq!(place.run("sweep --scenario short.toml --seeds 0..3").code, Some(0));
    // Outside of a checkout a build is known by its version.
    let version = env!("CARGO_PKG_VERSION");
    let table = place.run("history").out;
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().unwrap()[..5], ["BUILD", "LAST", "SWEEPS", "SEEDS", "FAILED"]);
    let line = lines.next().unwrap();
    assert_eq!((line[0], line[line.len() - 4], line[line.len() - 3]), (version, "3", "0"), "{table}");
    assert_eq!(place.run(&format!("history --build {version}")).out, table);
    assert_eq!(place.run("history --build none").out, "No sweep is kept yet.\n");
}
