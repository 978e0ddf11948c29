//! Themes about the log: who leads, who votes, what is committed and read.

use blixard_node::rng::Rng;
use blixard_node::time::Duration;

use super::{alone, elects, sound_links, strike};
use crate::scenario::{Aim, Among, Chance, CrashPoint, FaultKind, Scenario, Spread, Storage};

/// Elections one after another, among voters that die and are back at once; in half of the cases, nothing else.
pub(super) fn elections(scenario: &mut Scenario, rng: &mut Rng) {
    if rng.ratio(1, 2) {
        return votes(scenario, rng);
    }
    scenario.cluster.voters = scenario.cluster.voters.max(3);
    scenario.cluster.workers = 0;
    elects(scenario, 20, 5);
    scenario.cluster.heartbeat_ticks = 2;
    scenario.process.restart = Spread::millis(1, 10);
    scenario.network.latency = Spread::millis(1, 40);
    scenario.network.loss = Chance::one_in(50);
    scenario.disk.latency = Spread::micros(200, 20_000);
    let work = &mut scenario.workload;
    (work.clients, work.operations_per_second, work.vms, work.get) = (8, 40, 4, 12);
    let (soon, short) = (Spread::millis(500, 2_000), Spread::millis(100, 1_500));
    strike(scenario, FaultKind::IsolateLeader, soon, short, Among::Any);
    let every = Spread::millis(50, 300);
    let crash = strike(scenario, FaultKind::Crash, every, Spread::millis(1, 10), Among::Voters);
    crash.point = CrashPoint::AfterRelease;
    strike(scenario, FaultKind::CrashLeader, Spread::millis(2_000, 6_000), short, Among::Any);
}

/// Two candidates in one term, among voters that die as soon as they have voted and are back at once.
pub(super) fn votes(scenario: &mut Scenario, rng: &mut Rng) {
    alone(scenario, rng);
    (scenario.cluster.voters, scenario.cluster.workers) = (3, 0);
    elects(scenario, 20, rng.between(3, 6));
    sound_links(scenario, Spread::millis(1, 60));
    scenario.disk.latency = Spread::micros(200, 5_000);
    scenario.process.restart = Spread::millis(1, 5);
    (scenario.workload.clients, scenario.workload.operations_per_second) = (4, 10);
    let (often, short) = (Spread::millis(20, 80), Spread::millis(1, 5));
    let crash = strike(scenario, FaultKind::Crash, often, short, Among::Voters);
    (crash.aim, crash.within) = (Some(Aim::Election), Spread::millis(0, 1));
    crash.point = CrashPoint::AfterRelease;
    let (every, down) = (Spread::millis(300, 1_500), Spread::millis(50, 400));
    strike(scenario, FaultKind::IsolateLeader, every, down, Among::Any);
}

/// Leaders that are cut off with entries that nobody else has, and lead again; one entry goes into a message (Ongaro, figure 3.7).
pub(super) fn uncounted(scenario: &mut Scenario, rng: &mut Rng) {
    alone(scenario, rng);
    let cluster = &mut scenario.cluster;
    (cluster.voters, cluster.workers) = (3, 0);
    (cluster.append_bytes_max, cluster.inflight_max, cluster.snapshot_every) = (0, 1, 1_000);
    elects(scenario, 20, 6);
    sound_links(scenario, Spread::millis(1, 30));
    scenario.disk.latency = Spread::micros(200, 5_000);
    let work = &mut scenario.workload;
    (work.clients, work.operations_per_second, work.vms, work.get) = (16, 60, 4, 1);
    work.timeout = Duration::from_millis(500);
    let (soon, long) = (Spread::millis(100, 400), Spread::millis(100, 600));
    strike(scenario, FaultKind::IsolateLeader, soon, long, Among::Any);
}

