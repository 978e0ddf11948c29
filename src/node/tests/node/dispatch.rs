//! What a node does with what is not meant for it, and what it shows of itself.

use blixard_node::codec::decode_command;
use blixard_node::command::Action;
use blixard_node::config::RaftConfig;
use blixard_node::effects::Effects;
use blixard_node::ids::{Incarnation, NodeId, Revision};
use blixard_node::input::Input;
use blixard_node::message::{Body, Heartbeat, Message, Nonce};
use blixard_node::request::{Response, Write};
use blixard_node::time::{Duration, Now, Time, WallMs};

use crate::cluster::{Cluster, name, spec};

fn three() -> Cluster {
    Cluster::grown(3, RaftConfig::default())
}

/// What one turn of node `id` asks for; nothing of it is carried out.
fn effects(cluster: &mut Cluster, id: u64, input: Input) -> Effects {
    let now = Now { boot: cluster.now, wall: WallMs(0) };
    let node = cluster.machines.get_mut(&id).unwrap().node.as_mut().unwrap();
    let mut out = Effects::default();
    node.step(now, input, &mut out);
    node.settle(now, &mut out);
    out
}

fn heartbeat(cluster: &Cluster, from: u64) -> Input {
    let node = cluster.node(from);
    let nonce = Nonce { process: 1, sequence: 1 };
    let beat = Heartbeat {
        nonce,
        sent: Time(5),
        set_revision: Revision(0),
        answered: 0,
        reports: Vec::new(),
        urgent: true,
        level: node.level(),
    };
    let identity = node.identity();
    let (cluster, from, incarnation) = (identity.cluster, identity.node, identity.incarnation);
    Input::Deliver(Box::new(Message { cluster, from, incarnation, body: Body::Heartbeat(beat) }))
}

#[test]
fn a_heartbeat_that_comes_to_a_follower_is_answered_with_whom_to_ask() {
    let mut cluster = three();
    let leader = cluster.leader().unwrap();
    let [first, second]: [u64; 2] =
        (1..=3).filter(|id| *id != leader).collect::<Vec<_>>().try_into().unwrap();
    let beat = heartbeat(&cluster, second);
    let out = effects(&mut cluster, first, beat);
    let told = out.sends.iter().find_map(|(to, message)| match &message.body {
        Body::NotLeader { leader, members } if *to == NodeId(second) => Some((*leader, members.len())),
        _ => None,
    });
    assert_eq!(told, Some((Some(NodeId(leader)), 3)), "{:?}", out.sends);
}

/// A member has its cluster's word for where the others are.
#[test]
fn what_is_found_for_a_member_does_not_change_where_it_looks_for_others() {
    let mut cluster = three();
    let members = vec![(NodeId(9), "host9:7001".to_owned()), (NodeId(1), "elsewhere:1".to_owned())];
    for id in 1..=3 {
        let found = Input::Found { members: members.clone() };
        assert_eq!(effects(&mut cluster, id, found).directory, None);
    }
}

/// A disk that is not the member's speaks under its id: it is told so, and nothing it says counts.
#[test]
fn who_speaks_with_another_incarnation_is_refused() {
    let mut cluster = three();
    let leader = cluster.leader().unwrap();
    let other = (1..=3).find(|id| *id != leader).unwrap();
    let Input::Deliver(mut message) = heartbeat(&cluster, other) else { panic!("a message") };
    message.incarnation = Incarnation(message.incarnation.0 ^ 1);
    let out = effects(&mut cluster, leader, Input::Deliver(message));
    let bodies: Vec<_> = out.sends.iter().map(|(to, message)| (*to, &message.body)).collect();
    let reason =
        format!("node id n{other} belongs to another data directory; join under an id never used before");
    assert_eq!(bodies, [(NodeId(other), &Body::Refused { reason, below: None })]);
}

#[test]
fn every_replica_shows_the_same_log_and_how_far_it_is() {
    let mut cluster = three();
    let write = Write::CreateVm { name: name("web"), spec: spec() };
    let Ok(Response::Written { revision, .. }) = cluster.done(write.clone()) else { panic!("no answer") };
    cluster.run(Duration::from_secs(1));
    for id in 1..=3 {
        let node = cluster.node(id);
        let command = decode_command(node.log_data(revision.0).unwrap()).unwrap();
        assert!(matches!(command.action, Action::Client { write: logged, .. } if logged == write));
        assert!(node.log_term(revision.0).is_some());
        assert!(node.revision() >= revision);
        assert_eq!(node.revision(), node.state().unwrap().revision);
        assert_eq!((node.log_data(1_000_000), node.log_term(1_000_000)), (None, None));
    }
    // A member without a replica knows of no revision.
    (4..=6).for_each(|id| cluster.add(id));
    cluster.run(Duration::from_secs(20));
    let worker = (4..=6).find(|id| cluster.node(*id).state().is_none()).unwrap();
    assert_eq!(cluster.node(worker).revision(), Revision(0));
}
