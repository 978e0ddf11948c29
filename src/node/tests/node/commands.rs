//! What each kind of command does to the state, and what it leaves alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use blixard_node::command::{Action, HostSpec, Place};
use blixard_node::config::Settings;
use blixard_node::error::RequestError;
use blixard_node::ids::{Epoch, Generation, Incarnation, NodeId};
use blixard_node::request::Write;
use blixard_node::spec::{FailoverPolicy, Phase, Resources, VmSpec, Wanted};
use blixard_node::state::apply::fingerprint;
use blixard_node::state::hash::hash_of;
use blixard_node::time::WallMs;

use crate::bare::{Bare, generation, generation_of, host, with_volume};
use crate::cluster::{name, spec};

fn start(expected: Option<Generation>) -> Write {
    Write::StartVm { name: name("web"), generation: expected }
}

fn stop(expected: Option<Generation>) -> Write {
    Write::StopVm { name: name("web"), generation: expected }
}

fn delete(expected: Option<Generation>, keep_volumes: bool) -> Write {
    Write::DeleteVm { name: name("web"), generation: expected, keep_volumes }
}

fn create(spec: VmSpec) -> Write {
    Write::CreateVm { name: name("web"), spec: Arc::new(spec) }
}

fn update(expected: Option<Generation>, spec: VmSpec) -> Write {
    Write::UpdateVm { name: name("web"), generation: expected, spec: Arc::new(spec) }
}

fn cordon(node: u64, cordoned: bool, reason: &str) -> Write {
    Write::CordonHost { node: NodeId(node), cordoned, reason: reason.into() }
}

fn other_spec() -> VmSpec {
    VmSpec { payload: "other".into(), ..(*spec()).clone() }
}

/// Replicas of all versions remember them, in snapshots too.
#[test]
fn every_write_has_a_fingerprint_of_its_own() {
    let writes = [
        create((*spec()).clone()),
        create(other_spec()),
        start(None),
        start(generation(1)),
        stop(None),
        delete(None, false),
        delete(None, true),
        cordon(1, true, ""),
        cordon(1, true, "new disks"),
        cordon(1, false, ""),
        cordon(2, true, ""),
        Write::RemoveHost { node: NodeId(1) },
        update(None, (*spec()).clone()),
    ];
    let fingerprints: BTreeSet<u64> = writes.iter().map(fingerprint).collect();
    assert_eq!(fingerprints.len(), writes.len());
    assert_eq!(
        fingerprint(&cordon(1, true, "")),
        hash_of(&(5u8, NodeId(1), true)),
        "as the first version has it"
    );
}

#[test]
fn a_retry_gets_the_first_answer_also_when_it_was_a_refusal() {
    let mut bare = Bare::new(1);
    let (id, later) = (bare.next_id(), bare.next_id());
    let ask = |bare: &mut Bare, id, write: Write| {
        bare.act(Action::Client { id, write, place: Place::Unneeded }).answer.unwrap()
    };
    let unknown = Err(RequestError::VmUnknown { name: name("web") });
    assert_eq!(ask(&mut bare, id, stop(None)), unknown);
    let created = ask(&mut bare, later, create((*spec()).clone()));
    assert_eq!(created.clone().map(|(_, generation)| generation), Ok(Generation(1)));
    let before = bare.state.hash();
    assert_eq!(ask(&mut bare, id, stop(None)), unknown, "although it is there by now");
    assert_eq!(ask(&mut bare, later, create((*spec()).clone())), created, "although the name is taken");
    assert_eq!(ask(&mut bare, later, stop(None)), Err(RequestError::IdReused { sequence: 2 }));
    assert_eq!(bare.state.hash(), before, "nothing was done or remembered");
}

#[test]
fn a_name_is_free_until_it_is_taken_and_after_it_is_gone() {
    let mut bare = Bare::new(1);
    assert_eq!(
        bare.write(create(VmSpec { payload: "x".repeat(262_145), ..(*spec()).clone() })).unwrap_err().code(),
        "BLX-VM-006"
    );
    assert_eq!(bare.write(create((*spec()).clone())), Ok(Generation(1)));
    assert_eq!(bare.vm("web").id.0, bare.state.revision.0, "named by where it was created");
    assert_eq!(bare.write(create((*spec()).clone())), Err(RequestError::VmExists { name: name("web") }));
    bare.start("web", 1);
    bare.delete("web", false);
    assert_eq!(bare.write(create((*spec()).clone())), Err(RequestError::VmDeleting { name: name("web") }));
    bare.report(1, bare.told("web", Phase::Stopped));
    assert_eq!(bare.write(create((*spec()).clone())), Ok(Generation(1)));
}

