//! Scenarios drawn whole from the seed: cluster, work, conditions and faults. Every feature is off in half of the seeds, because
//! what always happens hides what needs quiet (Groce et al., "Swarm Testing", ISSTA 2012).

use blixard_node::rng::Rng;
use blixard_node::time::Duration;

use crate::scenario::{
    Among, Chance, Clock, Cluster, CrashPoint, Disk, Fault, FaultKind, Hypervisor, Network, Process, Run,
    Scenario, Spread, Storage, When, Workload,
};

/// The name by which the command line asks for drawn scenarios.
pub const NAME: &str = "swarm";

/// The stream of the seed that scenarios are drawn from; the world has streams of its own.
const STREAM: u64 = 0x5157_4152_4d00;

/// The safety phase, in seconds.
const SECS: std::ops::RangeInclusive<u64> = 20..=120;

/// The scenario of a seed. The same one for ever, as long as this file stands as it is.
#[must_use]
pub fn draw(seed: u64) -> Scenario {
    let mut draw = Draw(Rng::new(seed, STREAM));
    let cluster = draw.cluster();
    let secs = draw.between(*SECS.start(), *SECS.end());
    let mut scenario = Scenario {
        name: format!("{NAME}-{seed}"),
        description: "Drawn whole from its seed.".into(),
        workload: draw.workload(&cluster),
        network: draw.network(),
        disk: draw.disk(),
        clock: draw.clock(&cluster),
        process: draw.process(),
        hypervisor: draw.hypervisor(&cluster),
        run: Run {
            duration: Duration::from_secs(secs),
            liveness: Duration::from_secs(300),
            ..Run::default()
        },
        cluster,
        ..Scenario::default()
    };
    for kind in FaultKind::ALL {
        if draw.half() && (*kind != FaultKind::MemberAdd || scenario.cluster.spares > 0) {
            scenario.faults.push(draw.fault(*kind, secs));
        }
    }
    scenario
}

struct Draw(Rng);

impl Draw {
    fn half(&mut self) -> bool {
        self.0.ratio(1, 2)
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.between(low, high)
    }

    /// Any order of magnitude between the two is as likely as any other.
    fn spread_out(&mut self, low: u64, high: u64) -> u64 {
        let steps = u64::from((high / low.max(1)).max(1).ilog2());
        let most = low.max(1) << self.0.below(steps + 1);
        self.between(low, (most * 2).min(high).max(low))
    }

    fn pick<T: Copy>(&mut self, items: &[T], or: T) -> T {
        self.0.pick(items).copied().unwrap_or(or)
    }

    /// Never in half of the seeds, else one in `low` to `high`.
    fn chance(&mut self, low: u64, high: u64) -> Chance {
        if self.half() { Chance::one_in(self.spread_out(low, high)) } else { Chance::NEVER }
    }

    fn micros(&mut self, low: u64, high: u64) -> Spread {
        let (a, b) = (self.spread_out(low, high), self.spread_out(low, high));
        Spread::micros(a.min(b), a.max(b))
    }

    fn millis(&mut self, low: u64, high: u64) -> Spread {
        let (a, b) = (self.spread_out(low, high), self.spread_out(low, high));
        Spread::millis(a.min(b), a.max(b))
    }

    fn cluster(&mut self) -> Cluster {
        let heartbeat_ticks = self.between(1, 5);
        Cluster {
            voters: self.pick(&[1, 3, 3, 5, 5, 7], 3),
            workers: self.between(0, 4),
            spares: self.between(0, 2),
            storage: if self.0.ratio(1, 8) { Storage::Redb } else { Storage::Modelled },
            host_vcpus: self.between(4, 32),
            host_memory_mib: 1_024 * self.between(4, 64),
            heartbeat_ticks,
            election_ticks: heartbeat_ticks * self.between(4, 10),
            snapshot_every: self.spread_out(5, 1_000),
            keep_entries: self.between(0, 100),
            chunk_bytes: self.spread_out(128, 65_536),
            lease_ttl: Duration::from_millis(self.between(2_000, 15_000)),
            kill_grace: Duration::from_millis(self.between(1_000, 4_000)),
            sessions_max: if self.half() { self.between(4, 32) } else { Cluster::default().sessions_max },
            answers_max: if self.half() { self.between(1, 8) } else { Cluster::default().answers_max },
            ..Cluster::default()
        }
    }

    fn weight(&mut self) -> u64 {
        if self.half() { self.between(1, 6) } else { 0 }
    }

    fn workload(&mut self, cluster: &Cluster) -> Workload {
        Workload {
            clients: self.between(1, 12),
            operations_per_second: self.spread_out(1, 40),
            vms: self.spread_out(1, 40),
            create: self.between(1, 6),
            start: self.between(1, 6),
            stop: self.weight(),
            delete: self.weight(),
            update: self.weight(),
            get: self.weight(),
            list: self.weight(),
            with_generation: self.chance(2, 10),
            timeout: Duration::from_millis(self.between(500, 5_000)),
            vm_vcpus_max: self.between(1, cluster.host_vcpus),
            vm_memory_mib_max: self.between(16, cluster.host_memory_mib),
            restart_seldom: self.chance(2, 10),
            failover_waits: self.chance(2, 20),
            local_volume: self.chance(2, 20),
            ports: self.chance(2, 10),
            keep_volumes: self.chance(2, 10),
            ..Workload::default()
        }
    }

