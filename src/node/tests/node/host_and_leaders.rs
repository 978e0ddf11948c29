//! A host and those who lead, or are said to: whom it asks, whom it believes, and when it has a lease.

use blixard_node::effects::Event;
use blixard_node::error::RequestError;
use blixard_node::hypervisor::{Done, HypervisorError};
use blixard_node::ids::{NodeId, Revision};
use blixard_node::message::{Body, HeartbeatAck};
use blixard_node::probes::Probe;
use blixard_node::request::{Consistency, Read, Request, Write};
use blixard_node::time::{Duration, Time};

use crate::cluster::name;
use crate::host::{Host, TTL, members, prepared, running, unwanted, wanted};

const AT_ONCE: Duration = Duration::from_millis(20);
const SILENT: Duration = Duration::from_millis(2_500);
const INSTANT: Duration = Duration::from_nanos(1);

fn read() -> Request {
    Request::Read { read: Read::GetVm { name: name("web") }, consistency: Consistency::Linearizable }
}

/// Lets time pass until this moment.
fn run_to(host: &mut Host, at: Time) {
    host.run(at.since(host.now));
}

/// A host whose leader, member 1, was heard at the returned moment and says nothing from then on.
fn left_alone() -> (Host, Time) {
    let mut host = Host::led();
    host.leads = None;
    let heard = host.beats.last().unwrap().0;
    (host, heard)
}

#[test]
fn each_member_is_asked_once_before_any_is_asked_again() {
    let mut host = Host::knowing(&[9, 1, 2, 3]);
    host.run(Duration::from_secs(20));
    let mut asked: Vec<u64> = host.beats.iter().map(|(_, to, _)| to.0).collect();
    asked.dedup();
    assert_eq!(asked[..6], [1, 2, 3, 1, 2, 3]);
}

#[test]
fn a_leader_that_is_silent_for_longer_than_it_may_be_is_looked_for_elsewhere() {
    for (late, asked) in [(Duration::ZERO, 2), (INSTANT, 1)] {
        let mut host = Host::open();
        host.run(INSTANT);
        host.acknowledge(2, host.ack(&host.beat()));
        host.run(Duration(SILENT.0 + late.0));
        host.deliver(2, Body::Nudge);
        assert_eq!(host.beats.last().unwrap().0, host.now);
        assert_eq!(host.asked_member(), asked);
    }
}

#[test]
fn who_is_sent_elsewhere_goes_there_at_once_three_times_in_a_row() {
    let mut host = Host::open();
    host.run(INSTANT);
    assert_eq!(host.asked_member(), 1);
    for (from, to) in [(1, 2), (2, 1), (1, 2)] {
        host.not_leader(from, Some(to), &[]);
        host.run(AT_ONCE);
        assert_eq!(host.asked_member(), to);
    }
    host.not_leader(2, Some(1), &[]);
    host.run(AT_ONCE);
    assert_eq!(host.asked_member(), 2, "it has been sent to and fro");
    assert!(!host.has(Probe::SentInCircles));
    host.run(Duration::from_secs(1));
    assert_eq!(host.asked_member(), 1, "it goes all the same, at its usual pace");
    assert!(host.has(Probe::SentInCircles));
    // An answer begins the count anew.
    host.acknowledge(1, host.ack(&host.beat()));
    host.run(AT_ONCE);
    host.not_leader(1, Some(2), &[]);
    host.run(AT_ONCE);
    assert_eq!(host.asked_member(), 2);
}

#[test]
fn who_does_not_know_the_leader_is_asked_no_more() {
    let mut host = Host::open();
    host.run(INSTANT);
    host.not_leader(1, None, &[]);
    host.run(Duration::from_secs(1));
    assert_eq!(host.asked_member(), 2);
}

#[test]
fn who_was_not_asked_sends_nobody_elsewhere() {
    let mut host = Host::led();
    let beats = host.beats.len();
    host.not_leader(2, Some(3), &[]);
    host.not_leader(2, None, &[]);
    host.run(AT_ONCE);
    assert_eq!(host.beats.len(), beats);
    host.run(Duration::from_secs(3));
    assert!(host.beats.iter().all(|(_, to, _)| *to == NodeId(1)));
}

#[test]
fn a_call_is_not_heard_while_the_leader_answers() {
    let mut host = Host::led();
    let beats = host.beats.len();
    host.not_leader(2, Some(2), &[]);
    host.run(AT_ONCE);
    assert_eq!(host.beats.len(), beats);
    host.run(Duration::from_secs(3));
    assert!(host.beats.iter().all(|(_, to, _)| *to == NodeId(1)));
}

