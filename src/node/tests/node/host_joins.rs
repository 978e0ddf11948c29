//! A host and those who may take it in.

use blixard_node::config::RaftConfig;
use blixard_node::effects::Event;
use blixard_node::ids::{ClusterId, NodeId};
use blixard_node::input::Input;
use blixard_node::level::Level;
use blixard_node::message::Body;
use blixard_node::probes::Probe;
use blixard_node::time::Duration;

use crate::cluster::Cluster;
use crate::host::{CLUSTER, Host, ME, members};

const INSTANT: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);
const NOBODY: ClusterId = ClusterId(0);
const OTHERS: ClusterId = ClusterId(8);

fn points_to(leader: Option<NodeId>, others: &[u64]) -> Body {
    Body::NotLeader { leader, members: members(others) }
}

fn joined() -> Body {
    Body::Joined { members: Vec::new() }
}

fn refused(below: Option<Level>) -> Body {
    Body::Refused { reason: "go".into(), below }
}

/// A process of a member, on its disk, that asks to be taken in.
fn member_again() -> Host {
    let host = Host::open();
    Host::asking(host.disk, host.now, 2, &[])
}

#[test]
fn it_asks_each_that_it_knows_in_turn_and_no_more_when_it_is_taken_in() {
    let mut host = Host::newcomer(&[1, 2, 3]);
    host.run(SECOND * 3 + INSTANT);
    assert_eq!(host.asked_to_join(), [1, 2, 3, 1]);
    assert!(!host.is_joined());
    host.deliver(1, joined());
    assert!(host.is_joined() && host.events == [Event::Joined]);
    assert_eq!(host.disk.identity.unwrap().cluster, CLUSTER);
    host.run(SECOND * 5);
    assert_eq!(host.asked_to_join().len(), 4);
    host.deliver(1, joined());
    assert_eq!(host.events, [Event::Joined]);
}

#[test]
fn it_asks_nobody_more_when_it_is_refused() {
    let mut host = Host::newcomer(&[1, 2]);
    host.run(INSTANT);
    let go = Event::Refused { reason: "go".into() };
    host.deliver(1, refused(None));
    assert_eq!(host.events, std::slice::from_ref(&go));
    host.run(SECOND * 5);
    assert_eq!(host.asked_to_join(), [1]);
    host.deliver(2, refused(None));
    assert_eq!(host.events, [go], "said once");
}

#[test]
fn it_asks_the_leader_that_it_is_pointed_to_at_once() {
    let mut host = Host::newcomer(&[1, 2, 3]);
    host.run(INSTANT);
    host.deliver(1, points_to(Some(NodeId(3)), &[]));
    assert_eq!(host.asked_to_join(), [1, 3]);
    host.deliver(3, points_to(None, &[]));
    host.deliver(3, points_to(Some(NodeId(3)), &[]));
    assert_eq!(host.asked_to_join(), [1, 3], "that helps nobody");
    host.deliver(3, points_to(Some(ME), &[]));
    assert_eq!(host.asked_to_join()[..2], [1, 3]);
    assert!(!host.asked_to_join().contains(&ME.0), "it does not lead what it is no part of");
}

#[test]
fn it_asks_those_that_it_is_told_of() {
    let mut host = Host::newcomer(&[1]);
    host.run(INSTANT);
    host.deliver(1, points_to(None, &[]));
    host.run(SECOND);
    assert_eq!(host.asked_to_join(), [1, 1]);
    assert_eq!(host.directory, Some(members(&[1])));
    host.deliver(1, points_to(None, &[4, 5]));
    assert_eq!(host.directory, Some(members(&[4, 5])));
    host.run(SECOND * 3);
    assert!(host.asked_to_join().contains(&4) && host.asked_to_join().contains(&5), "{:?}", host.said);
}

#[test]
fn whoever_is_found_is_asked_too_and_its_address_passed_on_once() {
    let mut host = Host::newcomer(&[1]);
    let found = |ids: &[u64]| Input::Found { members: members(ids) };
    host.run(INSTANT);
    host.turn(found(&[4]));
    assert_eq!(host.directory.take(), Some(members(&[1, 4])));
    assert!(host.has(Probe::FoundWhileJoining));
    host.turn(found(&[4]));
    assert_eq!(host.directory.take(), None);
    host.turn(Input::Found { members: vec![(NodeId(4), "moved:7001".into())] });
    assert_eq!(host.directory.take().unwrap()[1].1, "moved:7001");
    host.run(SECOND * 3);
    assert!(host.asked_to_join().contains(&4) && host.asked_to_join().contains(&1));
}

#[test]
fn the_only_member_asks_itself_and_who_knows_nobody_asks_nobody() {
    let mut cluster = Cluster::new(1, RaftConfig::default());
    cluster.run(Duration::from_secs(5));
    assert!(cluster.node(1).is_joined());
    let mut host = Host::newcomer(&[]);
    host.run(SECOND * 3);
    assert_eq!(host.asked_to_join(), []);
}

#[test]
fn only_its_own_cluster_takes_a_member_in_or_refuses_it() {
    let mut host = member_again();
    host.run(INSTANT);
    assert_eq!(host.asked_to_join(), [1]);
    for cluster in [OTHERS, NOBODY] {
        host.deliver_of(cluster, 1, joined());
        host.deliver_of(cluster, 1, refused(None));
        host.deliver_of(cluster, 1, refused(Some(Level(9))));
        assert!(!host.is_joined() && host.events.is_empty(), "{cluster:?} {:?}", host.events);
    }
    host.run(SECOND);
    assert_eq!(host.asked_to_join(), [1, 2], "it goes on");
    host.deliver(1, joined());
    assert_eq!(host.events, [Event::Joined]);
    let mut host = member_again();
    host.deliver(1, refused(None));
    assert_eq!(host.events, [Event::Refused { reason: "go".into() }]);
    let mut host = member_again();
    host.deliver(1, refused(Some(Level(9))));
    assert_eq!(host.events, [Event::Outgrown { cluster: Level(9), own: Level::NEWEST }]);
}

#[test]
fn a_newcomer_is_refused_and_outgrown_by_any_and_taken_in_by_a_cluster_alone() {
    let mut host = Host::newcomer(&[1]);
    host.deliver_of(NOBODY, 1, joined());
    assert!(!host.is_joined() && host.events.is_empty());
    host.deliver_of(OTHERS, 1, refused(Some(Level(9))));
    assert_eq!(host.events, [Event::Outgrown { cluster: Level(9), own: Level::NEWEST }]);
    let mut host = Host::newcomer(&[1]);
    host.deliver_of(OTHERS, 1, refused(None));
    assert_eq!(host.events, [Event::Refused { reason: "go".into() }]);
}