    fn network(&mut self) -> Network {
        Network {
            latency: self.micros(50, 30_000),
            loss: self.chance(20, 2_000),
            duplication: self.chance(20, 2_000),
            reordering: self.chance(20, 2_000),
            reordering_delay: self.millis(5, 2_000),
            encode: self.chance(10, 100),
        }
    }

    fn disk(&mut self) -> Disk {
        Disk {
            latency: self.micros(50, 20_000),
            stall: self.chance(500, 20_000),
            stall_for: self.millis(50, 5_000),
            error: self.chance(5_000, 100_000),
            full: self.chance(5_000, 100_000),
        }
    }

    fn clock(&mut self, cluster: &Cluster) -> Clock {
        let drift_ppm = if self.half() { self.between(1, cluster.drift_bound_ppm.max(1)) } else { 0 };
        Clock { drift_ppm: drift_ppm.min(cluster.drift_bound_ppm), ..Clock::default() }
    }

    fn process(&mut self) -> Process {
        Process { turn: self.micros(1, 2_000), restart: self.millis(20, 10_000) }
    }

    fn hypervisor(&mut self, cluster: &Cluster) -> Hypervisor {
        let kill = self.millis(1, cluster.kill_grace.as_millis() / 2);
        Hypervisor {
            prepare: self.millis(1, 2_000),
            prepare_slow: self.chance(5, 100),
            prepare_slow_by: self.millis(1_000, 60_000),
            prepare_fails: self.chance(5, 100),
            start: self.millis(5, 2_000),
            start_slow: self.chance(5, 100),
            start_slow_by: self.millis(500, 20_000),
            start_fails: self.chance(5, 100),
            start_uncertain: self.chance(5, 100),
            stop: self.millis(10, 5_000),
            stop_hangs: self.chance(5, 100),
            kill,
            answer: self.millis(1, 50),
            answer_late: self.chance(5, 100),
            answer_late_by: self.millis(50, 10_000),
            answer_doubled: self.chance(5, 100),
            answer_lost: self.chance(5, 100),
            exit_silent: self.chance(5, 100),
            guest_crashes: self.chance(2, 50),
            guest_powers_off: self.chance(2, 50),
            supervisor_dies: self.chance(2, 50),
            lifetime: self.millis(100, 60_000),
            never_ready: self.chance(10, 200),
            stop_unsupported: self.chance(5, 100),
            guest_wedges: self.chance(5, 100),
            control_stolen: self.chance(5, 100),
            crash_as_reset: self.chance(2, 20),
            exit_only_eof: self.chance(2, 20),
            stale_socket: self.chance(2, 20),
            stale_socket_for: self.millis(50, 10_000),
            pid_reused: self.chance(2, 20),
            pid_reused_for: self.millis(1_000, 120_000),
            prepare_times_out: self.chance(10, 200),
            prepare_locks: self.chance(10, 200),
            no_space: self.chance(10, 200),
            no_space_for: self.millis(500, 30_000),
            purge_fails: self.chance(2, 50),
            builds: self.chance(1, 4),
            builds_differ: self.chance(2, 50),
        }
    }

    /// Again and again; what is for good, once.
    fn fault(&mut self, kind: FaultKind, secs: u64) -> Fault {
        let for_good = matches!(kind, FaultKind::HostDead);
        let when = if for_good {
            When::At(Duration::from_millis(self.between(0, secs * 1_000)))
        } else {
            When::Every(self.millis(1_000, secs * 1_000))
        };
        let among = self.pick(Among::ALL, Among::Any);
        let point = self.pick(CrashPoint::ALL, CrashPoint::Any);
        Fault {
            kind,
            when,
            lasts: self.millis(10, 30_000),
            among,
            node: None,
            point,
            times: self.between(1, 6),
            by: self.millis(10, 5_000),
            ..Fault::new(kind, when)
        }
        .with_what_it_takes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_scenario_is_a_scenario_file() {
        for seed in 0..300 {
            let drawn = draw(seed);
            let text = drawn.to_toml();
            let read =
                Scenario::parse("drawn.toml", &text).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
            assert_eq!(read, drawn, "{text}");
        }
    }

    #[test]
    fn every_kind_of_fault_is_on_about_half_of_the_time() {
        let drawn: Vec<Scenario> = (0..200).map(draw).collect();
        for kind in FaultKind::ALL {
            let on = drawn
                .iter()
                .filter(|scenario| scenario.faults.iter().any(|fault| fault.kind == *kind))
                .count();
            assert!((50..150).contains(&on), "{kind} is on in {on} of 200");
        }
    }
}
