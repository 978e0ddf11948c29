//! proptest over scenarios: what goes wrong and what clients do is drawn, and shrunk when it fails. A fixed budget and a fixed
//! beginning, so that a run today is a run tomorrow; `PROPTEST_CASES` widens the search.

use blixard_node::time::Duration;
use blixard_sim::output;
use blixard_sim::scenario::{Among, Chance, CrashPoint, Fault, FaultKind, Outcome, Scenario, Spread, When};
use blixard_sim::world::{self, Lie, Report, Sabotage};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const CASES: u32 = if cfg!(feature = "simulation") { 2_000 } else { 24 };
/// The safety phase of each case, in seconds.
const SECS: u64 = 60;

fn kind() -> impl Strategy<Value = FaultKind> {
    use FaultKind as K;
    // The mildest first: shrinking goes that way.
    prop::sample::select(vec![
        K::TransferLeader,
        K::Crash,
        K::CrashLeader,
        K::Partition,
        K::OneWay,
        K::IsolateLeader,
        K::Bridge,
        K::Ring,
        K::Clog,
        K::Pause,
        K::Suspend,
        K::HostReboot,
        K::CrashLoop,
        K::CrashAll,
        K::DiskError,
        K::DiskFull,
        K::DiskStall,
        K::Cordon,
        K::Drift,
    ])
}

fn point() -> impl Strategy<Value = CrashPoint> {
    use CrashPoint as P;
    prop::sample::select(vec![
        P::Now,
        P::BeforeStep,
        P::BeforeWrite,
        P::MidWrite,
        P::BeforeRelease,
        P::AfterRelease,
    ])
}

fn among() -> impl Strategy<Value = Among> {
    prop::sample::select(vec![Among::Any, Among::Voters, Among::Workers, Among::Leader, Among::Followers])
}

/// One fault at one moment.
fn fault() -> impl Strategy<Value = Fault> {
    (kind(), 0..SECS * 1_000, 100..15_000u64, among(), point()).prop_map(|(kind, at, lasts, among, point)| {
        Fault {
            lasts: Spread::millis(lasts, lasts),
            among,
            point,
            times: 2,
            by: Spread::millis(20, 500),
            ..Fault::new(kind, When::At(Duration::from_millis(at)))
        }
    })
}

fn scenario() -> impl Strategy<Value = (u64, Scenario)> {
    let faults = prop::collection::vec(fault(), 0..12);
    let sizes = (prop::sample::select(vec![1u64, 3, 5]), 0..4u64);
    let work = (1..8u64, 1..30u64, 1..12u64, 20..400u64);
    (any::<u64>(), sizes, work, 0..3u64, faults).prop_map(|(seed, (voters, workers), work, loss, faults)| {
        let mut scenario = Scenario { name: "drawn".into(), faults, ..Scenario::default() };
        scenario.cluster.voters = voters;
        scenario.cluster.workers = workers;
        scenario.run.duration = Duration::from_secs(SECS);
        (scenario.workload.clients, scenario.workload.operations_per_second, scenario.workload.vms, _) = work;
        scenario.cluster.snapshot_every = work.3;
        if let Some(one_in) = 200u64.checked_div(loss) {
            scenario.network.loss = Chance::one_in(one_in);
            scenario.network.duplication = Chance::one_in(100);
        }
        (seed, scenario)
    })
}

fn told(report: &Report) -> String {
    output::summary(report, "drawn", &[], 1)
}

#[test]
fn the_node_holds_under_drawn_faults_and_work() {
    let asked = std::env::var_os("PROPTEST_CASES").map(|_| Config::default().cases);
    let config = Config { cases: asked.unwrap_or(CASES), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&scenario(), |(seed, scenario)| {
        let report = world::run(&scenario, seed, Sabotage::default(), None);
        prop_assert!(
            matches!(report.outcome, Outcome::Held | Outcome::Inconclusive),
            "{}\n{:#?}",
            told(&report),
            scenario.faults
        );
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// The search has teeth and shrinks: with disks that lie, it ends at a schedule of few faults.
#[test]
fn a_failure_is_shrunk_to_few_faults() {
    let config = Config { cases: 200, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let lying = Sabotage { lie: Lie::Syncs, ..Sabotage::default() };
    let result = runner.run(&scenario(), |(seed, scenario)| {
        let report = world::run(&scenario, seed, lying, None);
        prop_assert!(report.outcome != Outcome::Safety);
        Ok(())
    });
    match result {
        Err(proptest::test_runner::TestError::Fail(_, (_, minimal))) => {
            assert!(minimal.faults.len() <= 3, "{:#?}", minimal.faults);
            assert!(!minimal.faults.is_empty(), "without a crash a lying disk is not found out");
        }
        other => panic!("lying disks were not found out: {other:?}"),
    }
}
