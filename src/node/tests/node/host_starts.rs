//! A host and what it is to run: preparing, starting, and starting again.

use std::sync::Arc;

use blixard_node::hypervisor::{
    Done, Exit, HypervisorError, HypervisorRequest, REASON_LEN_MAX, RunState, RunView,
};
use blixard_node::ids::Generation;
use blixard_node::message::Assignment;
use blixard_node::probes::Probe;
use blixard_node::spec::{Phase, RestartPolicy, VmSpec};
use blixard_node::time::Duration;

use crate::cluster::spec;
use crate::host::{Host, exited, prepared, run, running, unwanted, wanted};

const AT_ONCE: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);

/// A host that is to run the VM 1 and has prepared it: its start is asked for.
fn starting() -> Host {
    let mut host = Host::led();
    host.assign(vec![wanted(1, 1)]);
    host.answer(prepared());
    assert_eq!(host.asks(), ["prepare 1/1", "start 1/1"]);
    host
}

fn restarted(restart: RestartPolicy) -> Assignment {
    Assignment { spec: Arc::new(VmSpec { restart, ..(*spec()).clone() }), ..wanted(1, 1) }
}

fn built(artifact: &str) -> Result<Done, HypervisorError> {
    Ok(Done::Prepared { artifact: Some(artifact.into()) })
}

fn pinned(artifact: &str) -> Assignment {
    Assignment { artifact: Some(artifact.into()), ..wanted(1, 1) }
}

fn no_memory() -> Result<Done, HypervisorError> {
    Err(HypervisorError::Start { reason: "no memory".into() })
}

fn stands(host: &mut Host) -> (Phase, String) {
    let report = host.reports(1);
    (report.phase, report.reason)
}

/// Whether it asks for this after `wait`, and for nothing before.
fn asks_after(host: &mut Host, wait: Duration, what: &str) {
    host.asks();
    host.run(Duration::from_nanos(wait.0 - 1));
    assert!(host.asks().is_empty(), "before {wait}");
    host.run(Duration::from_nanos(1));
    assert_eq!(host.asks(), [what], "after {wait}");
}

#[test]
fn a_vm_is_prepared_and_then_started_until_the_lease_ends() {
    let mut host = Host::led();
    host.assign(vec![wanted(1, 1)]);
    assert_eq!(host.asks(), ["prepare 1/1"]);
    assert_eq!(stands(&mut host).0, Phase::Preparing);
    let lease = host.lease_end();
    host.answer(prepared());
    assert_eq!(host.asks(), ["start 1/1"]);
    assert!(
        matches!(host.asked.last(), Some((_, HypervisorRequest::Start { deadline, .. })) if Some(*deadline) == lease)
    );
    assert_eq!(stands(&mut host).0, Phase::Starting);
    host.answer(Ok(Done::Started));
    host.run(AT_ONCE);
    let report = host.beat().reports[0].clone();
    assert_eq!((report.phase, report.restarts), (Phase::Running, 0), "it is told at once");
    host.listed = Some(vec![running(1, 1)]);
    host.run(SECOND);
    assert_eq!(host.extended.last(), Some(&(vec![run(1, 1)], host.lease_end().unwrap())));
    host.run(Duration::from_secs(100));
    assert!(host.asks().is_empty());
}

#[test]
fn what_the_first_host_has_built_is_agreed_upon_before_it_is_started() {
    let mut host = Host::led();
    host.assign(vec![wanted(1, 1)]);
    host.answer(built("one"));
    let report = host.reports(1);
    assert_eq!((report.phase, report.artifact.as_deref()), (Phase::Pending, Some("one")));
    host.run(Duration::from_secs(30));
    assert_eq!(host.asks(), ["prepare 1/1"]);
    host.assign(vec![pinned("one")]);
    assert_eq!(host.asks(), ["start 1/1"]);
    let Some((_, HypervisorRequest::Start { artifact, .. })) = host.asked.last() else { panic!("no start") };
    assert_eq!(artifact.as_deref(), Some("one"));
}

