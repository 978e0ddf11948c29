//! Hosts, at the leader: heartbeats, joins, and hosts that are lost and come back.

use blixard_node::command::{Action, HostSpec};
use blixard_node::ids::{Incarnation, NodeId};
use blixard_node::input::Input;
use blixard_node::level::Level;
use blixard_node::message::{Body, Heartbeat};
use blixard_node::probes::Probe;
use blixard_node::request::{Read, Response};
use blixard_node::spec::{Phase, Resources};
use blixard_node::time::Duration;

use crate::office::{Disk, Leader, SECOND, offer, report, said_by, said_by_disk};

/// How long a host that is not heard keeps its VMs, and a little longer.
const GIVES_UP: Duration = Duration::from_secs(11);

fn join(id: u64, spec: HostSpec) -> Input {
    said_by(id, Body::Join(Box::new(spec)))
}

fn with_lost() -> Disk {
    let mut disk = Disk::of(&[1, 2, 3], 4);
    disk.host(4).lost = true;
    disk
}

fn is_lost(leader: &Leader, host: u64) -> bool {
    leader.state().hosts[&NodeId(host)].lost
}

#[test]
fn a_heartbeat_that_can_wait_is_answered_within_a_quarter_of_a_second() {
    let mut leader = Disk::of(&[1, 2, 3], 4).lead();
    for count in 0..10 {
        leader.run(Duration::from_millis(130));
        let came_in = leader.now;
        let beat = Heartbeat { urgent: false, ..leader.next_beat(4) };
        leader.turn(said_by(4, Body::Heartbeat(beat)));
        leader.run(SECOND);
        let (answered, _) = leader.acks(4)[count];
        assert!(answered.since(came_in) <= Duration::from_millis(250), "after {}", answered.since(came_in));
    }
    let came_in = leader.now;
    leader.hear(4);
    assert_eq!(leader.acks(4)[10].0, came_in, "an urgent one at once");
}

#[test]
fn the_status_tells_when_a_host_was_heard_last() {
    let mut leader = Disk::of(&[1], 2).lead();
    let heard = |leader: &mut Leader| {
        let read = leader.read(Read::ClusterStatus);
        let Some(Ok(Response::Cluster(view))) = leader.ask(read) else { panic!("no answer") };
        view.members[1].last_contact
    };
    assert_eq!(heard(&mut leader), None);
    leader.hear(2);
    leader.run(SECOND);
    assert_eq!(heard(&mut leader), Some(SECOND));
}

#[test]
fn a_silent_host_is_given_up_once_and_granted_nothing_from_then_on() {
    let mut leader = Disk::of(&[1, 2, 3], 5).lead();
    leader.run_hearing(SECOND * 8, &[2, 3, 5]);
    leader.freeze();
    leader.run_hearing(SECOND * 2, &[2, 3, 5]);
    assert_eq!(leader.count("lose n4"), 1);
    assert!(!is_lost(&leader, 4), "it is not carried out");
    leader.hear(4);
    leader.run_hearing(SECOND * 2, &[2, 3, 5]);
    assert_eq!(leader.acks(4), []);
    assert_eq!(leader.count("lose n4"), 1, "{:?}", leader.log());
    leader.thaw();
    assert!(is_lost(&leader, 4));
    assert_eq!(leader.log().iter().filter(|entry| entry.starts_with("lose")).count(), 1);
}

#[test]
fn a_host_that_the_log_did_not_let_go_is_given_up_later_or_heard_before() {
    let mut leader = Disk::of(&[1, 2, 3], 5).lead();
    leader.run_hearing(SECOND * 8, &[2, 3]);
    leader.run(Duration::from_millis(400));
    leader.hand_over();
    leader.run(Duration::from_millis(700));
    assert!(leader.has(Probe::DroppedInHandOver));
    assert!(!is_lost(&leader, 4) && !is_lost(&leader, 5));
    leader.hear(5);
    assert_eq!(leader.acks(5).len(), 1, "it is not on its way out");
    leader.run(SECOND * 2);
    assert!(is_lost(&leader, 4), "{:?}", leader.log());
    assert!(!is_lost(&leader, 5), "{:?}", leader.log());
}

