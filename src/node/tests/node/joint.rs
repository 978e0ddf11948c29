//! In the middle of a membership change: one voter goes, another comes, and the leader is gone.

use blixard_node::config::RaftConfig;
use blixard_node::ids::NodeId;
use blixard_node::input::Input;
use blixard_node::probes::Probe;
use blixard_node::request::{Consistency, Read, Request, Response, Role, Write};
use blixard_node::time::Duration;

use crate::cluster::Cluster;
use crate::replication::{isolate, three};

/// Host 4 has come to vote in the place of `out`, and `out` is in the middle of that change.
struct Change {
    cluster: Cluster,
    leader: u64,
    stays: u64,
    out: u64,
}

/// The change is under way; goes on until these have come to its middle.
fn begun(raft: RaftConfig, until: impl Fn(&Change) -> Vec<u64>) -> Change {
    let (mut cluster, leader, [stays, out]) = three(raft);
    cluster.add(4);
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.leader(), Some(leader));
    cluster.write(leader, Write::RemoveHost { node: NodeId(out) });
    let mut change = Change { cluster, leader, stays, out };
    let entered = |change: &Change| {
        let joint = |id: &u64| !change.cluster.node(*id).membership().voters_outgoing.is_empty();
        until(change).iter().all(joint)
    };
    for _ in 0..10_000 {
        if entered(&change) {
            break;
        }
        change.cluster.run(Duration::from_millis(1));
    }
    assert!(entered(&change), "{}", change.cluster.log);
    change
}

fn in_the_middle(raft: RaftConfig) -> Change {
    begun(raft, |change| vec![change.stays, change.out, 4])
}

/// The leader dies, and these two do not hear each other.
fn without_leader(change: &mut Change, (one, other): (u64, u64)) {
    change.cluster.crash(change.leader);
    change.cluster.cut.extend([(one, other), (other, one)]);
    change.cluster.run(Duration::from_secs(10));
}

#[test]
fn a_leader_of_the_voters_of_before_commits_its_own_departure_and_gives_way() {
    let mut change = in_the_middle(RaftConfig::default());
    // Neither can win: the new voters are the dead one and these two.
    let (stays, out) = (change.stays, change.out);
    without_leader(&mut change, (stays, 4));
    change.cluster.cut.clear();
    change.cluster.run(Duration::from_secs(10));
    let Change { cluster, leader, .. } = &change;
    let told = &cluster.log;
    let probes = cluster.node(out).probes();
    for probe in [Probe::ElectedOnTheWayOut, Probe::JointLeftByAnother, Probe::CommittedOwnDeparture] {
        assert!(probes.has(probe), "{probe:?}\n{told}");
    }
    assert!(probes.has(Probe::Demoted) && !probes.has(Probe::DeposedInJoint), "{told}");
    let next = cluster.leader().unwrap();
    assert!([stays, 4].contains(&next), "{told}");
    let mut voters = vec![NodeId(*leader), NodeId(stays), NodeId(4)];
    voters.sort_unstable();
    assert_eq!(cluster.node(next).membership().voters, voters, "{told}");
    assert!(!cluster.node(stays).probes().has(Probe::CommittedOwnDeparture));
    assert!(
        !cluster.node(stays).probes().has(Probe::Demoted) && !cluster.node(4).probes().has(Probe::Demoted)
    );
    assert!(cluster.node(4).probes().has(Probe::Promoted));
}

#[test]
fn a_leader_that_stays_ends_the_change_that_another_began() {
    let mut change = in_the_middle(RaftConfig::default());
    let (stays, out) = (change.stays, change.out);
    // The newcomer needs a vote of the old ones, and the one on its way out one of the newcomer.
    without_leader(&mut change, (out, 4));
    let Change { cluster, .. } = &change;
    assert_eq!(cluster.leader(), Some(stays), "{}", cluster.log);
    let probes = cluster.node(stays).probes();
    assert!(
        probes.has(Probe::JointLeftByAnother) && !probes.has(Probe::ElectedOnTheWayOut),
        "{}",
        cluster.log
    );
    assert!(cluster.node(stays).membership().voters_outgoing.is_empty(), "{}", cluster.log);
}

#[test]
fn a_change_that_was_acted_on_is_acted_on_again_after_a_restart() {
    let usual = RaftConfig::default();
    // From the log alone, and from a snapshot of the middle of the change.
    for raft in [usual.clone(), RaftConfig { snapshot_every: 1, keep_entries: 0, ..usual }] {
        let Change { mut cluster, out, .. } = in_the_middle(raft);
        let before = cluster.node(out).membership().clone();
        let in_joint = cluster.raft.snapshot_every == 1;
        assert_eq!(cluster.node(out).probes().has(Probe::SnapshotInJoint), in_joint);
        cluster.crash(out);
        cluster.open(out);
        cluster.turn(out, Input::Wake);
        assert_eq!(*cluster.node(out).membership(), before, "before anybody is heard");
    }
}

#[test]
fn a_leader_that_is_deposed_in_the_middle_is_marked() {
    let Change { mut cluster, leader, .. } = begun(RaftConfig::default(), |change| vec![change.leader]);
    isolate(&mut cluster, leader);
    cluster.run(Duration::from_secs(3));
    assert!(!cluster.node(leader).consensus().is_leader);
    assert!(cluster.node(leader).probes().has(Probe::DeposedInJoint), "{}", cluster.log);
}

#[test]
fn who_is_on_its_way_out_votes_until_the_change_is_ended() {
    let Change { mut cluster, leader, stays, out } = in_the_middle(RaftConfig::default());
    let read = Request::Read { read: Read::ClusterStatus, consistency: Consistency::Stale };
    let ticket = cluster.ask(stays, read);
    let Some(Ok(Response::Cluster(view))) = cluster.replies.get(&ticket) else { panic!("no status") };
    let roles = view.members.iter().map(|member| (member.node.0, member.role)).collect::<Vec<_>>();
    for (id, role) in [(leader, Role::Leader), (stays, Role::Voter), (out, Role::Voter), (4, Role::Voter)] {
        assert!(roles.contains(&(id, role)), "{roles:?}");
    }
}