#[test]
fn no_more_vms_are_listed_than_the_settings_allow() {
    let mut bare = Bare::with_settings(1, Settings { vms_max: 2, ..Settings::default() });
    bare.create("a", (*spec()).clone());
    bare.create("b", (*spec()).clone());
    assert_eq!(bare.write(create((*spec()).clone())), Err(RequestError::TooManyVms { max: 2 }));
    bare.delete("a", false);
    assert_eq!(bare.write(create((*spec()).clone())), Ok(Generation(1)));
}

#[test]
fn whoever_names_a_generation_is_refused_at_another_one() {
    let mut bare = Bare::new(1);
    bare.create("web", (*spec()).clone());
    let conflict = |expected| RequestError::GenerationConflict {
        name: name("web"),
        expected: Generation(expected),
        actual: Generation(1),
    };
    for expected in [0, 2] {
        let old = generation(expected);
        for write in [start(old), stop(old), delete(old, false), update(old, other_spec())] {
            assert_eq!(bare.write(write), Err(conflict(expected)));
        }
    }
    assert_eq!(bare.write(update(generation(1), other_spec())), Ok(Generation(2)));
    assert_eq!(bare.write(stop(generation(2))), Ok(Generation(2)), "it is stopped already");
    let started = bare.client(start(generation(2)), Place::On(NodeId(1)));
    assert_eq!(generation_of(started.answer.unwrap()), Ok(Generation(3)));
    assert_eq!(bare.write(start(generation(3))), Ok(Generation(3)), "it is started already");
    assert_eq!(bare.write(stop(generation(3))), Ok(Generation(4)));
    assert_eq!(bare.write(delete(generation(4), false)), Ok(Generation(5)));
    assert_eq!(bare.write(delete(generation(5), false)), Ok(Generation(5)), "it is deleted already");
    assert_eq!(bare.write(start(None)), Err(RequestError::VmDeleting { name: name("web") }));
    assert_eq!(bare.write(stop(None)), Err(RequestError::VmDeleting { name: name("web") }));
    assert_eq!(bare.write(update(None, other_spec())), Err(RequestError::VmDeleting { name: name("web") }));
    assert_eq!(
        bare.write(Write::StopVm { name: name("x"), generation: None }),
        Err(RequestError::VmUnknown { name: name("x") })
    );
}

#[test]
fn another_spec_is_for_a_vm_that_is_known_to_be_stopped() {
    let mut bare = Bare::new(1);
    bare.run("web", (*spec()).clone(), 1);
    let not_stopped = Err(RequestError::VmNotStopped { name: name("web") });
    assert_eq!(bare.write(update(None, other_spec())), not_stopped);
    bare.stop("web");
    assert_eq!(bare.write(update(None, other_spec())), not_stopped, "its host has not said so yet");
    let mut report = bare.told("web", Phase::Stopped);
    report.artifact = Some("built".into());
    bare.report(1, report);
    assert_eq!(bare.vm("web").artifact.as_deref(), Some("built"));
    let stopped = bare.vm("web").generation;
    assert_eq!(bare.write(update(None, (*spec()).clone())), Ok(stopped), "it is the same");
    assert_eq!(bare.vm("web").artifact.as_deref(), Some("built"));
    let hash = bare.state.hash();
    assert_eq!(bare.write(update(None, other_spec())), Ok(Generation(stopped.0 + 1)));
    let vm = bare.vm("web");
    assert_eq!((vm.spec.payload.as_str(), &vm.artifact), ("other", &None), "what was built counts no more");
    assert_eq!(vm.observed_generation, vm.generation, "nobody has anything to do for it");
    assert_ne!(bare.state.hash(), hash);
    let zero = VmSpec { resources: Resources::default(), ..(*spec()).clone() };
    assert_eq!(bare.write(update(None, zero)).unwrap_err().code(), "BLX-VM-006");
}

