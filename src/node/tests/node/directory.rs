//! Where members are reached, and how the leader describes them.

use blixard_node::config::RaftConfig;
use blixard_node::ids::NodeId;
use blixard_node::input::Input;
use blixard_node::message::{Body, Heartbeat, Message, Nonce};
use blixard_node::request::{ClusterView, Consistency, MemberView, Read, Request, Response, Role, Write};
use blixard_node::time::Duration;

use crate::cluster::Cluster;
use crate::replication::{create, three};

/// Where a node was last told that a member is reached.
fn reached_at(cluster: &Cluster, by: u64, member: u64) -> Option<String> {
    let newest = cluster.directories[&by].last().unwrap();
    newest.iter().find(|(node, _)| *node == NodeId(member)).map(|(_, address)| address.clone())
}

#[test]
fn where_members_are_reached_is_told_when_it_changes_and_only_then() {
    let (mut cluster, leader, _) = three(RaftConfig::default());
    cluster.directories.clear();
    cluster.done(create("web")).unwrap();
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.directories[&leader], Vec::<Vec<_>>::new(), "nobody came and nobody left");

    cluster.add(4);
    cluster.run(Duration::from_secs(5));
    assert_eq!(reached_at(&cluster, leader, 4), Some("host4:7001".into()));

    cluster.crash(4);
    cluster.machines.get_mut(&4).unwrap().config.host.address = "elsewhere:7001".into();
    cluster.open(4);
    cluster.run(Duration::from_secs(5));
    assert_eq!(reached_at(&cluster, leader, 4), Some("elsewhere:7001".into()));

    cluster.done(Write::RemoveHost { node: NodeId(4) }).unwrap();
    cluster.run(Duration::from_secs(5));
    assert_eq!(reached_at(&cluster, leader, 4), None, "{}", cluster.log);
}

/// A host that asks the wrong one for the leader looks among the voters first.
#[test]
fn voters_come_first_in_the_list_of_members() {
    let (mut cluster, leader, [asked, _]) = three(RaftConfig::default());
    for voter in [10, 11] {
        cluster.add(voter);
    }
    cluster.run(Duration::from_secs(20));
    let stranger = 4;
    cluster.add(stranger);
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.leader(), Some(leader));
    let voters = [1, 2, 3, 10, 11].map(NodeId);
    assert_eq!(cluster.node(asked).membership().voters, voters);
    let identity = cluster.node(stranger).identity();
    let nonce = Nonce { process: 1, sequence: 1 };
    let beat = Heartbeat {
        nonce,
        sent: cluster.now,
        set_revision: cluster.node(stranger).set_revision(),
        answered: 0,
        reports: Vec::new(),
        urgent: false,
        level: cluster.node(stranger).level(),
    };
    let (from, incarnation) = (identity.node, identity.incarnation);
    let message = Message { cluster: identity.cluster, from, incarnation, body: Body::Heartbeat(beat) };
    cluster.said = Some(Vec::new());
    cluster.turn(asked, Input::Deliver(Box::new(message)));
    let told =
        cluster.said.take().unwrap().into_iter().find_map(|(sender, to, message)| match message.body {
            Body::NotLeader { leader, members } if (sender, to) == (asked, stranger) => {
                Some((leader, members))
            }
            _ => None,
        });
    let (told, members) = told.expect("it points to the leader");
    assert_eq!(told, Some(NodeId(leader)));
    let members: Vec<_> = members.into_iter().map(|(node, _)| node).collect();
    assert_eq!(members, [1, 2, 3, 10, 11, 4].map(NodeId));
}

/// The cluster as this node knows it.
fn status(cluster: &mut Cluster, of: u64) -> ClusterView {
    let read = Request::Read { read: Read::ClusterStatus, consistency: Consistency::Stale };
    let ticket = cluster.ask(of, read);
    match cluster.replies.get(&ticket) {
        Some(Ok(Response::Cluster(view))) => ClusterView::clone(view),
        other => panic!("{other:?}"),
    }
}

fn of(view: &ClusterView, id: u64) -> &MemberView {
    view.members.iter().find(|member| member.node == NodeId(id)).unwrap()
}

#[test]
fn the_status_tells_everyones_part() {
    let (mut cluster, leader, [other, silent]) = three(RaftConfig::default());
    cluster.add(4);
    cluster.run(Duration::from_secs(3));
    let view = status(&mut cluster, leader);
    assert_eq!((view.leader, view.answered_by), (Some(NodeId(leader)), NodeId(leader)));
    let roles: Vec<_> = [leader, other, silent, 4].into_iter().map(|id| of(&view, id).role).collect();
    assert_eq!(roles, [Role::Leader, Role::Voter, Role::Voter, Role::Worker]);
    for id in [leader, other, silent, 4] {
        let member = of(&view, id);
        assert!(member.healthy && !member.leaving && !member.cordoned);
        assert!(member.last_contact.unwrap() < Duration::from_secs(5), "n{id}");
        assert_eq!(member.lag, (id != 4).then_some(0), "n{id}");
    }
    let elsewhere = status(&mut cluster, other);
    assert_eq!((elsewhere.answered_by, elsewhere.leader), (NodeId(other), Some(NodeId(leader))));
    assert_eq!(
        (of(&elsewhere, other).lag, of(&elsewhere, other).last_contact),
        (None, None),
        "the leader's alone"
    );

    cluster.crash(silent);
    cluster.run(Duration::from_secs(20));
    let view = status(&mut cluster, leader);
    assert!(!of(&view, silent).healthy && of(&view, other).healthy);
    assert!(of(&view, silent).last_contact.unwrap() > Duration::from_secs(15));
}

#[test]
fn a_newcomer_on_its_way_to_vote_is_a_learner() {
    let mut cluster = Cluster::new(1, RaftConfig::default());
    cluster.add(2);
    cluster.add(3);
    let learners = |cluster: &Cluster| cluster.node(1).membership().learners.clone();
    for _ in 0..5_000 {
        if !learners(&cluster).is_empty() {
            break;
        }
        cluster.run(Duration::from_millis(1));
    }
    assert!(learners(&cluster).contains(&NodeId(2)));
    assert!(!cluster.node(1).probes().has(blixard_node::probes::Probe::JointEntered));
    let view = status(&mut cluster, 1);
    assert_eq!((of(&view, 1).role, of(&view, 2).role), (Role::Leader, Role::Learner));
    let view = cluster.node(1).consensus();
    assert_eq!((view.leader, view.is_leader), (Some(NodeId(1)), true));
}