#[test]
fn a_lost_host_is_taken_back_once() {
    let mut leader = with_lost().lead();
    leader.freeze();
    for _ in 0..4 {
        leader.hear(4);
    }
    assert_eq!(leader.count("regain n4"), 1);
    leader.thaw();
    assert!(!is_lost(&leader, 4));
    let grants = |leader: &Leader| leader.acks(4).iter().filter(|(_, ack)| ack.ttl > Duration::ZERO).count();
    assert_eq!(grants(&leader), 0);
    leader.hear(4);
    assert_eq!(grants(&leader), 1);
    // Lost once more, it is taken back once more.
    leader.run_hearing(GIVES_UP, &[2, 3]);
    assert!(is_lost(&leader, 4));
    leader.hear(4);
    leader.hear(4);
    assert!(!is_lost(&leader, 4), "{:?}", leader.log());
    assert_eq!(leader.count("regain n4"), 2);
}

#[test]
fn a_host_that_the_log_did_not_take_back_is_taken_back_with_its_next_heartbeat() {
    let mut leader = with_lost().hand_over();
    leader.hear(4);
    leader.hear(4);
    assert!(leader.has(Probe::DroppedInHandOver));
    leader.run(SECOND * 2);
    leader.hear(4);
    assert!(!is_lost(&leader, 4), "{:?}", leader.log());
}

fn with_vm() -> Disk {
    let mut disk = Disk::of(&[1, 2, 3], 4);
    disk.vm("web", Some(4)).phase = Phase::Starting;
    disk
}

fn reports(leader: &mut Leader) {
    let beat = Heartbeat { reports: vec![report(1, 1, Phase::Running)], ..leader.next_beat(4) };
    leader.turn(said_by(4, Body::Heartbeat(beat)));
}

#[test]
fn a_report_goes_into_the_log_once() {
    let mut leader = with_vm().lead();
    leader.freeze();
    reports(&mut leader);
    reports(&mut leader);
    assert_eq!(leader.count("report n4"), 1);
    leader.thaw();
    reports(&mut leader);
    assert_eq!(leader.count("report n4"), 1, "it is no news any more");
}

#[test]
fn a_report_that_the_log_did_not_take_is_taken_with_the_next_heartbeat() {
    let mut leader = with_vm().hand_over();
    reports(&mut leader);
    assert!(leader.has(Probe::DroppedInHandOver));
    leader.run(SECOND * 2);
    reports(&mut leader);
    assert_eq!(leader.state().vms.values().next().map(|vm| vm.phase), Some(Phase::Running));
}

/// Replaced by a newer program whose `Join` nobody took, or its state is of before.
#[test]
fn a_host_that_speaks_another_level_than_is_known_is_announced_anew_and_once() {
    let mut disk = Disk::of(&[1, 2, 3], 4);
    disk.level = Level::FIRST;
    disk.host(4).spec = offer(4).announcing(Level::FIRST);
    let mut leader = disk.lead();
    leader.freeze();
    leader.hear(4);
    leader.hear(4);
    assert_eq!(leader.count("add n4"), 1);
    leader.thaw();
    assert_eq!(leader.state().hosts[&NodeId(4)].spec, offer(4));
    leader.hear(4);
    assert_eq!(leader.count("add n4"), 1);
    leader.run(SECOND);
    assert_eq!((leader.state().level, leader.count("raise 2")), (Level::NEWEST, 1));
}

