//! Starts: one run of a VM at a time, and nothing alive when it failed.

use std::sync::Arc;

use blixard_node::hypervisor::{Done, Exit, HypervisorError, HypervisorRequest};
use blixard_node::spec::VmSpec;
use blixard_node::time::Duration;

use super::trial::{NEXT, OTHER, RUN, Trial};
use super::{Bench, Case, Guest, LONG};

pub(super) fn cases<B: Bench>() -> Vec<Case<B>> {
    vec![
        ("a VM is prepared, started, listed and stopped", started_and_stopped),
        ("a second start is refused and harms nothing", second_start),
        ("of two starts at once one succeeds", two_starts_at_once),
        ("a kill during a start leaves nothing alive", kill_during_start),
        ("a passed deadline is refused", passed_deadline),
        ("a VM is started again under the same epoch", started_again),
        ("a broken guest is not alive", broken),
        ("an unknown backend is refused", unknown_backend),
    ]
}

fn started_and_stopped<B: Bench>(t: &mut Trial<B>) {
    t.expect_nothing_listed();
    t.run(RUN, LONG);
    t.expect_listed(RUN);
    t.stop_in_order(RUN);
    t.expect_nothing_listed();
    t.expect_no_exit();
}

fn second_start<B: Bench>(t: &mut Trial<B>) {
    t.run(RUN, LONG);
    let refused = Err(HypervisorError::AlreadyRunning { epoch: RUN.epoch });
    for run in [RUN, NEXT] {
        let spec = t.obedient();
        let again = t.start(run, spec, LONG);
        t.expect(&again, &refused);
    }
    t.expect_no_exit();
    t.expect_alive(RUN, true);
    t.expect_alive(NEXT, false);
    t.expect_listed(RUN);
    t.run(OTHER, LONG);
    // The refused start has not taken the first one's control path away.
    t.pause_and_resume(RUN);
    t.stop_in_order(RUN);
    t.expect_alive(OTHER, true);
}

fn two_starts_at_once<B: Bench>(t: &mut Trial<B>) {
    let spec = t.ready(RUN);
    let first = t.start_request(RUN, Arc::clone(&spec), LONG);
    let second = t.start_request(NEXT, spec, LONG);
    let (first, second) = (t.submit(first), t.submit(second));
    let (first, second) = (t.wait(first), t.wait(second));
    t.expect(&first, &Ok(Done::Started));
    t.expect(&second, &Err(HypervisorError::AlreadyRunning { epoch: RUN.epoch }));
    t.expect_alive(RUN, true);
    t.expect_alive(NEXT, false);
    t.stop_in_order(RUN);
}

fn kill_during_start<B: Bench>(t: &mut Trial<B>) {
    let spec = t.ready(RUN);
    let start = t.start_request(RUN, spec, LONG);
    let start = t.submit(start);
    let kill = t.submit(HypervisorRequest::Kill { run: RUN });
    let killed = t.wait(kill);
    t.expect(&killed, &Ok(Done::Stopped));
    t.expect_alive(RUN, false);
    let started = t.wait(start);
    assert!(
        matches!(started, Ok(Done::Started) | Err(HypervisorError::Start { .. })),
        "{}: {started:?}",
        t.name
    );
    t.expect_no_exit();
    t.expect_alive(RUN, false);
    t.expect_nothing_listed();
}

fn passed_deadline<B: Bench>(t: &mut Trial<B>) {
    t.pass(Duration::from_millis(1));
    let spec = t.obedient();
    let started = t.start(RUN, spec, Duration::ZERO);
    t.expect(&started, &Err(HypervisorError::DeadlinePassed));
    t.expect_no_exit();
    t.expect_alive(RUN, false);
    t.expect_nothing_listed();
}

fn started_again<B: Bench>(t: &mut Trial<B>) {
    let Some(spec) = t.spec(Guest::Crashes) else { return };
    for _ in 0..3 {
        let started = t.start(RUN, Arc::clone(&spec), LONG);
        t.expect(&started, &Ok(Done::Started));
        t.expect_exit(RUN, Exit::Crashed);
    }
    t.run(RUN, LONG);
    t.expect_no_exit();
    t.expect_listed(RUN);
}

fn broken<B: Bench>(t: &mut Trial<B>) {
    let Some(spec) = t.spec(Guest::Broken) else { return };
    let started = t.start(RUN, spec, LONG);
    assert!(
        matches!(started, Err(HypervisorError::Prepare { .. } | HypervisorError::Start { .. })),
        "{}: {started:?}",
        t.name
    );
    t.expect_no_exit();
    t.expect_alive(RUN, false);
    t.expect_nothing_listed();
    t.run(RUN, LONG);
}

fn unknown_backend<B: Bench>(t: &mut Trial<B>) {
    let mut spec = VmSpec::clone(&t.obedient());
    spec.hypervisor = "no-such".into();
    let spec = Arc::new(spec);
    let refused = Err(HypervisorError::NoBackend { name: "no-such".into() });
    let prepared = t.start(RUN, Arc::clone(&spec), LONG);
    t.expect(&prepared, &refused);
    let start = t.start_request(RUN, spec, LONG);
    let started = t.call(start);
    t.expect(&started, &refused);
    t.expect_nothing_listed();
}