#[test]
fn a_start_is_carried_out_where_it_was_decided_or_not_at_all() {
    let mut bare = Bare::new(2);
    bare.create("web", VmSpec { resources: Resources { vcpus: 3, memory_mib: 1 }, ..(*spec()).clone() });
    bare.run("big", VmSpec { resources: Resources { vcpus: 2, memory_mib: 1 }, ..(*spec()).clone() }, 1);
    let before = bare.state.hash();
    for place in [Place::On(NodeId(1)), Place::On(NodeId(9)), Place::Unneeded] {
        let applied = bare.client(start(None), place);
        assert_eq!((applied.answer, applied.touched), (None, vec![]), "the leader decides anew");
        assert_eq!(bare.state.hash(), before, "nothing is done or remembered");
    }
    let hosts = vec![(NodeId(1), "full".to_owned())];
    let nowhere = bare.client(start(None), Place::Nowhere(hosts.clone())).answer.unwrap();
    assert_eq!(generation_of(nowhere), Err(RequestError::NoRoom { name: name("web"), hosts }));
    assert_eq!(bare.vm("web").wanted, Wanted::Stopped);
    let applied = bare.client(start(None), Place::On(NodeId(2)));
    assert_eq!(generation_of(applied.answer.unwrap()), Ok(Generation(2)));
    assert_eq!(applied.touched, [NodeId(2)]);
    let vm = bare.vm("web");
    assert_eq!(
        (vm.wanted, vm.assigned, vm.last_host),
        (Wanted::Running, Some((NodeId(2), Epoch(1))), Some(NodeId(2)))
    );
    assert_eq!(bare.stands("web"), (Phase::Pending, "assigned to n2"));
    assert_eq!(bare.state.hosts[&NodeId(2)].set_revision, bare.state.revision);
}

/// A start that overtakes a stop is for the host that has it, and for its run.
#[test]
fn a_vm_started_again_before_it_has_stopped_stays_where_it_is() {
    let mut bare = Bare::new(2);
    bare.run("web", (*spec()).clone(), 1);
    assert_eq!(bare.stop("web"), Generation(3));
    assert_eq!(bare.stop("web"), Generation(3), "it is wanted stopped already");
    let applied = bare.client(start(None), Place::On(NodeId(2)));
    assert_eq!(
        (generation_of(applied.answer.unwrap()), applied.touched),
        (Ok(Generation(4)), vec![NodeId(1)])
    );
    assert_eq!(bare.vm("web").assigned, Some((NodeId(1), Epoch(1))));
    bare.stop_and_confirm("web");
    bare.start("web", 2);
    assert_eq!(bare.vm("web").assigned, Some((NodeId(2), Epoch(2))), "each assignment has its own epoch");
    assert_eq!(bare.vm("web").hosts, [NodeId(1), NodeId(2)].into());
}

#[test]
fn a_vm_on_a_lost_host_is_stopped_at_once() {
    let mut bare = Bare::new(2);
    bare.run("web", VmSpec { failover: FailoverPolicy::Wait, ..(*spec()).clone() }, 1);
    bare.lose(1);
    assert_eq!(bare.stands("web"), (Phase::Lost, "waiting for n1"));
    let generation = bare.stop("web");
    let vm = bare.vm("web");
    assert_eq!(
        (vm.assigned, vm.observed_generation),
        (None, generation),
        "its lease has ended: nothing runs"
    );
    assert_eq!(bare.stands("web"), (Phase::Stopped, ""));
}

#[test]
fn a_vm_on_a_living_host_is_stopped_when_that_says_so() {
    let mut bare = Bare::new(2);
    bare.run("web", (*spec()).clone(), 1);
    bare.report(1, bare.told("web", Phase::Running));
    let applied = bare.client(stop(None), Place::Unneeded);
    assert_eq!(applied.touched, [NodeId(1)], "it is to hear of it");
    assert_eq!(bare.stands("web"), (Phase::Running, ""), "as far as anybody knows");
    assert!(bare.vm("web").assigned.is_some());
}

#[test]
fn a_deleted_vm_waits_for_all_hosts_that_ran_it() {
    let mut bare = Bare::new(3);
    bare.run("web", (*spec()).clone(), 1);
    bare.stop_and_confirm("web");
    bare.start("web", 2);
    let applied = bare.client(delete(None, false), Place::Unneeded);
    assert_eq!(applied.touched, [NodeId(1), NodeId(2)]);
    assert_eq!(bare.vm("web").purging, [NodeId(1), NodeId(2)].into());
    let stopped = bare.told("web", Phase::Stopped);
    bare.report(2, stopped.clone());
    assert_eq!(bare.vm("web").purging, [NodeId(1)].into());
    assert_eq!(bare.stands("web"), (Phase::Stopping, "its volumes are being removed"));
    let applied = bare.report(1, stopped);
    assert_eq!(applied.touched, [NodeId(1)]);
    assert!(!bare.is_listed("web"));
}

