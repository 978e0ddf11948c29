//! A host and what it is not to run: stopping, killing, and removing what is left.

use std::sync::Arc;

use blixard_node::hypervisor::{Done, Exit, HypervisorError, HypervisorRequest, RunState, RunView};
use blixard_node::ids::{Generation, NodeId};
use blixard_node::message::Assignment;
use blixard_node::probes::Probe;
use blixard_node::spec::{Phase, RestartPolicy, VmSpec};
use blixard_node::time::Duration;

use crate::cluster::spec;
use crate::host::{Host, prepared, run, running, unwanted, wanted};

const AT_ONCE: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);

fn stands(host: &mut Host) -> (Phase, String) {
    let report = host.reports(1);
    (report.phase, report.reason)
}

fn purged(vm: u64, epoch: u64) -> Assignment {
    Assignment { purge: true, generation: Generation(3), ..unwanted(vm, epoch) }
}

/// A host that runs the VM 1 and was told to stop it: the stop is asked for.
fn stopping() -> Host {
    let mut host = Host::running(wanted(1, 1));
    host.assign(vec![unwanted(1, 1)]);
    assert_eq!(host.asks(), ["stop 1/1"]);
    host
}

/// A host that has stopped the VM 1 and was told to remove what is left of it: the removal is asked for.
fn purging() -> Host {
    let mut host = stopping();
    host.answer(Ok(Done::Stopped));
    host.listed = Some(Vec::new());
    host.assign(vec![purged(1, 1)]);
    assert_eq!(host.asks(), ["purge 1/1"]);
    host
}

/// A process that is opened where these run, has their list, and is then given this set.
fn reopened(runs: Vec<RunView>, set: Vec<Assignment>) -> Host {
    let mut host = Host::open();
    host.listed = Some(runs);
    host.run(SECOND);
    assert!(host.asks().is_empty(), "without a set nobody knows what may stay");
    host.leads = Some(NodeId(1));
    host.assign(set);
    host
}

#[test]
fn a_vm_is_stopped_when_its_hypervisor_says_so() {
    let mut host = stopping();
    let Some((_, HypervisorRequest::Stop { grace, .. })) = host.asked.last() else { panic!("no stop") };
    assert_eq!(*grace, Duration::from_secs(10));
    assert_eq!(stands(&mut host).0, Phase::Stopping);
    host.exits(run(1, 1), Exit::PoweredOff, "");
    assert_eq!(stands(&mut host).0, Phase::Stopping, "that may be late news of an earlier start");
    host.answer(Ok(Done::Stopped));
    host.run(AT_ONCE);
    let report = host.beat().reports[0].clone();
    assert_eq!((report.phase, report.generation), (Phase::Stopped, Generation(2)), "it is told at once");
    assert!(!host.has(Probe::StopDuringStart) && !host.has(Probe::StartDuringStop));
}

#[test]
fn a_start_under_way_is_stopped() {
    let mut host = Host::led();
    host.assign(vec![wanted(1, 1)]);
    host.answer(prepared());
    host.asks();
    host.assign(vec![unwanted(1, 1)]);
    assert_eq!(host.asks(), ["stop 1/1"]);
    assert!(host.has(Probe::StopDuringStart));
    assert_eq!(stands(&mut host).0, Phase::Stopping);
}

#[test]
fn a_start_under_way_is_killed_when_it_is_assigned_no_more_or_anew() {
    for set in [Vec::new(), vec![wanted(1, 2)]] {
        let mut host = Host::led();
        host.assign(vec![wanted(1, 1)]);
        host.answer(prepared());
        host.asks();
        host.assign(set);
        assert_eq!(host.asks(), ["kill 1/1"]);
    }
}

/// An exit comes unasked and may be old: what has exited is killed before it is called stopped.
#[test]
fn what_has_exited_is_killed_to_be_sure_before_it_is_called_stopped() {
    for (restart, phase) in [(RestartPolicy::Always, Phase::Failed), (RestartPolicy::Never, Phase::Exited)] {
        let spec = Arc::new(VmSpec { restart, ..(*spec()).clone() });
        let mut host = Host::running(Assignment { spec: spec.clone(), ..wanted(1, 1) });
        host.exits(run(1, 1), Exit::Crashed, "");
        assert_eq!((stands(&mut host).0, host.asks()), (phase, Vec::new()));
        host.assign(vec![Assignment { spec, ..unwanted(1, 1) }]);
        assert_eq!(host.asks(), ["kill 1/1"]);
        assert!(host.has(Probe::UnconfirmedKilled));
        assert_eq!(stands(&mut host).0, Phase::Stopping);
        host.answer(Ok(Done::Stopped));
        assert_eq!(stands(&mut host).0, Phase::Stopped);
        host.run(Duration::from_secs(5));
        assert!(host.asks().is_empty());
    }
}

