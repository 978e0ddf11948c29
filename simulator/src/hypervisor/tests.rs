//! What the simulated hypervisor promises, fault by fault. Times in milliseconds.

mod rare;

use std::cell::Cell;
use std::sync::Arc;

use blixard_node::hypervisor::{Done, Exit, HypervisorError, Run, RunState, RunView, VmEvent};
use blixard_node::ids::{Epoch, VmId};
use blixard_node::spec::{Labels, Resources, VmName, VmSpec};
use blixard_runtime::Hypervisor as _;

use super::*;
use crate::scenario::{Chance, Spread};

const HOST: NodeId = NodeId(1);
const GRACE: Duration = Duration::from_millis(2_000);

/// A host's clock that is `ahead` of true time and runs `rate` thousandths as fast.
#[derive(Debug)]
struct TestClock {
    now: Cell<u64>,
    ahead: Cell<u64>,
    rate: Cell<u64>,
}

impl HostClock for TestClock {
    fn true_now(&self) -> Time {
        Time(self.now.get())
    }
    fn local_at(&self, at: Time) -> Time {
        Time(self.ahead.get() + at.0 * self.rate.get() / 1_000)
    }
    fn true_at(&self, local: Time) -> Time {
        Time((local.0.saturating_sub(self.ahead.get()) * 1_000).div_ceil(self.rate.get()))
    }
}

struct Host {
    clock: Rc<TestClock>,
    hypervisor: HostHypervisor,
    handle: HypervisorHandle,
    next_op: u64,
    truth: Vec<Truth>,
    heard: Vec<(u64, Input)>,
}

/// Everything takes a fixed time: prepare 10, start 100, stop 200, kill 50, answers nothing.
fn plain() -> HypervisorFaults {
    HypervisorFaults {
        prepare: Spread::millis(10, 10),
        start: Spread::millis(100, 100),
        stop: Spread::millis(200, 200),
        kill: Spread::millis(50, 50),
        answer: Spread::millis(0, 0),
        ..HypervisorFaults::default()
    }
}

fn ms(at: Time) -> u64 {
    at.0 / 1_000_000
}

fn at(ms: u64) -> Time {
    Time(ms * 1_000_000)
}

fn run(epoch: u64) -> Run {
    Run { vm: VmId(7), epoch: Epoch(epoch) }
}

fn spec() -> Arc<VmSpec> {
    Arc::new(VmSpec {
        resources: Resources { vcpus: 1, memory_mib: 64 },
        requires: Labels::new(),
        restart: Default::default(),
        failover: Default::default(),
        local_volume: false,
        hypervisor: "sim".into(),
        payload: String::new(),
        ports: Vec::new(),
    })
}

impl Host {
    fn new(faults: HypervisorFaults) -> Self {
        let clock = Rc::new(TestClock { now: Cell::new(0), ahead: Cell::new(0), rate: Cell::new(1_000) });
        let rngs = [Rng::new(1, 0), Rng::new(1, 1)];
        let hypervisor = HostHypervisor::new(HOST, clock.clone(), plain(), GRACE, rngs);
        let handle = hypervisor.attach();
        let mut host = Self { clock, hypervisor, handle, next_op: 1, truth: Vec::new(), heard: Vec::new() };
        host.prepare(None);
        host.go(10).heard.clear();
        host.clock.now.set(0);
        host.hypervisor.set_faults(faults);
        host
    }

    /// Lets time pass up to `until`, event by event.
    fn go(&mut self, until: u64) -> &mut Self {
        let mut out = Vec::new();
        while let Some(next) = self.hypervisor.next_event_time().filter(|next| *next <= at(until)) {
            self.clock.now.set(self.clock.now.get().max(next.0));
            self.hypervisor.advance(self.clock.true_now(), &mut out);
            let now = ms(self.clock.true_now());
            self.heard.extend(out.drain(..).map(|input| (now, input)));
        }
        self.clock.now.set(at(until).0);
        self.hypervisor.drain_truth(&mut self.truth);
        self
    }