#[test]
fn a_call_is_answered_at_once_when_the_leader_is_silent() {
    let (mut host, heard) = left_alone();
    run_to(&mut host, heard + SILENT);
    host.not_leader(2, Some(2), &[]);
    host.run(AT_ONCE);
    assert_eq!(host.asked_member(), 1, "not silent for longer than that");
    host.not_leader(2, Some(2), &[]);
    host.run(AT_ONCE);
    assert_eq!(host.asked_member(), 2);
}

#[test]
fn a_call_is_answered_at_once_while_members_are_asked_in_turn() {
    let (mut host, heard) = left_alone();
    run_to(&mut host, heard + Duration::from_secs(3));
    assert!(host.has(Probe::LookedElsewhere));
    host.not_leader(3, Some(3), &[]);
    host.run(AT_ONCE);
    assert_eq!(host.asked_member(), 3);
    let mut lost = Host::open();
    lost.run(INSTANT);
    lost.not_leader(1, None, &[]);
    lost.not_leader(3, Some(3), &[]);
    lost.run(AT_ONCE);
    assert_eq!(lost.asked_member(), 3);
}

#[test]
fn members_heard_of_are_added_and_only_a_leader_takes_any_away() {
    let mut host = Host::open();
    let moved = vec![(NodeId(2), "elsewhere:7001".to_owned()), (NodeId(4), "host4:7001".to_owned())];
    host.deliver(3, Body::NotLeader { leader: None, members: moved.clone() });
    let [one, _, three] = &members(&[1, 2, 3])[..] else { panic!("three members") };
    let known = vec![one.clone(), moved[0].clone(), three.clone(), moved[1].clone()];
    assert_eq!(host.disk.agent.members, known);
    assert_eq!(host.directory, Some(known.clone()));
    host.run(INSTANT);
    host.acknowledge(1, host.ack(&host.beat()));
    assert_eq!(host.disk.agent.members, known, "it says nothing of members");
    host.run(AT_ONCE);
    host.acknowledge(1, HeartbeatAck { members: members(&[1, 4]), ..host.ack(&host.beat()) });
    assert_eq!(host.disk.agent.members, members(&[1, 4]));
    assert_eq!(host.directory, Some(members(&[1, 4])));
}

#[test]
fn a_request_is_passed_on_to_a_leader_that_answers_and_to_no_other() {
    let (mut host, heard) = left_alone();
    run_to(&mut host, heard + SILENT);
    assert_eq!(host.request(read()), None);
    assert!(matches!(host.said.last(), Some((NodeId(1), Body::Forward { .. }))), "{:?}", host.said);
    run_to(&mut host, heard + SILENT + INSTANT);
    assert_eq!(host.request(read()), Some(Err(RequestError::NoLeader)));

    let (mut host, _) = left_alone();
    host.not_leader(1, Some(2), &[]);
    host.run(AT_ONCE);
    assert_eq!(host.request(read()), Some(Err(RequestError::NoLeader)), "that is hearsay");
    host.acknowledge(2, host.ack(&host.beat()));
    assert_eq!(host.request(read()), None);
    assert!(matches!(host.said.last(), Some((NodeId(2), Body::Forward { .. }))), "{:?}", host.said);
}

#[test]
fn a_leader_that_knows_no_levels_is_not_sent_what_needs_one() {
    let write = Write::CordonHost { node: NodeId(2), cordoned: true, reason: "new disks".into() };
    let mut host = Host::open();
    let cordon = Request::Write { id: request_id(), write };
    host.run(INSTANT);
    host.acknowledge(1, HeartbeatAck { level: None, ..host.ack(&host.beat()) });
    let refused = host.request(cordon.clone());
    assert!(
        matches!(&refused, Some(Err(RequestError::BelowLevel { held_back_by, .. })) if *held_back_by == [NodeId(1)]),
        "{refused:?}"
    );
    assert_eq!(host.request(read()), None, "it reads what there always was");
    host.run(AT_ONCE);
    host.acknowledge(1, host.ack(&host.beat()));
    assert_eq!(host.request(cordon), None, "it has been upgraded");
}

fn request_id() -> blixard_node::ids::RequestId {
    blixard_node::ids::RequestId { client: blixard_node::ids::ClientId(1), sequence: 1, born: Revision(0) }
}