#[test]
fn a_guest_that_cannot_be_asked_is_killed_and_its_next_run_is_asked_again() {
    let cannot = || Err(HypervisorError::Unsupported { what: "ask".into() });
    let mut host = stopping();
    host.answer(cannot());
    assert_eq!(host.asks(), ["kill 1/1"]);
    assert!(host.has(Probe::StopUnsupported));
    host.answer(Ok(Done::Stopped));
    assert_eq!(stands(&mut host).0, Phase::Stopped);
    host.assign(vec![wanted(1, 2)]);
    host.answer(Ok(Done::Started));
    host.assign(vec![unwanted(1, 2)]);
    assert_eq!(host.asks(), ["start 1/2", "stop 1/2"]);
}

#[test]
fn a_stop_that_nobody_can_tell_of_is_looked_up_within_a_second() {
    let uncertain = || Err(HypervisorError::Uncertain { reason: "no answer".into() });
    let mut host = stopping();
    host.answer(uncertain());
    assert_eq!(stands(&mut host).0, Phase::Stopping);
    host.run(SECOND);
    assert_eq!(host.asks(), ["stop 1/1"], "it is still there");
    host.listed = Some(Vec::new());
    host.answer(uncertain());
    host.run(SECOND);
    assert_eq!(host.asks(), ["kill 1/1"], "to be sure");
    host.answer(Ok(Done::Stopped));
    assert_eq!(stands(&mut host).0, Phase::Stopped);
    let asked = host.lists.len();
    host.run(Duration::from_secs(5));
    assert_eq!(host.lists.len(), asked);
}

#[test]
fn a_stop_that_is_not_heard_of_is_asked_for_again() {
    let mut host = stopping();
    host.run(Duration::from_secs(14));
    assert!(host.asks().is_empty());
    host.run(Duration::from_secs(10));
    assert_eq!(host.asks(), ["stop 1/1"]);
    assert!(host.has(Probe::StopRepeated) && host.has(Probe::CompletionLost));
    let mut host = stopping();
    host.listed = Some(Vec::new());
    host.run(Duration::from_secs(11));
    assert_eq!(stands(&mut host).0, Phase::Stopped, "a later list does not name it");
    assert!(host.asks().is_empty());
}

#[test]
fn what_is_wanted_again_while_it_is_stopped_is_started_when_it_is() {
    let mut host = stopping();
    host.assign(vec![Assignment { generation: Generation(3), ..wanted(1, 1) }]);
    assert!(host.asks().is_empty());
    assert_eq!(stands(&mut host).0, Phase::Stopping);
    assert!(!host.has(Probe::AssignedDuringStop));
    host.answer(Ok(Done::Stopped));
    assert_eq!(host.asks(), ["start 1/1"]);
    assert!(host.has(Probe::StartDuringStop));
    let mut host = stopping();
    host.assign(vec![wanted(1, 2)]);
    assert!(host.has(Probe::AssignedDuringStop));
    host.answer(Ok(Done::Stopped));
    assert_eq!(host.asks(), ["start 1/2"]);
}

#[test]
fn what_is_assigned_no_more_is_killed_and_forgotten() {
    let mut host = Host::running(wanted(1, 1));
    host.assign(Vec::new());
    assert_eq!(host.asks(), ["kill 1/1"]);
    assert!(host.has(Probe::UnassignedKilled) && !host.has(Probe::OrphanKilled));
    let extended = host.extended.len();
    host.run(Duration::from_secs(5));
    assert_eq!(host.extended.len(), extended, "its deadline moves no more");
    host.answer(Ok(Done::Stopped));
    host.listed = Some(Vec::new());
    host.run(Duration::from_secs(30));
    assert!(host.asks().is_empty());
    assert!(host.beat().reports.is_empty());
}

