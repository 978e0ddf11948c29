//! Themes: six in eight of the scenarios drawn whole are turned towards one part of the system, with short times and dense faults. What is drawn
//! freely has everything, and little of each; these make the rare meetings of two things frequent.

use blixard_node::rng::Rng;
use blixard_node::time::Duration;

use crate::scenario::{Among, Chance, CrashPoint, Fault, FaultKind, Scenario, Spread, When};

/// Gives `scenario` a theme, or leaves it as it was drawn.
pub(super) fn apply(scenario: &mut Scenario, rng: &mut Rng) {
    match rng.below(8) {
        0 => elections(scenario),
        1 => leases(scenario, rng),
        2 => members(scenario, rng),
        3 => agents(scenario, rng),
        4 => crowd(scenario, rng),
        5 => upgrades(scenario, rng),
        _ => {}
    }
}

/// Faults of `kind` again and again, in place of those that were drawn.
fn strike(scenario: &mut Scenario, kind: FaultKind, every: Spread, lasts: Spread, among: Among) {
    scenario.faults.retain(|fault| fault.kind != kind);
    let fault = Fault { lasts, among, ..Fault::new(kind, When::Every(every)) };
    scenario.faults.push(fault.with_what_it_takes());
}

/// Elections one after another, among voters that die and are back at once.
fn elections(scenario: &mut Scenario) {
    let cluster = &mut scenario.cluster;
    cluster.voters = cluster.voters.max(3);
    cluster.workers = 0;
    (cluster.tick, cluster.heartbeat_ticks, cluster.election_ticks) = (Duration::from_millis(20), 2, 5);
    scenario.process.restart = Spread::millis(1, 10);
    scenario.network.latency = Spread::millis(1, 40);
    scenario.network.loss = Chance::one_in(50);
    scenario.disk.latency = Spread::micros(200, 20_000);
    let work = &mut scenario.workload;
    (work.clients, work.operations_per_second, work.vms, work.get) = (8, 40, 4, 12);
    let (soon, short) = (Spread::millis(500, 2_000), Spread::millis(100, 1_500));
    strike(scenario, FaultKind::IsolateLeader, soon, short, Among::Any);
    strike(scenario, FaultKind::Crash, Spread::millis(50, 300), Spread::millis(1, 10), Among::Voters);
    if let Some(crash) = scenario.faults.last_mut() {
        crash.point = CrashPoint::AfterRelease;
    }
    strike(scenario, FaultKind::CrashLeader, Spread::millis(2_000, 6_000), short, Among::Any);
}

/// Leases that are short against what cuts hosts off, clocks that drift as far as they may, VMs that die late.
fn leases(scenario: &mut Scenario, rng: &mut Rng) {
    let cluster = &mut scenario.cluster;
    cluster.workers = cluster.workers.max(2);
    cluster.lease_ttl = Duration::from_millis(rng.between(1_000, 4_000));
    cluster.kill_grace = Duration::from_millis(if rng.ratio(1, 2) { 100 } else { rng.between(100, 2_000) });
    if rng.ratio(3, 4) {
        cluster.drift_bound_ppm = rng.between(100_000, 300_000);
        scenario.clock.drift_ppm = cluster.drift_bound_ppm;
    } else {
        scenario.clock.drift_ppm = scenario.clock.drift_ppm.min(cluster.drift_bound_ppm);
    }
    let grace = cluster.kill_grace.as_millis();
    scenario.hypervisor.kill = Spread::millis(grace / 2, grace);
    scenario.network.latency = Spread::micros(200, 5_000);
    scenario.network.reordering = Chance::one_in(5);
    scenario.network.reordering_delay = Spread::millis(300, 2_500);
    scenario.network.duplication = Chance::one_in(20);
    let work = &mut scenario.workload;
    (work.clients, work.operations_per_second, work.create, work.start) = (10, 40, 2, 5);
    (work.vms, work.stop) = if rng.ratio(1, 2) { (rng.between(10, 30), 1) } else { (4, 5) };
    let (every, long) = (Spread::millis(4_000, 15_000), Spread::millis(1_000, 12_000));
    for kind in [FaultKind::IsolateLeader, FaultKind::Partition, FaultKind::OneWay, FaultKind::Pause] {
        strike(scenario, kind, every, long, Among::Any);
    }
    strike(scenario, FaultKind::HostReboot, every, Spread::millis(10, 2_000), Among::Any);
}

