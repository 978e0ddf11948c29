//! Feature levels: hosts of two versions in one cluster.

use blixard_node::command::{Action, Command, HostSpec};
use blixard_node::config::{RaftConfig, Settings};
use blixard_node::error::RequestError;
use blixard_node::ids::{ClusterId, Incarnation, NodeId, Revision};
use blixard_node::level::Level;
use blixard_node::probes::Probe;
use blixard_node::request::{Consistency, Read, Request, Response, Write};
use blixard_node::state::{Host, State};
use blixard_node::time::{Duration, WallMs};
use blixard_node::{OpenError, bootstrap};

use crate::cluster::{Cluster, config};

const OLD: Level = Level::FIRST;
const NEW: Level = Level(2);

/// Three nodes that speak these levels.
fn speaking(levels: [Level; 3]) -> Cluster {
    let mut cluster = Cluster::at_level(levels[0], 1, RaftConfig::default());
    cluster.tell = true;
    cluster.add_at(2, levels[1]);
    cluster.add_at(3, levels[2]);
    cluster.run(Duration::from_secs(20));
    cluster
}

fn level_at(cluster: &Cluster, id: u64) -> Level {
    cluster.node(id).state().unwrap().level
}

fn cordon(reason: &str) -> Write {
    Write::CordonHost { node: NodeId(2), cordoned: true, reason: reason.into() }
}

fn has_hit(cluster: &Cluster, id: u64, probe: Probe) -> bool {
    cluster.node(id).probes().has(probe)
}

#[test]
fn a_new_cluster_is_at_the_level_of_its_first_node() {
    let cluster = Cluster::new(1, RaftConfig::default());
    assert_eq!(level_at(&cluster, 1), Level::NEWEST);
    assert_eq!(level_at(&Cluster::at_level(OLD, 1, RaftConfig::default()), 1), OLD);
}

#[test]
fn the_level_rises_when_the_last_host_is_upgraded_and_not_before() {
    let mut cluster = speaking([OLD; 3]);
    for (id, others) in [(1, OLD), (2, OLD), (3, NEW)] {
        assert_eq!(level_at(&cluster, 1), OLD, "{}", cluster.log);
        cluster.replace(id, NEW).unwrap();
        cluster.run(Duration::from_secs(10));
        for id in 1..=3 {
            assert_eq!(level_at(&cluster, id), others, "n{id}\n{}", cluster.log);
        }
    }
    assert!((1..=3).all(|id| has_hit(&cluster, id, Probe::LevelRaised)));
    assert!((1..=3).any(|id| has_hit(&cluster, id, Probe::LevelHeldBack)));
}

#[test]
fn what_needs_a_level_is_refused_below_it_with_the_hosts_that_hold_it_back() {
    let cluster = speaking([NEW, NEW, OLD]);
    assert_eq!(
        level_at(&cluster, 1),
        NEW,
        "the first node began at its own level, so the third is not taken in"
    );
    assert!(cluster.log.contains("n3 speaks level 1 and ends: the cluster is at 2"), "{}", cluster.log);

    let mut cluster = speaking([OLD, NEW, NEW]);
    let leader = cluster.leader().unwrap();
    let refused = RequestError::BelowLevel {
        what: "a reason for a cordon".into(),
        needs: NEW,
        level: OLD,
        held_back_by: vec![NodeId(1)],
    };
    let ticket = cluster.write(1, cordon("new disks"));
    assert_eq!(
        cluster.replies.get(&ticket),
        Some(&Err(refused.clone())),
        "the old one itself cannot read it"
    );
    if leader == 1 {
        cluster.ask(leader, Request::TransferLeader { to: Some(NodeId(2)) });
        cluster.run(Duration::from_secs(3));
    }
    assert_eq!(cluster.done(cordon("new disks")), Err(refused));
    assert!(cluster.done(cordon("")).is_ok(), "without a reason every version knows it");

    cluster.replace(1, NEW).unwrap();
    cluster.run(Duration::from_secs(10));
    assert!(cluster.done(cordon("new disks")).is_ok(), "{}", cluster.log);
    let ticket =
        cluster.ask(1, Request::Read { read: Read::ClusterStatus, consistency: Consistency::Linearizable });
    cluster.run(Duration::from_secs(1));
    let Some(Ok(Response::Cluster(view))) = cluster.replies.get(&ticket) else { panic!("no status") };
    let member = view.members.iter().find(|member| member.node == NodeId(2)).unwrap();
    assert_eq!((view.level, member.level, member.cordon_reason.as_str()), (NEW, NEW, "new disks"));
    assert!(!member.labels.contains_key(Level::LABEL), "it is shown as a level, not as a label");
}

