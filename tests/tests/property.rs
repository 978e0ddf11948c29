//! proptest over scenarios: cases are drawn whole from seeds, and shrunk by the simulator's own search when one fails. A fixed
//! budget and a fixed beginning, so that a run today is a run tomorrow; `PROPTEST_CASES` widens the search. What failed once is run
//! first: `proptest-regressions/` keeps it.

use blixard_node::time::Duration;
use blixard_sim::output;
use blixard_sim::scenario::{Outcome, Scenario};
use blixard_sim::shrink::Case;
use blixard_sim::strategy::Cases;
use blixard_sim::subject::{Blixard, Subject as _};
use blixard_sim::swarm;
use blixard_sim::world::{Lie, Sabotage};
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
};

const CASES: u32 = if cfg!(feature = "simulation") { 2_000 } else { 24 };
/// The most runs that shrinking may take.
const SHRINK_ITERS_MAX: u32 = 4_000;
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/property.txt");

/// As the swarm draws them, but short.
fn draw(seed: u64) -> Scenario {
    let mut scenario = swarm::draw(seed);
    scenario.run.duration = Duration::from_secs(40);
    scenario
}

fn runner(cases: u32, kept: bool) -> TestRunner {
    let asked = std::env::var_os("PROPTEST_CASES").map(|_| Config::default().cases);
    let config = Config {
        cases: asked.unwrap_or(cases),
        max_shrink_iters: SHRINK_ITERS_MAX,
        failure_persistence: kept.then(|| Box::new(FileFailurePersistence::Direct(KEPT)) as Box<_>),
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn holds(subject: Blixard, case: &Case) -> Result<(), TestCaseError> {
    let report = subject.run(&case.scenario, case.seed, None);
    match report.outcome {
        Outcome::Held | Outcome::Inconclusive => Ok(()),
        _ => Err(TestCaseError::fail(output::summary(&report, "drawn", &[], 1))),
    }
}

#[test]
fn the_node_holds_under_drawn_cases() {
    let node = Blixard::default();
    let result = runner(CASES, true).run(&Cases::drawn(node, draw), |case| holds(node, &case));
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// The search has teeth and shrinks: with disks that lie, it ends at a schedule of few faults.
#[test]
fn a_failure_is_shrunk_to_few_faults() {
    let lying = Blixard(Sabotage::from(Lie::Syncs));
    let result = runner(200, false).run(&Cases::drawn(lying, draw), |case| holds(lying, &case));
    match result {
        Err(TestError::Fail(why, case)) => {
            let faults = case.scenario.faults.len();
            assert!(
                (1..=3).contains(&faults),
                "without a crash a lying disk is not found out: {why}\n{case:?}"
            );
            assert!(case.scenario.operations.len() <= 5, "{case:?}");
        }
        other => panic!("lying disks were not found out: {other:?}"),
    }
}
