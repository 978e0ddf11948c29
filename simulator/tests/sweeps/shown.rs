use std::collections::{BTreeMap, BTreeSet};

use crate::{Place, Ran, read};

#[test]
fn json_lines_add_up_to_the_summary() {
    let place = Place::new();
    let ran = place.run("sweep --scenario short.toml --seeds 0..4,10..13 --json --jobs 2");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let (runs, summary) = ran.json();
    let seeds: BTreeSet<u64> = runs.iter().map(|run| run["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds, [0, 1, 2, 3, 10, 11, 12].into());
    for (field, planned) in [("planned", 7), ("runs", 7), ("failures", 0), ("runs_before", 0)] {
        assert_eq!(summary[field], planned, "{field}");
    }
    assert_eq!(summary["complete"], true);
    for field in ["virtual_ms", "events", "elections"] {
        let sum: u64 = runs.iter().map(|run| run[field].as_u64().unwrap()).sum();
        assert_eq!(summary[field], sum, "{field}");
        assert!(sum > 0, "{field}");
    }
    let mut probes: BTreeMap<&str, u64> = BTreeMap::new();
    for run in &runs {
        for probe in run["probes"].as_array().unwrap() {
            *probes.entry(probe.as_str().unwrap()).or_default() += 1;
        }
    }
    assert_eq!(summary["probes"], serde_json::json!(probes));
    assert!(
        summary["never_hit"]
            .as_array()
            .unwrap()
            .iter()
            .all(|name| !probes.contains_key(name.as_str().unwrap()))
    );
    let again = runs[0]["reproduce"].as_str().unwrap().strip_prefix("cargo sim ").unwrap();
    let alone: serde_json::Value = serde_json::from_str(&place.run(&format!("{again} --json")).out).unwrap();
    assert_eq!(alone["trace_hash"], runs[0]["trace_hash"]);
}

/// Held where a violation is expected: the only failures that the shipped node gives away for the asking.
const WRONG: &str =
    "name = \"wrong\"\n[run]\nwarmup = \"1s\"\nduration = \"1s\"\n[expect]\noutcome = \"safety\"\n";

#[test]
fn failures_are_shown_in_every_form() {
    let place = Place::new();
    std::fs::create_dir(place.path("all")).unwrap();
    std::fs::write(place.path("all/wrong.toml"), WRONG).unwrap();
    std::fs::rename(place.path("short.toml"), place.path("all/short.toml")).unwrap();
    let sweep = "sweep --scenario all --seeds 0..3 --junit report.xml";
    let output = place.command(sweep).env("GITHUB_ACTIONS", "true").output().unwrap();
    let ran = Ran::of(&output);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(
        ran.out.contains("\nfailed       3\n  cargo sim --seed 0 --scenario all/wrong.toml\n"),
        "{}",
        ran.out
    );
    assert!(ran.err.contains("failed: cargo sim --seed 2 --scenario all/wrong.toml\n"), "{}", ran.err);
    assert!(ran.err.contains("::error title=all/wrong.toml seed 1%3A held::held%0Acargo sim"), "{}", ran.err);
    let report = read(&place.path("report.xml"));
    let document = roxmltree::Document::parse(&report).unwrap_or_else(|why| panic!("{why}\n{report}"));
    let failed: Vec<_> = document.descendants().filter(|node| node.has_tag_name("failure")).collect();
    assert_eq!(failed.len(), 4, "three seeds and the scenario");
    let suites = document.descendants().filter(|node| node.has_tag_name("testsuite"));
    let failures = suites.map(|suite| (suite.attribute("name"), suite.attribute("failures")));
    let expected = [(Some("all/short.toml"), Some("0")), (Some("all/wrong.toml"), Some("4"))];
    assert_eq!(failures.collect::<Vec<_>>(), expected);
    // The history tells of them, too.
    let ran = place.run("history");
    assert!(ran.out.contains("  cargo sim --seed 0 --scenario all/wrong.toml\n      held\n"), "{}", ran.out);
    let history = place.history();
    assert_eq!((&history[0]["seeds"], &history[0]["failures"]), (&6.into(), &3.into()));
    assert_eq!(history[0]["sweeps"][0]["failed"].as_array().unwrap().len(), 3);
    let ran = place.run("sweep --scenario all/wrong.toml --seeds 0..50 --max-failures 2 --jobs 1 --json");
    assert_eq!(ran.json().1["runs"], 2);
}

#[test]
fn shares_of_three_machines_are_one_sweep() {
    let place = Place::new();
    let mut whole = BTreeMap::new();
    for shard in ["--shard 1/3", "--shard 2/3", "--shard 3/3", ""] {
        let ran =
            place.run(&format!("sweep --scenario short.toml --seeds 3..11 --json --no-history {shard}"));
        for run in ran.json().0 {
            let times: &mut u64 = whole.entry(run["seed"].as_u64().unwrap()).or_default();
            *times += 1;
        }
    }
    assert_eq!(whole, (3..11).map(|seed| (seed, 2)).collect(), "once in a share, and once in the whole");
}

#[test]
fn whoever_stops_reading_stops_the_sweep() {
    let place = Place::new();
    let mut child = place.spawn("sweep --scenario short.toml --seeds 0..1000000 --json --no-history");
    drop(child.child().stdout.take());
    let ran = child.ended();
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
}