#[test]
fn the_level_is_raised_once_and_not_while_somebody_announces() {
    let mut disk = Disk::of(&[1, 2, 3], 4);
    disk.level = Level::FIRST;
    disk.host(4).spec = offer(4).announcing(Level::FIRST);
    let mut leader = disk.lead();
    assert!(leader.has(Probe::LevelHeldBack));
    leader.freeze();
    leader.hear(4);
    let announced = leader.node.consensus().last_index;
    leader.turn(join(5, offer(5).announcing(Level::FIRST)));
    leader.copy_up_to(announced);
    leader.run(SECOND);
    assert_eq!(leader.state().hosts[&NodeId(4)].spec, offer(4));
    assert_eq!(leader.count("raise 2"), 0, "the fifth may speak less, and does");
    leader.thaw();
    leader.run(SECOND);
    assert_eq!(leader.count("raise 2"), 0);
    leader.freeze();
    let beat = Heartbeat { level: Level::NEWEST, ..leader.next_beat(5) };
    leader.turn(said_by(5, Body::Heartbeat(beat)));
    let announced = leader.node.consensus().last_index;
    leader.copy_up_to(announced);
    leader.run(SECOND);
    leader.run(SECOND);
    assert_eq!((leader.state().level, leader.count("raise 2")), (Level::FIRST, 1));
    leader.thaw();
    leader.run(SECOND);
    assert_eq!((leader.state().level, leader.count("raise 2")), (Level::NEWEST, 1));
}

#[test]
fn nobody_holds_the_level_back_where_all_speak_it() {
    let leader = Disk::of(&[1, 2, 3], 4).lead();
    assert!(!leader.has(Probe::LevelHeldBack));
    assert_eq!(leader.log(), Vec::<String>::new(), "nor is there anything else to do");
}

#[test]
fn a_newcomer_is_taken_in_once() {
    let mut leader = Disk::of(&[1, 2, 3], 4).lead();
    leader.freeze();
    leader.turn(join(5, offer(5)));
    leader.turn(join(5, offer(5)));
    leader.turn(join(6, offer(6)));
    assert_eq!((leader.count("add n5"), leader.count("add n6")), (1, 1));
    assert_eq!(leader.told(5), Vec::<&str>::new());
    leader.thaw();
    assert_eq!((leader.told(5), leader.told(6)), (vec!["joined"], vec!["joined"]));
    leader.turn(join(5, offer(5)));
    assert_eq!((leader.count("add n5"), leader.told(5).len()), (1, 2), "it is a member already");
}

#[test]
fn an_id_is_used_once() {
    let mut disk = Disk::of(&[1, 2, 3], 4);
    disk.removed = vec![NodeId(9)];
    let mut leader = disk.lead();
    leader.turn(join(9, offer(9)));
    assert_eq!(leader.told(9), ["refused"]);
    leader.turn(said_by_disk(4, Incarnation(77), Body::Join(Box::new(offer(4)))));
    assert_eq!(leader.told(4), ["refused"]);
    assert_eq!(leader.log(), Vec::<String>::new());
}

#[test]
fn a_host_that_comes_back_too_small_for_its_vms_keeps_what_it_offered() {
    let mut disk = Disk::of(&[1, 2, 3], 4);
    disk.vm("web", Some(4));
    let mut leader = disk.lead();
    let small = HostSpec { capacity: Resources::default(), ..offer(4) };
    leader.turn(join(4, small));
    assert_eq!((leader.told(4), leader.count("add n4")), (vec!["joined"], 0), "it is known like that");
    let moved = HostSpec { address: "elsewhere:1".into(), ..offer(4) };
    leader.turn(join(4, moved.clone()));
    assert_eq!(leader.count("add n4"), 1);
    assert_eq!(leader.state().hosts[&NodeId(4)].spec, moved);
}

/// An earlier leader had it in its log that the host is taken out.
#[test]
fn a_host_that_has_left_is_not_called() {
    let mut disk = Disk::of(&[1, 2, 3], 5);
    disk.host(4).leaving = true;
    disk.tail.push(Action::DropHost { node: NodeId(4) });
    let mut leader = disk.lead();
    assert!(!leader.state().hosts.contains_key(&NodeId(4)));
    leader.run(SECOND * 6);
    assert_eq!(leader.told(5), ["who leads"]);
    assert_eq!(leader.told(4), Vec::<&str>::new());
    assert_eq!(leader.log(), Vec::<String>::new(), "its end was there before");
}