    fn submit(&mut self, request: HypervisorRequest) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        self.handle.submit(op, request);
        op
    }

    fn prepare(&mut self, artifact: Option<&str>) -> OpId {
        let (name, spec) = (VmName::new("a").expect("a name"), spec());
        let artifact = artifact.map(str::to_owned);
        self.submit(HypervisorRequest::Prepare { run: run(1), name, spec, artifact })
    }

    fn start(&mut self, epoch: u64, deadline: u64) -> OpId {
        let (name, spec) = (VmName::new("a").expect("a name"), spec());
        self.submit(HypervisorRequest::Start {
            run: run(epoch),
            name,
            spec,
            artifact: None,
            deadline: at(deadline),
        })
    }

    fn stop(&mut self, epoch: u64, grace: u64) -> OpId {
        self.submit(HypervisorRequest::Stop { run: run(epoch), grace: Duration::from_millis(grace) })
    }

    fn extend(&mut self, epoch: u64, deadline: u64) {
        self.submit(HypervisorRequest::Extend { runs: vec![run(epoch)], deadline: at(deadline) });
    }

    /// What was heard of an operation, each with when.
    fn answers(&self, wanted: OpId) -> Vec<(u64, Result<Done, HypervisorError>)> {
        let of = |(at, input): &(u64, Input)| match input {
            Input::HypervisorDone { op, result } if *op == wanted => Some((*at, result.clone())),
            _ => None,
        };
        self.heard.iter().filter_map(of).collect()
    }

    fn exits(&self) -> Vec<(u64, Exit)> {
        let of = |(at, input): &(u64, Input)| match input {
            Input::HypervisorEvent { event: VmEvent::Exited { exit, .. }, .. } => Some((*at, *exit)),
            _ => None,
        };
        self.heard.iter().filter_map(of).collect()
    }

    /// When runs began and ended in truth.
    fn lives(&self) -> Vec<(u64, &'static str)> {
        let of = |truth: &Truth| match truth.fact {
            Fact::RunStarted { .. } => Some((ms(truth.at), "started")),
            Fact::RunEnded { .. } => Some((ms(truth.at), "ended")),
            _ => None,
        };
        self.truth.iter().filter_map(of).collect()
    }
}

#[test]
fn a_vm_starts_runs_and_stops() {
    let mut host = Host::new(plain());
    let start = host.start(1, 8_000);
    host.go(1_000);
    assert_eq!(host.answers(start), [(100, Ok(Done::Started))]);
    let list = host.submit(HypervisorRequest::List);
    let stop = host.stop(1, 5_000);
    host.go(2_000);
    let view = RunView { run: run(1), state: RunState::Stopping };
    assert_eq!(host.answers(list), [(1_000, Ok(Done::Listed(vec![view])))]);
    assert_eq!(host.answers(stop), [(1_200, Ok(Done::Stopped))]);
    assert_eq!(host.lives(), [(100, "started"), (1_200, "ended")]);
    assert_eq!(host.exits(), [], "an asked end is no exit");
    let again = host.stop(1, 5_000);
    assert_eq!(host.go(3_000).answers(again), [(2_000, Ok(Done::Stopped))]);
}

#[test]
fn a_second_start_is_refused() {
    let mut host = Host::new(plain());
    host.start(1, 8_000);
    let early = host.start(1, 8_000);
    host.go(1_000);
    let late = host.start(2, 8_000);
    host.go(2_000);
    for op in [early, late] {
        let refused = Err(HypervisorError::AlreadyRunning { epoch: Epoch(1) });
        assert_eq!(host.answers(op).pop().map(|(_, answer)| answer), Some(refused));
    }
    assert_eq!(host.lives(), [(100, "started")]);
}

#[test]
fn a_vm_dies_at_its_deadline_unless_extended() {
    let mut host = Host::new(plain());
    host.start(1, 1_000);
    host.go(500).extend(1, 2_000);
    host.extend(1, 1_500);
    host.extend(9, 9_000);
    host.go(5_000);
    assert_eq!(host.lives(), [(100, "started"), (2_050, "ended")], "never backwards, only its own run");
    assert_eq!(host.exits(), [(2_050, Exit::DeadlinePassed)]);
}

#[test]
fn the_deadline_is_enforced_without_a_daemon() {
    let mut host = Host::new(plain());
    host.start(1, 1_000);
    host.go(500).hypervisor.detach();
    host.go(5_000);
    assert_eq!(host.lives(), [(100, "started"), (1_050, "ended")]);
    assert_eq!(host.heard.len(), 1, "nobody hears of it: {:?}", host.heard);
}

