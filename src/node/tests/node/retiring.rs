//! A process that is asked to end first hands over what only it has: leadership.

use blixard_node::config::RaftConfig;
use blixard_node::input::Input;
use blixard_node::time::Duration;

use crate::cluster::Cluster;

fn nodes(count: u64) -> Cluster {
    Cluster::grown(count, RaftConfig::default())
}

fn may_end(cluster: &Cluster, id: u64) -> bool {
    cluster.log.contains(&format!("n{id} may end"))
}

#[test]
fn who_has_nothing_to_hand_over_may_end_at_once() {
    let mut alone = nodes(1);
    assert_eq!(alone.leader(), Some(1));
    alone.turn(1, Input::Retire);
    assert!(may_end(&alone, 1), "{}", alone.log);
    let mut cluster = nodes(3);
    let leader = cluster.leader().unwrap();
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    cluster.turn(follower, Input::Retire);
    assert!(may_end(&cluster, follower), "{}", cluster.log);
    assert_eq!(cluster.leader(), Some(leader));
}

#[test]
fn a_leader_hands_over_before_it_ends() {
    let mut cluster = nodes(3);
    let leader = cluster.leader().unwrap();
    cluster.turn(leader, Input::Retire);
    assert!(!may_end(&cluster, leader), "{}", cluster.log);
    cluster.run(Duration::from_secs(1));
    assert!(may_end(&cluster, leader), "{}", cluster.log);
    assert!(cluster.leader().is_some_and(|next| next != leader), "{}", cluster.log);
    assert_eq!(cluster.log.matches("may end").count(), 1, "it is said once:\n{}", cluster.log);
}

#[test]
fn a_leader_that_finds_nobody_to_take_over_ends_after_three_seconds() {
    let mut cluster = nodes(3);
    let leader = cluster.leader().unwrap();
    (1..=3).filter(|id| *id != leader).for_each(|id| cluster.cut.extend([(leader, id), (id, leader)]));
    cluster.turn(leader, Input::Retire);
    // Without a quorum it would lead no more after a second.
    cluster.run(Duration::from_millis(900));
    assert!(!may_end(&cluster, leader), "{}", cluster.log);
    cluster.run(Duration::from_millis(2_101));
    assert!(may_end(&cluster, leader), "{}", cluster.log);
}