#[test]
fn a_deleted_vms_volumes_may_be_spared_from_the_first_or_later() {
    let mut bare = Bare::new(2);
    bare.run("web", with_volume(), 1);
    bare.stop_and_confirm("web");
    bare.delete("web", true);
    assert!(!bare.is_listed("web"), "nobody has anything left to do");
    bare.run("web", with_volume(), 1);
    bare.stop_and_confirm("web");
    let generation = bare.delete("web", false);
    assert_eq!(bare.stands("web"), (Phase::Stopping, "its volumes are being removed"));
    assert_eq!(bare.delete("web", false), generation, "again changes nothing");
    assert_eq!(bare.vm("web").purging, [NodeId(1)].into());
    let applied = bare.client(delete(None, true), Place::Unneeded);
    assert_eq!((generation_of(applied.answer.unwrap()), applied.touched), (Ok(generation), vec![NodeId(1)]));
    assert!(!bare.is_listed("web"));
}

#[test]
fn a_lost_host_is_waited_for_where_the_local_volume_is_and_not_elsewhere() {
    for (spec, waits) in [((*spec()).clone(), false), (with_volume(), true)] {
        let mut bare = Bare::new(2);
        bare.run("web", spec, 1);
        bare.stop_and_confirm("web");
        bare.lose(1);
        bare.delete("web", false);
        assert_eq!(bare.is_listed("web"), waits);
        if waits {
            assert_eq!(bare.stands("web"), (Phase::Lost, "waiting for n1 to remove its volumes"));
            bare.regain(1);
            assert_eq!(bare.stands("web"), (Phase::Stopping, "its volumes are being removed"));
        }
    }
}

#[test]
fn a_cordon_is_for_a_host_and_its_reason_for_the_time_of_it() {
    let mut bare = Bare::new(2);
    bare.state.level = blixard_node::level::Level::FIRST;
    assert_eq!(bare.write(cordon(9, true, "")), Err(RequestError::HostUnknown { node: NodeId(9) }));
    let refused = bare.write(cordon(1, true, "new disks")).unwrap_err();
    assert_eq!(refused.code(), "BLX-REQ-006", "at this level nobody could keep it");
    assert_eq!(bare.write(cordon(1, true, "")), Ok(Generation(0)));
    let cordoned = |bare: &Bare| {
        let host = &bare.state.hosts[&NodeId(1)];
        (host.cordoned, host.cordon_reason.clone(), host.is_open())
    };
    assert_eq!(cordoned(&bare), (true, String::new(), false));
    for node in 1..=2 {
        bare.add_host(node, host().announcing(blixard_node::level::Level(2)));
    }
    bare.act(Action::RaiseLevel { to: blixard_node::level::Level(2) });
    assert_eq!(bare.write(cordon(1, true, "new disks")), Ok(Generation(0)));
    assert_eq!(cordoned(&bare), (true, "new disks".to_owned(), false));
    assert_eq!(bare.write(cordon(1, false, "they are in")), Ok(Generation(0)));
    assert_eq!(cordoned(&bare), (false, String::new(), true));
}

