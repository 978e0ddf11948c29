//! Processes: how they start, run turns, and die at any point of one.

use blixard_node::OpenError;
use blixard_node::effects::Event as NodeEvent;
use blixard_node::ids::{ClusterId, NodeId};
use blixard_node::input::Input;
use blixard_node::level::Level;
use blixard_node::time::{Duration, Time};
use blixard_runtime::{DiskError, Fatal, Runtime, Turn};

use super::event::Event;
use super::host::{NEVER, Presence};
use super::telling::Shown;
use super::traffic::{INBOX_MAX, NEWS_MAX};
use super::upgrades::levels_apart;
use super::{Members, World, setup};
use crate::disk::{Fault, FaultKind, Loss};
use crate::net::SimNetwork;
use crate::probes::WorldProbe;
use crate::scenario::{Aim, CrashPoint, Site, Storage};
use crate::trace::Kind;
use crate::trace::words::word;

/// The node's own invariants are asserted once in so many turns of a process. They cost far more than a turn.
const CHECK_EVERY: u64 = if cfg!(debug_assertions) { 32 } else { 1_024 };
/// An armed crash that finds no such turn strikes after this long anyway.
const ARMED_FOR: Duration = Duration::from_secs(1);
/// When a host that is no member yet looks for members, and how often: as the daemon's discovery does.
const LOOK_FIRST: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A process asked to end in good order is killed after this long, as service managers do.
const RETIRE_WITHIN: Duration = Duration::from_secs(10);

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was killed.
    Killed,
    /// It ended itself after an error, or in good order.
    Itself,
    /// The host lost power.
    PowerLost,
}

