//! Ends: asked for, at the deadline, and of the guest itself.

use blixard_node::hypervisor::{Done, Exit, HypervisorRequest, RunState};
use blixard_node::time::Duration;

use super::trial::{NEXT, OTHER, RUN, Trial};
use super::{Bench, Case, Guest, LATE, LONG, PATIENCE, QUIET};

pub(super) fn cases<B: Bench>() -> Vec<Case<B>> {
    vec![
        ("a deaf guest is killed after its grace", deaf_guest),
        ("a kill kills at once", killed),
        ("what is not there counts as stopped", stopping_nothing),
        ("a stop under another epoch harms nothing", stop_of_another_epoch),
        ("the deadline kills", deadline),
        ("an extension moves the deadline and never back", extension),
        ("a run left out of an extension keeps its deadline", left_out),
        ("a guest's own end is told", own_end),
    ]
}

fn deaf_guest<B: Bench>(t: &mut Trial<B>) {
    let Some(spec) = t.spec(Guest::Deaf) else { return };
    let started = t.start(RUN, spec, LONG);
    t.expect(&started, &Ok(Done::Started));
    // It may take the guest a moment to stop its ears.
    t.pass(QUIET);
    let grace = Duration::from_millis(700);
    let asked = t.bench.now();
    let op = t.submit(HypervisorRequest::Stop { run: RUN, grace });
    t.pass(QUIET);
    t.expect_alive(RUN, true);
    t.expect_state(RUN, RunState::Stopping);
    let stopped = t.wait(op);
    t.expect(&stopped, &Ok(Done::Stopped));
    t.expect_alive(RUN, false);
    let took = t.bench.now().since(asked);
    assert!(took >= grace && took <= grace + LATE, "{}: took {took}", t.name);
    t.expect_no_exit();
}

fn killed<B: Bench>(t: &mut Trial<B>) {
    let spec = t.spec(Guest::Deaf).unwrap_or_else(|| t.obedient());
    let started = t.start(RUN, spec, LONG);
    t.expect(&started, &Ok(Done::Started));
    let asked = t.bench.now();
    let stopped = t.call(HypervisorRequest::Kill { run: RUN });
    t.expect(&stopped, &Ok(Done::Stopped));
    t.expect_alive(RUN, false);
    assert!(t.bench.now() <= asked + LATE, "{}: took {}", t.name, t.bench.now().since(asked));
    t.expect_no_exit();
}

fn stopping_nothing<B: Bench>(t: &mut Trial<B>) {
    let stopped = t.call(HypervisorRequest::Stop { run: RUN, grace: PATIENCE });
    t.expect(&stopped, &Ok(Done::Stopped));
    let killed = t.call(HypervisorRequest::Kill { run: RUN });
    t.expect(&killed, &Ok(Done::Stopped));
    t.run(RUN, LONG);
    for _ in 0..2 {
        let killed = t.call(HypervisorRequest::Kill { run: RUN });
        t.expect(&killed, &Ok(Done::Stopped));
    }
}

fn stop_of_another_epoch<B: Bench>(t: &mut Trial<B>) {
    t.run(NEXT, LONG);
    for request in [HypervisorRequest::Kill { run: RUN }, HypervisorRequest::Stop { run: RUN, grace: QUIET }]
    {
        let stopped = t.call(request);
        t.expect(&stopped, &Ok(Done::Stopped));
    }
    t.expect_no_exit();
    t.expect_alive(NEXT, true);
    t.expect_listed(NEXT);
}

fn deadline<B: Bench>(t: &mut Trial<B>) {
    let lease = Duration::from_secs(2);
    let deadline = t.bench.now() + lease;
    t.run(RUN, lease);
    t.expect_dead_at(RUN, deadline);
    t.expect_nothing_listed();
    t.run(NEXT, LONG);
}

fn extension<B: Bench>(t: &mut Trial<B>) {
    let first = t.bench.now() + Duration::from_secs(2);
    t.run(RUN, Duration::from_secs(2));
    let second = first + Duration::from_secs(1);
    t.submit(HypervisorRequest::Extend { runs: vec![OTHER, RUN], deadline: second });
    t.submit(HypervisorRequest::Extend { runs: vec![RUN], deadline: first });
    t.submit(HypervisorRequest::Extend { runs: vec![NEXT], deadline: second + LONG });
    t.pass((first + Duration::from_millis(400)).since(t.bench.now()));
    t.expect_alive(RUN, true);
    t.expect_dead_at(RUN, second);
    t.submit(HypervisorRequest::Extend { runs: vec![RUN], deadline: second + LONG });
    t.pass(QUIET);
    t.expect_alive(RUN, false);
    t.expect_nothing_listed();
}

fn left_out<B: Bench>(t: &mut Trial<B>) {
    let deadline = t.bench.now() + Duration::from_secs(3);
    t.run(RUN, deadline.since(t.bench.now()));
    t.run(OTHER, deadline.since(t.bench.now()));
    t.submit(HypervisorRequest::Extend { runs: vec![OTHER], deadline: deadline + LONG });
    t.expect_dead_at(RUN, deadline);
    t.expect_alive(OTHER, true);
    t.expect_listed(OTHER);
}

fn own_end<B: Bench>(t: &mut Trial<B>) {
    for (guest, exit) in [(Guest::PowersOff, Exit::PoweredOff), (Guest::Crashes, Exit::Crashed)] {
        let Some(spec) = t.spec(guest) else { continue };
        let started = t.start(RUN, spec, LONG);
        t.expect(&started, &Ok(Done::Started));
        let told = t.expect_exit(RUN, exit);
        let words = t.bench.words(guest);
        assert!(told.reason.contains(words), "{}: {guest:?} ends by {:?}", t.name, told.reason);
        t.expect_nothing_listed();
        t.expect_no_exit();
    }
}
