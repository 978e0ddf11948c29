//! One host's VMs and the operations under way on them.

mod building;
mod ends;
mod starts;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use blixard_node::hypervisor::{Done, HypervisorError, HypervisorRequest, Run, RunState, VmEvent};
use blixard_node::ids::{NodeId, OpId, VmId};
use blixard_node::input::Input;
use blixard_node::rng::Rng;
use blixard_node::spec::Resources;
use blixard_node::time::{Duration, Time};

use super::{Fact, HostClock, HypervisorFaults, Order, Truth};
use crate::buggify::Sites;
use crate::sabotage::Lie;
use crate::scenario::{Chance, Site, Spread};
use building::Building;
use ends::{End, Ends, not_running};

/// The hypervisor itself; the world holds it by [`super::HostHypervisor`].
pub struct SimHypervisor {
    host: NodeId,
    clock: Rc<dyn HostClock>,
    faults: HypervisorFaults,
    kill_grace: Duration,
    rng: Rng,
    /// For the rarer faults, so that one more of them leaves the others as they were.
    odd: Rng,
    building: Building,
    ends: Ends,
    runs: BTreeMap<VmId, Slot>,
    queue: BTreeMap<(Time, u64), Due>,
    sequence: u64,
    process: u64,
    attached: bool,
    suspended: bool,
    deadline_highest: Time,
    truth: Vec<Truth>,
    sites: Option<(Sites, usize)>,
    counts: BTreeMap<&'static str, u64>,
}

/// A run that is alive or on its way to be.
#[derive(Debug)]
struct Slot {
    run: Run,
    /// Tells this life of the run from a later one under the same identity.
    token: u64,
    /// The newest look at its deadline that is planned; older ones are void.
    watch: u64,
    state: RunState,
    alive: bool,
    resources: Resources,
    deadline: Time,
    /// How the start under way will end.
    start: Option<(Call, StartFate)>,
    /// Stops and kills that are answered when it is dead.
    stops: Vec<Call>,
    /// It lives and hears nothing: the guest hangs, or the way to it is lost.
    deaf: bool,
    /// Its hypervisor has no way to ask a guest to power off.
    cannot_ask: bool,
}

#[derive(Clone, Copy, Debug)]
enum StartFate {
    Works,
    NeverReady,
    Fails,
    UncertainAlive,
    UncertainDead,
}

/// An operation of one process of the daemon.
#[derive(Clone, Copy, Debug)]
struct Call {
    process: u64,
    op: OpId,
}

type Answer = Result<Done, HypervisorError>;

