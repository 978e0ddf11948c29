//! The sound counter holds; each broken one is found, shrunk and shown.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

use blixard_sim::determinism;
use blixard_sim::scenario::{Outcome, Scenario};
use blixard_sim::subject::Subject as _;
use replicated_counter::{Bug, picture, scenario, shrink, subject, sweep};

#[test]
fn the_sound_one_holds() {
    let swept = sweep(Bug::None, &scenario().unwrap(), (0..40).into());
    assert_eq!((swept.runs, swept.failures), (40, 0), "{:?}", swept.failed);
}

#[test]
fn a_seed_gives_one_run() {
    for seed in 0..3 {
        let (report, divergence) = determinism::check(&subject(Bug::None), &scenario().unwrap(), seed);
        assert_eq!(divergence, None);
        assert!(report.trace_len > 1_000 && !report.schedule.operations.is_empty());
    }
}

/// Finds the bug within `seeds`, and shrinks it to as many faults and operations as given at most.
fn is_found(bug: Bug, seeds: u64, faults: usize, operations: usize) {
    let scenario = scenario().unwrap();
    let swept = sweep(bug, &scenario, (0..seeds).into());
    let failure = swept.failed.first().expect("the bug is found");
    assert_eq!(failure.property.as_deref(), Some("linearizable"));
    let shrunk = shrink(bug, &scenario, failure.seed).unwrap();
    let size = shrunk.size;
    assert!(size.faults <= faults && size.operations <= operations, "{}", shrunk.case.scenario.to_toml());
    assert!(!shrunk.cut_short, "it took {} runs", shrunk.runs);

    let repro = Scenario::parse("repro.toml", &shrunk.case.scenario.to_toml()).unwrap();
    let again = subject(bug).run(&repro, repro.seed.unwrap(), None);
    assert_eq!((again.outcome, again.trace_hash), (Outcome::Safety, shrunk.report.trace_hash));
    // A shrunk run does not wait for recovery; a sound one has to.
    let mut repro = repro;
    repro.run.liveness = scenario.run.liveness;
    let sound = subject(Bug::None).run(&repro, repro.seed.unwrap(), None);
    assert_eq!(sound.outcome, Outcome::Held, "{:?}", sound.violation);

    let page = picture(bug, &shrunk);
    assert!(page.contains("linearizable") && page.contains("</html>"));
}

#[test]
fn an_answer_before_the_majority_is_found() {
    is_found(Bug::AnswersAlone, 5, 1, 2);
}

#[test]
fn a_message_before_the_sync_is_found() {
    is_found(Bug::SendsUnsynced, 40, 1, 4);
}
