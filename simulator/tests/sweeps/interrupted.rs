use rustix::process::{Pid, Signal, kill_process};

use crate::{Place, wait_until};

/// More than a test has time for.
const LONG: &str = "sweep --scenario short.toml --seeds 0..1000000 --json";

/// The summary of a sweep that nobody interrupts.
fn uninterrupted(place: &Place, seeds: u64) -> serde_json::Value {
    place.run(&format!("sweep --scenario short.toml --seeds 0..{seeds} --json --no-history")).json().1
}

#[test]
fn a_signal_ends_a_sweep_in_order_and_the_command_it_names_goes_on() {
    let place = Place::new();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut child = place.spawn(LONG);
        // The handlers are there when the first run has ended.
        std::thread::park_timeout(std::time::Duration::from_secs(3));
        kill_process(Pid::from_child(child.child()), signal).unwrap();
        let ran = child.ended();
        assert_eq!(ran.code, Some(code), "{}", ran.err);
        let (runs, summary) = ran.json();
        assert_eq!(summary["runs"], runs.len(), "what was under way has ended and is counted");
        assert_eq!(summary["complete"], false);
        assert!(ran.err.contains("ends with the seeds under way"), "{}", ran.err);
        assert!(ran.err.contains(&format!("to go on: cargo sim {LONG} --resume\n")), "{}", ran.err);
    }
    let states: Vec<_> = place.history()[0]["sweeps"].as_array().unwrap().clone();
    assert!(states.iter().all(|sweep| sweep["state"] == "stopped"), "{states:?}");
}

#[test]
fn a_resumed_sweep_does_what_is_left_and_sums_up_all_of_it() {
    let place = Place::new();
    let sweep = "sweep --scenario short.toml --seeds 0..40 --json --jobs 2";
    let ran = place.run(&format!("{sweep} --resume --time 1ms"));
    assert!(ran.err.contains("nothing to resume: no such sweep is kept; beginning anew"), "{}", ran.err);
    let mut seen = Vec::new();
    let (mut complete, mut last) = (false, ran.json().1);
    for time in ["300ms", "300ms", "60s"] {
        let before = last["runs"].as_u64().unwrap();
        let ran = place.run(&format!("{sweep} --resume --time {time}"));
        assert!(ran.err.contains(&format!("resumed: {before} of 40 runs are done")), "{}", ran.err);
        let (runs, summary) = ran.json();
        assert_eq!(summary["runs_before"], before);
        assert_eq!(summary["runs"], before + runs.len() as u64);
        seen.extend(runs.iter().map(|run| run["number"].as_u64().unwrap()));
        complete = summary["complete"] == true;
        last = summary;
        if complete {
            break;
        }
    }
    assert!(complete);
    seen.sort_unstable();
    seen.dedup();
    let first = 40 - seen.len() as u64;
    assert!(first <= 2, "the first call had time for what its two threads began: {seen:?}");
    let whole = uninterrupted(&place, 40);
    for field in ["runs", "failures", "virtual_ms", "events", "elections", "probes", "faults"] {
        assert_eq!(last[field], whole[field], "{field}");
    }
    let ran = place.run(&format!("{sweep} --resume --time 1ms"));
    assert!(ran.err.contains("nothing to resume: it was completed; beginning anew"), "{}", ran.err);
    let other = place.run("sweep --scenario short.toml --seeds 0..39 --resume --time 1ms");
    assert!(other.err.contains("nothing to resume: no such sweep is kept"), "{}", other.err);
}

#[test]
fn a_killed_sweep_leaves_a_history_to_go_on_from() {
    let place = Place::new();
    let mut child = place.spawn_unread(LONG);
    let history = place.path("blixard-sim/history.redb");
    wait_until("the history is there", || history.exists());
    let runs = || place.history().first().map_or(0, |build| build["seeds"].as_u64().unwrap());
    wait_until("runs are entered", || runs() > 0);
    // The sweep that still goes on is not taken over.
    let ran = place.run(&format!("{LONG} --resume --time 1ms"));
    assert_eq!(ran.code, Some(2));
    let at_work = format!("cannot resume: process {} is at work on this very sweep", child.child().id());
    assert!(ran.err.contains(&at_work), "{}", ran.err);
    drop(child);
    let before = runs();
    assert_eq!(place.history()[0]["sweeps"][0]["state"], "running");
    let ran = place.run(&format!("{LONG} --resume --time 1ms"));
    assert!(ran.err.contains("resumed: ") && ran.err.contains(" of 1,000,000 runs are done"), "{}", ran.err);
    let (new, summary) = ran.json();
    assert_eq!(summary["runs_before"], before);
    assert!(new.iter().all(|run| run["number"].as_u64().unwrap() >= before - 2), "nothing is done twice");
    assert_eq!(place.history()[0]["sweeps"].as_array().unwrap().len(), 1, "it is one sweep");
}
