//! How a world begins: the hosts, the first node bootstrapped, all others on their way to join.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use blixard_node::command::HostSpec;
use blixard_node::config::{Limits, NodeConfig, RaftConfig, Settings};
use blixard_node::ids::{ClusterId, NodeId};
use blixard_node::level::Level;
use blixard_node::rng::Rng;
use blixard_node::spec::Resources;
use blixard_node::time::{Duration, Time};

use super::host::{Host, NEVER, Presence};
use super::report::Counts;
use super::{Members, Phase, Scratch, World, faults, operator, streams};
use crate::buggify::Sites;
use crate::checkers::Checkers;
use crate::clock::{SimClock, draw_rate};
use crate::disk::{Engine, SimDisk};
use crate::heap::Heap;
use crate::hypervisor::{HostHypervisor, HypervisorFaults};
use crate::net::Links;
use crate::sabotage::{Lie, Sabotage};
use crate::scenario::{Chance, Scenario, Storage};
use crate::trace::{Kind, Sink, Trace};
use crate::workload::{Mix, Patience, Workload, WorkloadConfig};

/// The drift of clocks that break their word.
const PAST_ANY_BOUND_PPM: u64 = 500_000;

impl<'s> World<'s> {
    pub(super) fn new(
        scenario: &Scenario,
        seed: u64,
        sabotage: Sabotage,
        sink: Option<&'s mut dyn Sink>,
    ) -> Self {
        let now = Rc::new(Cell::new(0));
        let hosts = scenario.hosts() as usize;
        let settings = settings(scenario);
        let warm = Time(scenario.run.warmup.0);
        // The first node bootstraps alone; it tells of members only when they change.
        let first_members = Members { voters: vec![NodeId(1)], ..Members::default() };
        let mut views = vec![Members::default(); hosts];
        views[0] = first_members.clone();
        let mut world = Self {
            scenario: scenario.clone(),
            seed,
            sabotage,
            heap: Heap::default(),
            hosts: Vec::with_capacity(hosts),
            homes: vec![None],
            cluster: ClusterId(Rng::new(seed, streams::CLUSTER).u64() | 1),
            links: Links::new(hosts, scenario.network.clone(), |link| Rng::new(seed, streams::LINKS | link)),
            sites: Sites::new(scenario.buggify.clone(), seed, streams::BUGGIFY),
            trace: Trace::new(sink),
            checkers: Checkers::new(settings.kill_grace),
            workload: Workload::new(workload_config(scenario), seed, warm, &scenario.operations),
            clients_at: NEVER,
            askable: Vec::new(),
            operator: operator::Operator::new(Rng::new(seed, streams::OPERATOR)),
            plan: faults::Plan::new(scenario, seed),
            members: first_members,
            views,
            lost: BTreeMap::new(),
            phase: Phase::WarmUp,
            clock_rng: Rng::new(seed, streams::CLOCK),
            counts: Counts::default(),
            decided: 0,
            failure: None,
            running: None,
            last_runs: super::marks::LastRuns::default(),
            scratch: Scratch::default(),
            now,
        };
        for number in 0..hosts {
            world.add_host(number);
        }
        world
    }

    fn add_host(&mut self, number: usize) {
        let cluster = &self.scenario.cluster;
        let uptime = Duration(self.clock_rng.below(self.scenario.clock.offset_max.0 + 1) + 1_000_000_000);
        let clock = SimClock::new(Rc::clone(&self.now), uptime);
        let at_bound = self.scenario.clock.at_bound;
        clock.set_rate(draw_rate(self.drift_ppm(), at_bound, &mut self.clock_rng));
        let spare = number as u64 >= cluster.voters + cluster.workers;
        let presence = if spare { Presence::Spare } else { Presence::In };
        let node = self.new_node(number);
        let disk = SimDisk::new(self.engine(), format!("host-{}", number + 1));
        clock.set_sites(self.sites.clone(), number);
        let hypervisor = self.new_hypervisor(number, node, &clock);
        let rngs = [streams::NODES, streams::DISKS, streams::PROCESSES]
            .map(|stream| Rng::new(self.seed, stream + number as u64));
        let mut host = Host::new(node, presence, clock, disk, hypervisor, rngs);
        if (number as u64) < self.scenario.cluster.old_hosts {
            host.level = before(Level::NEWEST);
        }
        self.hosts.push(host);
    }

    /// A node id never used before, at home on `host`.
    pub(super) fn new_node(&mut self, host: usize) -> NodeId {
        let node = NodeId(self.homes.len() as u64);
        self.homes.push(Some(host));
        self.log(Kind::Home, Some(host), [node.0]);
        self.checkers.on_host(node, self.capacity());
        node
    }

