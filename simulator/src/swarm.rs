//! Scenarios drawn whole from the seed: cluster, work, conditions and faults. Every feature is off in half of the seeds, because
//! what always happens hides what needs quiet (Groce et al., "Swarm Testing", ISSTA 2012).

mod themes;

use std::borrow::Cow;

use blixard_node::rng::Rng;
use blixard_node::time::Duration;

use crate::scenario::{
    Aim, Among, Buggify, Chance, Clock, Cluster, CrashPoint, Disk, Fault, FaultKind, Hypervisor, Network,
    Part, Process, Run, Scenario, Site, Spread, Storage, Swarm, When, Workload,
};

/// The name by which the command line asks for drawn scenarios.
pub const NAME: &str = "swarm";

/// The stream of the seed that scenarios are drawn from; the world has streams of its own.
const STREAM: u64 = 0x5157_4152_4d00;

/// The stream of the seed that themes are drawn from.
const THEMES: u64 = STREAM - 1;

/// The safety phase, in seconds.
const SECS: std::ops::RangeInclusive<u64> = 20..=120;

/// A scenario in which everything is drawn.
#[must_use]
pub fn whole() -> Scenario {
    Scenario {
        name: NAME.into(),
        description: "Drawn whole from its seed.".into(),
        swarm: Swarm::all(),
        ..Scenario::default()
    }
}

/// The scenario of a seed, drawn whole. The same one for ever, as long as this file stands as it is.
#[must_use]
pub fn draw(seed: u64) -> Scenario {
    resolve(&whole(), seed).into_owned()
}

/// The scenario as `seed` runs it: what its `[swarm]` table has drawn is drawn, the rest stays as written. What comes out draws nothing
/// any more.
#[must_use]
pub fn resolve(scenario: &Scenario, seed: u64) -> Cow<'_, Scenario> {
    if scenario.swarm.is_empty() {
        return Cow::Borrowed(scenario);
    }
    let mut drawn = freely(scenario, seed);
    give_a_theme(&mut drawn, scenario, seed);
    Cow::Owned(drawn)
}

/// What `seed` draws of the scenario before it has a theme.
fn freely(scenario: &Scenario, seed: u64) -> Scenario {
    let swarm = &scenario.swarm;
    let mut drawn = Scenario { swarm: Swarm::default(), ..scenario.clone() };
    drawn.name = format!("{}-{seed}", scenario.name);
    // Each part has a stream of its own, so that a part that stays as written leaves the others alone.
    let stream = |part: Part| Draw(Rng::new(seed, STREAM + part as u64));
    let of = |part: Part| move |key: &str| swarm.draws_key(part, key);
    drawn.cluster.take_over(&stream(Part::Cluster).cluster(), of(Part::Cluster));
    fit_cluster(&mut drawn, swarm);
    let cluster = drawn.cluster.clone();
    drawn.run.take_over(&stream(Part::Run).run(), of(Part::Run));
    drawn.workload.take_over(&stream(Part::Workload).workload(&cluster), of(Part::Workload));
    drawn.network.take_over(&stream(Part::Network).network(), of(Part::Network));
    drawn.disk.take_over(&stream(Part::Disk).disk(), of(Part::Disk));
    drawn.clock.take_over(&stream(Part::Clock).clock(&cluster), of(Part::Clock));
    drawn.process.take_over(&stream(Part::Process).process(), of(Part::Process));
    drawn.hypervisor.take_over(&stream(Part::Hypervisor).hypervisor(&cluster), of(Part::Hypervisor));
    drawn.buggify.take_over(&stream(Part::Buggify).buggify(), of(Part::Buggify));
    if swarm.draws(Part::Faults) {
        let mut stream = stream(Part::Faults);
        let secs = (drawn.run.duration.as_millis() / 1_000).max(1);
        for kind in FaultKind::ALL {
            let (on, fault) = (stream.half(), stream.fault(*kind, secs));
            let written = scenario.faults.iter().any(|fault| fault.kind == *kind);
            let possible = *kind != FaultKind::MemberAdd || drawn.cluster.spares > 0;
            if on && possible && !written {
                drawn.faults.push(fault);
            }
        }
    }
    drawn
}

/// Gives what is drawn of `written` the seed's theme.
fn give_a_theme(drawn: &mut Scenario, written: &Scenario, seed: u64) {
    let swarm = &written.swarm;
    let mut themed = drawn.clone();
    themes::apply(&mut themed, &mut Rng::new(seed, THEMES));
    let of = |part: Part| move |key: &str| swarm.draws_key(part, key);
    drawn.cluster.take_over(&themed.cluster, of(Part::Cluster));
    fit_cluster(drawn, swarm);
    drawn.run.take_over(&themed.run, of(Part::Run));
    drawn.workload.take_over(&themed.workload, of(Part::Workload));
    drawn.network.take_over(&themed.network, of(Part::Network));
    drawn.disk.take_over(&themed.disk, of(Part::Disk));
    drawn.clock.take_over(&themed.clock, of(Part::Clock));
    if swarm.draws_key(Part::Clock, "drift_ppm") {
        drawn.clock.drift_ppm = drawn.clock.drift_ppm.min(drawn.cluster.drift_bound_ppm);
    }
    drawn.process.take_over(&themed.process, of(Part::Process));
    drawn.hypervisor.take_over(&themed.hypervisor, of(Part::Hypervisor));
    drawn.buggify.take_over(&themed.buggify, of(Part::Buggify));
    if swarm.draws(Part::Faults) && written.faults.is_empty() {
        let spares = drawn.cluster.spares;
        drawn.faults = themed.faults;
        drawn.faults.retain(|fault| fault.kind != FaultKind::MemberAdd || spares > 0);
    }
}

