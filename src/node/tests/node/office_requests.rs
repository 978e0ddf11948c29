//! Clients' requests, at the leader.

use std::sync::Arc;

use blixard_node::error::RequestError;
use blixard_node::ids::{ClientId, Generation, NodeId, RequestId, Revision};
use blixard_node::input::Input;
use blixard_node::message::{Body, Heartbeat};
use blixard_node::probes::Probe;
use blixard_node::request::{Read, Request, Response, Write};
use blixard_node::spec::{Phase, Resources, VmSpec, Wanted};
use blixard_node::time::Duration;

use crate::cluster::{name, spec};
use crate::office::{BASE, Disk, Leader, ME, SECOND, nodes, one_vm, report, said_by};

fn create(text: &str) -> Write {
    Write::CreateVm { name: name(text), spec: spec() }
}

fn start(text: &str) -> Write {
    Write::StartVm { name: name(text), generation: None }
}

fn big() -> Arc<VmSpec> {
    Arc::new(VmSpec { resources: Resources { vcpus: 64, memory_mib: 64 }, ..(*spec()).clone() })
}

#[test]
fn a_full_queue_refuses_more() {
    let mut leader = Disk::of(&[1, 2, 3], 3).lead_with(|config| config.limits.requests_max = 2);
    leader.mute.extend([2, 3]);
    let write = leader.write(create("a"));
    assert_eq!(leader.ask(write), None);
    let read = leader.read(Read::ListVms);
    let read_ticket = read.0;
    assert_eq!(leader.ask(read), None);
    let refused =
        Some(Err(RequestError::Overloaded { what: "the leader's queue of requests".into(), max: 2 }));
    let write = leader.write(create("b"));
    assert_eq!(leader.ask(write), refused);
    let read = leader.read(Read::ListVms);
    assert_eq!(leader.ask(read), refused);
    leader.mute.clear();
    leader.run(SECOND);
    assert!(matches!(leader.reply(read_ticket), Some(Ok(Response::Vms { .. }))));
    let write = leader.write(create("b"));
    assert!(matches!(leader.ask(write), Some(Ok(Response::Written { .. }))));
}

#[test]
fn a_write_is_answered_once_when_it_is_carried_out() {
    let mut leader = Disk::of(&[1, 2, 3], 3).lead();
    leader.freeze();
    let write = leader.write(create("a"));
    let ticket = write.0;
    assert_eq!(leader.ask(write), None);
    leader.thaw();
    assert!(matches!(leader.reply(ticket), Some(Ok(Response::Written { .. }))));
}

#[test]
fn what_the_log_does_not_take_is_refused_at_once() {
    let mut leader = Disk::of(&[1, 2, 3], 3).hand_over();
    let write = leader.write(create("a"));
    let Some(Err(RequestError::Overloaded { what, .. })) = leader.ask(write) else { panic!("not refused") };
    assert_eq!(what, "the log's pipe of uncommitted commands");
    leader.run(SECOND * 2);
    let write = leader.write(create("a"));
    assert!(matches!(leader.ask(write), Some(Ok(Response::Written { .. }))), "nobody took over");
}

/// A leader of hosts with room for one VM each, and that many VMs that are stopped.
fn tight(hosts: u64, vms: usize) -> Leader {
    let mut disk = Disk::of(&[1], hosts);
    disk.hosts.values_mut().for_each(|host| host.spec.capacity = one_vm());
    for vm in 0..vms {
        disk.vm(&format!("vm{vm}"), None);
    }
    disk.lead()
}

/// Starts these VMs in one turn; what is answered to each.
fn start_at_once(leader: &mut Leader, vms: usize) -> Vec<Option<Result<Response, RequestError>>> {
    let (tickets, inputs): (Vec<_>, Vec<_>) =
        (0..vms).map(|vm| leader.write(start(&format!("vm{vm}")))).unzip();
    leader.turn_of(inputs);
    tickets.into_iter().map(|ticket| leader.reply(ticket)).collect()
}