#[test]
fn what_others_have_built_is_built_here_or_nothing_is_started() {
    let mut host = Host::led();
    host.assign(vec![pinned("one")]);
    let Some((_, HypervisorRequest::Prepare { artifact, .. })) = host.asked.last() else {
        panic!("no preparation")
    };
    assert_eq!(artifact.as_deref(), Some("one"));
    host.answer(built("another"));
    let (phase, reason) = stands(&mut host);
    assert_eq!(phase, Phase::Failed);
    assert!(reason.starts_with("the VM runs one on every host, and this one has"), "{reason}");
    assert!(host.has(Probe::AnotherArtifact));
    host.run(SECOND);
    assert_eq!(host.asks(), ["prepare 1/1", "prepare 1/1"]);
    host.answer(built("one"));
    assert_eq!(host.asks(), ["start 1/1"]);

    let mut outvoted = Host::led();
    outvoted.assign(vec![wanted(1, 1)]);
    outvoted.answer(built("another"));
    outvoted.assign(vec![pinned("one")]);
    assert_eq!(outvoted.asks(), ["prepare 1/1", "prepare 1/1"]);
}

#[test]
fn a_preparation_that_is_not_heard_of_is_asked_for_again() {
    let mut host = Host::led();
    host.assign(vec![wanted(1, 1)]);
    let first = host.asked.last().unwrap().0;
    host.run(Duration::from_millis(14_900));
    assert_eq!(host.asks(), ["prepare 1/1"]);
    host.run(Duration::from_millis(1_100));
    assert_eq!(host.asks(), ["prepare 1/1"]);
    assert!(host.has(Probe::PrepareRepeated));
    host.complete(first, prepared());
    assert!(host.asks().is_empty(), "nobody waits for that one");
    host.answer(prepared());
    assert_eq!(host.asks(), ["start 1/1"]);
    host.complete(first, prepared());
    assert!(host.asks().is_empty());
}

#[test]
fn a_vm_that_cannot_be_started_is_tried_again_after_ever_longer_waits() {
    let mut host = starting();
    for wait in [1, 2, 4, 8] {
        host.answer(no_memory());
        asks_after(&mut host, Duration::from_secs(wait), "start 1/1");
    }
    host.answer(no_memory());
    assert_eq!(stands(&mut host), (Phase::Failed, "cannot be started: no memory".into()));
    assert!(host.has(Probe::StartFailed));
}

#[test]
fn a_vm_that_cannot_be_prepared_is_prepared_again() {
    let cannot = || Err(HypervisorError::Prepare { reason: "no such flake".into() });
    let mut host = Host::led();
    host.assign(vec![wanted(1, 1)]);
    host.answer(cannot());
    asks_after(&mut host, SECOND, "prepare 1/1");
    assert!(host.has(Probe::StartFailed));
    host.answer(cannot());
    assert_eq!(stands(&mut host), (Phase::Failed, "cannot be prepared: no such flake".into()));
    // So it is when that turns out at the start.
    let mut host = starting();
    host.answer(cannot());
    asks_after(&mut host, SECOND, "prepare 1/1");
}

#[test]
fn a_new_generation_does_not_wait_for_what_failed_before() {
    let mut host = starting();
    for wait in [1, 2, 4] {
        host.answer(no_memory());
        host.run(Duration::from_secs(wait));
    }
    host.answer(no_memory());
    host.asks();
    host.assign(vec![Assignment { generation: Generation(2), ..wanted(1, 1) }]);
    assert_eq!(host.asks(), ["start 1/1"]);
    host.answer(no_memory());
    asks_after(&mut host, SECOND, "start 1/1");
}

#[test]
fn another_spec_is_prepared_before_it_is_started() {
    let mut host = Host::running(wanted(1, 1));
    let other = Arc::new(VmSpec { payload: "other".into(), ..(*spec()).clone() });
    host.assign(vec![Assignment { generation: Generation(2), spec: other, ..wanted(1, 1) }]);
    assert!(host.asks().is_empty(), "what runs goes on");
    host.exits(run(1, 1), Exit::Crashed, "");
    host.listed = Some(Vec::new());
    host.run(SECOND);
    assert_eq!(host.asks(), ["prepare 1/1"]);
}