#[test]
fn what_an_earlier_process_left_is_adopted_killed_or_replaced_as_the_set_says() {
    let mut host = reopened(vec![running(1, 1)], vec![wanted(1, 1)]);
    assert!(host.has(Probe::Adopted) && host.asks().is_empty());
    let report = host.reports(1);
    assert_eq!((report.phase, report.restarts), (Phase::Running, 0));
    assert_eq!(host.extended.last(), Some(&(vec![run(1, 1)], host.lease_end().unwrap())));

    let mut host = reopened(vec![running(1, 1)], Vec::new());
    assert_eq!(host.asks(), ["kill 1/1"]);

    let mut host = reopened(vec![running(1, 1)], vec![unwanted(1, 1)]);
    assert_eq!(host.asks(), ["stop 1/1"]);

    let mut host = reopened(vec![running(1, 1)], vec![wanted(1, 2)]);
    assert_eq!(host.asks(), ["kill 1/1"]);
    assert!(host.has(Probe::OrphanKilled));
    host.listed = Some(Vec::new());
    host.answer(Ok(Done::Stopped));
    assert_eq!(host.asks(), ["prepare 1/2"]);
}

#[test]
fn what_an_earlier_process_left_may_be_found_when_the_set_is_there() {
    let found = |set: Vec<Assignment>, views: Vec<RunView>| {
        let mut host = Host::open();
        host.leads = Some(NodeId(1));
        host.assign(set);
        assert!(host.asks().is_empty(), "nothing is begun before it is known what runs");
        host.complete(host.lists.last().unwrap().1, Ok(Done::Listed(views)));
        host.run(AT_ONCE);
        host
    };
    let mut host = found(vec![wanted(1, 1)], vec![running(1, 1)]);
    assert!(host.has(Probe::Adopted) && host.asks().is_empty());
    assert_eq!(host.beat().reports[0].phase, Phase::Running, "it is told at once");
    assert_eq!(host.extended.last(), Some(&(vec![run(1, 1)], host.lease_end().unwrap())));
    host.exits(run(1, 1), Exit::Crashed, "");
    host.run(SECOND);
    host.answer(prepared());
    host.answer(Ok(Done::Started));
    assert_eq!(host.reports(1).restarts, 1, "it had been started before");

    let mut host = found(vec![wanted(1, 2)], vec![running(1, 1)]);
    assert_eq!(host.asks(), ["kill 1/1"]);
    let mut host = found(vec![wanted(1, 2)], vec![running(1, 1), running(1, 2)]);
    assert!(host.asks().is_empty(), "the one that is wished for is there");
    let mut host = found(Vec::new(), vec![running(3, 1)]);
    assert_eq!(host.asks(), ["kill 3/1"]);
    let mut host = found(vec![purged(1, 1)], Vec::new());
    assert_eq!(host.asks(), ["purge 1/1"], "not before it was known that nothing of it runs");
}

#[test]
fn what_is_found_alive_under_another_run_is_killed() {
    let mut host = Host::running(wanted(1, 2));
    host.listed = Some(vec![running(1, 2), running(1, 1)]);
    host.run(Duration::from_secs(20));
    assert!(host.asks().is_empty());
    host.listed = Some(vec![running(1, 1)]);
    host.run(Duration::from_secs(10));
    assert_eq!(host.asks(), ["kill 1/1"]);
    assert!(!host.has(Probe::CompletionLost), "it waited for nothing");
}

#[test]
fn what_dies_in_silence_is_found_out_by_the_next_list() {
    let mut host = Host::running(wanted(1, 1));
    host.listed = Some(Vec::new());
    host.run(Duration::from_secs(12));
    assert!(host.has(Probe::SilentDeath) && !host.has(Probe::CompletionLost));
    assert_eq!(host.asks(), ["start 1/1"]);
}

#[test]
fn what_is_found_when_the_lease_is_over_is_killed() {
    let mut host = Host::led();
    host.leads = None;
    host.run(Duration::from_secs(10));
    assert_eq!(host.lease_end(), None);
    host.listed = Some(vec![running(1, 1)]);
    host.run(Duration::from_secs(10));
    assert_eq!(host.asks(), ["kill 1/1"]);
}

#[test]
fn a_guest_that_did_not_get_ready_and_is_wanted_no_more_has_not_failed() {
    let mut host = Host::led();
    host.assign(vec![wanted(1, 1)]);
    host.answer(prepared());
    host.listed = Some(vec![RunView { state: RunState::Starting, ..running(1, 1) }]);
    host.asks();
    host.answer(Err(HypervisorError::Start { reason: "no memory".into() }));
    host.run(SECOND);
    assert_eq!(host.asks(), ["start 1/1"]);
    host.run(Duration::from_millis(59_900));
    assert!(host.asks().is_empty());
    host.run(SECOND);
    assert_eq!(host.asks(), ["kill 1/1"]);
    assert!(host.has(Probe::StartGivenUp));
    assert_eq!(
        stands(&mut host),
        (Phase::Stopping, String::new()),
        "what failed before is no reason for that"
    );
    host.assign(vec![unwanted(1, 1)]);
    host.answer(Ok(Done::Stopped));
    assert_eq!(stands(&mut host), (Phase::Stopped, String::new()));
    // Its next run is none that was given up.
    host.listed = Some(Vec::new());
    host.assign(vec![wanted(1, 2)]);
    host.answer(Ok(Done::Started));
    host.assign(vec![unwanted(1, 2)]);
    host.assign(vec![Assignment { generation: Generation(3), ..wanted(1, 2) }]);
    host.asks();
    host.answer(Ok(Done::Stopped));
    assert_eq!(host.asks(), ["start 1/2"]);
}