#[test]
fn a_host_with_anything_of_a_vm_is_not_removed() {
    let mut bare = Bare::new(2);
    let remove = Write::RemoveHost { node: NodeId(1) };
    assert_eq!(
        bare.write(Write::RemoveHost { node: NodeId(9) }),
        Err(RequestError::HostUnknown { node: NodeId(9) })
    );
    let busy = |vms| Err(RequestError::HostBusy { node: NodeId(1), vms });
    // Two that run there, one of them with a volume, and one that runs elsewhere.
    bare.run("runs", (*spec()).clone(), 1);
    bare.run("runs-with-volume", with_volume(), 1);
    bare.run("elsewhere", with_volume(), 2);
    assert_eq!(bare.write(remove.clone()), busy(2));
    // Two that are stopped, with a volume there.
    for text in ["stopped", "stopped-too"] {
        bare.run(text, with_volume(), 1);
        bare.stop_and_confirm(text);
    }
    assert_eq!(bare.write(remove.clone()), busy(4));
    // One whose volume is being removed.
    bare.run("deleted", with_volume(), 1);
    bare.stop_and_confirm("deleted");
    bare.delete("deleted", false);
    assert_eq!(bare.write(remove.clone()), busy(5));
    // One that is deleted while it runs counts once.
    bare.delete("runs", false);
    assert_eq!(bare.write(remove.clone()), busy(5));
    for text in ["runs", "deleted"] {
        bare.report(1, bare.told(text, Phase::Stopped));
    }
    assert_eq!(bare.write(remove.clone()), busy(3));
    for text in ["runs-with-volume", "stopped", "stopped-too"] {
        bare.delete(text, false);
        bare.report(1, bare.told(text, Phase::Stopped));
    }
    assert_eq!(bare.write(remove), Ok(Generation(0)));
    assert!(bare.state.hosts[&NodeId(1)].leaving && !bare.state.hosts[&NodeId(1)].is_open());
    assert_eq!(
        bare.write(Write::RemoveHost { node: NodeId(2) }),
        Err(RequestError::LastVoter { node: NodeId(2) }),
        "the only one that stays"
    );
}

#[test]
fn a_leaving_host_goes_when_nothing_of_any_vm_is_left_and_never_returns() {
    let mut bare = Bare::new(2);
    let drop = Action::DropHost { node: NodeId(1) };
    bare.act(drop.clone());
    assert!(bare.state.hosts.contains_key(&NodeId(1)), "nobody wants it gone");
    bare.run("web", (*spec()).clone(), 1);
    bare.stop_and_confirm("web");
    bare.write(Write::RemoveHost { node: NodeId(1) }).unwrap();
    bare.delete("web", false);
    bare.act(drop.clone());
    assert!(bare.state.hosts.contains_key(&NodeId(1)), "it has something to remove");
    bare.report(1, bare.told("web", Phase::Stopped));
    let hash = bare.state.hash();
    bare.act(drop);
    assert_eq!(bare.state.hosts.keys().collect::<Vec<_>>(), [&NodeId(2)]);
    assert_eq!(bare.state.removed, [NodeId(1)].into());
    assert_ne!(bare.state.hash(), hash);
    bare.add_host(1, host());
    assert!(!bare.state.hosts.contains_key(&NodeId(1)));
}

#[test]
fn a_member_tells_anew_what_it_offers_and_no_other_disk_does_for_it() {
    let mut bare = Bare::new(1);
    let more =
        HostSpec { capacity: Resources { vcpus: 8, memory_mib: 8192 }, address: "new:1".into(), ..host() };
    let tell = |bare: &mut Bare, incarnation: u64, host: HostSpec| {
        bare.act(Action::AddHost { node: NodeId(1), incarnation: Incarnation(incarnation), host });
        bare.state.hosts[&NodeId(1)].spec.clone()
    };
    assert_eq!(tell(&mut bare, 2, more.clone()), host(), "another disk");
    assert_eq!(tell(&mut bare, 1, more.clone()), more);
    bare.run("web", VmSpec { resources: Resources { vcpus: 4, memory_mib: 4096 }, ..(*spec()).clone() }, 1);
    let set_revision = bare.state.hosts[&NodeId(1)].set_revision;
    assert_eq!(tell(&mut bare, 1, host()), host(), "what its VMs take is left");
    let less =
        HostSpec { capacity: Resources { vcpus: 3, memory_mib: 9000 }, address: "newer:1".into(), ..host() };
    let kept = tell(&mut bare, 1, less);
    assert_eq!(
        (kept.capacity, kept.address.as_str()),
        (host().capacity, "newer:1"),
        "never below what its VMs take"
    );
    assert_eq!(bare.state.hosts[&NodeId(1)].set_revision, set_revision, "it has nothing else to do");
}

#[test]
fn times_are_those_of_the_leader_that_proposed() {
    let mut bare = Bare::new(1);
    bare.run("web", (*spec()).clone(), 1);
    let revision = bare.state.revision;
    let last = bare.vm("web").transitions.back().unwrap();
    assert_eq!((last.revision, last.at, last.host), (revision, WallMs(revision.0 * 1_000), Some(NodeId(1))));
    assert_eq!(bare.vm("web").since, last.at);
}
