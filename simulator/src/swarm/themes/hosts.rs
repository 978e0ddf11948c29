//! Themes about hosts: their leases, their clocks, what their agents and hypervisors do, and news of it that comes late.

use blixard_node::rng::Rng;
use blixard_node::time::Duration;

use super::{alone, elects, quick, restless, sound_links, steady, strike};
use crate::scenario::{Among, Chance, FaultKind, Scenario, Spread};

/// Leases that are short against what cuts hosts off, clocks that drift as far as they may, VMs that die late.
pub(super) fn leases(scenario: &mut Scenario, rng: &mut Rng) {
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

/// A leader that goes on for a while with a minority of the voters and most of the workers; its leases are short.
pub(super) fn minority(scenario: &mut Scenario, rng: &mut Rng) {
    alone(scenario, rng);
    let cluster = &mut scenario.cluster;
    cluster.voters = if rng.ratio(1, 2) { 3 } else { 5 };
    (cluster.workers, cluster.drift_bound_ppm) = (rng.between(2, 4), rng.between(0, 1_000));
    cluster.lease_ttl = Duration::from_millis(rng.between(1_000, 2_000));
    cluster.kill_grace = Duration::from_millis(100);
    scenario.clock.drift_ppm = cluster.drift_bound_ppm;
    elects(scenario, 100, rng.between(15, 30));
    quick(scenario);
    scenario.hypervisor.kill = Spread::millis(50, 100);
    sound_links(scenario, Spread::micros(200, 5_000));
    scenario.disk.latency = Spread::micros(200, 5_000);
    steady(scenario, rng.between(8, 20));
    let (every, long) = (Spread::millis(6_000, 12_000), Spread::millis(4_000, 10_000));
    strike(scenario, FaultKind::Split, every, long, Among::Any);
}

/// Clocks that run as fast and as slow as they may, hosts that are not heard any more, and VMs that take all of the grace to die.
pub(super) fn clocks(scenario: &mut Scenario, rng: &mut Rng) {
    alone(scenario, rng);
    let cluster = &mut scenario.cluster;
    (cluster.voters, cluster.workers) = (3, 4);
    cluster.lease_ttl = Duration::from_millis(rng.between(1_500, 2_500));
    let grace = rng.between(100, 500);
    cluster.kill_grace = Duration::from_millis(grace);
    cluster.drift_bound_ppm = if rng.ratio(3, 4) { rng.between(200_000, 300_000) } else { 1_000 };
    (scenario.clock.drift_ppm, scenario.clock.at_bound) = (cluster.drift_bound_ppm, true);
    elects(scenario, 50, 20);
    quick(scenario);
    scenario.hypervisor.kill = Spread::millis(grace, grace);
    sound_links(scenario, Spread::micros(200, 2_000));
    scenario.disk.latency = Spread::micros(200, 2_000);
    steady(scenario, rng.between(8, 20));
    let (soon, long) = (Spread::millis(1_000, 3_000), Spread::millis(4_000, 6_000));
    let lag = strike(scenario, FaultKind::Lag, soon, long, Among::Workers);
    lag.by = Spread::millis(20_000, 60_000);
    strike(scenario, FaultKind::Drift, Spread::millis(6_000, 12_000), long, Among::Any);
}

/// Hosts that are heard again just as they are given up, by leaders whose words take long.
pub(super) fn condemned(scenario: &mut Scenario, rng: &mut Rng) {
    alone(scenario, rng);
    let cluster = &mut scenario.cluster;
    cluster.voters = if rng.ratio(1, 2) { 3 } else { 5 };
    (cluster.workers, cluster.drift_bound_ppm) = (rng.between(2, 4), 1_000);
    let (ttl, grace) = (rng.between(3_000, 4_000), 100);
    (cluster.lease_ttl, cluster.kill_grace) = (Duration::from_millis(ttl), Duration::from_millis(grace));
    scenario.clock.drift_ppm = 0;
    elects(scenario, 100, 30);
    quick(scenario);
    sound_links(scenario, Spread::micros(200, 5_000));
    scenario.disk.latency = Spread::micros(200, 2_000);
    steady(scenario, rng.between(6, 16));
    let silence = Spread::millis(ttl + grace - 500, ttl + grace + 1_000);
    strike(scenario, FaultKind::Isolate, Spread::millis(1_500, 5_000), silence, Among::Workers);
    let (every, long) = (Spread::millis(6_000, 12_000), Spread::millis(6_000, 10_000));
    let lag = strike(scenario, FaultKind::Lag, every, long, Among::Leader);
    lag.by = Spread::millis(1_000, 2_000);
}

/// Hosts that are rebooted while answers are on their way to them.
pub(super) fn reboots(scenario: &mut Scenario, rng: &mut Rng) {
    late(scenario, rng);
    let (every, short) = (Spread::millis(500, 2_500), Spread::millis(1, 200));
    strike(scenario, FaultKind::HostReboot, every, short, Among::Workers);
    strike(scenario, FaultKind::Crash, Spread::millis(1_000, 5_000), short, Among::Workers);
}

/// Answers to hosts that come when newer ones were there, about VMs that have moved since.
pub(super) fn old_answers(scenario: &mut Scenario, rng: &mut Rng) {
    late(scenario, rng);
    scenario.network.reordering = Chance::one_in(5);
    scenario.network.reordering_delay = Spread::millis(300, 4_000);
}

/// Hosts whose reports come late, of VMs that are started again before they are confirmed to be stopped.
pub(super) fn old_reports(scenario: &mut Scenario, rng: &mut Rng) {
    late(scenario, rng);
    scenario.cluster.workers = rng.between(1, 2);
    scenario.workload.vms = rng.between(6, 12);
}

/// VMs that are started and stopped all the time on workers from which, or to which, all comes late.
fn late(scenario: &mut Scenario, rng: &mut Rng) {
    alone(scenario, rng);
    let cluster = &mut scenario.cluster;
    (cluster.voters, cluster.workers) = (3, rng.between(2, 4));
    cluster.lease_ttl = Duration::from_millis(rng.between(5_000, 10_000));
    elects(scenario, 100, 20);
    quick(scenario);
    sound_links(scenario, Spread::micros(200, 5_000));
    scenario.disk.latency = Spread::micros(200, 3_000);
    restless(scenario, rng.between(3, 8));
    (scenario.workload.clients, scenario.workload.operations_per_second) = (32, 120);
    let (every, long) = (Spread::millis(500, 3_000), Spread::millis(500, 4_000));
    let lag = strike(scenario, FaultKind::Lag, every, long, Among::Workers);
    lag.by = Spread::millis(200, 2_000);
}

/// Guests that end by themselves, and hypervisors that tell of it, and of what runs, when it is not so any more.
pub(super) fn old_news(scenario: &mut Scenario, rng: &mut Rng) {
    alone(scenario, rng);
    let cluster = &mut scenario.cluster;
    (cluster.voters, cluster.workers) = (1, rng.between(0, 2));
    cluster.lease_ttl = Duration::from_millis(rng.between(5_000, 10_000));
    quick(scenario);
    restless(scenario, rng.between(3, 8));
    scenario.workload.restart_seldom = Chance::one_in(2);
    let (hypervisor, often) = (&mut scenario.hypervisor, Chance { numerator: 3, denominator: 4 });
    hypervisor.stop = Spread::millis(5, 1_000);
    (hypervisor.exit_late, hypervisor.exit_late_by) = (often, Spread::millis(200, 6_000));
    (hypervisor.list_late, hypervisor.list_late_by) = (often, Spread::millis(200, 6_000));
    (hypervisor.start_uncertain, hypervisor.exit_silent) = (Chance::one_in(6), Chance::NEVER);
    (hypervisor.guest_crashes, hypervisor.guest_powers_off) = (often, often);
    hypervisor.lifetime = Spread::millis(20, 2_000);
    let (every, down) = (Spread::millis(4_000, 12_000), Spread::millis(5, 500));
    strike(scenario, FaultKind::Crash, every, down, Among::Any);
}

/// Few VMs that are started and stopped all the time on hosts whose daemons die, with hypervisors that answer late; sessions that
/// end early.
pub(super) fn agents(scenario: &mut Scenario, rng: &mut Rng) {
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

/// VMs that move from host to host, and are deleted with what they have left on each.
pub(super) fn movers(scenario: &mut Scenario, rng: &mut Rng) {
    alone(scenario, rng);
    scenario.cluster.workers = rng.between(2, 4);
    quick(scenario);
    restless(scenario, rng.between(4, 10));
    let work = &mut scenario.workload;
    (work.create, work.delete, work.keep_volumes) = (5, 2, Chance::NEVER);
    scenario.hypervisor.purge_fails = Chance::one_in(5);
    let (every, long) = (Spread::millis(3_000, 8_000), Spread::millis(100, 3_000));
    strike(scenario, FaultKind::Cordon, every, long, Among::Any);
    strike(scenario, FaultKind::Crash, every, Spread::millis(5, 500), Among::Any);
}

/// More VMs than there is room for, asked for by many at once; ports that collide, and builds that have to be agreed upon.
pub(super) fn crowd(scenario: &mut Scenario, rng: &mut Rng) {
    let work = &mut scenario.workload;
    (work.clients, work.operations_per_second) = (rng.between(12, 24), rng.between(40, 120));
    (work.vms, work.create, work.start, work.stop) = (rng.between(10, 40), 3, 6, 4);
    (work.vm_vcpus_max, work.vm_memory_mib_max) =
        if rng.ratio(3, 4) { (1, 64) } else { (scenario.cluster.host_vcpus, work.vm_memory_mib_max) };
    work.ports = Chance { numerator: 3, denominator: 4 };
    scenario.disk.latency = Spread::millis(2, 20);
    scenario.hypervisor.builds = Chance::one_in(2);
    scenario.hypervisor.builds_differ = Chance::one_in(3);
    (scenario.hypervisor.prepare, scenario.hypervisor.start) =
        (Spread::millis(1, 200), Spread::millis(5, 200));
}
