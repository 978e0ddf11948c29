//! Leaders that come and go: who is answered what, and what is marked.

use blixard_node::config::RaftConfig;
use blixard_node::error::RequestError;
use blixard_node::ids::NodeId;
use blixard_node::input::Input;
use blixard_node::message::{Body, Heartbeat, Message, Nonce, SnapshotChunk};
use blixard_node::probes::Probe;
use blixard_node::request::{Consistency, Read, Request, Write};
use blixard_node::time::Duration;
use raft::eraftpb::{self, MessageType};

use crate::cluster::{Cluster, name};
use crate::replication::{create, isolate, three};

/// Which of these it has reached.
fn reached(cluster: &Cluster, id: u64, of: &[Probe]) -> Vec<Probe> {
    of.iter().copied().filter(|probe| cluster.node(id).probes().has(*probe)).collect()
}

const DEPOSED_WITH: [Probe; 5] = [
    Probe::DeposedWithHeartbeats,
    Probe::DeposedWithReads,
    Probe::DeposedWithProposals,
    Probe::DeposedInJoint,
    Probe::DeposedWithSnapshot,
];

#[test]
fn a_deposed_leader_answers_everyone_who_waits() {
    let (mut cluster, leader, _) = three(RaftConfig::default());
    isolate(&mut cluster, leader);
    let write = cluster.write(leader, create("web"));
    let read = |cluster: &mut Cluster| {
        let read = Request::Read { read: Read::ListVms, consistency: Consistency::Linearizable };
        cluster.ask(leader, read)
    };
    let reads = [read(&mut cluster), read(&mut cluster)];
    cluster.run(Duration::from_secs(3));
    assert!(cluster.log.contains(&format!("n{leader} leads no more")), "{}", cluster.log);
    let reason = "the leader lost its office before the request was committed".into();
    assert_eq!(cluster.replies.get(&write), Some(&Err(RequestError::Unknown { reason })));
    for read in reads {
        assert_eq!(cluster.replies.get(&read), Some(&Err(RequestError::NoLeader)));
    }
    let with = [Probe::DeposedWithHeartbeats, Probe::DeposedWithReads, Probe::DeposedWithProposals];
    assert_eq!(reached(&cluster, leader, &DEPOSED_WITH), with);
}

#[test]
fn a_leader_with_heartbeats_alone_on_its_hands_is_told_apart() {
    let (mut cluster, leader, _) = three(RaftConfig::default());
    isolate(&mut cluster, leader);
    cluster.run(Duration::from_secs(5));
    assert_eq!(reached(&cluster, leader, &DEPOSED_WITH), [Probe::DeposedWithHeartbeats], "its own agent's");
}

/// Lets time pass until the leader has just granted what it was asked for.
fn until_granted(cluster: &mut Cluster, leader: u64) {
    cluster.said = Some(Vec::new());
    let granted = |cluster: &Cluster| {
        let said = cluster.said.iter().flatten();
        said.filter(|(from, ..)| *from == leader).any(|(.., m)| matches!(m.body, Body::HeartbeatAck(_)))
    };
    for _ in 0..5_000 {
        if granted(cluster) {
            break;
        }
        cluster.run(Duration::from_millis(1));
    }
    assert!(granted(cluster), "{}", cluster.log);
    cluster.said = None;
}

/// The leader hears that another leads the next term.
fn depose(cluster: &mut Cluster, leader: u64, by: u64) {
    let term = cluster.node(leader).consensus().term + 1;
    let mut message = eraftpb::Message { from: by, to: leader, term, ..Default::default() };
    message.msg_type = MessageType::MsgHeartbeat;
    let identity = cluster.node(by).identity();
    let (from, incarnation) = (identity.node, identity.incarnation);
    let body = Body::Raft(Box::new(message));
    let message = Message { cluster: identity.cluster, from, incarnation, body };
    cluster.turn(leader, Input::Deliver(Box::new(message)));
    assert!(!cluster.node(leader).consensus().is_leader);
}

#[test]
fn what_a_leader_is_deposed_with_is_told_apart() {
    for (reads, beats, confirming) in
        [(0, false, false), (1, false, false), (2, false, false), (0, true, false), (0, true, true)]
    {
        let (mut cluster, leader, [by, beating]) = three(RaftConfig::default());
        until_granted(&mut cluster, leader);
        isolate(&mut cluster, leader);
        for _ in 0..reads {
            let read = Request::Read { read: Read::ListVms, consistency: Consistency::Linearizable };
            cluster.ask(leader, read);
        }
        if beats {
            let identity = cluster.node(beating).identity();
            let body = Body::Heartbeat(Heartbeat {
                nonce: Nonce { process: 1, sequence: 1 },
                sent: cluster.now,
                set_revision: cluster.node(beating).set_revision(),
                answered: 0,
                reports: Vec::new(),
                urgent: confirming,
                level: cluster.node(beating).level(),
            });
            let (from, incarnation) = (identity.node, identity.incarnation);
            let message = Message { cluster: identity.cluster, from, incarnation, body };
            cluster.turn(leader, Input::Deliver(Box::new(message)));
        }
        cluster.run(Duration::from_millis(5));
        depose(&mut cluster, leader, by);
        let with_beats = beats.then_some(Probe::DeposedWithHeartbeats);
        let with_reads = (reads > 0).then_some(Probe::DeposedWithReads);
        let with: Vec<_> = with_beats.into_iter().chain(with_reads).collect();
        assert_eq!(
            reached(&cluster, leader, &DEPOSED_WITH),
            with,
            "{reads} reads, beats: {beats} {confirming}"
        );
    }
}