    pub(super) fn new_hypervisor(&self, host: usize, node: NodeId, clock: &SimClock) -> HostHypervisor {
        let stream = |first: u64| Rng::new(self.seed, first + host as u64 + 0x10_0000 * node.0);
        let hypervisor = HostHypervisor::new(
            node,
            Rc::new(clock.clone()),
            hypervisor_faults(&self.scenario, self.sabotage),
            self.scenario.cluster.kill_grace,
            [stream(streams::HYPERVISORS), stream(streams::HYPERVISORS_ODD)],
        );
        hypervisor.set_sites(self.sites.clone(), host);
        hypervisor
    }

    pub(super) fn engine(&self) -> Engine {
        match self.scenario.cluster.storage {
            Storage::Modelled => Engine::Modelled,
            Storage::Redb => Engine::Redb,
        }
    }

    /// How far two clocks' rates differ at most.
    pub(super) fn drift_ppm(&self) -> u64 {
        if self.sabotage.lie == Lie::Clocks { PAST_ANY_BOUND_PPM } else { self.scenario.clock.drift_ppm }
    }

    fn capacity(&self) -> Resources {
        let cluster = &self.scenario.cluster;
        Resources { vcpus: cluster.host_vcpus as u32, memory_mib: cluster.host_memory_mib }
    }

    /// Boots the first node's disk, and lets every host that takes part start.
    pub(super) fn begin(&mut self) {
        let config = self.node_config(0);
        let seed = self.hosts[0].rng.u64();
        let stored = match blixard_node::bootstrap(&config, &settings(&self.scenario), self.cluster, seed) {
            Ok(stored) => stored,
            Err(error) => return self.fail("bootstrap", error.to_string()),
        };
        match SimDisk::holding(self.engine(), "host-1", stored) {
            Ok(disk) => self.hosts[0].disk = disk,
            Err(error) => return self.fail("bootstrap", error.to_string()),
        }
        for host in &self.hosts {
            host.disk.lie(self.sabotage.lie == Lie::Syncs);
        }
        if self.sabotage.lie == Lie::Checksums {
            self.hosts.iter().for_each(|host| host.disk.ignore_checksums());
        }
        for host in 0..self.hosts.len() {
            if self.hosts[host].presence == Presence::In {
                let after = Duration::from_millis(1 + 10 * host as u64);
                self.start_after(host, after);
            }
        }
        self.refresh_askable();
        self.plan_clients();
    }

    pub(super) fn node_config(&self, number: usize) -> NodeConfig {
        let cluster = &self.scenario.cluster;
        let host = &self.hosts[number];
        let known = |other: &usize| match self.phase {
            Phase::WarmUp => *other == 0,
            _ => self.hosts[*other].presence == Presence::In,
        };
        let peers = (0..self.hosts.len()).filter(|other| *other != number).filter(known);
        NodeConfig {
            id: host.node,
            host: HostSpec {
                address: address(number),
                capacity: self.capacity(),
                labels: BTreeMap::from([("hypervisor.sim".into(), "true".into())]),
            },
            peers: peers.map(|other| (self.hosts[other].node, address(other))).collect(),
            raft: RaftConfig {
                tick: cluster.tick,
                election_ticks: cluster.election_ticks,
                heartbeat_ticks: cluster.heartbeat_ticks,
                snapshot_every: cluster.snapshot_every,
                keep_entries: cluster.keep_entries,
                chunk_bytes: cluster.chunk_bytes as usize,
                append_bytes_max: cluster.append_bytes_max,
                inflight_max: cluster.inflight_max as usize,
                uncommitted_bytes_max: cluster.uncommitted_bytes_max,
            },
            feature_level: host.level,
            limits: Limits {
                requests_max: cluster.requests_max as usize,
                forwards_max: cluster.forwards_max as usize,
                forward_timeout: cluster.forward_timeout,
            },
        }
    }

    /// Clients ask any host that takes part, whether it is up or not.
    pub(super) fn refresh_askable(&mut self) {
        self.askable.clear();
        let present = self.hosts.iter().filter(|host| host.presence == Presence::In);
        self.askable.extend(present.map(|host| host.node));
    }
}

/// The level of the version before; that of the first is itself.
pub(super) fn before(level: Level) -> Level {
    Level(level.0 - 1).max(Level::FIRST)
}

pub(super) fn address(host: usize) -> String {
    format!("host-{}:7001", host + 1)
}

fn settings(scenario: &Scenario) -> Settings {
    let cluster = &scenario.cluster;
    Settings {
        lease_ttl: cluster.lease_ttl,
        clock_drift_ppm: cluster.drift_bound_ppm as u32,
        kill_grace: cluster.kill_grace,
        voters_max: cluster.voters,
        sessions_max: cluster.sessions_max,
        answers_max: cluster.answers_max,
        ..Settings::default()
    }
}