/// A leader of the first level would not read the request, and so never answer.
#[test]
fn who_knows_that_the_leader_could_not_read_a_request_answers_for_it() {
    let mut cluster = speaking([OLD, NEW, NEW]);
    assert_eq!(cluster.leader(), Some(1));
    let ticket = cluster.write(2, cordon("new disks"));
    let what = "a reason for a cordon".into();
    let refused = RequestError::BelowLevel { what, needs: NEW, level: OLD, held_back_by: vec![NodeId(1)] };
    assert_eq!(cluster.replies.get(&ticket), Some(&Err(refused)), "at once");
    let ticket = cluster.write(2, cordon(""));
    cluster.run(Duration::from_secs(1));
    assert!(matches!(cluster.replies.get(&ticket), Some(Ok(_))), "what it can read is passed on");
}

#[test]
fn a_process_below_the_level_on_its_disk_does_not_open() {
    let mut cluster = speaking([NEW; 3]);
    let refused = cluster.replace(2, OLD).unwrap_err();
    assert_eq!(refused, OpenError::BelowLevel { cluster: NEW, own: OLD });
    assert_eq!(refused.code(), "BLX-NODE-011");
    let text = refused.to_string();
    assert!(text.contains("at feature level 2") && text.contains("speaks 1"), "{text}");
    assert_eq!(cluster.replace(2, NEW), Ok(()), "the way out");
}

#[test]
fn a_process_that_its_disk_does_not_warn_ends_when_it_comes_to_know() {
    let mut cluster = speaking([OLD, NEW, NEW]);
    // Cut off, the third does not see that the level rises.
    for other in [1, 2] {
        cluster.cut.insert((other, 3));
        cluster.cut.insert((3, other));
    }
    cluster.replace(1, NEW).unwrap();
    cluster.run(Duration::from_secs(10));
    assert_eq!(level_at(&cluster, 1), NEW, "{}", cluster.log);
    assert_eq!(cluster.replace(3, OLD), Ok(()), "its disk says nothing");
    let before = cluster.machines[&3].disk.clone();
    cluster.cut.clear();
    cluster.run(Duration::from_secs(10));
    assert!(cluster.log.contains("n3 speaks level 1 and ends: the cluster is at 2"), "{}", cluster.log);
    assert!(has_hit(&cluster, 3, Probe::Outgrown));
    assert_eq!(cluster.node(3).deadline(), None, "it wants nothing any more");
    let level = cluster.node(3).state().unwrap().level;
    assert_eq!(level, OLD, "it has carried nothing out that it does not know");
    assert_eq!(cluster.machines[&3].disk.identity, before.identity);
    assert_eq!(cluster.replace(3, NEW), Ok(()));
    cluster.run(Duration::from_secs(10));
    assert_eq!(level_at(&cluster, 3), NEW);
}

#[test]
fn a_host_taken_back_in_time_holds_the_level_back_again() {
    let mut cluster = speaking([OLD, NEW, NEW]);
    assert_eq!(cluster.replace(3, OLD), Ok(()), "nobody needs more of it yet");
    cluster.run(Duration::from_secs(10));
    cluster.replace(1, NEW).unwrap();
    cluster.run(Duration::from_secs(10));
    assert_eq!(level_at(&cluster, 1), OLD, "{}", cluster.log);
    cluster.replace(3, NEW).unwrap();
    cluster.run(Duration::from_secs(10));
    assert_eq!(level_at(&cluster, 1), NEW, "{}", cluster.log);
}