impl World<'_> {
    // Start.

    /// Starts a process on `host` after a while, unless another starts or ends there before.
    pub(super) fn start_after(&mut self, host: usize, mut after: Duration) {
        if self.sites.fires(Site::ProcessStartSlow, host) {
            after = after + self.sites.span(Site::ProcessStartSlow, host, 1_000..=60_000);
        }
        let life = self.hosts[host].life;
        self.heap.push(self.now.get() + after.0, Event::Start { host: host as u16, life });
    }

    pub(super) fn on_start(&mut self, number: usize, life: u32) {
        let (healed, redb) = (self.is_healed(), self.scenario.cluster.storage == Storage::Redb);
        let host = &mut self.hosts[number];
        if host.life != life || host.is_up() || host.presence != Presence::In {
            return;
        }
        if host.suspended > 0 {
            return self.start_after(number, Duration::from_millis(100));
        }
        // A store that is only being made is no less worth a crash.
        let creates = !healed && redb && host.disk.file_len() == 0;
        let recovering = host.recovery_crashes > 0;
        host.recovery_crashes = host.recovery_crashes.saturating_sub(1);
        self.running = Some(number);
        let dies_opening =
            (recovering && host.process_rng.ratio(1, 2)) || (creates && host.process_rng.ratio(1, 4));
        if dies_opening {
            // Nothing that the process does from some operation on reaches the disk.
            host.disk.die_after(host.process_rng.below(40) as u32);
        }
        let config = self.node_config(number);
        let host = &mut self.hosts[number];
        host.life += 1;
        host.hypervisor.detach();
        let network = SimNetwork::new(config.peers.iter().map(|(peer, _)| *peer));
        let (clock, disk) = (host.clock.clone(), host.disk.clone());
        let seed = host.rng.u64();
        let opened = Runtime::open(config, seed, clock, network, disk, host.hypervisor.attach());
        match opened {
            _ if dies_opening => {
                self.mark(WorldProbe::DiedOpening);
                drop(opened);
                self.end_process(number, End::Killed, Some(Loss::Power));
                self.start_after(number, Duration::from_millis(20));
            }
            Ok(process) => {
                host.turns = 0;
                self.counts.rot_harmless += u64::from(std::mem::take(&mut host.suspect));
                host.busy_until = self.now.get();
                host.shown = Shown::default();
                let details = [host.node.0, u64::from(host.life)];
                self.checkers.on_open(Time(self.now.get()), process.node());
                host.process = Some(Box::new(process));
                self.counts.starts += 1;
                self.log(Kind::Started, Some(number), details);
                let level = self.hosts[number].level;
                if level != Level::NEWEST {
                    self.log(Kind::Told, Some(number), [word!(TOLD, "speaks-level"), level.0.into(), 0]);
                }
                self.tell_found(number);
                self.moment(Aim::Start, number);
                if self.hosts[number].hypervisor.with(|inside| inside.alive().next().is_some()) {
                    self.moment(Aim::Adoption, number);
                }
                self.plan_wake(number);
                self.look_after(number, LOOK_FIRST);
                if recovering {
                    self.die_within(number, Duration::from_millis(200));
                }
            }
            Err(Fatal::Open(OpenError::BelowLevel { cluster, .. })) => {
                self.mark(WorldProbe::OpenedBelowLevel);
                self.hosts[number].life += 1;
                let own = self.hosts[number].level;
                self.outgrown(number, own, cluster);
            }
            Err(fatal) => {
                let node = host.node.0;
                self.log(Kind::OpenFailed, Some(number), [node]);
                self.mark(WorldProbe::DiskFailedOpening);
                self.after_fatal(number, &fatal);
            }
        }
        self.running = None;
    }

    // Discovery.

    fn look_after(&mut self, number: usize, after: Duration) {
        let host = &self.hosts[number];
        let waits =
            host.process.as_ref().is_some_and(|process| process.node().identity().cluster == ClusterId(0));
        if waits {
            let look = Event::Look { host: number as u16, life: host.life };
            self.heap.push(self.now.get() + after.0, look);
        }
    }

    /// Tells a node that waits to be taken in which members its host has found: those that are there and that it reaches.
    pub(super) fn on_look(&mut self, number: usize, life: u32) {
        if self.hosts[number].life != life {
            return;
        }
        let is_member = |other: &usize| {
            let process = self.hosts[*other].process.as_ref();
            process.is_some_and(|process| process.node().identity().cluster != ClusterId(0))
        };
        let reached =
            |other: &usize| !self.links.is_cut(number, *other) && !self.links.is_cut(*other, number);
        let found = (0..self.hosts.len()).filter(|other| *other != number).filter(is_member).filter(reached);
        let members: Vec<_> = found.map(|other| (self.hosts[other].node, setup::address(other))).collect();
        if let Some(process) = &mut self.hosts[number].process {
            process.push(Input::Found { members });
            self.kick(number);
        }
        self.look_after(number, LOOK_EVERY);
    }

    pub(super) fn arm_disk(&mut self, number: usize, fault: Fault) {
        let host = &mut self.hosts[number];
        host.disk.arm(fault);
        host.disk_fault_armed = true;
    }

    // Turns.

    /// Something came in: runs a turn now if the process is free, else when it is.
    pub(super) fn kick(&mut self, number: usize) {
        let host = &self.hosts[number];
        let writing = host.process.as_ref().is_none_or(|process| process.is_writing());
        if writing || host.turn_scheduled || !host.can_run() {
            return;
        }
        if host.busy_until > self.now.get() { self.schedule_turn(number) } else { self.run_turn(number) }
    }

    fn schedule_turn(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if !host.turn_scheduled {
            host.turn_scheduled = true;
            let at = host.busy_until.max(self.now.get());
            self.heap.push(at, Event::Turn { host: number as u16, life: host.life });
        }
    }

    pub(super) fn on_turn_due(&mut self, number: usize, life: u32) {
        let host = &mut self.hosts[number];
        if host.life == life {
            host.turn_scheduled = false;
            self.kick(number);
        }
    }

    pub(super) fn on_wake(&mut self, number: usize, life: u32) {
        let host = &mut self.hosts[number];
        if host.life == life && host.wake_at == self.now.get() {
            host.wake_at = NEVER;
            self.kick(number);
        }
    }

    pub(super) fn on_written(&mut self, number: usize, life: u32) {
        let host = &mut self.hosts[number];
        if host.life != life {
            return;
        }
        host.disk.complete();
        let (write, failed) = (host.write, host.disk.has_failed());
        self.log(if failed { Kind::WriteFailed } else { Kind::WriteDurable }, Some(number), [write]);
        if self.hosts[number].armed == Some(CrashPoint::BeforeRelease) {
            return self.crash(number);
        }
        if self.hosts[number].can_run() {
            self.run_turn(number);
        }
    }

    /// The process or its host stood still and goes on.
    pub(super) fn go_on(&mut self, number: usize) {
        let host = &self.hosts[number];
        if !host.can_run() {
            return;
        }
        let written =
            host.process.as_ref().is_some_and(|process| process.is_writing()) && !host.disk.is_under_way();
        if written {
            self.run_turn(number);
        } else {
            self.kick(number);
        }
        self.plan_wake(number);
    }

    fn run_turn(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let Some(process) = &host.process else { return };
        let inputs = process.inbox_len() as u64;
        let (now, node, inbox_max) = (Time(self.now.get()), host.node, INBOX_MAX + NEWS_MAX);
        self.checkers.on_queue(now, node, "the inbox", inputs as usize, inbox_max);
        if !process.is_writing() {
            if host.armed == Some(CrashPoint::BeforeStep) && inputs > 0 {
                return self.crash(number);
            }
            self.maybe_disk_fault(number);
        }
        self.running = Some(number);
        let Some(process) = &mut self.hosts[number].process else { return };
        let result = process.turn();
        match result {
            Ok(Turn::Idle) => self.plan_wake(number),
            Ok(Turn::Writing) => self.after_begin(number, inputs),
            Ok(Turn::Done) => self.after_release(number, inputs),
            Err(fatal) => {
                self.end_process(number, End::Itself, Some(Loss::Process));
                self.after_fatal(number, &fatal);
            }
        }
        self.running = None;
    }

    fn maybe_disk_fault(&mut self, number: usize) {
        if self.is_healed() || self.hosts[number].disk_fault_armed {
            return;
        }
        let disk = &self.scenario.disk;
        let full = self.hosts[number].disk_full > 0 || disk.full.draw(&mut self.hosts[number].disk_rng);
        let kind = if full {
            FaultKind::Full
        } else if disk.error.draw(&mut self.hosts[number].disk_rng) {
            FaultKind::Io
        } else {
            return;
        };
        let after_ops = match self.scenario.cluster.storage {
            Storage::Modelled => 0,
            Storage::Redb => self.hosts[number].disk_rng.below(10) as u32,
        };
        self.arm_disk(number, Fault { kind, after_ops });
    }

    /// A write is under way.
    fn after_begin(&mut self, number: usize, inputs: u64) {
        let sends = self.flush(number);
        let host = &self.hosts[number];
        let cost = host.disk.cost();
        let (stalled, life, armed) = (host.disk_stalled > 0, host.life, host.armed);
        let latency = self.write_latency(number, stalled, cost.syncs > 0);
        self.counts.writes += 1;
        self.moment(Aim::Write, number);
        self.log(Kind::Turned, Some(number), [inputs, 1, sends]);
        self.tell_write(number, cost, latency);
        match armed {
            Some(CrashPoint::BeforeWrite) => return self.crash(number),
            Some(CrashPoint::MidWrite) => {
                let at = self.now.get() + self.hosts[number].process_rng.below(latency.0.max(1));
                self.heap.push(at, Event::Die { host: number as u16, life });
            }
            _ => {}
        }
        self.heap.push(self.now.get() + latency.0, Event::Written { host: number as u16, life });
    }

    fn write_latency(&mut self, number: usize, stalled: bool, synced: bool) -> Duration {
        let disk = &self.scenario.disk;
        if !synced {
            return Duration::from_micros(10);
        }
        let stalls = stalled || (!self.is_healed() && disk.stall.draw(&mut self.hosts[number].disk_rng));
        let disk = &self.scenario.disk;
        let mut latency = disk.latency.draw(&mut self.hosts[number].disk_rng);
        if self.sites.fires(Site::DiskSyncSlow, number) {
            latency = Duration(100 * latency.0);
        }
        if stalls {
            latency = latency + disk.stall_for.draw(&mut self.hosts[number].disk_rng);
        }
        latency
    }

    /// A turn has released its lanes.
    fn after_release(&mut self, number: usize, inputs: u64) {
        let now = self.now.get();
        let mut events = std::mem::take(&mut self.scratch.events);
        // A turn that finds the process outgrown comes to nothing: what the node has in mind then was never so.
        let mut outgrown = None;
        if let Some(process) = &mut self.hosts[number].process {
            events.extend(process.take_events());
            outgrown = events.iter().find_map(levels_apart);
            if outgrown.is_none() {
                self.checkers.on_turn(Time(now), process.node(), &events);
            }
        }
        let sends = self.flush(number);
        self.log(Kind::Turned, Some(number), [inputs, 0, sends]);
        self.counts.turns += 1;
        if outgrown.is_none() {
            self.tell_view(number);
        }
        let mut retired = false;
        let led = self.hosts[number].leads.is_some();
        for event in events.drain(..) {
            retired |= event == NodeEvent::Retired;
            self.take_node_event(number, event);
        }
        self.scratch.events = events;
        if led || self.hosts[number].leads.is_some() {
            self.note_own_lease(number);
        }
        self.release_replies(number);
        self.plan_hypervisor(number);
        let mut takes = self.scenario.process.turn.draw(&mut self.hosts[number].process_rng);
        if self.sites.fires(Site::ProcessTurnSlow, number) {
            takes = Duration(100 * takes.0);
        }
        let host = &mut self.hosts[number];
        host.busy_until = now + takes.0;
        host.turns += 1;
        if let Some(process) = &host.process {
            if host.turns.is_multiple_of(CHECK_EVERY) {
                process.node().check();
            }
            if process.inbox_len() > 0 {
                self.schedule_turn(number);
            }
        }
        self.plan_wake(number);
        if let Some((own, cluster)) = outgrown {
            self.end_process(number, End::Itself, None);
            return self.outgrown(number, own, cluster);
        }
        let host = &self.hosts[number];
        if retired && host.retiring {
            let after = host.down_for;
            self.end_process(number, End::Itself, None);
            self.start_after(number, after);
        } else if host.armed == Some(CrashPoint::AfterRelease) {
            self.crash(number);
        }
    }

    /// A leader acknowledges its own agent's heartbeats without a message that could be seen on its way: the checkers are
    /// told the end of that lease, but none later than a heartbeat sent right now could have got.
    fn note_own_lease(&mut self, number: usize) {
        let host = &self.hosts[number];
        let Some(end) = host.process.as_ref().and_then(|process| process.node().lease_end()) else { return };
        let latest = host.clock.local_at(self.true_time()) + self.scenario.cluster.lease_ttl;
        let end = if end < latest { end } else { latest };
        self.checkers.on_lease_granted(host.node, end, Duration::ZERO);
    }

    /// Schedules a wake-up for the node's deadline, unless an earlier one is scheduled.
    pub(super) fn plan_wake(&mut self, number: usize) {
        let now = self.now.get();
        let host = &mut self.hosts[number];
        let Some(deadline) = host.process.as_ref().and_then(|process| process.deadline()) else { return };
        let mut at = host.clock.true_at(deadline).0.max(host.busy_until).max(now + 1);
        if at < host.wake_at {
            if self.sites.fires(Site::ProcessWakeLate, number) {
                at += self.sites.span(Site::ProcessWakeLate, number, 0..=1_000).0;
            }
            host.wake_at = at;
            self.heap.push(at, Event::Wake { host: number as u16, life: host.life });
        }
    }

    fn take_node_event(&mut self, number: usize, event: NodeEvent) {
        if matches!(event, NodeEvent::HostLost { .. }) {
            self.moment(Aim::HostLost, number);
        }
        let mut told = |what, detail, other| self.log(Kind::Told, Some(number), [what, detail, other]);
        match event {
            NodeEvent::BecameLeader { term } => {
                self.counts.elections += 1;
                self.mark_election(number);
                self.hosts[number].leads = Some(term);
                self.log(Kind::Leads, Some(number), [term]);
                self.moment(Aim::Elected, number);
            }
            NodeEvent::LostLeadership { term } => {
                self.hosts[number].leads = None;
                self.log(Kind::LeadsNoMore, Some(number), [term]);
            }
            NodeEvent::Applied { revision, term, state_hash } => {
                self.counts.applied_max = self.counts.applied_max.max(revision.0);
                let view = &mut self.views[number];
                if view.at == 0 && !view.voters.is_empty() {
                    view.at = revision.0;
                    if view.at > self.members.at {
                        self.members = view.clone();
                    }
                }
                if !self.views[number].outgoing.is_empty() {
                    self.moment(Aim::JointCommit, number);
                }
                self.log(Kind::Applied, Some(number), [revision.0, term, state_hash]);
                self.tell_decision(number, revision.0);
            }
            NodeEvent::Restored { revision, state_hash } => {
                self.counts.restored += 1;
                self.log(Kind::Restored, Some(number), [revision.0, state_hash]);
                self.moment(Aim::Snapshot, number);
            }
            NodeEvent::Compacted { revision } => {
                self.log(Kind::Compacted, Some(number), [revision.0]);
                self.moment(Aim::Compaction, number);
            }
            NodeEvent::MembershipChanged { voters, outgoing, learners } => {
                let details = [mask(&voters), mask(&outgoing), mask(&learners)];
                self.log(Kind::Members, Some(number), details);
                self.moment(Aim::Membership, number);
                if !outgoing.is_empty() {
                    self.moment(Aim::Exchange, number);
                }
                self.views[number] = Members { voters, outgoing, learners, at: 0 };
            }
            NodeEvent::HostLost { node } => told(word!(TOLD, "host-lost"), node.0, 0),
            NodeEvent::LeaseExpired => told(word!(TOLD, "lease-expired"), 0, 0),
            NodeEvent::StaleSetRefused { at, got } => told(word!(TOLD, "stale-set-refused"), got.0, at.0),
            NodeEvent::Refused { .. } => told(word!(TOLD, "refused"), 0, 0),
            NodeEvent::Joined => told(word!(TOLD, "joined"), 0, 0),
            NodeEvent::Retired => told(word!(TOLD, "retired"), 0, 0),
            NodeEvent::LevelRaised { level } => told(word!(TOLD, "level-raised"), level.0.into(), 0),
            NodeEvent::Outgrown { cluster, own } => {
                told(word!(TOLD, "outgrown"), cluster.0.into(), own.0.into());
            }
        }
    }

    // Ends.

    /// Kills the process at `point` of one of its next turns and starts it again `down_for` later.
    pub(super) fn arm_crash(&mut self, number: usize, point: CrashPoint, down_for: Duration) {
        let host = &mut self.hosts[number];
        host.down_for = down_for;
        if point == CrashPoint::Now {
            return self.crash(number);
        }
        host.armed = Some(point);
        self.die_within_exactly(number, ARMED_FOR);
    }

    fn die_within(&mut self, number: usize, span: Duration) {
        let after = Duration(self.hosts[number].process_rng.below(span.0));
        self.hosts[number].down_for = Duration::from_millis(100);
        self.die_within_exactly(number, after);
    }

    pub(super) fn die_within_exactly(&mut self, number: usize, after: Duration) {
        let life = self.hosts[number].life;
        self.heap.push(self.now.get() + after.0, Event::Die { host: number as u16, life });
    }

    /// Asks the process to end in good order.
    pub(super) fn retire(&mut self, number: usize, down_for: Duration) {
        let host = &mut self.hosts[number];
        host.down_for = down_for;
        host.retiring = true;
        if let Some(process) = &mut host.process {
            process.push(blixard_node::input::Input::Retire);
        }
        self.die_within_exactly(number, RETIRE_WITHIN);
        self.kick(number);
    }

    pub(super) fn on_die(&mut self, number: usize, life: u32) {
        if self.hosts[number].life == life && self.hosts[number].is_up() {
            self.crash(number);
        }
    }

    /// Kills the process; it starts again after the host's `down_for`.
    fn crash(&mut self, number: usize) {
        let loss = if self.hosts[number].process_rng.ratio(1, 2) { Loss::Process } else { Loss::Power };
        let after = self.hosts[number].down_for;
        self.end_process(number, End::Killed, Some(loss));
        self.start_after(number, after);
    }

    /// Ends the process, if there is one. The disk keeps what survives that; without a loss it is closed in good order.
    pub(super) fn end_process(&mut self, number: usize, why: End, loss: Option<Loss>) {
        self.mark_end(number, why, loss);
        if loss == Some(Loss::Power) && self.sites.fires(Site::DiskLastWriteFirst, number) {
            self.hosts[number].disk.tear_backwards();
        }
        let host = &mut self.hosts[number];
        let write = if host.disk.is_under_way() { host.write } else { 0 };
        if let Some(process) = host.process.take() {
            self.counts.probes.merge(process.node().probes());
            self.counts.ends += 1;
        }
        match loss {
            Some(loss) => host.disk.crash(loss, &mut host.disk_rng),
            None => host.disk.close(),
        }
        host.hypervisor.detach();
        host.life += 1;
        host.wake_at = NEVER;
        host.turn_scheduled = false;
        host.armed = None;
        host.retiring = false;
        host.leads = None;
        host.paused = 0;
        let node = host.node.0;
        let lost = match loss {
            None => word!(LOSSES, "nothing"),
            Some(Loss::Process) => word!(LOSSES, "process"),
            Some(Loss::Power) => word!(LOSSES, "power"),
        };
        self.log(Kind::Ended, Some(number), [node, why as u64, write, lost]);
        self.plan_hypervisor(number);
    }

    /// The process ended itself. Only faults that were injected may lead to that.
    fn after_fatal(&mut self, number: usize, fatal: &Fatal) {
        if self.is_rot(number, fatal) {
            return self.replace_rotten_disk(number);
        }
        let host = &mut self.hosts[number];
        let injected = matches!(fatal, Fatal::Disk(DiskError::Io { .. } | DiskError::Full { .. }));
        if !(injected && host.disk_fault_armed) {
            let node = host.node;
            return self.fail("reopens", format!("{node} ended itself without an injected fault: {fatal}"));
        }
        host.disk_fault_armed = false;
        self.counts.disk_errors += 1;
        if !host.is_up() {
            host.disk.crash(Loss::Process, &mut host.disk_rng);
        }
        host.life += 1;
        let after = self.scenario.process.restart.draw(&mut self.hosts[number].process_rng);
        self.start_after(number, after);
    }

    /// The host loses power: the process and all VMs die. Its boot-time clock begins anew.
    pub(super) fn lose_power(&mut self, number: usize) {
        self.end_process(number, End::PowerLost, Some(Loss::Power));
        let now = self.true_time();
        let host = &mut self.hosts[number];
        host.suspended = 0;
        host.hypervisor.reboot(now);
        host.clock.reboot(Duration::from_millis(1_500));
        self.plan_hypervisor(number);
    }
}

fn mask(nodes: &[NodeId]) -> u64 {
    nodes.iter().fold(0, |mask, node| mask | 1_u64.checked_shl(node.0 as u32).unwrap_or(0))
}