#[derive(Debug)]
enum Due {
    Answer(Call, Answer),
    List(Call),
    StartEnds {
        vm: VmId,
        token: u64,
    },
    DeadlinePassed {
        vm: VmId,
        watch: u64,
    },
    Dies {
        vm: VmId,
        token: u64,
        cause: Cause,
    },
    /// The guest hangs, or the way to it is lost.
    Deafens {
        vm: VmId,
        token: u64,
        name: &'static str,
    },
    Exited {
        process: u64,
        end: End,
    },
    /// A dead run is seen to be dead.
    FoundOut {
        vm: VmId,
        token: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Stopped,
    Deadline,
    GuestCrash,
    GuestPowerOff,
    SupervisorDeath,
    Reboot,
}

impl fmt::Debug for SimHypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimHypervisor")
            .field("host", &self.host)
            .field("runs", &self.runs)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl SimHypervisor {
    pub(super) fn new(
        host: NodeId,
        clock: Rc<dyn HostClock>,
        faults: HypervisorFaults,
        kill_grace: Duration,
        [rng, odd]: [Rng; 2],
    ) -> Self {
        Self {
            host,
            clock,
            faults,
            kill_grace,
            rng,
            odd,
            building: Building::default(),
            ends: Ends::default(),
            runs: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            process: 0,
            attached: false,
            suspended: false,
            deadline_highest: Time(0),
            truth: Vec::new(),
            sites: None,
            counts: BTreeMap::new(),
        }
    }

    // What the world may look at.

    /// How often each fault happened, by name.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// The runs that are alive, by VM.
    pub fn alive(&self) -> impl Iterator<Item = Run> {
        self.runs.values().filter(|slot| slot.alive).map(|slot| slot.run)
    }

    pub(super) fn next_event_time(&self) -> Option<Time> {
        if self.suspended {
            return None;
        }
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn drain_truth(&mut self, out: &mut Vec<Truth>) {
        out.append(&mut self.truth);
    }

    // What the world does to the host.

    pub(super) fn set_sites(&mut self, sites: Sites, host: usize) {
        self.sites = Some((sites, host));
    }

    fn site_fires(&self, site: Site) -> bool {
        self.sites.as_ref().is_some_and(|(sites, host)| sites.fires(site, *host))
    }

    pub(super) fn attach(&mut self) -> u64 {
        self.process += 1;
        self.attached = true;
        self.tell_ends(self.clock.true_now());
        self.process
    }

    pub(super) fn detach(&mut self) {
        self.attached = false;
    }

    pub(super) fn set_faults(&mut self, faults: HypervisorFaults) {
        self.faults = faults;
    }

    pub(super) fn cancel_fates(&mut self) {
        self.queue.retain(|_, due| {
            !matches!(
                due,
                Due::Deafens { .. }
                    | Due::Dies {
                        cause: Cause::GuestCrash | Cause::GuestPowerOff | Cause::SupervisorDeath,
                        ..
                    }
            )
        });
        let now = self.clock.true_now();
        self.heal_building();
        self.heal_ghosts(now);
        let late: Vec<VmId> = self
            .runs
            .iter()
            .filter(|(_, slot)| slot.alive && slot.start.is_some())
            .map(|(vm, _)| *vm)
            .collect();
        for vm in late {
            self.becomes_ready(now, vm);
        }
    }

    pub(super) fn reboot(&mut self, now: Time) {
        self.suspended = false;
        self.detach();
        self.unmask_ghosts(now);
        let vms: Vec<VmId> = self.runs.keys().copied().collect();
        for vm in vms {
            let unasked = self.bury(now, vm).filter(|slot| slot.alive && slot.stops.is_empty());
            if let Some(slot) = unasked {
                self.ended_unasked(now, slot.run, Cause::Reboot);
            }
        }
        self.queue.clear();
        self.deadline_highest = Time(0);
        self.tell(now, Fact::Rebooted);
    }

    pub(super) fn suspend(&mut self, now: Time) {
        if !self.suspended {
            self.suspended = true;
            self.tell(now, Fact::Frozen);
        }
    }

    pub(super) fn resume(&mut self, now: Time) {
        if !self.suspended {
            return;
        }
        self.suspended = false;
        let local = self.clock.local_at(now);
        if self.faults.lie != Lie::Deadlines {
            let over: Vec<VmId> =
                self.runs.iter().filter(|(_, slot)| slot.deadline <= local).map(|(vm, _)| *vm).collect();
            for vm in over {
                self.end_run(now, vm, Cause::Deadline);
            }
        }
        self.tell(now, Fact::Thawed);
        self.clock_changed();
    }

    pub(super) fn clock_changed(&mut self) {
        let now = self.clock.true_now();
        let vms: Vec<VmId> = self.runs.keys().copied().collect();
        for vm in vms {
            self.watch_deadline(now, vm);
        }
    }

    // What the daemon asks for.

    pub(super) fn submit(&mut self, process: u64, op: OpId, request: HypervisorRequest) {
        if process != self.process || !self.attached {
            return;
        }
        let now = self.clock.true_now();
        let call = Call { process, op };
        if let Some((order, run)) = Order::of(&request) {
            self.tell(now, Fact::Ordered { order, op, run });
        }
        match request {
            HypervisorRequest::Prepare { run, spec, artifact, .. } => {
                self.prepare(now, call, run, &spec, artifact.as_deref());
            }
            HypervisorRequest::Start { run, spec, artifact, deadline, .. } => {
                self.raise_deadline(now, deadline);
                match self.refusal(now, run, &spec, artifact.as_deref(), deadline) {
                    Some(error) => self.answer(now, call, Err(error)),
                    None => self.start(now, call, run, spec.resources, deadline),
                }
            }
            HypervisorRequest::Stop { run, grace } => self.stop(now, call, run, Some(grace)),
            HypervisorRequest::Kill { run } => self.stop(now, call, run, None),
            HypervisorRequest::Pause { run } => self.halt(now, call, run, true),
            HypervisorRequest::Resume { run } => self.halt(now, call, run, false),
            HypervisorRequest::Purge { run, .. } => self.purge(now, call, run),
            HypervisorRequest::Extend { runs, deadline } => self.extend(now, &runs, deadline),
            HypervisorRequest::List => {
                let at = now + self.faults.answer.draw(&mut self.rng);
                self.schedule(at, Due::List(call));
            }
        }
    }

    /// Plans to look at a run's deadline when it ends, no sooner than `earliest`.
    fn watch_deadline(&mut self, earliest: Time, vm: VmId) {
        let watch = self.next_sequence();
        let Some(slot) = self.runs.get_mut(&vm) else { return };
        slot.watch = watch;
        let at = self.clock.true_at(slot.deadline).max(earliest);
        self.schedule(at, Due::DeadlinePassed { vm, watch });
    }

    /// Powers a run off, or kills it when `grace` is none.
    fn stop(&mut self, now: Time, call: Call, run: Run, grace: Option<Duration>) {
        let Some(slot) = self.runs.get_mut(&run.vm).filter(|slot| slot.run == run) else {
            return self.stop_dead(now, call, run);
        };
        if slot.cannot_ask && grace.is_some() {
            let what = "ask its guest to power off".into();
            return self.answer(now, call, Err(HypervisorError::Unsupported { what }));
        }
        slot.state = RunState::Stopping;
        let (token, deaf) = (slot.token, slot.deaf);
        if self.faults.lie == Lie::Stops {
            self.answer(now, call, Ok(Done::Stopped));
        } else {
            slot.stops.push(call);
        }
        let takes = match grace {
            None => self.faults.kill.draw(&mut self.rng),
            Some(grace) => {
                let hangs = self.happens("hypervisor.stop_hangs", self.faults.stop_hangs);
                let willing = self.faults.stop.draw(&mut self.rng);
                let killed = self.faults.kill.draw(&mut self.rng);
                let local_end = self.clock.local_at(now) + grace;
                let limit = self.clock.true_at(local_end).max(now).since(now);
                if deaf || hangs || willing >= limit { limit + killed } else { willing }
            }
        };
        self.schedule(now + takes, Due::Dies { vm: run.vm, token, cause: Cause::Stopped });
    }

    /// Pauses a run, or lets it go on.
    fn halt(&mut self, now: Time, call: Call, run: Run, halted: bool) {
        let slot = self.runs.get_mut(&run.vm).filter(|slot| slot.run == run);
        let hears =
            |slot: &&mut Slot| !slot.deaf && matches!(slot.state, RunState::Running | RunState::Paused);
        let Some(slot) = slot.filter(hears) else {
            return self.answer(now, call, Err(not_running()));
        };
        slot.state = if halted { RunState::Paused } else { RunState::Running };
        self.answer(now, call, Ok(if halted { Done::Paused } else { Done::Resumed }));
    }

    fn extend(&mut self, now: Time, runs: &[Run], deadline: Time) {
        self.raise_deadline(now, deadline);
        for run in runs {
            if let Some(slot) = self.runs.get_mut(&run.vm).filter(|slot| slot.run == *run) {
                slot.deadline = slot.deadline.max(deadline);
            }
        }
    }

    fn raise_deadline(&mut self, now: Time, deadline: Time) {
        if deadline > self.deadline_highest {
            self.deadline_highest = deadline;
            self.tell(now, Fact::DeadlineRaised { deadline });
        }
    }

    // What becomes due.

    pub(super) fn advance(&mut self, now: Time, out: &mut Vec<Input>) {
        while !self.suspended
            && let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= now
        {
            match entry.remove() {
                Due::Answer(call, result) => {
                    if self.hears(call.process) {
                        out.push(Input::HypervisorDone { op: call.op, result });
                    }
                }
                Due::List(call) => {
                    let mut views = self.views();
                    if let Some((sites, host)) = &self.sites
                        && sites.fires(Site::HypervisorListShuffled, *host)
                    {
                        sites.shuffle(Site::HypervisorListShuffled, *host, &mut views);
                    }
                    if self.faults.lie == Lie::Lists {
                        views.retain(|_| self.odd.ratio(7, 8));
                    }
                    if let Some((sites, host)) = &self.sites
                        && sites.fires(Site::HypervisorListShuffled, *host)
                    {
                        sites.shuffle(Site::HypervisorListShuffled, *host, &mut views);
                    }
                    let late = self.happens_oddly("hypervisor.list_late", self.faults.list_late);
                    let by = if late { self.faults.list_late_by.draw(&mut self.odd) } else { Duration::ZERO };
                    self.answer(now + by, call, Ok(Done::Listed(views)));
                }
                Due::StartEnds { vm, token } => self.start_ends(now, vm, token),
                Due::DeadlinePassed { vm, watch } => self.deadline_passed(now, vm, watch),
                Due::Dies { vm, token, cause } => {
                    if self.runs.get(&vm).is_some_and(|slot| slot.token == token) {
                        self.end_run(now, vm, cause);
                    }
                }
                Due::Deafens { vm, token, name } => {
                    if let Some(slot) = self.runs.get_mut(&vm).filter(|slot| slot.token == token) {
                        slot.deaf = true;
                        self.count(name);
                    }
                }
                Due::Exited { process, end } => {
                    if self.hears(process) {
                        let event = VmEvent::Exited { exit: end.exit, reason: end.words.into() };
                        if self.site_fires(Site::HypervisorExitTwice) {
                            out.push(Input::HypervisorEvent { run: end.run, event: event.clone() });
                        }
                        out.push(Input::HypervisorEvent { run: end.run, event });
                    }
                }
                Due::FoundOut { vm, token } => self.found_out(now, vm, token),
            }
        }
    }

    fn hears(&self, process: u64) -> bool {
        self.attached && self.process == process
    }

    fn deadline_passed(&mut self, now: Time, vm: VmId, watch: u64) {
        let Some(slot) = self.runs.get(&vm).filter(|slot| slot.watch == watch) else {
            return;
        };
        if slot.deadline > self.clock.local_at(now) {
            // Extended since: look again at the new deadline.
            return self.watch_deadline(now + Duration(1), vm);
        }
        if !slot.alive {
            return self.end_run(now, vm, Cause::Deadline);
        }
        if self.faults.lie == Lie::Deadlines {
            return self.count("hypervisor.deadline_ignored");
        }
        // On a clock that runs fast, the first instant at which the grace is over may be past it already.
        let limit = slot.deadline + self.kill_grace;
        let over = self.clock.true_at(limit);
        let latest = if self.clock.local_at(over) > limit { Time(over.0.saturating_sub(1)) } else { over };
        let token = slot.token;
        if self.faults.lie == Lie::KillGrace {
            let at = latest + Duration::from_millis(1);
            return self.schedule(at, Due::Dies { vm, token, cause: Cause::Deadline });
        }
        let at = now + self.faults.kill.draw(&mut self.rng);
        let last = self.site_fires(Site::HypervisorKillLast);
        let at = if at < latest && !last { at } else { latest.max(now) };
        self.schedule(at, Due::Dies { vm, token, cause: Cause::Deadline });
    }

    /// Ends a run or a start under way, answers those who wait for that, and tells the agent if it was unasked.
    fn end_run(&mut self, now: Time, vm: VmId, cause: Cause) {
        let Some(slot) = self.bury(now, vm) else { return };
        if let Some((call, _)) = slot.start {
            let error = if cause == Cause::Deadline {
                HypervisorError::DeadlinePassed
            } else {
                start_error("it was stopped while it started")
            };
            self.answer(now, call, Err(error));
        }
        for call in &slot.stops {
            self.answer(now, *call, Ok(Done::Stopped));
        }
        match cause {
            Cause::Stopped | Cause::Reboot => return,
            Cause::Deadline => self.count("hypervisor.deadline_kill"),
            Cause::GuestCrash => self.count("hypervisor.guest_crash"),
            Cause::GuestPowerOff => self.count("hypervisor.guest_power_off"),
            Cause::SupervisorDeath => self.count("hypervisor.supervisor_death"),
        }
        if slot.alive && slot.stops.is_empty() {
            self.ended_unasked(now, slot.run, cause);
        }
    }

    fn bury(&mut self, now: Time, vm: VmId) -> Option<Slot> {
        let slot = self.runs.remove(&vm)?;
        if slot.alive {
            let local = self.clock.local_at(now);
            self.tell(now, Fact::RunEnded { run: slot.run, local, deadline: slot.deadline });
        }
        Some(slot)
    }

    /// Sends an answer on its way, with what may befall it there.
    fn answer(&mut self, from: Time, call: Call, answer: Answer) {
        if answer.is_ok() && self.happens("hypervisor.answer_lost", self.faults.answer_lost) {
            return;
        }
        let mut at = from + self.faults.answer.draw(&mut self.rng);
        if self.happens("hypervisor.answer_late", self.faults.answer_late) {
            at += self.faults.answer_late_by.draw(&mut self.rng);
        }
        if self.happens("hypervisor.answer_doubled", self.faults.answer_doubled) {
            let second = Spread { min: Duration::ZERO, max: self.faults.answer_late_by.max };
            let second = at + second.draw(&mut self.rng);
            self.schedule(second, Due::Answer(call, answer.clone()));
        }
        self.schedule(at, Due::Answer(call, answer));
    }

    fn happens(&mut self, name: &'static str, ratio: Chance) -> bool {
        let happens = ratio.draw(&mut self.rng);
        if happens {
            self.count(name);
        }
        happens
    }

    fn happens_oddly(&mut self, name: &'static str, ratio: Chance) -> bool {
        let happens = ratio.draw(&mut self.odd);
        if happens {
            self.count(name);
        }
        happens
    }

    fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    fn tell(&mut self, at: Time, fact: Fact) {
        self.truth.push(Truth { at, host: self.host, fact });
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn schedule(&mut self, at: Time, due: Due) {
        let sequence = self.next_sequence();
        self.queue.insert((at, sequence), due);
    }
}

fn start_error(reason: &str) -> HypervisorError {
    HypervisorError::Start { reason: format!("simulated: {reason}") }
}

fn uncertain() -> HypervisorError {
    HypervisorError::Uncertain { reason: "simulated: the hypervisor hung up".into() }
}