#[test]
fn a_kill_at_the_deadline_never_takes_longer_than_the_grace() {
    let mut host = Host::new(HypervisorFaults { kill: Spread::millis(60_000, 60_000), ..plain() });
    host.start(1, 1_000);
    host.go(90_000);
    assert_eq!(host.lives(), [(100, "started"), (3_000, "ended")]);
}

#[test]
fn a_start_does_not_outlast_its_deadline() {
    let mut host = Host::new(HypervisorFaults {
        start_slow: Chance::one_in(1),
        start_slow_by: Spread::millis(5_000, 5_000),
        ..plain()
    });
    let slow = host.start(1, 1_000);
    host.go(8_000);
    assert_eq!(host.answers(slow), [(1_000, Err(HypervisorError::DeadlinePassed))]);
    let over = host.start(2, 8_000);
    host.go(9_000);
    assert_eq!(host.answers(over), [(8_000, Err(HypervisorError::DeadlinePassed))]);
    assert_eq!(host.lives(), []);
}

#[test]
fn deadlines_count_on_the_hosts_clock() {
    let mut host = Host::new(plain());
    host.clock.rate.set(500);
    host.start(1, 1_000);
    host.go(5_000);
    assert_eq!(host.lives(), [(100, "started"), (2_050, "ended")], "a clock at half speed");
    host.start(2, 10_000);
    host.go(6_000);
    host.clock.ahead.set(at(6_000).0);
    host.hypervisor.clock_changed();
    host.go(9_000);
    assert_eq!(host.lives()[2..], [(5_100, "started"), (8_050, "ended")], "a clock that was set forward");
}

#[test]
fn a_stopped_start_never_comes_alive() {
    let mut host = Host::new(plain());
    let start = host.start(1, 8_000);
    host.go(20);
    let kill = host.submit(HypervisorRequest::Kill { run: run(1) });
    host.go(1_000);
    assert_eq!(host.answers(kill), [(70, Ok(Done::Stopped))]);
    assert!(matches!(host.answers(start)[..], [(70, Err(HypervisorError::Start { .. }))]));
    assert_eq!(host.lives(), []);
}

#[test]
fn a_guest_that_ignores_the_stop_is_killed_after_the_grace() {
    let mut host = Host::new(HypervisorFaults { stop_hangs: Chance::one_in(1), ..plain() });
    host.start(1, 80_000);
    host.go(1_000);
    let stop = host.stop(1, 3_000);
    host.go(9_000);
    assert_eq!(host.answers(stop), [(4_050, Ok(Done::Stopped))]);
    let mut host = Host::new(plain());
    host.start(1, 80_000);
    host.go(1_000);
    let hasty = host.stop(1, 100);
    assert_eq!(host.go(9_000).answers(hasty), [(1_150, Ok(Done::Stopped))]);
}

#[test]
fn failures_leave_nothing_alive_and_uncertain_ones_may() {
    let mut host = Host::new(HypervisorFaults { start_fails: Chance::one_in(1), ..plain() });
    let start = host.start(1, 8_000);
    host.go(1_000);
    assert!(matches!(host.answers(start)[..], [(100, Err(HypervisorError::Start { .. }))]));
    assert_eq!(host.lives(), []);
    let mut host = Host::new(HypervisorFaults { start_uncertain: Chance::one_in(1), ..plain() });
    let mut alive = 0;
    for epoch in 1..=40 {
        let start = host.start(epoch, 900_000);
        host.go(epoch * 1_000 - 500);
        assert!(matches!(host.answers(start)[..], [(_, Err(HypervisorError::Uncertain { .. }))]));
        alive += host.hypervisor.with(|inside| inside.alive().count());
        host.submit(HypervisorRequest::Kill { run: run(epoch) });
        host.go(epoch * 1_000);
    }
    assert!((5..35).contains(&alive), "{alive} of 40");
}

#[test]
fn guests_end_by_themselves_and_may_do_so_silently() {
    let soon = Spread::millis(500, 500);
    let ends = |faults: HypervisorFaults| {
        let mut host = Host::new(HypervisorFaults { lifetime: soon, ..faults });
        host.start(1, 8_000);
        host.go(5_000);
        assert_eq!(host.lives(), [(100, "started"), (600, "ended")]);
        host.exits()
    };
    assert_eq!(
        ends(HypervisorFaults { guest_crashes: Chance::one_in(1), ..plain() }),
        [(600, Exit::Crashed)]
    );
    let powers_off = HypervisorFaults { guest_powers_off: Chance::one_in(1), ..plain() };
    assert_eq!(ends(powers_off), [(600, Exit::PoweredOff)]);
    let dies = HypervisorFaults { supervisor_dies: Chance::one_in(1), ..plain() };
    assert_eq!(ends(dies.clone()), [(600, Exit::Crashed)]);
    assert_eq!(ends(HypervisorFaults { exit_silent: Chance::one_in(1), ..dies }), []);
}

