//! What a leader sends its followers, and what becomes of it.

use std::sync::Arc;

use blixard_node::config::RaftConfig;
use blixard_node::effects::Effects;
use blixard_node::error::RequestError;
use blixard_node::ids::{ClientId, RequestId, Revision, Ticket};
use blixard_node::input::Input;
use blixard_node::message::Body;
use blixard_node::probes::Probe;
use blixard_node::request::{Request, Write};
use blixard_node::spec::VmSpec;
use blixard_node::time::{Duration, Now, WallMs};
use raft::eraftpb::{self, MessageType};

use crate::cluster::{Cluster, name, spec};

/// Three voters, the leader, and the others.
pub(crate) fn three(raft: RaftConfig) -> (Cluster, u64, [u64; 2]) {
    let cluster = Cluster::grown(3, raft);
    let leader = cluster.leader().unwrap();
    let others: Vec<_> = (1..=3).filter(|id| *id != leader).collect();
    (cluster, leader, others.try_into().unwrap())
}

pub(crate) fn isolate(cluster: &mut Cluster, id: u64) {
    for other in cluster.machines.keys().filter(|other| **other != id) {
        cluster.cut.extend([(id, *other), (*other, id)]);
    }
}

pub(crate) fn create(vm: &str) -> Write {
    Write::CreateVm { name: name(vm), spec: spec() }
}

/// The entries of the appends that `from` sent `to` since somebody listens, message by message.
fn appends(cluster: &Cluster, from: u64, to: u64) -> Vec<Vec<eraftpb::Entry>> {
    let said =
        cluster.said.iter().flatten().filter(|(sender, receiver, _)| (*sender, *receiver) == (from, to));
    let appends = said.filter_map(|(_, _, message)| match &message.body {
        Body::Raft(message) if message.msg_type == MessageType::MsgAppend => Some(message.entries.to_vec()),
        _ => None,
    });
    appends.filter(|entries| !entries.is_empty()).collect()
}

#[test]
fn what_a_new_leader_replaces_is_gone_from_log_and_disk() {
    let (mut cluster, old, others) = three(RaftConfig::default());
    isolate(&mut cluster, old);
    for vm in ["lost1", "lost2", "lost3"] {
        cluster.write(old, create(vm));
    }
    let unheard = cluster.node(old).consensus();
    assert_eq!(unheard.last_index, unheard.commit + 3, "{}", cluster.log);
    cluster.run(Duration::from_secs(10));
    for vm in ["kept1", "kept2"] {
        cluster.done(create(vm)).unwrap();
    }
    cluster.cut.clear();
    cluster.run(Duration::from_secs(5));
    let new = cluster.leader().unwrap();
    let newest = cluster.node(new);
    let view = newest.consensus();
    assert!(view.term > unheard.term);
    for id in 1..=3 {
        let (node, disk) = (cluster.node(id), &cluster.machines[&id].disk);
        assert_eq!(node.consensus().last_index, view.last_index);
        for index in unheard.commit..=view.last_index {
            let of =
                |node: &blixard_node::Node| (node.log_term(index), node.log_data(index).map(<[u8]>::to_vec));
            assert_eq!(of(node), of(newest), "n{id} at {index}");
            let written: Vec<_> = disk.entries.iter().filter(|entry| entry.index == index).collect();
            let written = written.iter().map(|entry| (Some(entry.term), Some(entry.data.to_vec())));
            assert_eq!(written.collect::<Vec<_>>(), [of(node)], "n{id}'s disk at {index}");
        }
        assert_eq!((node.log_term(view.last_index + 1), node.log_data(view.last_index + 1)), (None, None));
        let state = node.state().unwrap();
        assert!(state.vms.contains_key(&name("kept2")) && !state.vms.contains_key(&name("lost1")));
        assert_eq!(node.probes().has(Probe::LogTruncated), id == old, "n{id}");
        assert!(!node.probes().has(Probe::ChangeTruncated), "no entry of these changed the members");
    }
    assert!(others.contains(&new));
}

/// The follower misses 40 entries, and answers again; the bytes of entries in each append that it is sent, and how many entries they are.
fn catches_up(raft: RaftConfig) -> Vec<(usize, u64)> {
    let (mut cluster, leader, [behind, _]) = three(raft);
    cluster.crash(behind);
    for count in 0..40 {
        cluster.write(leader, create(&format!("vm{count}")));
        cluster.run(Duration::from_millis(5));
    }
    cluster.open(behind);
    cluster.said = Some(Vec::new());
    cluster.run(Duration::from_secs(5));
    let states = [leader, behind].map(|id| cluster.node(id).state().unwrap().hash());
    assert_eq!(states[0], states[1]);
    let size =
        |entries: &Vec<eraftpb::Entry>| entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
    appends(&cluster, leader, behind).iter().map(|entries| (entries.len(), size(entries))).collect()
}