/// What the clients of a scenario do.
pub(crate) fn workload_config(scenario: &Scenario) -> WorkloadConfig {
    let workload = &scenario.workload;
    let idle = workload.operations_per_second == 0 && scenario.operations.is_empty();
    WorkloadConfig {
        clients: if idle { 0 } else { workload.clients as usize },
        operations: workload.operations_per_second.max(1),
        per: Duration::from_secs(1),
        names: workload.vms,
        mix: Mix {
            create: workload.create,
            start: workload.start,
            stop: workload.stop,
            delete: workload.delete,
            update: workload.update,
            get: workload.get,
            list: workload.list,
        },
        with_generation: workload.with_generation,
        patience: Patience {
            attempt_timeout: workload.timeout,
            backoff: workload.backoff,
            give_up_after: workload.give_up,
        },
        hypervisor: "sim".into(),
        vcpus_max: workload.vm_vcpus_max as u32,
        memory_mib_max: workload.vm_memory_mib_max,
        restart_seldom: workload.restart_seldom,
        failover_waits: workload.failover_waits,
        local_volume: workload.local_volume,
        ports: workload.ports,
        keep_volumes: workload.keep_volumes,
    }
}

/// The hypervisors' faults of the safety phase.
fn hypervisor_faults(scenario: &Scenario, sabotage: Sabotage) -> HypervisorFaults {
    let section = scenario.hypervisor.clone();
    HypervisorFaults {
        prepare: section.prepare,
        prepare_slow: section.prepare_slow,
        prepare_slow_by: section.prepare_slow_by,
        prepare_fails: section.prepare_fails,
        start: section.start,
        start_slow: section.start_slow,
        start_slow_by: section.start_slow_by,
        start_fails: section.start_fails,
        start_uncertain: section.start_uncertain,
        stop: section.stop,
        stop_hangs: section.stop_hangs,
        kill: section.kill,
        answer: section.answer,
        answer_late: section.answer_late,
        answer_late_by: section.answer_late_by,
        answer_doubled: section.answer_doubled,
        answer_lost: section.answer_lost,
        exit_silent: section.exit_silent,
        guest_crashes: section.guest_crashes,
        guest_powers_off: section.guest_powers_off,
        supervisor_dies: section.supervisor_dies,
        lifetime: section.lifetime,
        never_ready: section.never_ready,
        stop_unsupported: section.stop_unsupported,
        guest_wedges: section.guest_wedges,
        control_stolen: section.control_stolen,
        crash_as_reset: section.crash_as_reset,
        exit_only_eof: section.exit_only_eof,
        stale_socket: section.stale_socket,
        stale_socket_for: section.stale_socket_for,
        pid_reused: section.pid_reused,
        pid_reused_for: section.pid_reused_for,
        prepare_times_out: section.prepare_times_out,
        prepare_locks: section.prepare_locks,
        no_space: section.no_space,
        no_space_for: section.no_space_for,
        purge_fails: section.purge_fails,
        builds: section.builds,
        builds_differ: section.builds_differ,
        exit_late: section.exit_late,
        exit_late_by: section.exit_late_by,
        list_late: section.list_late,
        list_late_by: section.list_late_by,
        lie: sabotage.lie,
    }
}

/// The hypervisors of the healed core: as slow as before, without faults.
pub(super) fn healed_hypervisor(scenario: &Scenario) -> HypervisorFaults {
    let mut healed = hypervisor_faults(scenario, Sabotage::default());
    for chance in [
        &mut healed.prepare_slow,
        &mut healed.prepare_fails,
        &mut healed.start_slow,
        &mut healed.start_fails,
        &mut healed.start_uncertain,
        &mut healed.stop_hangs,
        &mut healed.answer_late,
        &mut healed.answer_doubled,
        &mut healed.answer_lost,
        &mut healed.exit_silent,
        &mut healed.guest_crashes,
        &mut healed.guest_powers_off,
        &mut healed.supervisor_dies,
        &mut healed.never_ready,
        &mut healed.stop_unsupported,
        &mut healed.guest_wedges,
        &mut healed.control_stolen,
        &mut healed.crash_as_reset,
        &mut healed.exit_only_eof,
        &mut healed.stale_socket,
        &mut healed.pid_reused,
        &mut healed.prepare_times_out,
        &mut healed.prepare_locks,
        &mut healed.no_space,
        &mut healed.purge_fails,
        &mut healed.builds_differ,
        &mut healed.exit_late,
        &mut healed.list_late,
    ] {
        *chance = Chance::NEVER;
    }
    healed
}
