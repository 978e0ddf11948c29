//! Who answers a read, and when.

use blixard_node::config::RaftConfig;
use blixard_node::error::RequestError;
use blixard_node::ids::NodeId;
use blixard_node::request::{Consistency, Read, Request, Response};
use blixard_node::time::Duration;

use crate::cluster::{Cluster, name};
use crate::replication::{create, isolate, three};

fn get(cluster: &mut Cluster, id: u64, vm: &str, consistency: Consistency) -> u64 {
    cluster.ask(id, Request::Read { read: Read::GetVm { name: name(vm) }, consistency })
}

#[test]
fn a_replica_that_is_cut_off_answers_a_stale_read_and_no_other() {
    let (mut cluster, _, [other, _]) = three(RaftConfig::default());
    cluster.done(create("web")).unwrap();
    cluster.run(Duration::from_secs(1));
    isolate(&mut cluster, other);
    let stale = get(&mut cluster, other, "web", Consistency::Stale);
    let sure = get(&mut cluster, other, "web", Consistency::Linearizable);
    assert!(matches!(cluster.replies.get(&stale), Some(Ok(Response::Vm { .. }))));
    cluster.run(Duration::from_secs(10));
    assert!(matches!(cluster.replies.get(&sure), Some(Err(_))), "{:?}", cluster.replies.get(&sure));
}

#[test]
fn a_host_without_a_replica_asks_the_leader_also_for_a_stale_read() {
    let (mut cluster, ..) = three(RaftConfig::default());
    cluster.add(4);
    cluster.run(Duration::from_secs(3));
    cluster.done(create("web")).unwrap();
    let stale = get(&mut cluster, 4, "web", Consistency::Stale);
    assert_eq!(cluster.replies.get(&stale), None);
    cluster.run(Duration::from_millis(500));
    assert!(matches!(cluster.replies.get(&stale), Some(Ok(Response::Vm { .. }))));
}

/// Its heartbeats do not arrive, so that it is given up and another votes in its place, but it hears of that itself.
#[test]
fn a_replica_that_is_none_any_more_does_not_answer_from_what_it_has() {
    let (mut cluster, leader, [gone, _]) = three(RaftConfig::default());
    cluster.hold = Some((gone, leader, "heartbeat"));
    cluster.run(Duration::from_secs(20));
    cluster.add(4);
    cluster.run(Duration::from_secs(10));
    assert_eq!(cluster.leader(), Some(leader), "{}", cluster.log);
    assert!(!cluster.node(gone).membership().voters.contains(&NodeId(gone)), "{}", cluster.log);
    assert!(cluster.node(gone).state().is_some());
    cluster.let_go();
    cluster.run(Duration::from_secs(10));
    cluster.done(create("new")).unwrap();
    let stale = get(&mut cluster, gone, "new", Consistency::Stale);
    cluster.run(Duration::from_secs(1));
    assert!(matches!(cluster.replies.get(&stale), Some(Ok(Response::Vm { .. }))), "{:?}", cluster.replies);
    assert_eq!(cluster.node(gone).consensus().leader, None, "it hears of leaders from its agent alone");
}

/// The slower follower's answer to one confirmation comes in when the leader, cut off by now, waits for the next.
#[test]
fn a_late_answer_to_an_earlier_confirmation_confirms_nothing() {
    let (mut cluster, leader, [slow, other]) = three(RaftConfig::default());
    cluster.done(create("web")).unwrap();
    cluster.hold = Some((slow, leader, "raft"));
    let first = get(&mut cluster, leader, "web", Consistency::Linearizable);
    cluster.run(Duration::from_millis(100));
    assert!(matches!(cluster.replies.get(&first), Some(Ok(Response::Vm { .. }))));
    assert!(!cluster.held.is_empty());
    cluster.cut.extend([(leader, slow), (leader, other), (other, leader)]);
    let second = get(&mut cluster, leader, "web", Consistency::Linearizable);
    cluster.let_go();
    cluster.cut.insert((slow, leader));
    cluster.run(Duration::from_millis(100));
    assert_eq!(cluster.replies.get(&second), None, "nobody has heard the question");
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.replies.get(&second), Some(&Err(RequestError::NoLeader)));
}

#[test]
fn reads_that_wait_and_those_being_confirmed_count_as_one_queue() {
    let (mut cluster, leader, _) = three(RaftConfig::default());
    cluster.crash(leader);
    cluster.machines.get_mut(&leader).unwrap().config.limits.requests_max = 3;
    cluster.open(leader);
    cluster.run(Duration::from_secs(5));
    if cluster.leader() != Some(leader) {
        let now = cluster.leader().unwrap();
        cluster.ask(now, Request::TransferLeader { to: Some(NodeId(leader)) });
        cluster.run(Duration::from_secs(2));
    }
    assert_eq!(cluster.leader(), Some(leader), "{}", cluster.log);
    cluster.done(create("web")).unwrap();
    isolate(&mut cluster, leader);
    let tickets = [1, 2, 3, 4].map(|_| get(&mut cluster, leader, "web", Consistency::Linearizable));
    let answers = tickets.map(|ticket| cluster.replies.get(&ticket).cloned());
    let what = "the leader's queue of requests".into();
    let refused = Some(Err(RequestError::Overloaded { what, max: 3 }));
    assert_eq!(answers, [None, None, None, refused]);
}