#[test]
fn a_lost_host_holds_the_level_back_until_it_is_removed() {
    let mut cluster = speaking([OLD, NEW, NEW]);
    cluster.crash(1);
    cluster.run(Duration::from_secs(30));
    let leader = cluster.leader().unwrap();
    assert!(cluster.node(leader).state().unwrap().hosts[&NodeId(1)].lost, "{}", cluster.log);
    assert_eq!(level_at(&cluster, leader), OLD, "it may come back as it was");
    cluster.done(Write::RemoveHost { node: NodeId(1) }).unwrap();
    cluster.run(Duration::from_secs(10));
    let leader = cluster.leader().unwrap();
    assert_eq!(level_at(&cluster, leader), NEW, "{}", cluster.log);
}

/// A state at the first level with hosts that announce these.
fn state(announced: &[(u64, Level)]) -> State {
    let state = State::new(ClusterId(1), Settings::default(), Revision(1));
    let host = |level: Level| Host::new(HostSpec::default().announcing(level), Incarnation(1), Revision(1));
    State::restore(state, announced.iter().map(|(node, level)| (NodeId(*node), host(*level))), [], [])
}

fn carry_out(state: &mut State, action: Action) {
    let revision = Revision(state.revision.0 + 1);
    state.apply(revision, &Command { at: WallMs(1), action });
    state.check();
}

fn add(node: u64, level: Level) -> Action {
    let host = HostSpec::default().announcing(level);
    Action::AddHost { node: NodeId(node), incarnation: Incarnation(1), host }
}

#[test]
fn a_raise_counts_as_things_stand_when_it_is_carried_out() {
    let mut state = state(&[(1, NEW), (2, NEW)]);
    carry_out(&mut state, add(3, OLD));
    carry_out(&mut state, Action::RaiseLevel { to: NEW });
    assert_eq!(state.level, OLD, "somebody came in between");
    carry_out(&mut state, add(3, NEW));
    let hash = state.hash();
    carry_out(&mut state, Action::RaiseLevel { to: NEW });
    assert_eq!(state.level, NEW);
    assert_ne!(state.hash(), hash, "replicas that differ in it are told apart");
    carry_out(&mut state, Action::RaiseLevel { to: OLD });
    assert_eq!(state.level, NEW, "it never falls");
}

#[test]
fn who_announces_less_than_the_level_is_not_taken_in_nor_believed() {
    let mut state = state(&[(1, NEW), (2, NEW)]);
    carry_out(&mut state, Action::RaiseLevel { to: NEW });
    carry_out(&mut state, add(3, OLD));
    assert!(!state.hosts.contains_key(&NodeId(3)));
    carry_out(&mut state, add(2, OLD));
    assert_eq!(state.hosts[&NodeId(2)].spec.level(), NEW);
}

#[test]
fn a_configuration_names_a_level_of_this_version_and_leaves_its_label_alone() {
    let start = |change: &dyn Fn(&mut blixard_node::config::NodeConfig)| {
        let mut config = config(1, &RaftConfig::default(), &[]);
        change(&mut config);
        bootstrap(&config, &Settings::default(), ClusterId(7), 1).map_err(|error| error.to_string())
    };
    assert!(start(&|config| config.feature_level = OLD).is_ok());
    for level in [0, Level::NEWEST.0 + 1] {
        let refused = start(&|config| config.feature_level = Level(level)).unwrap_err();
        assert!(refused.contains("this version speaks 1 to 2"), "{refused}");
    }
    let label = |config: &mut blixard_node::config::NodeConfig| {
        config.host.labels.insert(Level::LABEL.into(), "9".into());
    };
    assert!(start(&label).unwrap_err().contains("is the node's own"));
}