/// Members that come, go and fall apart.
fn members(scenario: &mut Scenario, rng: &mut Rng) {
    let cluster = &mut scenario.cluster;
    (cluster.voters, cluster.spares) = (cluster.voters.max(3), cluster.spares.max(3));
    cluster.snapshot_every = rng.between(5, 50);
    let short = Spread::millis(200, 3_000);
    strike(scenario, FaultKind::MemberAdd, Spread::millis(2_000, 8_000), short, Among::Any);
    strike(scenario, FaultKind::MemberRemove, Spread::millis(3_000, 10_000), short, Among::Voters);
    strike(scenario, FaultKind::Partition, Spread::millis(1_000, 5_000), short, Among::Any);
    strike(scenario, FaultKind::Crash, Spread::millis(1_000, 4_000), short, Among::Voters);
    strike(scenario, FaultKind::TransferLeader, Spread::millis(2_000, 8_000), short, Among::Any);
}

/// Few VMs that are started and stopped all the time on hosts whose daemons die, with hypervisors that answer late; sessions that
/// end early.
fn agents(scenario: &mut Scenario, rng: &mut Rng) {
    let cluster = &mut scenario.cluster;
    cluster.workers = cluster.workers.max(2);
    (cluster.sessions_max, cluster.answers_max) = (rng.between(4, 16), rng.between(1, 2));
    let work = &mut scenario.workload;
    (work.vms, work.operations_per_second) = (rng.between(3, 10), rng.between(20, 60));
    (work.create, work.start, work.stop, work.delete) = (3, 5, 5, rng.between(0, 2));
    work.timeout = Duration::from_millis(rng.between(300, 1_000));
    work.keep_volumes = Chance::NEVER;
    scenario.network.reordering = Chance::one_in(20);
    scenario.network.reordering_delay = Spread::millis(50, 4_000);
    let hypervisor = &mut scenario.hypervisor;
    (hypervisor.start, hypervisor.stop) = (Spread::millis(5, 500), Spread::millis(50, 4_000));
    hypervisor.start_uncertain = Chance::one_in(5);
    hypervisor.stop_unsupported = Chance::one_in(5);
    (hypervisor.answer_late, hypervisor.answer_late_by) = (Chance::one_in(5), Spread::millis(50, 5_000));
    (hypervisor.guest_crashes, hypervisor.lifetime) = (Chance::one_in(4), Spread::millis(100, 8_000));
    scenario.faults.retain(|fault| fault.kind != FaultKind::HostReboot);
    strike(scenario, FaultKind::Crash, Spread::millis(500, 3_000), Spread::millis(5, 500), Among::Any);
}

/// More VMs than there is room for, asked for by many at once; ports that collide, and builds that have to be agreed upon.
fn crowd(scenario: &mut Scenario, rng: &mut Rng) {
    let work = &mut scenario.workload;
    (work.clients, work.operations_per_second) = (rng.between(12, 24), rng.between(40, 120));
    (work.vms, work.create, work.start, work.stop) = (rng.between(10, 40), 3, 6, 4);
    work.vm_vcpus_max = scenario.cluster.host_vcpus;
    work.ports = Chance::one_in(2);
    scenario.disk.latency = Spread::millis(2, 20);
    scenario.hypervisor.builds = Chance::one_in(2);
    scenario.hypervisor.builds_differ = Chance::one_in(3);
    (scenario.hypervisor.prepare, scenario.hypervisor.start) =
        (Spread::millis(1, 200), Spread::millis(5, 200));
}

/// Old hosts that are upgraded one by one, and now and then taken back, while leaders change, hosts are cut off and others join.
fn upgrades(scenario: &mut Scenario, rng: &mut Rng) {
    let cluster = &mut scenario.cluster;
    (cluster.voters, cluster.spares) = (cluster.voters.max(3), cluster.spares.max(2));
    let hosts = cluster.voters + cluster.workers + cluster.spares;
    cluster.old_hosts = rng.between(1, hosts);
    cluster.snapshot_every = rng.between(5, 100);
    let secs = (scenario.run.duration.as_millis() / 1_000).max(hosts);
    let short = Spread::millis(50, 3_000);
    strike(scenario, FaultKind::Upgrade, Spread::millis(300, 1_000 * secs / hosts), short, Among::Any);
    strike(scenario, FaultKind::Isolate, Spread::millis(2_000, 10_000), short, Among::Any);
    strike(scenario, FaultKind::Crash, Spread::millis(1_000, 5_000), short, Among::Any);
    strike(scenario, FaultKind::MemberAdd, Spread::millis(5_000, 20_000), short, Among::Any);
    strike(scenario, FaultKind::Cordon, Spread::millis(3_000, 10_000), short, Among::Any);
    strike(scenario, FaultKind::TransferLeader, Spread::millis(2_000, 8_000), short, Among::Any);
}