#[test]
fn answers_may_be_lost_late_or_doubled() {
    let mut host = Host::new(HypervisorFaults { answer_lost: Chance::one_in(1), ..plain() });
    let start = host.start(1, 8_000);
    host.go(1_000);
    assert_eq!((host.answers(start), host.lives()), (vec![], vec![(100, "started")]));
    let late_by = Spread::millis(3_000, 3_000);
    let late = HypervisorFaults { answer_late: Chance::one_in(1), answer_late_by: late_by, ..plain() };
    let mut host = Host::new(late);
    let start = host.start(1, 80_000);
    assert_eq!(host.go(9_000).answers(start), [(3_100, Ok(Done::Started))]);
    let mut host = Host::new(HypervisorFaults { answer_doubled: Chance::one_in(1), ..plain() });
    let start = host.start(1, 80_000);
    assert_eq!(host.go(9_000).answers(start).len(), 2);
}

#[test]
fn a_new_daemon_hears_nothing_of_old_operations_and_finds_the_vm() {
    let mut host = Host::new(plain());
    let start = host.start(1, 8_000);
    host.go(50).hypervisor.detach();
    let stale = host.handle.clone();
    host.handle = host.hypervisor.attach();
    host.go(1_000);
    assert_eq!(host.answers(start), []);
    assert_eq!(host.lives(), [(100, "started")]);
    let (mut stale, kill) = (stale, HypervisorRequest::Kill { run: run(1) });
    stale.submit(OpId(99), kill);
    let list = host.submit(HypervisorRequest::List);
    host.go(2_000);
    let view = RunView { run: run(1), state: RunState::Running };
    assert_eq!(host.answers(list), [(1_000, Ok(Done::Listed(vec![view])))]);
}

#[test]
fn a_reboot_ends_everything() {
    let mut host = Host::new(plain());
    host.start(1, 8_000);
    host.go(1_000).hypervisor.reboot(at(1_000));
    assert_eq!(host.hypervisor.next_event_time(), None);
    host.go(9_000);
    assert_eq!(host.lives(), [(100, "started"), (1_000, "ended")]);
    assert_eq!(host.truth.last().map(|truth| truth.fact), Some(Fact::Rebooted));
    assert_eq!(host.heard.len(), 1);
}

#[test]
fn a_vm_whose_deadline_passed_in_its_sleep_does_not_execute_again() {
    let mut host = Host::new(plain());
    host.start(1, 8_000);
    host.go(1_000).hypervisor.suspend(at(1_000));
    assert_eq!(host.hypervisor.next_event_time(), None);
    host.go(60_000).hypervisor.resume(at(60_000));
    host.go(61_000);
    let facts = host.truth.iter().map(|truth| truth.fact);
    let facts: Vec<Fact> = facts.filter(|fact| !matches!(fact, Fact::Ordered { .. })).collect();
    assert!(matches!(
        facts[..],
        [
            Fact::DeadlineRaised { .. },
            Fact::RunStarted { .. },
            Fact::Frozen,
            Fact::RunEnded { .. },
            Fact::Thawed
        ]
    ));
    let mut host = Host::new(plain());
    host.start(1, 8_000);
    host.go(1_000).hypervisor.suspend(at(1_000));
    host.go(2_000).hypervisor.resume(at(2_000));
    host.go(20_000);
    assert_eq!(host.lives(), [(100, "started"), (8_050, "ended")], "a short sleep changes nothing");
}

#[test]
fn the_planted_fault_lets_vms_live_on() {
    let mut host = Host::new(HypervisorFaults { lie: crate::sabotage::Lie::Deadlines, ..plain() });
    host.start(1, 1_000);
    host.go(90_000);
    assert_eq!(host.lives(), [(100, "started")]);
    assert_eq!(host.hypervisor.with(|inside| inside.counts()["hypervisor.deadline_ignored"]), 1);
}