#[test]
fn a_leader_that_hands_over_in_peace_leaves_nothing_behind() {
    let (mut cluster, leader, [heir, _]) = three(RaftConfig::default());
    cluster.ask(leader, Request::TransferLeader { to: Some(NodeId(heir)) });
    cluster.run(Duration::from_millis(100));
    assert_eq!(cluster.leader(), Some(heir), "{}", cluster.log);
    assert!(cluster.node(leader).probes().has(Probe::Deposed));
    assert_eq!(reached(&cluster, leader, &DEPOSED_WITH), []);
    let rare = [Probe::ElectedWithBacklog, Probe::JointLeftByAnother, Probe::ElectedOnTheWayOut];
    assert_eq!(reached(&cluster, heir, &rare), []);
}

#[test]
fn a_leader_that_finds_work_of_an_earlier_one_is_marked_and_does_it() {
    let (mut cluster, leader, others) = three(RaftConfig::default());
    // Both have the entry; nobody but its leader knows that it is committed.
    cluster.write(leader, create("web"));
    cluster.run(Duration::from_millis(3));
    assert!(others.iter().all(|id| cluster.node(*id).state().unwrap().vms.is_empty()));
    cluster.crash(leader);
    cluster.run(Duration::from_secs(10));
    let heir = cluster.leader().unwrap();
    assert_eq!(reached(&cluster, heir, &[Probe::ElectedWithBacklog]), [Probe::ElectedWithBacklog]);
    assert!(cluster.node(heir).state().unwrap().vms.contains_key(&name("web")));
}

/// A piece of a snapshot that is whole, as the leader of `term` would send it.
pub(crate) fn piece(cluster: &Cluster, from: u64, to: u64, term: u64) -> Message {
    let snapshot = cluster.machines[&from].disk.snapshot.clone().unwrap();
    let mut message = eraftpb::Message { from, to, term, ..Default::default() };
    message.msg_type = MessageType::MsgSnapshot;
    let metadata = message.mut_snapshot().mut_metadata();
    (metadata.index, metadata.term) = (snapshot.index, snapshot.term);
    metadata.mut_conf_state().voters = snapshot.membership.voters.iter().map(|node| node.0).collect();
    metadata.mut_conf_state().learners = snapshot.membership.learners.iter().map(|node| node.0).collect();
    let (len, crc) = (snapshot.data.len() as u64, crc32fast::hash(&snapshot.data));
    let chunk = SnapshotChunk { message: Box::new(message), offset: 0, len, crc, data: snapshot.data };
    let identity = cluster.node(from).identity();
    let (cluster, incarnation) = (identity.cluster, identity.incarnation);
    Message { cluster, from: NodeId(from), incarnation, body: Body::SnapshotChunk(chunk) }
}

/// What it says to `from` when it gets that piece.
fn answers(cluster: &mut Cluster, to: u64, piece: Message) -> Vec<Body> {
    let from = piece.from.0;
    cluster.said = Some(Vec::new());
    cluster.turn(to, Input::Deliver(Box::new(piece)));
    let said = cluster.said.take().unwrap().into_iter();
    said.filter(|(sender, receiver, _)| (*sender, *receiver) == (to, from)).map(|(.., m)| m.body).collect()
}