#[test]
fn only_an_answer_to_a_heartbeat_of_its_own_counts() {
    let mut host = Host::open();
    host.run(INSTANT);
    let beat = host.beat();
    let ack = host.ack(&beat);
    let mut another_process = ack.clone();
    another_process.nonce.process += 1;
    let mut never_sent = ack.clone();
    never_sent.nonce.sequence += 1;
    let later = HeartbeatAck { sent: ack.sent + TTL, ..ack.clone() };
    for forged in [another_process, never_sent, later] {
        host.acknowledge(1, forged.clone());
        assert_eq!(host.lease_end(), None, "{forged:?}");
    }
    host.acknowledge(1, ack);
    assert_eq!(host.lease_end(), Some(beat.sent + TTL));
}

#[test]
fn answers_count_in_their_order_and_none_that_a_newer_one_overtook() {
    let mut host = Host::open();
    host.run(Duration::from_millis(2_100));
    let acks: Vec<_> = host.beats.iter().map(|(_, _, beat)| host.ack(beat)).collect();
    assert_eq!(acks.len(), 3);
    for ack in &acks {
        host.acknowledge(1, ack.clone());
        assert_eq!(host.lease_end(), Some(ack.sent + TTL));
    }
    let (lease, revision) = (host.lease_end(), host.revision());
    for late in acks {
        host.acknowledge(
            1,
            HeartbeatAck { revision: Revision(revision.0 + 5), set: Some(Vec::new()), ..late },
        );
        assert_eq!((host.lease_end(), host.revision()), (lease, revision));
    }
    assert!(host.has(Probe::AckOutOfOrder));
}

#[test]
fn an_answer_grants_nothing_when_its_lease_is_over() {
    for (late, granted) in [(INSTANT, true), (Duration::ZERO, false)] {
        let mut host = Host::open();
        host.run(INSTANT);
        let ack = host.ack(&host.beat());
        let end = ack.sent + TTL;
        run_to(&mut host, Time(end.0 - late.0));
        host.acknowledge(1, ack);
        assert_eq!(host.lease_end(), granted.then_some(end));
        assert_eq!(host.has(Probe::AckTooLate), !granted);
    }
}

#[test]
fn a_set_older_than_the_one_at_work_is_refused_also_by_the_next_process() {
    let mut host = Host::running(wanted(1, 1));
    host.leads = None;
    let (at, lease) = (host.revision(), host.lease_end());
    host.run(Duration::from_secs(1));
    let got = Revision(at.0 - 1);
    let stale = |host: &Host| HeartbeatAck { revision: got, set: Some(Vec::new()), ..host.ack(&host.beat()) };
    host.acknowledge(1, stale(&host));
    assert_eq!((host.revision(), host.lease_end()), (at, lease));
    assert!(host.events.contains(&Event::StaleSetRefused { at, got }), "{:?}", host.events);
    assert!(host.asks().is_empty(), "what runs is left alone");

    let mut next = Host::on(host.disk.clone(), host.now, 2);
    next.run(INSTANT);
    next.acknowledge(1, stale(&next));
    assert_eq!((next.revision(), next.lease_end()), (at, None));
    next.run(Duration::from_secs(1));
    next.acknowledge(1, HeartbeatAck { revision: at, set: Some(Vec::new()), ..next.ack(&next.beat()) });
    assert!(next.lease_end().is_some(), "the same is none that is older");
    assert_eq!(next.events, [Event::Joined, Event::StaleSetRefused { at, got }]);
}

#[test]
fn there_is_no_lease_without_a_set() {
    let mut host = Host::open();
    host.run(INSTANT);
    host.acknowledge(1, HeartbeatAck { set: None, ..host.ack(&host.beat()) });
    assert_eq!(host.lease_end(), None);
    assert!(host.has(Probe::AckWithoutSet));
}

#[test]
fn who_is_asked_whether_it_hears_says_so_at_once_and_is_granted_nothing() {
    let mut host = Host::open();
    host.run(INSTANT);
    let asked = host.beat();
    assert_eq!(asked.answered, 0);
    host.acknowledge(1, HeartbeatAck { ttl: Duration::ZERO, ..host.ack(&asked) });
    assert_eq!(host.lease_end(), None);
    host.run(AT_ONCE);
    let beat = host.beat();
    assert_eq!((beat.answered, beat.urgent), (asked.nonce.sequence, true));
    assert_ne!(beat, asked);
}

#[test]
fn a_host_works_from_no_set_when_its_lease_has_ended() {
    let mut host = Host::running(wanted(1, 1));
    host.leads = None;
    let end = host.lease_end().unwrap();
    run_to(&mut host, end + AT_ONCE);
    assert_eq!(host.asks(), ["kill 1/1"]);
    assert_eq!((host.lease_end(), host.beat().set_revision), (None, Revision(0)));
    assert!(host.events.contains(&Event::LeaseExpired) && host.has(Probe::ExpiredWithRuns));
    assert!(host.beat().reports.is_empty(), "it is assigned nothing");
}