#[test]
fn a_good_run_shortens_the_wait_again() {
    for (ran, wait) in [(59, 4), (60, 1)] {
        let mut host = starting();
        for wait in [1, 2] {
            host.answer(no_memory());
            host.run(Duration::from_secs(wait));
        }
        host.answer(Ok(Done::Started));
        host.listed = Some(vec![running(1, 1)]);
        host.run(Duration::from_secs(ran));
        host.exits(run(1, 1), Exit::Crashed, "");
        host.listed = Some(Vec::new());
        asks_after(&mut host, Duration::from_secs(wait), "start 1/1");
    }
}

#[test]
fn what_runs_already_is_taken_as_started() {
    let mut host = starting();
    host.answer(Err(HypervisorError::AlreadyRunning { epoch: run(1, 1).epoch }));
    assert_eq!(stands(&mut host).0, Phase::Running);
    assert!(host.has(Probe::StartedTwice));
    assert!(host.asks().is_empty());
}

#[test]
fn what_runs_under_an_older_assignment_is_killed_first() {
    let mut host = Host::led();
    host.assign(vec![wanted(1, 2)]);
    host.answer(prepared());
    host.asks();
    host.answer(Err(HypervisorError::AlreadyRunning { epoch: run(1, 1).epoch }));
    assert_eq!(host.asks(), ["kill 1/1"]);
    assert!(host.has(Probe::OrphanKilled) && !host.has(Probe::UnassignedKilled));
    assert_eq!(stands(&mut host).0, Phase::Stopping);
    host.answer(Ok(Done::Stopped));
    assert_eq!(host.asks(), ["start 1/2"]);
}

#[test]
fn a_start_that_came_too_late_is_no_failure() {
    let mut host = starting();
    host.answer(no_memory());
    host.run(SECOND);
    host.answer(Err(HypervisorError::DeadlinePassed));
    assert!(host.has(Probe::StartPastDeadline));
    asks_after(&mut host, SECOND, "start 1/1");
    host.answer(no_memory());
    asks_after(&mut host, Duration::from_secs(2), "start 1/1");
}

#[test]
fn a_start_that_nobody_can_tell_of_is_looked_up_at_once() {
    let uncertain = || Err(HypervisorError::Uncertain { reason: "no answer".into() });
    let mut host = starting();
    host.listed = None;
    let lists = host.lists.len();
    host.answer(uncertain());
    assert!(host.has(Probe::StartUncertain));
    assert_eq!(host.lists.len(), lists + 1);
    assert_eq!(stands(&mut host).0, Phase::Starting);
    host.complete(host.lists[lists].1, Ok(Done::Listed(vec![running(1, 1)])));
    assert_eq!(stands(&mut host).0, Phase::Running);
    assert!(host.asks().is_empty());

    let mut host = starting();
    host.answer(uncertain());
    assert_eq!(stands(&mut host), (Phase::Failed, "the guest crashed".into()));
    assert!(host.has(Probe::SilentDeath));
    host.run(SECOND);
    assert_eq!(host.asks(), ["start 1/1"]);
}