#[test]
fn a_deposed_leader_that_still_sends_a_snapshot_is_told_the_newer_term() {
    let (mut cluster, leader, [old, other]) = three(RaftConfig::default());
    let term = cluster.node(other).consensus().term;
    assert!(term > 1 || leader == 1);
    let before = cluster.node(other).revision();
    let piece = piece(&cluster, old, other, term - 1);
    let answers = answers(&mut cluster, other, piece);
    let told = answers.iter().filter_map(|body| match body {
        Body::Raft(message) => Some((message.msg_type, message.term)),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [(MessageType::MsgAppendResponse, term)], "{answers:?}");
    assert!(!answers.iter().any(|body| matches!(body, Body::SnapshotAck { .. })), "{answers:?}");
    assert!(cluster.node(other).probes().has(Probe::SnapshotOfOldTerm));
    assert_eq!(cluster.node(other).revision(), before);
}

#[test]
fn a_newer_leaders_snapshot_is_taken_at_once() {
    let (mut cluster, _, [new, other]) = three(RaftConfig::default());
    let term = cluster.node(other).consensus().term + 1;
    let piece = piece(&cluster, new, other, term);
    let answers = answers(&mut cluster, other, piece);
    assert!(answers.iter().any(|body| matches!(body, Body::SnapshotAck { .. })), "{answers:?}");
    assert_eq!(cluster.node(other).consensus().term, term);
    assert!(!cluster.node(other).probes().has(Probe::SnapshotOfOldTerm));
}

#[test]
fn a_request_that_is_asked_twice_at_once_is_carried_out_once_and_marked() {
    let (mut cluster, leader, others) = three(RaftConfig::default());
    cluster.done(create("before")).unwrap();
    assert!(!cluster.node(leader).probes().has(Probe::LoggedTwice));
    let id = cluster.next_id();
    let tickets = [leader, leader].map(|at| cluster.ask(at, Request::Write { id, write: create("web") }));
    cluster.run(Duration::from_millis(100));
    assert!(cluster.replies[&tickets[0]].is_ok());
    assert_eq!(cluster.replies[&tickets[0]], cluster.replies[&tickets[1]]);
    assert!(cluster.node(leader).probes().has(Probe::LoggedTwice));
    assert!(!cluster.node(others[0]).probes().has(Probe::LoggedTwice), "who waits for nobody does not know");
}

#[test]
fn nothing_rare_is_marked_while_all_is_well_and_a_host_is_lost() {
    let (mut cluster, leader, [host, other]) = three(RaftConfig::default());
    for vm in ["a", "b", "c"] {
        cluster.done(create(vm)).unwrap();
        cluster.done(Write::StartVm { name: name(vm), generation: None }).unwrap();
    }
    cluster.run(Duration::from_secs(2));
    cluster.crash(host);
    cluster.run(Duration::from_secs(20));
    assert_eq!(cluster.running().iter().filter(|(at, _)| *at != host).count(), 3, "{}", cluster.log);
    let rare = [
        Probe::SessionEvicted,
        Probe::LevelRaised,
        Probe::AssignmentOvertaken,
        Probe::ReportOvertaken,
        Probe::HostLostByAnother,
        Probe::LoggedTwice,
        Probe::LogTruncated,
        Probe::Demoted,
        Probe::SnapshotInJoint,
        Probe::SnapshotOfJoint,
        Probe::DeposedInJoint,
        Probe::JointLeftByAnother,
    ];
    for id in [leader, other] {
        assert_eq!(reached(&cluster, id, &rare), [], "n{id}");
        assert!(cluster.node(id).probes().has(Probe::JointEntered));
        assert_eq!(cluster.node(id).probes().has(Probe::Promoted), id != 1, "the first always voted");
    }
    assert!(!cluster.log.contains("raises the level"), "{}", cluster.log);
}

/// A host is given up in the log of a leader that does not live to carry it out.
#[test]
fn a_host_given_up_by_an_earlier_leader_is_lost_and_marked() {
    let (mut cluster, leader, [host, heir]) = three(RaftConfig::default());
    cluster.add(4);
    cluster.run(Duration::from_secs(5));
    cluster.crash(4);
    let lost = |cluster: &Cluster, id| cluster.node(id).state().unwrap().hosts[&NodeId(4)].lost;
    cluster.run(Duration::from_secs(9));
    for _ in 0..4_000 {
        let view = cluster.node(heir).consensus();
        if view.last_index > view.applied {
            break;
        }
        cluster.run(Duration::from_millis(1));
    }
    assert!(!lost(&cluster, heir) && !lost(&cluster, host), "{}", cluster.log);
    cluster.crash(leader);
    cluster.run(Duration::from_secs(5));
    let heir = cluster.leader().unwrap();
    assert!(lost(&cluster, heir), "{}", cluster.log);
    assert!(cluster.node(heir).probes().has(Probe::HostLostByAnother));
}

#[test]
fn the_oldest_session_is_forgotten_when_there_is_no_room_for_another() {
    let mut cluster = Cluster::new(1, RaftConfig::default());
    cluster.crash(1);
    let machine = cluster.machines.get_mut(&1).unwrap();
    let settings = blixard_node::config::Settings { sessions_max: 2, ..Default::default() };
    machine.disk =
        blixard_node::bootstrap(&machine.config, &settings, blixard_node::ids::ClusterId(7), 1).unwrap();
    cluster.open(1);
    cluster.run(Duration::from_secs(3));
    for client in 1..=3 {
        assert!(!cluster.node(1).probes().has(Probe::SessionEvicted));
        let id =
            blixard_node::ids::RequestId { client: blixard_node::ids::ClientId(client), ..cluster.next_id() };
        let ticket = cluster.ask(1, Request::Write { id, write: create(&format!("vm{client}")) });
        cluster.run(Duration::from_millis(100));
        assert!(cluster.replies[&ticket].is_ok());
    }
    assert!(cluster.node(1).probes().has(Probe::SessionEvicted));
}