/// Members that come, go and fall apart.
pub(super) fn members(scenario: &mut Scenario, rng: &mut Rng) {
    if rng.ratio(1, 2) {
        return newcomers(scenario, rng);
    }
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

/// Members that come and go, by leaders that are parted from the others just then: who comes meets leaders that have not heard of it.
fn newcomers(scenario: &mut Scenario, rng: &mut Rng) {
    alone(scenario, rng);
    let cluster = &mut scenario.cluster;
    (cluster.voters, cluster.workers) = (if rng.ratio(2, 3) { 3 } else { 5 }, rng.between(0, 2));
    cluster.spares = rng.between(3, 5);
    cluster.lease_ttl = Duration::from_millis(rng.between(1_000, 3_000));
    cluster.kill_grace = Duration::from_millis(100);
    elects(scenario, 50, 20);
    sound_links(scenario, Spread::millis(1, 5));
    scenario.network.loss = Chance::one_in(10);
    // VMs would keep hosts from being removed.
    let work = &mut scenario.workload;
    (work.create, work.start, work.stop, work.delete, work.get) = (4, 0, 0, 0, 2);
    let soon = Spread::millis(500, 2_000);
    strike(scenario, FaultKind::MemberAdd, soon, soon, Among::Any);
    strike(scenario, FaultKind::MemberRemove, Spread::millis(1_000, 3_000), soon, Among::Any);
    let kinds = [FaultKind::IsolateLeader, FaultKind::Split, FaultKind::Ring];
    let parts = rng.pick(&kinds).copied().unwrap_or(FaultKind::Split);
    strike(scenario, parts, Spread::millis(1_000, 4_000), Spread::millis(2_000, 6_000), Among::Any);
}

/// Voters that are exchanged while the leader is parted from most of those of before.
pub(super) fn exchanges(scenario: &mut Scenario, rng: &mut Rng) {
    alone(scenario, rng);
    let cluster = &mut scenario.cluster;
    cluster.voters = if rng.ratio(2, 3) { 3 } else { 5 };
    (cluster.workers, cluster.spares) = (rng.between(1, 2), 3);
    cluster.snapshot_every = rng.between(3, 50);
    cluster.keep_entries = rng.between(0, 5);
    cluster.lease_ttl = Duration::from_millis(1_000);
    cluster.kill_grace = Duration::from_millis(100);
    elects(scenario, 20, 10);
    sound_links(scenario, Spread::millis(5, 40));
    scenario.disk.latency = Spread::micros(200, 10_000);
    // VMs would keep hosts from being removed.
    let work = &mut scenario.workload;
    (work.clients, work.operations_per_second, work.vms) = (8, 30, 6);
    (work.create, work.start, work.stop, work.update, work.get) = (4, 0, 0, 4, 2);
    // Voters that are given up, and back when others have taken their places.
    let (often, silence) = (Spread::millis(1_000, 3_000), Spread::millis(1_200, 3_000));
    strike(scenario, FaultKind::Isolate, often, silence, Among::Followers);
    strike(scenario, FaultKind::MemberAdd, often, silence, Among::Any);
    strike(scenario, FaultKind::MemberRemove, Spread::millis(3_000, 9_000), silence, Among::Voters);
    let split = strike(
        scenario,
        FaultKind::Split,
        Spread::millis(200, 2_000),
        Spread::millis(1_000, 4_000),
        Among::Any,
    );
    (split.aim, split.within) = (Some(Aim::Exchange), Spread::millis(5, 70));
}

/// Leaders that stand still with many reads before them, while the others elect another.
pub(super) fn late_reads(scenario: &mut Scenario, rng: &mut Rng) {
    alone(scenario, rng);
    scenario.cluster.voters = if rng.ratio(1, 2) { 3 } else { 5 };
    scenario.cluster.workers = 0;
    elects(scenario, 50, 20);
    sound_links(scenario, Spread::millis(1, 20));
    scenario.disk.latency = Spread::micros(200, 2_000);
    let work = &mut scenario.workload;
    (work.clients, work.operations_per_second, work.vms) = (32, 120, 6);
    (work.create, work.start, work.stop, work.delete, work.update) = (3, 1, 1, 2, 3);
    (work.get, work.list, work.timeout) = (12, 2, Duration::from_millis(400));
    work.give_up = Duration::from_secs(5);
    let (every, long) = (Spread::millis(2_000, 6_000), Spread::millis(1_200, 1_900));
    strike(scenario, FaultKind::Pause, every, long, Among::Leader);
    let split = strike(scenario, FaultKind::Split, every, long, Among::Any);
    (split.aim, split.within) = (Some(Aim::Election), Spread::millis(0, 5));
}

/// Production's store, which writes snapshots all the time and loses its process or its power in the middle.
pub(super) fn storage(scenario: &mut Scenario, rng: &mut Rng) {
    alone(scenario, rng);
    let cluster = &mut scenario.cluster;
    cluster.storage = Storage::Redb;
    cluster.voters = if rng.ratio(1, 2) { 1 } else { 3 };
    (cluster.workers, cluster.spares) = (0, 1);
    (cluster.snapshot_every, cluster.keep_entries) = (rng.between(2, 6), rng.between(0, 3));
    elects(scenario, 20, 5);
    scenario.run.duration = Duration::from_secs(30);
    scenario.disk.latency = Spread::millis(1, 10);
    scenario.workload.operations_per_second = 30;
    let (every, down) = (Spread::millis(200, 1_500), Spread::millis(1, 200));
    let crash = strike(scenario, FaultKind::Crash, every, down, Among::Any);
    crash.point = CrashPoint::MidWrite;
    let reboot = strike(scenario, FaultKind::HostReboot, every, down, Among::Any);
    (reboot.aim, reboot.within) = (Some(Aim::Write), Spread::millis(0, 8));
    strike(scenario, FaultKind::DiskLost, Spread::millis(4_000, 12_000), down, Among::Any);
}