#[test]
fn a_restart_policy_says_what_follows_an_exit() {
    let powered_off = "the guest powered itself off";
    for (policy, exit, again, reason) in [
        (RestartPolicy::Always, Exit::PoweredOff, true, powered_off),
        (RestartPolicy::Always, Exit::Crashed, true, "the guest crashed"),
        (RestartPolicy::OnFailure, Exit::PoweredOff, false, powered_off),
        (RestartPolicy::OnFailure, Exit::Crashed, true, "the guest crashed"),
        (RestartPolicy::Never, Exit::PoweredOff, false, powered_off),
        (RestartPolicy::Never, Exit::Crashed, false, "the guest crashed"),
    ] {
        let mut host = Host::running(restarted(policy));
        host.listed = Some(Vec::new());
        host.exits(run(1, 1), exit, "");
        host.run(AT_ONCE);
        let report = host.beat().reports[0].clone();
        let phase = if again { Phase::Failed } else { Phase::Exited };
        assert_eq!(
            (report.phase, report.reason.as_str()),
            (phase, reason),
            "{policy:?} {exit:?}, told at once"
        );
        host.run(Duration::from_secs(if again { 2 } else { 100 }));
        assert_eq!(host.asks(), if again { vec!["start 1/1"] } else { Vec::new() }, "{policy:?} {exit:?}");
        if again {
            host.answer(Ok(Done::Started));
            let report = host.reports(1);
            assert_eq!((report.phase, report.reason.as_str(), report.restarts), (Phase::Running, "", 1));
        }
    }
}

#[test]
fn what_ended_with_its_lease_is_started_again_at_once() {
    let mut host = Host::running(restarted(RestartPolicy::Never));
    host.exits(run(1, 1), Exit::DeadlinePassed, "");
    assert_eq!(host.asks(), ["start 1/1"]);
    host.answer(Ok(Done::Started));
    assert_eq!(host.reports(1).restarts, 1);
    host.exits(run(1, 1), Exit::Crashed, "");
    assert_eq!(stands(&mut host), (Phase::Exited, "the guest crashed".into()));
}

#[test]
fn a_hypervisors_words_are_passed_on_cut_at_a_letter() {
    let mut host = Host::running(wanted(1, 1));
    host.exits(run(1, 1), Exit::Crashed, "out of memory");
    assert_eq!(stands(&mut host).1, "out of memory");
    let mut host = Host::running(wanted(1, 1));
    let words = format!("x{}", "é".repeat(REASON_LEN_MAX));
    host.exits(run(1, 1), Exit::Crashed, &words);
    assert_eq!(stands(&mut host).1, words[..REASON_LEN_MAX - 1]);
}

#[test]
fn an_end_of_another_run_is_no_end_of_this_one() {
    let mut host = Host::running(wanted(1, 2));
    for other in [run(1, 1), run(2, 1)] {
        host.exits(other, Exit::Crashed, "");
        assert!(host.has(Probe::EndOfAnotherRun));
    }
    host.assign(vec![wanted(1, 2), wanted(2, 1)]);
    assert_eq!(stands(&mut host).0, Phase::Running);
    assert_eq!(host.reports(2).phase, Phase::Preparing, "it has not ended before it began");
}

#[test]
fn an_end_that_was_told_before_the_first_set_counts_for_the_run_that_is_assigned() {
    let ended = |exit, set: Vec<Assignment>| {
        let mut host = Host::open();
        host.listed = Some(Vec::new());
        host.run(SECOND);
        host.exits(run(1, 1), exit, "it fell over");
        assert!(host.has(Probe::EndUnheard));
        host.leads = Some(blixard_node::ids::NodeId(1));
        host.assign(set);
        host
    };
    let mut host = ended(Exit::Crashed, vec![restarted(RestartPolicy::Never)]);
    assert_eq!(stands(&mut host), (Phase::Exited, "it fell over".into()));
    assert!(host.asks().is_empty());
    let mut host = ended(Exit::Crashed, vec![restarted(RestartPolicy::Always)]);
    assert_eq!(stands(&mut host), (Phase::Failed, "it fell over".into()));
    let mut host =
        ended(Exit::Crashed, vec![Assignment { run: run(1, 2), ..restarted(RestartPolicy::Never) }]);
    assert_eq!((stands(&mut host).0, host.asks()), (Phase::Preparing, vec!["prepare 1/2".into()]));
    let mut host = ended(Exit::Crashed, Vec::new());
    assert_eq!(host.asks(), ["kill 1/1"], "to be sure");
    assert!(host.has(Probe::UnconfirmedKilled));
    // It lives after all.
    let mut host = Host::open();
    host.listed = Some(vec![running(1, 1)]);
    host.exits(run(1, 1), Exit::Crashed, "");
    host.run(SECOND);
    host.leads = Some(blixard_node::ids::NodeId(1));
    host.assign(vec![restarted(RestartPolicy::Never)]);
    assert_eq!((stands(&mut host).0, host.asks()), (Phase::Running, Vec::<String>::new()));
}

