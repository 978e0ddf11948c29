//! Processes: how they start, take a turn, sync and die.

use std::collections::BTreeMap;

use blixard_node::rng::Rng;
use blixard_node::time::{Duration, Time};

use super::context::{Context, Effect};
use super::disk::Disk;
use super::world::{Event, World};
use super::{Node, Spec};
use crate::clock::SimClock;
use crate::scenario::CrashPoint;
use crate::trace::Kind;
use crate::trace::words::word;

/// A process dies at an armed point, or after this long if it does not come there.
const ARMED_FOR: Duration = Duration::from_millis(1_000);

/// A process in a crash loop dies again within this time.
const RECOVERY_WITHIN: Duration = Duration::from_millis(200);

pub(super) struct Host<N: Node> {
    pub(super) clock: SimClock,
    disk: Disk<N::Stored>,
    /// What the node draws from.
    node_rng: Rng,
    /// How long syncs take, and what a crash leaves.
    disk_rng: Rng,
    /// When processes die.
    process_rng: Rng,
    pub(super) process: Option<Process<N>>,
    /// Rises with each start and each end of a process.
    pub(super) life: u32,
    /// The process stands still (a count of reasons).
    pub(super) paused: u32,
    /// Syncs do not end (a count of reasons).
    pub(super) stalled: u32,
    /// A sync would have ended while they do not.
    sync_due: bool,
    /// Where the process will die.
    pub(super) armed: Option<CrashPoint>,
    /// How long it stays down then.
    pub(super) down_for: Duration,
    /// How often it will die again after its next starts.
    pub(super) recovery_crashes: u64,
    /// The write that the sync under way, or the last one, has in the log.
    write: u64,
}

pub(super) struct Process<N: Node> {
    pub(super) node: N,
    /// When each is due, by the host's clock.
    pub(super) timers: BTreeMap<u64, Time>,
    /// What leaves once so many writes are durable, in its order.
    waiting: Vec<(u64, Effect<N>)>,
    /// What happened to it while it stood still.
    pub(super) held: Vec<Event<N>>,
}

/// What a call of a node has led to.
struct Turn<N: Node> {
    now: Vec<Effect<N>>,
    synced: Vec<(u64, Effect<N>)>,
    /// Writes of before.
    written: u64,
}

impl<N: Node> Host<N> {
    pub(super) fn new(clock: SimClock, [node_rng, disk_rng, process_rng]: [Rng; 3]) -> Self {
        Self {
            clock,
            disk: Disk::new(),
            node_rng,
            disk_rng,
            process_rng,
            process: None,
            life: 0,
            paused: 0,
            stalled: 0,
            sync_due: false,
            armed: None,
            down_for: Duration::from_millis(100),
            recovery_crashes: 0,
            write: 0,
        }
    }

    pub(super) fn local_now(&self) -> Time {
        self.clock.local_at(self.clock.true_now())
    }
}

