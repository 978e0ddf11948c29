//! The search for a smaller case, on the node with disks that lie.

use blixard_sim::scenario::{Fault, FaultKind, Outcome, Scenario, Spread, When};
use blixard_sim::shrink::{Goal, Options, shrink};
use blixard_sim::subject::{Blixard, Subject as _};
use blixard_sim::world::{Lie, Sabotage};

/// Few runs find the shortest way; the search ends when this is over at the latest.
const TIME_MAX_MS: u64 = 30_000;

fn crashes() -> Scenario {
    let mut scenario = Scenario { name: "crashes".into(), ..Scenario::default() };
    scenario.cluster.voters = 3;
    scenario.cluster.workers = 1;
    scenario.run.duration = blixard_node::time::Duration::from_secs(40);
    scenario.faults.push(Fault::new(FaultKind::Crash, When::Every(Spread::millis(500, 4_000))));
    scenario
}

#[test]
fn lying_disks_are_shown_by_few_faults_and_the_record_is_true() {
    let lying = Blixard(Sabotage::from(Lie::Syncs));
    let scenario = crashes();
    let fails =
        |seed: &u64| matches!(lying.run(&scenario, *seed, None).outcome, Outcome::Safety | Outcome::Liveness);
    let seed = (0..20).find(fails).expect("disks that lie are found out within 20 seeds");
    let options = Options { jobs: 2, time_max_ms: Some(TIME_MAX_MS) };
    let small = shrink(&lying, &scenario, seed, options, &mut |_| {}).expect("it fails");
    assert!((1..=3).contains(&small.size.faults), "{}", small.case.scenario.to_toml());
    assert!(small.size.operations <= 5, "{}", small.case.scenario.to_toml());

    let read = Scenario::parse("repro.toml", &small.case.scenario.to_toml()).expect("a scenario file");
    let again = lying.run(&read, read.seed.expect("a seed"), None);
    assert_eq!(again.outcome, read.expect.outcome);
    assert_eq!(again.violation.expect("it fails again").property, read.expect.property);
    assert_eq!(format!("{:016x}", again.trace_hash), read.expect.trace);
    // Of a violation of safety nothing is left of the time to recover.
    let honest = Blixard::default().run(&read, read.seed.expect("a seed"), None);
    assert_ne!(Goal::of(&honest), Goal::of(&small.report), "it is the disks");
}
