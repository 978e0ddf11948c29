//! Faults that are aimed, disks that rot, sites that misbehave legally: they happen, the node holds, and where it cannot the run says why.

use blixard_node::probes::Probe as NodeProbe;
use blixard_node::time::Duration;
use blixard_sim::probes::{Probe, WorldProbe};
use blixard_sim::sabotage::{Lie, Sabotage};
use blixard_sim::scenario::{
    Aim, Among, Chance, Fault, FaultKind, Outcome, Scenario, Site, Spread, Storage, When,
};
use blixard_sim::world::{self, Report};

fn every(kind: FaultKind, least_ms: u64, most_ms: u64) -> Fault {
    Fault::new(kind, When::Every(Spread::millis(least_ms, most_ms)))
}

fn scenario(faults: Vec<Fault>) -> Scenario {
    let mut scenario = Scenario { name: "test".into(), faults, ..Scenario::default() };
    scenario.cluster.snapshot_every = 40;
    scenario.cluster.keep_entries = 5;
    scenario.cluster.chunk_bytes = 512;
    scenario.run.duration = Duration::from_secs(40);
    scenario
}

fn run(scenario: &Scenario, seed: u64) -> Report {
    world::run(scenario, seed, Sabotage::default(), None)
}

fn held(scenario: &Scenario, seed: u64) -> Report {
    let report = run(scenario, seed);
    assert_eq!(report.outcome, Outcome::Held, "seed {seed}: {:?} {:?}", report.violation, report.proof);
    report
}

#[test]
fn every_moment_is_struck() {
    // What makes the moments come: leaders change, members change; under a leader that stays, a host is given up.
    let given_up = [Fault {
        lasts: Spread::millis(20_000, 20_000),
        among: Among::Workers,
        ..Fault::new(FaultKind::Isolate, When::At(Duration::from_secs(2)))
    }];
    let causes = [
        every(FaultKind::TransferLeader, 2_000, 4_000),
        Fault {
            lasts: Spread::millis(500, 500),
            ..Fault::new(FaultKind::DiskLost, When::At(Duration::from_secs(20)))
        },
        every(FaultKind::CrashLeader, 4_000, 9_000),
    ];
    for aim in Aim::ALL {
        let aimed = Fault { aim: Some(*aim), ..every(FaultKind::Pause, 500, 1_000) };
        let aimed = Fault { lasts: Spread::millis(50, 200), within: Spread::millis(0, 20), ..aimed };
        let mut faults = if *aim == Aim::HostLost { given_up.to_vec() } else { causes.to_vec() };
        faults.push(aimed);
        let scenario = scenario(faults);
        let struck = (0..8).any(|seed| held(&scenario, seed).counts.aimed.contains_key(aim.word()));
        assert!(struck, "no fault was aimed at {aim}");
    }
}

#[test]
fn a_leader_with_a_minority_goes_on_for_a_while() {
    let split = Fault { lasts: Spread::millis(5_000, 5_000), ..every(FaultKind::Split, 8_000, 8_000) };
    let report = held(&scenario(vec![split]), 1);
    let struck = report.counts.faults["split"];
    let elections = report.counts.elections;
    assert!(struck >= 3 && elections >= struck, "the others elect another: {elections} of {struck}");
    assert!(report.counts.probes.has(Probe::World(WorldProbe::TwoLeaders)));
}

#[test]
fn what_was_said_before_a_lag_is_over_comes_after_what_is_said_then() {
    let lag = Fault {
        lasts: Spread::millis(500, 2_000),
        by: Spread::millis(1_000, 4_000),
        among: Among::Workers,
        ..every(FaultKind::Lag, 1_000, 3_000)
    };
    let report = held(&scenario(vec![lag]), 1);
    assert!(report.counts.faults["lag"] > 10, "{:?}", report.counts.faults);
    for probe in [NodeProbe::HeartbeatOutOfOrder, NodeProbe::AckOutOfOrder] {
        assert!(report.counts.probes.has(Probe::Node(probe)), "{probe:?} was not reached");
    }
}

#[test]
fn clocks_at_their_bound_drift_apart_and_the_node_holds() {
    let mut scenario = scenario(vec![every(FaultKind::Drift, 5_000, 9_000)]);
    scenario.cluster.drift_bound_ppm = 300_000;
    (scenario.clock.drift_ppm, scenario.clock.at_bound) = (300_000, true);
    let isolate = Fault { among: Among::Workers, ..every(FaultKind::Isolate, 5_000, 9_000) };
    scenario.faults.push(Fault { lasts: Spread::millis(12_000, 20_000), ..isolate });
    let grace = scenario.cluster.kill_grace;
    scenario.hypervisor.kill = Spread::fixed(grace);
    let reports: Vec<Report> = (0..4).map(|seed| held(&scenario, seed)).collect();
    let lost = Probe::Node(NodeProbe::HostLost);
    assert!(reports.iter().any(|report| report.counts.probes.has(lost)), "no host was given up");
}