#[test]
fn starts_at_the_same_time_do_not_take_the_same_room() {
    let mut leader = tight(2, 3);
    let replies = start_at_once(&mut leader, 3);
    assert!(replies[..2].iter().all(|reply| matches!(reply, Some(Ok(_)))), "{replies:?}");
    assert!(matches!(replies[2], Some(Err(RequestError::NoRoom { .. }))), "{replies:?}");
    assert!(leader.has(Probe::NoRoom));
    let mut hosts: Vec<_> = leader.state().vms.values().filter_map(|vm| vm.assigned).collect();
    hosts.sort_unstable();
    assert_eq!(hosts.into_iter().map(|(host, _)| host).collect::<Vec<_>>(), nodes(&[1, 2]));
}

#[test]
fn a_start_whose_place_is_taken_again_and_again_is_given_up() {
    let mut leader = tight(8, 7);
    let replies = start_at_once(&mut leader, 7);
    assert!(replies[..6].iter().all(|reply| matches!(reply, Some(Ok(_)))), "{replies:?}");
    let refused = RequestError::Overloaded { what: "the scheduler's number of tries".into(), max: 5 };
    assert_eq!(replies[6], Some(Err(refused)));
}

/// The room that it stops in counts as taken until its host has said so; by the time the start is carried out it has.
#[test]
fn a_vm_that_still_stops_is_placed_when_its_start_is_carried_out() {
    let mut disk = Disk::of(&[1], 2);
    disk.host(1).cordoned = true;
    disk.host(2).spec.capacity = one_vm();
    let vm = disk.vm("web", Some(2));
    (vm.wanted, vm.generation, vm.phase) = (Wanted::Stopped, Generation(2), Phase::Stopping);
    let mut leader = disk.lead();
    let beat = Heartbeat { reports: vec![report(1, 2, Phase::Stopped)], ..leader.next_beat(2) };
    let (ticket, start) = leader.write(start("web"));
    leader.turn_of(vec![said_by(2, Body::Heartbeat(beat)), start]);
    assert!(matches!(leader.reply(ticket), Some(Ok(_))), "{:?}", leader.reply(ticket));
}

#[test]
fn refusals_leave_their_marks() {
    let mut disk = Disk::of(&[1], 2);
    disk.vm("web", Some(2));
    let mut leader = disk.lead();
    let busy = leader.write(Write::RemoveHost { node: NodeId(2) });
    assert!(matches!(leader.ask(busy), Some(Err(RequestError::HostBusy { .. }))));
    let conflict = leader.write(Write::StopVm { name: name("web"), generation: Some(Generation(9)) });
    assert!(matches!(leader.ask(conflict), Some(Err(RequestError::GenerationConflict { .. }))));
    assert!(leader.has(Probe::HostBusy) && leader.has(Probe::GenerationConflict));
}

/// When it was proposed nobody could know.
#[test]
fn a_request_whose_session_went_while_it_was_under_way_is_refused() {
    let mut disk = Disk::of(&[1], 1);
    disk.settings.sessions_max = 1;
    let mut leader = disk.lead();
    let (tickets, inputs): (Vec<_>, Vec<_>) = (1..=3)
        .map(|client| {
            let id = RequestId { client: ClientId(client), sequence: 1, born: Revision(0) };
            leader.request(Request::Write { id, write: create(&format!("vm{client}")) })
        })
        .unzip();
    leader.turn_of(inputs);
    let replies: Vec<_> = tickets.into_iter().map(|ticket| leader.reply(ticket)).collect();
    assert!(matches!(replies[1], Some(Ok(_))), "{replies:?}");
    assert!(matches!(replies[2], Some(Err(RequestError::SessionExpired { .. }))), "{replies:?}");
    assert!(!leader.state().vms.contains_key(&name("vm3")));
    assert!(leader.has(Probe::SessionExpired));
}

#[test]
fn a_vm_that_waits_is_told_why_and_no_other() {
    let mut disk = Disk::of(&[1], 2);
    disk.host(2).spec.capacity = big().resources;
    disk.host(2).cordoned = true;
    disk.vm_of(big(), "waits", None).wanted = Wanted::Running;
    disk.vm_of(big(), "stopped", None);
    disk.vm_of(big(), "runs", Some(2));
    let mut leader = disk.lead();
    let reason = |leader: &mut Leader, text: &str| {
        let read = leader.read(Read::GetVm { name: name(text) });
        let Some(Ok(Response::Vm { vm, .. })) = leader.ask(read) else { panic!("no answer") };
        vm.reason
    };
    let told = reason(&mut leader, "waits");
    assert!(told.contains("has 4 vCPUs free of 64 wanted"), "{told}");
    assert_eq!(reason(&mut leader, "stopped"), "");
    assert_eq!(reason(&mut leader, "runs"), "");
}

