//! Themes: five in eight of the scenarios drawn whole are turned towards one part of the system, with short times and dense faults. What is drawn
//! freely has everything, and little of each; these make the rare meetings of two things frequent.

mod consensus;
mod hosts;
mod levels;

use blixard_node::rng::Rng;
use blixard_node::time::Duration;

use crate::scenario::{
    Among, Buggify, Chance, Cluster, Disk, Fault, FaultKind, Hypervisor, Network, Process, Scenario, Spread,
    When, Workload,
};

type Theme = fn(&mut Scenario, &mut Rng);

/// All of them. One that stands twice is drawn twice as often.
const THEMES: [Theme; 23] = [
    consensus::elections,
    consensus::votes,
    consensus::uncounted,
    consensus::members,
    consensus::exchanges,
    consensus::exchanges,
    consensus::late_reads,
    consensus::storage,
    hosts::leases,
    hosts::minority,
    hosts::clocks,
    hosts::condemned,
    hosts::condemned,
    hosts::reboots,
    hosts::old_answers,
    hosts::old_reports,
    hosts::old_news,
    hosts::agents,
    hosts::movers,
    hosts::crowd,
    hosts::crowd,
    levels::upgrades,
    levels::upgrades,
];

/// Gives `scenario` a theme, or leaves it as it was drawn.
pub(super) fn apply(scenario: &mut Scenario, rng: &mut Rng) {
    if rng.below(8) < 5
        && let Some(theme) = rng.pick(&THEMES)
    {
        theme(scenario, rng);
    }
}

/// Faults of `kind` again and again, in place of those that were drawn.
fn strike(
    scenario: &mut Scenario,
    kind: FaultKind,
    every: Spread,
    lasts: Spread,
    among: Among,
) -> &mut Fault {
    scenario.faults.retain(|fault| fault.kind != kind);
    let fault = Fault { lasts, among, ..Fault::new(kind, When::Every(every)) };
    scenario.faults.push(fault.with_what_it_takes());
    let last = scenario.faults.len() - 1;
    &mut scenario.faults[last]
}

/// Mostly without what else was drawn to go wrong, and long enough for something rare.
fn alone(scenario: &mut Scenario, rng: &mut Rng) {
    scenario.run.duration = scenario.run.duration.max(Duration::from_secs(60));
    if rng.ratio(1, 8) {
        return;
    }
    let Cluster { voters, workers, spares, snapshot_every, keep_entries, chunk_bytes, .. } = scenario.cluster;
    scenario.cluster =
        Cluster { voters, workers, spares, snapshot_every, keep_entries, chunk_bytes, ..Cluster::default() };
    scenario.workload = Workload::default();
    scenario.disk = Disk { latency: scenario.disk.latency, ..Disk::default() };
    scenario.process = Process::default();
    scenario.hypervisor = Hypervisor::default();
    scenario.buggify = Buggify::default();
    scenario.faults.clear();
}

/// Elections after `ticks` to twice as many ticks of `tick_ms`.
fn elects(scenario: &mut Scenario, tick_ms: u64, ticks: u64) {
    let cluster = &mut scenario.cluster;
    cluster.tick = Duration::from_millis(tick_ms);
    (cluster.heartbeat_ticks, cluster.election_ticks) = (ticks.div_ceil(5), ticks);
}

/// VMs that are prepared, started and stopped at once.
fn quick(scenario: &mut Scenario) {
    let hypervisor = &mut scenario.hypervisor;
    (hypervisor.prepare, hypervisor.start) = (Spread::millis(1, 20), Spread::millis(5, 50));
    (hypervisor.stop, hypervisor.answer) = (Spread::millis(5, 100), Spread::millis(1, 5));
}

/// Links as good as any.
fn sound_links(scenario: &mut Scenario, latency: Spread) {
    let encode = scenario.network.encode;
    scenario.network = Network { latency, encode, ..Network::default() };
}

/// Few VMs, started and stopped all the time.
fn restless(scenario: &mut Scenario, vms: u64) {
    let work = &mut scenario.workload;
    (work.vms, work.clients, work.operations_per_second) = (vms, 10, 40);
    (work.create, work.start, work.stop) = (2, 5, 5);
    (work.delete, work.update, work.get, work.list) = (0, 0, 1, 0);
    (work.vm_vcpus_max, work.vm_memory_mib_max) = (1, 64);
}

/// Many VMs, started and left alone; some never get ready.
fn steady(scenario: &mut Scenario, vms: u64) {
    restless(scenario, vms);
    scenario.workload.stop = 0;
    scenario.hypervisor.never_ready = Chance::one_in(10);
    scenario.cluster.host_vcpus = scenario.cluster.host_vcpus.max(vms);
}