#[test]
fn an_aimed_fault_strikes_whom_the_moment_concerns() {
    // Half a second of silence is less than an election takes: only whoever has just been elected is cut off, each time.
    let aimed = Fault {
        aim: Some(Aim::Elected),
        lasts: Spread::millis(8_000, 8_000),
        within: Spread::millis(0, 1),
        ..every(FaultKind::Isolate, 1_000, 1_000)
    };
    let report = held(&scenario(vec![every(FaultKind::CrashLeader, 9_000, 9_000), aimed]), 1);
    let struck = report.counts.aimed["elected"];
    assert!(struck >= 2 && report.counts.elections > struck, "each cost its leader the office: {report:?}");
}

fn rotting(storage: Storage) -> Scenario {
    let rot = Fault { lasts: Spread::millis(10, 1_000), times: 8, ..every(FaultKind::DiskRot, 1_000, 4_000) };
    let mut scenario = scenario(vec![rot, every(FaultKind::Crash, 3_000, 9_000)]);
    scenario.cluster.storage = storage;
    scenario
}

#[test]
fn what_has_rotted_is_refused_and_rebuilt() {
    for storage in [Storage::Modelled, Storage::Redb] {
        let scenario = rotting(storage);
        let reports: Vec<Report> = (0..6).map(|seed| held(&scenario, seed)).collect();
        let refused: u64 = reports.iter().map(|report| report.counts.rot_refused).sum();
        assert!(refused > 6, "{storage}: {refused} disks refused");
    }
}

#[test]
fn rot_that_is_served_is_found_out() {
    let ignorant = Sabotage::from(Lie::Checksums);
    let scenario = rotting(Storage::Modelled);
    let found = (0..40).filter_map(|seed| world::run(&scenario, seed, ignorant, None).violation).next();
    let violation = found.expect("a disk that hands out what has rotted is found out");
    assert_ne!(violation.property, "liveness", "{violation}");
}

#[test]
fn faults_beyond_the_budget_are_proved_and_never_unsafe() {
    let rot = Fault { lasts: Spread::millis(10, 500), times: 8, ..every(FaultKind::DiskRot, 500, 1_500) };
    let dead = every(FaultKind::HostDead, 15_000, 30_000);
    let mut beyond = scenario(vec![rot, dead]);
    beyond.cluster.voters = 3;
    beyond.run.keep_quorum = false;
    let mut proofs = Vec::new();
    for seed in 0..12 {
        let report = run(&beyond, seed);
        match report.outcome {
            Outcome::Held => {}
            Outcome::Inconclusive => proofs.push(report.proof.unwrap_or_default()),
            other => panic!("seed {seed}: {other:?} {:?}", report.violation),
        }
    }
    let rotten =
        |proof: &&String| proof.contains("no quorum can ever form") && proof.contains("BLX-DISK-003");
    assert!(proofs.iter().filter(rotten).count() > 3, "{proofs:#?}");
    beyond.run.keep_quorum = true;
    for seed in 0..12 {
        held(&beyond, seed);
    }
}

#[test]
fn every_site_fires_and_the_node_holds() {
    let mut scenario = scenario(vec![
        every(FaultKind::Crash, 2_000, 5_000),
        every(FaultKind::HostReboot, 5_000, 9_000),
        every(FaultKind::DiskLost, 9_000, 15_000),
        Fault { lasts: Spread::millis(12_000, 12_000), ..every(FaultKind::Isolate, 5_000, 10_000) },
    ]);
    scenario.cluster.storage = Storage::Redb;
    scenario.cluster.chunk_bytes = 128;
    scenario.hypervisor.guest_crashes = Chance::one_in(2);
    scenario.hypervisor.lifetime = Spread::millis(100, 5_000);
    for site in Site::ALL {
        let rarely_passed = site.name().starts_with("hypervisor");
        *scenario.buggify.chance_mut(*site) = Chance::one_in(if rarely_passed { 2 } else { 40 });
    }
    let mut fired = std::collections::BTreeMap::new();
    for seed in 0..8 {
        let report = held(&scenario, seed);
        for (site, count) in report.counts.buggify {
            *fired.entry(site).or_insert(0) += count;
        }
    }
    for site in Site::ALL {
        assert!(fired.contains_key(site.name()), "{} never fired: {fired:?}", site.name());
    }
}