/// Makes a drawn cluster one that what is written can live in.
fn fit_cluster(drawn: &mut Scenario, swarm: &Swarm) {
    let named = drawn.faults.iter().filter_map(|fault| fault.node).max().unwrap_or(0);
    let adds = drawn.faults.iter().any(|fault| fault.kind == FaultKind::MemberAdd);
    let cluster = &mut drawn.cluster;
    if adds {
        cluster.spares = cluster.spares.max(1);
    }
    // An uncommitted proposal has to fit into a message.
    if cluster.uncommitted_bytes_max <= cluster.append_bytes_max {
        if swarm.draws_key(Part::Cluster, "uncommitted_bytes_max") {
            cluster.uncommitted_bytes_max = cluster.append_bytes_max + 1;
        } else {
            cluster.append_bytes_max = cluster.uncommitted_bytes_max - 1;
        }
    }
    let others = cluster.voters + cluster.spares;
    cluster.workers = cluster.workers.max(named.saturating_sub(others));
    cluster.old_hosts = cluster.old_hosts.min(others + cluster.workers);
    if cluster.election_ticks <= cluster.heartbeat_ticks {
        if swarm.draws_key(Part::Cluster, "election_ticks") {
            cluster.election_ticks = 4 * cluster.heartbeat_ticks;
        } else {
            cluster.heartbeat_ticks = (cluster.election_ticks / 4).max(1);
        }
    }
    let kept = |part, key| !swarm.draws_key(part, key);
    if kept(Part::Workload, "vm_vcpus_max") {
        cluster.host_vcpus = cluster.host_vcpus.max(drawn.workload.vm_vcpus_max);
    }
    if kept(Part::Workload, "vm_memory_mib_max") {
        cluster.host_memory_mib = cluster.host_memory_mib.max(drawn.workload.vm_memory_mib_max);
    }
    if kept(Part::Clock, "drift_ppm") && !drawn.clock.past_bound {
        cluster.drift_bound_ppm = cluster.drift_bound_ppm.max(drawn.clock.drift_ppm);
    }
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
        let usual = Cluster::default();
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
            lease_ttl: Duration::from_millis(self.spread_out(1_000, 15_000)),
            kill_grace: Duration::from_millis(self.spread_out(100, 4_000)),
            sessions_max: if self.half() { self.between(4, 32) } else { usual.sessions_max },
            answers_max: if self.half() { self.between(1, 8) } else { usual.answers_max },
            tick: if self.half() { Duration::from_millis(self.between(20, 150)) } else { usual.tick },
            append_bytes_max: self.narrow(64, 65_536, usual.append_bytes_max),
            inflight_max: self.narrow(1, 32, usual.inflight_max),
            uncommitted_bytes_max: self.narrow(1_024, 131_072, usual.uncommitted_bytes_max),
            requests_max: self.narrow(4, 64, usual.requests_max),
            forwards_max: self.narrow(4, 64, usual.forwards_max),
            forward_timeout: Duration::from_millis(self.between(500, 8_000)),
            drift_bound_ppm: if self.half() { self.spread_out(10, 300_000) } else { usual.drift_bound_ppm },
            old_hosts: if self.half() { self.between(1, 7) } else { 0 },
        }
    }

    /// A bound that is narrow in half of the seeds.
    fn narrow(&mut self, low: u64, high: u64, usual: u64) -> u64 {
        if self.half() { self.spread_out(low, high) } else { usual }
    }

    fn run(&mut self) -> Run {
        Run {
            duration: Duration::from_secs(self.between(*SECS.start(), *SECS.end())),
            liveness: Duration::from_secs(300),
            keep_quorum: !self.0.ratio(1, 16),
            ..Run::default()
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
        let most = cluster.drift_bound_ppm.max(1);
        let drift_ppm = if self.half() { self.between(most / 2, most) } else { 0 };
        Clock { drift_ppm: drift_ppm.min(cluster.drift_bound_ppm), at_bound: self.half(), ..Clock::default() }
    }

    fn process(&mut self) -> Process {
        Process { turn: self.micros(1, 2_000), restart: self.millis(20, 10_000) }
    }

    fn hypervisor(&mut self, cluster: &Cluster) -> Hypervisor {
        let kill = self.millis(1, cluster.kill_grace.as_millis());
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
            exit_late: self.chance(2, 50),
            exit_late_by: self.millis(50, 10_000),
            list_late: self.chance(2, 50),
            list_late_by: self.millis(50, 10_000),
        }
    }

    fn buggify(&mut self) -> Buggify {
        let mut drawn = Buggify::default();
        for site in Site::ALL {
            use Site as S;
            *drawn.chance_mut(*site) = match site {
                // Passed thousands of times in a run.
                S::NetKeptLong
                | S::NetRepeated
                | S::ProcessTurnSlow
                | S::ProcessWakeLate
                | S::ClockWallWild => self.chance(50, 20_000),
                S::DiskSyncSlow => self.chance(20, 2_000),
                _ => self.chance(2, 100),
            };
        }
        drawn
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
            aim: self.0.ratio(2, 5).then(|| self.pick(Aim::ALL, Aim::Elected)),
            within: self.millis(1, 2_000),
            ..Fault::new(kind, when)
        }
        .with_what_it_takes()
    }
}

#[cfg(test)]
mod tests;
