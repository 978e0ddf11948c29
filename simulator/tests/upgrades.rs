//! Hosts of two versions: they are upgraded, the level rises with the last one, and whoever is taken back afterwards is refused.

use blixard_node::probes::Probe as NodeProbe;
use blixard_node::time::Duration;
use blixard_sim::probes::{Probe, WorldProbe};
use blixard_sim::sabotage::Sabotage;
use blixard_sim::scenario::{Fault, FaultKind, Outcome, Scenario, Spread, When};
use blixard_sim::world::{self, Report};

fn scenario(old_hosts: u64, faults: &[(FaultKind, u64, u64)]) -> Scenario {
    let every = |(kind, least, most): &(FaultKind, u64, u64)| Fault {
        lasts: Spread::millis(20, 500),
        ..Fault::new(*kind, When::Every(Spread::millis(*least, *most)))
    };
    let faults = faults.iter().map(every).collect();
    let mut scenario = Scenario { name: "test".into(), faults, ..Scenario::default() };
    (scenario.cluster.voters, scenario.cluster.workers) = (3, 2);
    scenario.cluster.old_hosts = old_hosts;
    scenario.cluster.snapshot_every = 40;
    scenario.run.duration = Duration::from_secs(40);
    scenario
}

fn held(scenario: &Scenario, seed: u64) -> Report {
    let report = world::run(scenario, seed, Sabotage::default(), None);
    assert_eq!(report.outcome, Outcome::Held, "seed {seed}: {:?} {:?}", report.violation, report.proof);
    report
}

fn has(report: &Report, probe: NodeProbe) -> bool {
    report.counts.probes.has(Probe::Node(probe))
}

#[test]
fn the_level_rises_with_the_last_old_host() {
    let upgraded = scenario(5, &[(FaultKind::Upgrade, 1_000, 3_000)]);
    for seed in 0..6 {
        let report = held(&upgraded, seed);
        assert!(has(&report, NodeProbe::LevelHeldBack), "seed {seed}: some were there before others");
        assert!(has(&report, NodeProbe::LevelRaised), "seed {seed}: all were upgraded");
    }
}

#[test]
fn one_old_host_keeps_the_level_where_it_is() {
    let report = held(&scenario(1, &[(FaultKind::Cordon, 2_000, 4_000)]), 1);
    assert!(has(&report, NodeProbe::RequestBelowLevel), "the operator has reasons");
    assert!(has(&report, NodeProbe::LevelHeldBack) && !has(&report, NodeProbe::LevelRaised));
    let report = held(&scenario(0, &[(FaultKind::Cordon, 2_000, 4_000)]), 1);
    assert!(!has(&report, NodeProbe::RequestBelowLevel), "nobody is old");
}

#[test]
fn there_is_no_way_back() {
    let back = scenario(0, &[(FaultKind::Upgrade, 500, 1_500)]);
    let reports: Vec<Report> = (0..6).map(|seed| held(&back, seed)).collect();
    let refused = |report: &Report| report.counts.probes.has(Probe::World(WorldProbe::OpenedBelowLevel));
    assert!(reports.iter().any(refused), "by its own disk");
    let told = |report: &Report| has(report, NodeProbe::Outgrown);
    assert!(reports.iter().any(told), "a worker by the leader");
}

#[test]
fn an_old_newcomer_is_not_taken_in() {
    // All hosts begin old, and only those that take part are upgraded: a spare comes too late.
    let mut joins = scenario(8, &[(FaultKind::Upgrade, 300, 600), (FaultKind::MemberAdd, 10_000, 15_000)]);
    joins.cluster.spares = 3;
    let refused = |seed| has(&held(&joins, seed), NodeProbe::JoinBelowLevel);
    assert!((0..4).any(refused));
}
