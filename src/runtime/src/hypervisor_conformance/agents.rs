//! Agents that die, and answers that are lost: what is true can be found out again.

use blixard_node::hypervisor::{Done, Exit, HypervisorError, HypervisorRequest, RunState, RunView};
use blixard_node::time::Duration;

use super::trial::{NEXT, RUN, Trial};
use super::{Bench, Case, Guest, LATE, LONG, PATIENCE, QUIET};

pub(super) fn cases<B: Bench>() -> Vec<Case<B>> {
    vec![
        ("VMs outlive their agent and obey the next", adopted),
        ("a stop goes on without its agent", adopted_while_stopping),
        ("the deadline kills without an agent", deadline_without_agent),
        ("an exit without an agent is told to the next", exit_without_agent),
        ("a lost reply to a start is made good by a list", lost_start),
        ("a lost reply to a stop is made good by a list", lost_stop),
        ("a lost reply to a kill is made good by another kill", lost_kill),
        ("a start cut off by the agent's death happens once or not at all", cut_off_start),
    ]
}

fn adopted<B: Bench>(t: &mut Trial<B>) {
    let first = t.bench.now() + Duration::from_secs(3);
    t.run(RUN, Duration::from_secs(3));
    t.bench.agent_dies();
    t.pass(QUIET);
    t.expect_alive(RUN, true);
    t.bench.agent_comes();
    t.expect_listed(RUN);
    t.submit(HypervisorRequest::Extend { runs: vec![RUN], deadline: first + LONG });
    let spec = t.obedient();
    let again = t.start(NEXT, spec, LONG);
    t.expect(&again, &Err(HypervisorError::AlreadyRunning { epoch: RUN.epoch }));
    t.pass((first + QUIET).since(t.bench.now()));
    t.expect_alive(RUN, true);
    t.expect_no_exit();
    t.stop_in_order(RUN);
    t.run(NEXT, LONG);
}

fn adopted_while_stopping<B: Bench>(t: &mut Trial<B>) {
    let Some(spec) = t.spec(Guest::Deaf) else { return };
    let started = t.start(RUN, spec, LONG);
    t.expect(&started, &Ok(Done::Started));
    t.pass(QUIET);
    let grace = Duration::from_secs(3);
    let end = t.bench.now() + grace;
    t.submit_unheard(HypervisorRequest::Stop { run: RUN, grace });
    t.pass(QUIET);
    t.bench.agent_dies();
    t.bench.agent_comes();
    t.expect_state(RUN, RunState::Stopping);
    t.expect_alive(RUN, true);
    t.list_until(&[]);
    t.expect_alive(RUN, false);
    assert!(t.bench.now() >= end && t.bench.now() <= end + LATE, "{}: the grace is the first stop's", t.name);
    // Somebody asked for this end.
    t.expect_no_exit();
}

fn deadline_without_agent<B: Bench>(t: &mut Trial<B>) {
    let lease = Duration::from_secs(2);
    let deadline = t.bench.now() + lease;
    t.run(RUN, lease);
    t.bench.agent_dies();
    t.pass((deadline + LATE).since(t.bench.now()));
    t.expect_alive(RUN, false);
    t.bench.agent_comes();
    t.expect_exit(RUN, Exit::DeadlinePassed);
    t.expect_nothing_listed();
    t.run(NEXT, LONG);
}

fn exit_without_agent<B: Bench>(t: &mut Trial<B>) {
    let Some(spec) = t.spec(Guest::PowersOff) else { return };
    let started = t.start(RUN, spec, LONG);
    t.expect(&started, &Ok(Done::Started));
    t.bench.agent_dies();
    let until = t.bench.now() + PATIENCE;
    while t.bench.is_alive(RUN) {
        assert!(t.bench.now() < until, "{}: it does not power itself off", t.name);
        t.pass(QUIET);
    }
    t.bench.agent_comes();
    t.expect_exit(RUN, Exit::PoweredOff);
    t.expect_nothing_listed();
    t.run(NEXT, LONG);
}

fn cut_off_start<B: Bench>(t: &mut Trial<B>) {
    let spec = t.ready(RUN);
    let start = t.start_request(RUN, spec, LONG);
    t.submit_unheard(start);
    t.bench.agent_dies();
    t.bench.agent_comes();
    let listed = t.list();
    assert!(listed.is_empty() || (listed.len() == 1 && listed[0].run == RUN), "{}: {listed:?}", t.name);
    let spec = t.obedient();
    let next = t.start(NEXT, spec, LONG);
    t.pass(QUIET);
    match next {
        Ok(Done::Started) => {
            t.expect_alive(RUN, false);
            t.expect_listed(NEXT);
        }
        Err(HypervisorError::AlreadyRunning { epoch }) if epoch == RUN.epoch => {
            t.expect_alive(NEXT, false);
            t.expect_listed(RUN);
        }
        other => panic!("{}: {other:?}", t.name),
    }
}

fn lost_start<B: Bench>(t: &mut Trial<B>) {
    let spec = t.ready(RUN);
    let start = t.start_request(RUN, spec, LONG);
    t.submit_unheard(start);
    t.list_until(&[RunView { run: RUN, state: RunState::Running }]);
    t.expect_alive(RUN, true);
    let spec = t.obedient();
    let again = t.start(RUN, spec, LONG);
    t.expect(&again, &Err(HypervisorError::AlreadyRunning { epoch: RUN.epoch }));
    t.expect_no_exit();
    t.stop_in_order(RUN);
}

fn lost_stop<B: Bench>(t: &mut Trial<B>) {
    t.run(RUN, LONG);
    t.submit_unheard(HypervisorRequest::Stop { run: RUN, grace: PATIENCE });
    t.list_until(&[]);
    t.expect_alive(RUN, false);
    let again = t.call(HypervisorRequest::Stop { run: RUN, grace: PATIENCE });
    t.expect(&again, &Ok(Done::Stopped));
    t.expect_no_exit();
    t.run(NEXT, LONG);
}

fn lost_kill<B: Bench>(t: &mut Trial<B>) {
    t.run(RUN, LONG);
    t.submit_unheard(HypervisorRequest::Kill { run: RUN });
    let again = t.call(HypervisorRequest::Kill { run: RUN });
    t.expect(&again, &Ok(Done::Stopped));
    t.expect_alive(RUN, false);
    t.expect_nothing_listed();
    t.expect_no_exit();
}