#[test]
fn leadership_is_handed_to_the_voter_that_is_asked_for() {
    let hand_over = |leader: &mut Leader, to: Option<u64>| {
        let request = leader.request(Request::TransferLeader { to: to.map(NodeId) });
        leader.ask(request).expect("it is answered at once")
    };
    let mut leader = Disk::of(&[1, 2, 3], 4).lead();
    assert_eq!(hand_over(&mut leader, Some(4)), Err(RequestError::NotAVoter { node: NodeId(4) }));
    assert_eq!(hand_over(&mut leader, Some(9)), Err(RequestError::NotAVoter { node: NodeId(9) }));
    assert_eq!(hand_over(&mut leader, Some(1)), Ok(Response::Transferring { to: ME }));
    assert_eq!(leader.successors, []);
    assert!(!leader.has(Probe::LeadershipHandedOver), "it leads already");
    assert_eq!(hand_over(&mut leader, Some(3)), Ok(Response::Transferring { to: NodeId(3) }));
    assert_eq!(leader.successors, nodes(&[3]));
    assert!(leader.has(Probe::LeadershipHandedOver));
}

#[test]
fn leadership_is_handed_to_the_voter_with_the_longest_log() {
    let anyone = |leader: &mut Leader| {
        leader.run(Duration::from_millis(500));
        let request = leader.request(Request::TransferLeader { to: None });
        leader.ask(request).expect("it is answered at once")
    };
    let mut leader = Disk::of(&[1, 2, 3], 3).lead();
    assert_eq!(anyone(&mut leader), Ok(Response::Transferring { to: NodeId(2) }), "the first of equals");
    let mut leader = Disk::of(&[1, 2, 3], 3).lead();
    leader.mute.insert(2);
    let write = leader.write(create("a"));
    assert!(leader.ask(write).is_some());
    assert_eq!(anyone(&mut leader), Ok(Response::Transferring { to: NodeId(3) }));
    assert_eq!(leader.successors, nodes(&[3]));
    let mut leader = Disk::of(&[1], 2).lead();
    assert_eq!(anyone(&mut leader), Err(RequestError::LastVoter { node: ME }));
}

/// Just after a check of the quorum nobody has been heard since, which makes nobody unfit.
#[test]
fn leadership_can_be_handed_over_right_after_a_quorum_check() {
    // The check was in this moment.
    let mut leader = Disk::of(&[1, 2, 3], 3).lead();
    let request = leader.request(Request::TransferLeader { to: None });
    assert_eq!(leader.ask(request), Some(Ok(Response::Transferring { to: NodeId(2) })));
    // A voter that was given up is the last to be asked.
    let mut disk = Disk::of(&[1, 2, 3], 3);
    disk.host(2).lost = true;
    let mut leader = disk.lead();
    let request = leader.request(Request::TransferLeader { to: None });
    assert_eq!(leader.ask(request), Some(Ok(Response::Transferring { to: NodeId(3) })));
}

#[test]
fn a_replica_tells_the_revision_of_its_state() {
    let mut leader = Disk::of(&[1], 1).lead();
    assert_eq!(leader.node.revision().0, BASE + 1, "its own first entry");
    let write = leader.write(create("a"));
    let Some(Ok(Response::Written { revision, .. })) = leader.ask(write) else { panic!("no answer") };
    assert_eq!(leader.node.revision(), revision);
}

/// A read needs no more than a quorum's word; nothing waits for the next beat of the clock.
#[test]
fn a_read_is_answered_as_soon_as_a_quorum_has_confirmed() {
    let mut leader = Disk::of(&[1, 2, 3], 3).lead();
    leader.mute.insert(3);
    let read = leader.read(Read::ClusterStatus);
    let Some(Ok(Response::Cluster(view))) = leader.ask(read) else { panic!("no answer") };
    assert_eq!(view.answered_by, ME);
    leader.mute.insert(2);
    let read = leader.read(Read::ClusterStatus);
    assert_eq!(leader.ask(read), None);
    leader.run(Duration::from_millis(600));
    leader.turn(Input::Wake);
    assert!(leader.replies.len() == 1, "nobody has confirmed it");
}