#[test]
fn the_append_that_asks_a_follower_how_far_it_is_holds_what_fits_and_no_more() {
    let (entries, size) = catches_up(RaftConfig { append_bytes_max: 500, ..RaftConfig::default() })[0];
    assert!(entries > 1 && size <= 500, "{entries} entries of {size} bytes");
}

/// Appends that wait for the same follower are joined, whatever their size.
#[test]
fn appends_that_are_joined_hold_no_more_than_all_that_may_be_under_way() {
    let raft = RaftConfig { append_bytes_max: 500, inflight_max: 3, ..RaftConfig::default() };
    let sizes: Vec<u64> = catches_up(raft.clone()).into_iter().map(|(_, size)| size).collect();
    let largest = sizes.iter().max().copied().unwrap();
    assert!(largest > raft.append_bytes_max, "they are joined: {sizes:?}");
    assert!(largest <= raft.appends_bytes_max(), "{sizes:?}");
}

#[test]
fn no_more_appends_are_under_way_to_a_follower_than_configured() {
    let raft = RaftConfig { inflight_max: 2, ..RaftConfig::default() };
    let (mut cluster, leader, [deaf, other]) = three(raft);
    cluster.cut.insert((deaf, leader));
    cluster.said = Some(Vec::new());
    for count in 0..6 {
        cluster.done(create(&format!("vm{count}"))).unwrap();
    }
    assert_eq!(appends(&cluster, leader, deaf).len(), 2, "it answers none");
    assert_eq!(appends(&cluster, leader, other).len(), 6);
}

#[test]
fn proposals_that_are_not_committed_are_bounded() {
    let max = 4_000;
    let raft = RaftConfig { append_bytes_max: 1_000, uncommitted_bytes_max: max, ..RaftConfig::default() };
    let (mut cluster, leader, _) = three(raft);
    isolate(&mut cluster, leader);
    let large = Arc::new(VmSpec { payload: "x".repeat(1_500), ..(*spec()).clone() });
    let create = |vm: &str| Write::CreateVm { name: name(vm), spec: large.clone() };
    let tickets = ["a", "b", "c", "d"].map(|vm| cluster.write(leader, create(vm)));
    let refused =
        Err(RequestError::Overloaded { what: "the log's pipe of uncommitted commands".into(), max });
    let answers = tickets.map(|ticket| cluster.replies.get(&ticket).cloned());
    assert_eq!(answers, [None, None, Some(refused.clone()), Some(refused)]);
    cluster.cut.clear();
    cluster.run(Duration::from_millis(500));
    assert!(cluster.replies[&tickets[1]].is_ok(), "{}", cluster.log);
    assert!(cluster.done(create("e")).is_ok(), "there is room again");
}

#[test]
fn what_comes_in_within_one_turn_leaves_in_one_append_beside_the_turns_write() {
    let (mut cluster, leader, others) = three(RaftConfig::default());
    let now = Now { boot: cluster.now, wall: WallMs(0) };
    let node = cluster.machines.get_mut(&leader).unwrap().node.as_mut().unwrap();
    let mut out = Effects::default();
    for sequence in 1..=3 {
        let id = RequestId { client: ClientId(9), sequence, born: Revision(0) };
        let request = Request::Write { id, write: create(&format!("vm{sequence}")) };
        node.step(now, Input::Request { ticket: Ticket(sequence), request: Box::new(request) }, &mut out);
    }
    node.settle(now, &mut out);
    assert_eq!(out.writes.append.len(), 3);
    let early = out.early_sends.iter().map(|(to, message)| match &message.body {
        Body::Raft(message) => (to.0, message.msg_type, message.entries.len()),
        other => panic!("{other:?} leaves early"),
    });
    assert_eq!(early.collect::<Vec<_>>(), others.map(|id| (id, MessageType::MsgAppend, 3)));
    let append = |body: &Body| matches!(body, Body::Raft(m) if m.msg_type == MessageType::MsgAppend);
    assert!(!out.sends.iter().any(|(_, message)| append(&message.body)));
    let held = |id| cluster.node(id).probes().has(Probe::AppendsHeld);
    assert!(held(1), "the first node had to, when others came to vote beside it");
    assert!(!others.into_iter().filter(|id| *id != 1).any(held), "they never had any");
}