/// What the hypervisor says may come in before the host has seen that its lease is over.
#[test]
fn nothing_is_begun_in_the_moment_in_which_the_lease_ends() {
    for late in [Duration::ZERO, INSTANT] {
        let mut host = Host::open();
        host.leads = Some(NodeId(1));
        host.assign(vec![wanted(1, 1)]);
        host.leads = None;
        let end = host.lease_end().unwrap();
        run_to(&mut host, Time(end.0 - 1));
        host.now = end + late;
        let (_, list) = *host.lists.last().unwrap();
        host.complete(list, Ok(Done::Listed(Vec::new())));
        assert!(host.asks().is_empty(), "{:?}", host.asked);
        assert!(host.extended.is_empty());
    }
}

#[test]
fn what_runs_is_asked_for_each_second_until_it_is_told_and_then_every_ten() {
    let mut host = Host::open();
    host.run(Duration::from_millis(3_500));
    assert_eq!(host.lists.len(), 4);
    let (_, list) = *host.lists.last().unwrap();
    host.complete(list, Ok(Done::Listed(vec![running(1, 1)])));
    let told = host.now;
    host.run(Duration::from_secs(25));
    let asked: Vec<Duration> = host.lists[4..].iter().map(|(at, _)| at.since(told)).collect();
    assert_eq!(asked, [Duration::from_secs(10), Duration::from_secs(20)]);
}

#[test]
fn a_question_that_failed_is_asked_again_after_a_second() {
    let mut host = Host::led();
    host.listed = None;
    host.run(Duration::from_secs(10));
    let (at, list) = *host.lists.last().unwrap();
    let asked = host.lists.len();
    host.complete(list, Err(HypervisorError::Uncertain { reason: "it hangs".into() }));
    let answered = host.now;
    host.run(Duration::from_secs(2));
    assert_eq!(host.lists[asked].0, answered + Duration::from_secs(1), "asked at {at:?}");
}

/// An answer that takes longer than the next question still counts, but not for ever.
#[test]
fn sixteen_questions_are_waited_for_and_nothing_else_is_forgotten_with_them() {
    let mut host = Host::led();
    host.assign(vec![wanted(1, 1)]);
    assert_eq!(host.asks(), ["prepare 1/1"]);
    host.listed = None;
    let first = host.lists.len();
    let mut preparation = host.asked.last().unwrap().0;
    while host.lists.len() < first + 17 {
        preparation = host.asked.last().unwrap().0;
        host.run(Duration::from_millis(100));
    }
    assert_eq!(
        host.asked.last().unwrap().0,
        preparation,
        "the test would know no preparation that is under way"
    );
    let adopted = |host: &mut Host, nth: usize| {
        let (_, list) = host.lists[nth];
        host.complete(list, Ok(Done::Listed(vec![running(2, 1)])));
        host.asks().contains(&"kill 2/1".to_owned())
    };
    host.asks();
    assert!(!adopted(&mut host, first), "the seventeenth was one too many");
    assert!(host.has(Probe::LateCompletion));
    host.complete(preparation, prepared());
    assert_eq!(host.asks(), ["start 1/1"]);
    assert!(adopted(&mut host, first + 16));
}

#[test]
fn when_a_question_is_answered_an_older_one_has_nothing_more_to_say() {
    let mut host = Host::open();
    host.leads = Some(NodeId(1));
    host.assign(Vec::new());
    host.run(Duration::from_secs(3));
    let questions: Vec<_> = host.lists.iter().map(|(_, list)| *list).collect();
    let [first, second, third, ..] = questions[..] else { panic!("{questions:?}") };
    let mut found = |list, runs| {
        host.complete(list, Ok(Done::Listed(runs)));
        host.asks()
    };
    assert!(found(second, Vec::new()).is_empty());
    assert!(found(first, vec![running(1, 1)]).is_empty());
    assert_eq!(found(third, vec![running(2, 1)]), ["kill 2/1"]);
}

#[test]
fn an_answer_that_takes_longer_than_the_next_question_counts() {
    let mut host = Host::open();
    host.leads = Some(NodeId(1));
    host.run(Duration::from_millis(3_500));
    host.assign(vec![unwanted(1, 1)]);
    assert!(host.beat().reports.is_empty(), "nothing is known yet");
    let (_, list) = host.lists[1];
    host.complete(list, Ok(Done::Listed(Vec::new())));
    assert!(host.beat().reports.is_empty());
    host.run(AT_ONCE);
    host.reports(1);
}