#[test]
fn a_deleted_vm_is_called_stopped_when_nothing_is_left_of_it() {
    let mut host = Host::running(wanted(1, 1));
    host.assign(vec![purged(1, 1)]);
    assert_eq!(host.asks(), ["stop 1/1"]);
    host.answer(Ok(Done::Stopped));
    host.listed = Some(Vec::new());
    assert_eq!(host.asks(), ["purge 1/1"]);
    assert_eq!(stands(&mut host).0, Phase::Stopping);
    host.exits(run(1, 1), Exit::Crashed, "");
    assert_eq!(stands(&mut host).0, Phase::Stopping);
    host.answer(Ok(Done::Purged));
    assert!(host.has(Probe::Purged));
    assert_eq!(stands(&mut host).0, Phase::Stopped);
    host.run(Duration::from_secs(60));
    assert!(host.asks().is_empty(), "once");
    // Whoever comes after it under its name begins anew, and is removed in its turn.
    host.assign(vec![wanted(1, 2)]);
    assert_eq!(host.asks(), ["prepare 1/2"]);
    host.answer(prepared());
    host.answer(Ok(Done::Started));
    host.assign(vec![purged(1, 2)]);
    host.answer(Ok(Done::Stopped));
    assert_eq!(host.asks(), ["start 1/2", "stop 1/2", "purge 1/2"]);
}

#[test]
fn a_removal_that_failed_is_tried_again_and_says_why() {
    let mut host = purging();
    host.answer(Err(HypervisorError::Uncertain { reason: "busy".into() }));
    assert!(host.has(Probe::PurgeFailed));
    assert_eq!(stands(&mut host), (Phase::Stopping, "the hypervisor's state is uncertain: busy".into()));
    host.run(Duration::from_millis(900));
    assert!(host.asks().is_empty());
    host.run(Duration::from_millis(100));
    assert_eq!(host.asks(), ["purge 1/1"]);
    assert!(!host.has(Probe::PurgeRepeated));
    host.answer(Ok(Done::Purged));
    assert_eq!(stands(&mut host), (Phase::Stopped, String::new()));
}

#[test]
fn a_removal_that_is_not_heard_of_is_asked_for_again() {
    let mut host = purging();
    let first = host.asked.last().unwrap().0;
    host.run(Duration::from_millis(14_900));
    assert!(host.asks().is_empty());
    host.run(Duration::from_millis(1_100));
    assert_eq!(host.asks(), ["purge 1/1"]);
    assert!(host.has(Probe::PurgeRepeated));
    host.complete(first, Ok(Done::Purged));
    assert_eq!(stands(&mut host).0, Phase::Stopping, "nobody waits for that one");
}

#[test]
fn a_removal_ends_what_still_runs_first() {
    let mut host = purging();
    host.answer(Err(HypervisorError::AlreadyRunning { epoch: run(1, 1).epoch }));
    assert_eq!(host.asks(), ["stop 1/1"]);
    assert_eq!(stands(&mut host).0, Phase::Stopping);
    host.answer(Ok(Done::Stopped));
    assert_eq!(host.asks(), ["purge 1/1"]);
    host.listed = Some(vec![running(1, 1)]);
    host.run(Duration::from_secs(11));
    assert_eq!(host.asks(), ["stop 1/1"], "a list has shown it");
}

#[test]
fn a_removal_that_is_wanted_no_more_holds_nothing_up() {
    let mut host = purging();
    host.assign(vec![Assignment { generation: Generation(4), ..unwanted(1, 1) }]);
    assert_eq!(stands(&mut host).0, Phase::Stopped);
    let mut host = purging();
    let removal = host.asked.last().unwrap().0;
    host.assign(Vec::new());
    host.complete(removal, Ok(Done::Purged));
    assert!(host.has(Probe::LateCompletion));
    assert!(host.beat().reports.is_empty());
    let mut host = purging();
    host.assign(vec![wanted(1, 2)]);
    assert_eq!(host.asks(), ["start 1/2"]);
}