impl<S: Spec> World<'_, S> {
    pub(super) fn start_after(&mut self, host: usize, after: Duration) {
        let life = self.hosts[host].life;
        self.push(after, Event::Start { host, life });
    }

    pub(super) fn on_start(&mut self, host: usize, life: u32) {
        if self.hosts[host].life != life || self.hosts[host].process.is_some() {
            return;
        }
        self.hosts[host].life += 1;
        self.counts.starts += 1;
        let life = self.hosts[host].life;
        self.log(Kind::Started, Some(host), [self.nodes[host].0, u64::from(life)]);
        if self.hosts[host].recovery_crashes > 0 {
            self.hosts[host].recovery_crashes -= 1;
            self.hosts[host].down_for = Duration::from_millis(100);
            let after = Duration(self.hosts[host].process_rng.below(RECOVERY_WITHIN.0));
            self.push(after, Event::Die { host, life });
        }
        let settings = self.settings;
        let (node, turn) = self.call(host, |cx| S::Node::start(settings, cx));
        let process = Process { node, timers: BTreeMap::new(), waiting: Vec::new(), held: Vec::new() };
        self.hosts[host].process = Some(process);
        self.end_turn(host, turn);
    }

    /// Lets the process take something in.
    pub(super) fn turn(&mut self, host: usize, act: impl FnOnce(&mut S::Node, &mut Context<'_, S::Node>)) {
        if self.hosts[host].armed == Some(CrashPoint::BeforeStep) {
            return self.crash(host, u64::MAX);
        }
        let Some(mut process) = self.hosts[host].process.take() else { return };
        let ((), turn) = self.call(host, |cx| act(&mut process.node, cx));
        self.hosts[host].process = Some(process);
        self.end_turn(host, turn);
    }

    fn call<R>(
        &mut self,
        number: usize,
        act: impl FnOnce(&mut Context<'_, S::Node>) -> R,
    ) -> (R, Turn<S::Node>) {
        self.running = Some(number);
        self.counts.turns += 1;
        let host = &mut self.hosts[number];
        let written = host.disk.written();
        let mut cx = Context {
            me: self.nodes[number],
            nodes: &self.nodes,
            now: host.local_now(),
            rng: &mut host.node_rng,
            disk: &mut host.disk,
            now_out: Vec::new(),
            synced_out: Vec::new(),
        };
        let result = act(&mut cx);
        let turn = Turn { now: cx.now_out, synced: cx.synced_out, written };
        self.running = None;
        (result, turn)
    }

    /// What leaves at once leaves; then comes the write, then what waited for it.
    fn end_turn(&mut self, host: usize, turn: Turn<S::Node>) {
        let armed = self.hosts[host].armed;
        self.carry_out(host, turn.now);
        if armed == Some(CrashPoint::BeforeWrite) && self.hosts[host].disk.written() > turn.written {
            return self.crash(host, turn.written);
        }
        if let Some(process) = &mut self.hosts[host].process {
            process.waiting.extend(turn.synced);
        }
        self.go_on(host);
        let done = self.hosts[host].process.as_ref().is_some_and(|process| process.waiting.is_empty());
        if armed == Some(CrashPoint::AfterRelease) && done {
            self.crash(host, u64::MAX);
        }
        self.check_invariant();
    }

    /// Releases what waits for nothing any more, and has the rest synced.
    pub(super) fn go_on(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if host.paused > 0 {
            return;
        }
        let Some(process) = &mut host.process else { return };
        let durable = host.disk.durable();
        let released = process.waiting.extract_if(.., |(writes, _)| *writes <= durable);
        let released: Vec<_> = released.map(|(_, effect)| effect).collect();
        self.carry_out(number, released);
        self.begin_sync(number);
    }

    fn begin_sync(&mut self, number: usize) {
        let config = &self.scenario.disk;
        let host = &mut self.hosts[number];
        if !host.disk.begin_sync() {
            return;
        }
        let mut latency = config.latency.draw(&mut host.disk_rng);
        if config.stall.draw(&mut host.disk_rng) {
            latency = latency + config.stall_for.draw(&mut host.disk_rng);
        }
        self.counts.writes += 1;
        host.write = self.counts.writes;
        let (life, write) = (host.life, host.write);
        if host.armed == Some(CrashPoint::MidWrite) {
            host.armed = None;
            let after = Duration(host.process_rng.below(latency.0 + 1));
            self.push(after, Event::Die { host: number, life });
        }
        self.log(Kind::WriteBegan, Some(number), [write, 1, 0, latency.0]);
        self.push(latency, Event::Synced { host: number, life });
    }

    pub(super) fn on_synced(&mut self, number: usize, life: u32) {
        let host = &mut self.hosts[number];
        if host.life != life {
            return;
        }
        if host.stalled > 0 {
            host.sync_due = true;
            return;
        }
        host.disk.end_sync();
        let write = host.write;
        self.log(Kind::WriteDurable, Some(number), [write]);
        if self.hosts[number].armed == Some(CrashPoint::BeforeRelease) {
            return self.crash(number, u64::MAX);
        }
        self.go_on(number);
        if self.hosts[number].armed == Some(CrashPoint::AfterRelease) {
            self.crash(number, u64::MAX);
        }
    }

    /// The disk stalls no more.
    pub(super) fn sync_stalled(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let life = host.life;
        if std::mem::take(&mut host.sync_due) {
            self.on_synced(number, life);
        }
    }

    pub(super) fn on_timer(&mut self, number: usize, life: u32, timer: u64, due: Time) {
        let host = &mut self.hosts[number];
        if host.life != life {
            return;
        }
        let early = host.local_now() < due;
        let after = Duration(host.clock.true_at(due).0.saturating_sub(host.clock.true_now().0));
        let Some(process) = host.process.as_mut() else { return };
        if process.timers.get(&timer) != Some(&due) {
            return;
        }
        let event = Event::Timer { host: number, life, timer, due };
        if early {
            // The clock has become slower.
            return self.push(after, event);
        }
        if host.paused > 0 {
            return process.held.push(event);
        }
        process.timers.remove(&timer);
        self.turn(number, |node, cx| node.on_timer(timer, cx));
    }

    /// Schedules the timers anew, after the clock's rate has changed.
    pub(super) fn plan_timers(&mut self, number: usize) {
        let host = &self.hosts[number];
        let (life, now) = (host.life, host.clock.true_now());
        let Some(process) = &host.process else { return };
        let due = |(timer, due): (&u64, &Time)| (*timer, *due, host.clock.true_at(*due).0.max(now.0));
        let timers: Vec<_> = process.timers.iter().map(due).collect();
        for (timer, due, at) in timers {
            self.heap.push(at, Event::Timer { host: number, life, timer, due });
        }
    }

    /// Has the process die at a point of its turn; it starts again `down_for` later.
    pub(super) fn arm_crash(&mut self, host: usize, point: CrashPoint, down_for: Duration) {
        self.hosts[host].down_for = down_for;
        if point == CrashPoint::Now {
            return self.crash(host, u64::MAX);
        }
        self.hosts[host].armed = Some(point);
        let life = self.hosts[host].life;
        self.push(ARMED_FOR, Event::Die { host, life });
    }

    pub(super) fn on_die(&mut self, host: usize, life: u32) {
        if self.hosts[host].life == life {
            self.crash(host, u64::MAX);
        }
    }

    /// The process is gone, and with it what the disk had not synced; of that, at most the first `kept_max` writes survive.
    fn crash(&mut self, number: usize, kept_max: u64) {
        let host = &mut self.hosts[number];
        if host.process.take().is_none() {
            return;
        }
        host.life += 1;
        host.armed = None;
        host.paused = 0;
        host.sync_due = false;
        let lost = host.disk.crash(kept_max, &mut host.disk_rng);
        let loss = if lost { word!(LOSSES, "power") } else { word!(LOSSES, "process") };
        let (write, down_for) = (host.write, host.down_for);
        self.counts.ends += 1;
        self.log(Kind::Ended, Some(number), [self.nodes[number].0, word!(ENDS, "killed"), write, loss]);
        self.start_after(number, down_for);
    }
}