#[test]
fn ends_that_were_told_before_the_first_set_are_kept_up_to_a_bound() {
    let mut host = Host::open();
    host.turn_of((1..=5_000).map(|vm| exited(run(vm, 1), Exit::Crashed, "")).collect());
    host.leads = Some(blixard_node::ids::NodeId(1));
    host.run(AT_ONCE);
    host.acknowledge(1, host.ack(&host.beat()));
    host.run(SECOND);
    assert_eq!(host.asks().len(), 4_096);
}

#[test]
fn what_was_being_prepared_is_forgotten_with_its_assignment() {
    let mut host = Host::led();
    host.assign(vec![wanted(1, 1)]);
    let preparation = host.asked.last().unwrap().0;
    host.assign(Vec::new());
    host.complete(preparation, prepared());
    assert!(host.has(Probe::LateCompletion));
    host.assign(vec![wanted(1, 2)]);
    assert_eq!(host.asks(), ["prepare 1/1", "prepare 1/2"]);
}

#[test]
fn a_list_counts_for_what_was_asked_before_it() {
    let mut host = starting();
    host.listed = None;
    host.answer(no_memory());
    host.run(Duration::from_secs(20));
    let (_, before) = *host.lists.last().unwrap();
    host.answer(no_memory());
    host.run(Duration::from_secs(2));
    assert_eq!(stands(&mut host).0, Phase::Starting);
    host.complete(before, Ok(Done::Listed(Vec::new())));
    assert_eq!(stands(&mut host).0, Phase::Starting);
    assert!(!host.has(Probe::CompletionLost));
    let later = |host: &mut Host, state: Option<RunState>| {
        host.run(Duration::from_secs(10));
        let views = state.map(|state| RunView { run: run(1, 1), state });
        host.complete(host.lists.last().unwrap().1, Ok(Done::Listed(views.into_iter().collect())));
        host.run(AT_ONCE);
        host.beat().reports[0].phase
    };
    assert_eq!(later(&mut host, Some(RunState::Starting)), Phase::Starting);
    assert!(!host.has(Probe::CompletionLost));
    assert_eq!(later(&mut host, Some(RunState::Running)), Phase::Running);
    assert!(host.has(Probe::CompletionLost));
    assert_eq!(later(&mut host, None), Phase::Failed);
}

#[test]
fn a_start_of_which_a_later_list_knows_nothing_has_failed() {
    let mut host = starting();
    host.listed = Some(Vec::new());
    host.run(Duration::from_secs(11));
    assert!(host.has(Probe::CompletionLost));
    assert_eq!(host.asks(), ["start 1/1"]);
}

#[test]
fn another_assignment_counts_its_restarts_anew() {
    let mut host = Host::running(wanted(1, 1));
    host.exits(run(1, 1), Exit::Crashed, "");
    host.listed = Some(Vec::new());
    host.run(SECOND);
    host.answer(Ok(Done::Started));
    assert_eq!(host.reports(1).restarts, 1);
    host.assign(vec![wanted(1, 2)]);
    host.answer(Ok(Done::Stopped));
    host.answer(Ok(Done::Started));
    let report = host.reports(1);
    assert_eq!((report.run, report.phase, report.restarts), (run(1, 2), Phase::Running, 0));
}

#[test]
fn what_is_to_stop_while_it_is_prepared_is_stopped() {
    let mut host = Host::led();
    host.assign(vec![wanted(1, 1)]);
    host.assign(vec![unwanted(1, 1)]);
    assert_eq!(stands(&mut host).0, Phase::Stopped);
    host.run(Duration::from_secs(60));
    assert_eq!(host.asks(), ["prepare 1/1"], "nobody waits for it");
}
