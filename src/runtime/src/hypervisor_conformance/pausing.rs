//! Pause and resume. A hypervisor that can do neither says so, and the VM is as it was.

use std::cmp::Ordering;

use blixard_node::hypervisor::{Done, HypervisorError, HypervisorRequest, Run, RunState, RunView};
use blixard_node::time::Duration;

use super::trial::{NEXT, RUN, Trial};
use super::{Bench, Case, LATE, LONG, QUIET};

/// Longer than an obedient guest takes to show that it works.
const WORK: Duration = Duration::from_millis(1_500);

pub(super) fn cases<B: Bench>() -> Vec<Case<B>> {
    vec![
        ("a VM is paused and goes on", paused),
        ("a hypervisor that cannot pause says so", unsupported),
        ("the deadline kills a paused VM", deadline),
        ("an extension reaches a paused VM", extension),
        ("a paused VM is stopped", stopped),
        ("a paused VM is killed", killed),
        ("what does not run is not paused", pausing_nothing),
        ("a paused VM outlives its agent", adopted),
        ("a lost reply to a pause is made good by a list", lost_pause),
    ]
}

impl<B: Bench> Trial<B> {
    fn pause(&mut self, run: Run) {
        let paused = self.call(HypervisorRequest::Pause { run });
        self.expect(&paused, &Ok(Done::Paused));
        self.expect_alive(run, true);
    }

    fn resume(&mut self, run: Run) {
        let resumed = self.call(HypervisorRequest::Resume { run });
        self.expect(&resumed, &Ok(Done::Resumed));
        self.expect_alive(run, true);
    }

    /// Shows that the run still obeys, where it can.
    pub(super) fn pause_and_resume(&mut self, run: Run) {
        if self.bench.can_pause() {
            self.pause(run);
            self.resume(run);
        }
    }

    fn run_paused(&mut self, lease: Duration) {
        self.run(RUN, lease);
        self.pause(RUN);
    }

    /// Whether the guest works, where that can be seen.
    fn expect_work(&mut self, run: Run, expected: Ordering) {
        let before = self.bench.work_done(run);
        self.pass(WORK);
        if let (Some(before), Some(after)) = (before, self.bench.work_done(run)) {
            assert_eq!(after.cmp(&before), expected, "{}: {before}, then {after}", self.name);
        }
    }
}

fn paused<B: Bench>(t: &mut Trial<B>) {
    if !t.bench.can_pause() {
        return;
    }
    t.run(RUN, LONG);
    t.expect_work(RUN, Ordering::Greater);
    for _ in 0..2 {
        t.pause(RUN);
        t.expect_state(RUN, RunState::Paused);
    }
    // What the guest has done may be under way for a moment.
    t.pass(QUIET);
    t.expect_work(RUN, Ordering::Equal);
    for _ in 0..2 {
        t.resume(RUN);
        t.expect_state(RUN, RunState::Running);
    }
    t.expect_work(RUN, Ordering::Greater);
    t.expect_no_exit();
    t.stop_in_order(RUN);
    t.expect_nothing_listed();
}

fn unsupported<B: Bench>(t: &mut Trial<B>) {
    if t.bench.can_pause() {
        return;
    }
    t.run(RUN, LONG);
    for request in [HypervisorRequest::Pause { run: RUN }, HypervisorRequest::Resume { run: RUN }] {
        match t.call(request) {
            Err(HypervisorError::Unsupported { what }) => assert!(!what.is_empty(), "{}: what?", t.name),
            other => panic!("{}: {other:?}", t.name),
        }
        t.expect_alive(RUN, true);
        t.expect_listed(RUN);
    }
    t.expect_no_exit();
    t.stop_in_order(RUN);
}

fn deadline<B: Bench>(t: &mut Trial<B>) {
    if !t.bench.can_pause() {
        return;
    }
    let lease = Duration::from_secs(2);
    let deadline = t.bench.now() + lease;
    t.run_paused(lease);
    t.expect_dead_at(RUN, deadline);
    t.expect_nothing_listed();
    t.run(NEXT, LONG);
}

fn extension<B: Bench>(t: &mut Trial<B>) {
    if !t.bench.can_pause() {
        return;
    }
    let first = t.bench.now() + Duration::from_secs(2);
    t.run_paused(Duration::from_secs(2));
    let second = first + Duration::from_secs(1);
    t.submit(HypervisorRequest::Extend { runs: vec![RUN], deadline: second });
    t.pass((first + QUIET).since(t.bench.now()));
    t.expect_state(RUN, RunState::Paused);
    t.expect_dead_at(RUN, second);
}

fn stopped<B: Bench>(t: &mut Trial<B>) {
    if !t.bench.can_pause() {
        return;
    }
    t.run_paused(LONG);
    // Whether it lets the guest go on to power off or kills it after the grace is the hypervisor's to choose.
    let grace = Duration::from_secs(2);
    let asked = t.bench.now();
    let stopped = t.call(HypervisorRequest::Stop { run: RUN, grace });
    t.expect(&stopped, &Ok(Done::Stopped));
    t.expect_alive(RUN, false);
    let took = t.bench.now().since(asked);
    assert!(took <= grace + LATE, "{}: took {took}", t.name);
    t.expect_no_exit();
    t.expect_nothing_listed();
    t.run(NEXT, LONG);
}

fn killed<B: Bench>(t: &mut Trial<B>) {
    if !t.bench.can_pause() {
        return;
    }
    t.run_paused(LONG);
    let asked = t.bench.now();
    let killed = t.call(HypervisorRequest::Kill { run: RUN });
    t.expect(&killed, &Ok(Done::Stopped));
    t.expect_alive(RUN, false);
    assert!(t.bench.now() <= asked + LATE, "{}: took {}", t.name, t.bench.now().since(asked));
    t.expect_no_exit();
}

fn pausing_nothing<B: Bench>(t: &mut Trial<B>) {
    let requests = [HypervisorRequest::Pause { run: RUN }, HypervisorRequest::Resume { run: RUN }];
    for request in requests.clone() {
        let nothing = t.call(request);
        assert!(nothing.is_err(), "{}: {nothing:?}", t.name);
    }
    t.expect_nothing_listed();
    t.run(NEXT, LONG);
    for request in requests {
        let another_epoch = t.call(request);
        assert!(another_epoch.is_err(), "{}: {another_epoch:?}", t.name);
    }
    t.expect_listed(NEXT);
    t.expect_no_exit();
}

fn adopted<B: Bench>(t: &mut Trial<B>) {
    if !t.bench.can_pause() {
        return;
    }
    t.run_paused(LONG);
    t.bench.agent_dies();
    t.pass(QUIET);
    t.expect_alive(RUN, true);
    t.bench.agent_comes();
    t.expect_state(RUN, RunState::Paused);
    t.expect_work(RUN, Ordering::Equal);
    t.resume(RUN);
    t.expect_listed(RUN);
    t.expect_work(RUN, Ordering::Greater);
    t.stop_in_order(RUN);
}

fn lost_pause<B: Bench>(t: &mut Trial<B>) {
    if !t.bench.can_pause() {
        return;
    }
    t.run(RUN, LONG);
    t.submit_unheard(HypervisorRequest::Pause { run: RUN });
    t.list_until(&[RunView { run: RUN, state: RunState::Paused }]);
    t.pause(RUN);
    t.submit_unheard(HypervisorRequest::Resume { run: RUN });
    t.list_until(&[RunView { run: RUN, state: RunState::Running }]);
    t.stop_in_order(RUN);
}
