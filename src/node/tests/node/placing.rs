//! Where the scheduler sends VMs, what it says of hosts that cannot take one, and what each host is told to do.

use std::collections::BTreeMap;

use blixard_node::command::HostSpec;
use blixard_node::config::Settings;
use blixard_node::error::RequestError;
use blixard_node::ids::{NodeId, Revision};
use blixard_node::level::Level;
use blixard_node::request::Write;
use blixard_node::spec::{Labels, Phase, Port, Protocol, Resources, VmSpec, Wanted};
use blixard_node::state::State;
use blixard_node::state::scheduler::{Promised, format_backend};
use blixard_node::time::Duration;

use crate::bare::{Bare, host, with_volume};
use crate::cluster::{name, spec};

fn sized(vcpus: u32, memory_mib: u64) -> VmSpec {
    VmSpec { resources: Resources { vcpus, memory_mib }, ..(*spec()).clone() }
}

fn offering(vcpus: u32, memory_mib: u64) -> HostSpec {
    HostSpec { capacity: Resources { vcpus, memory_mib }, ..host() }
}

/// Where a new VM of that spec goes.
fn placed(bare: &Bare, spec: VmSpec) -> Result<u64, Vec<(u64, String)>> {
    let vm = blixard_node::state::Vm::new(Default::default(), name("new"), spec.into(), Default::default());
    let placed = bare.state.place(&vm, &Promised::new());
    placed.map(|node| node.0).map_err(|hosts| hosts.into_iter().map(|(node, why)| (node.0, why)).collect())
}

#[test]
fn a_vm_goes_where_fewest_are_then_where_most_memory_is_then_to_the_lowest_id() {
    let mut bare = Bare::new(0);
    bare.add_host(1, offering(4, 4096));
    bare.add_host(2, offering(4, 8192));
    bare.add_host(3, offering(4, 8192));
    assert_eq!(placed(&bare, sized(1, 1)), Ok(2), "the most memory, and of two the lower id");
    bare.run("a", sized(1, 1), 2);
    assert_eq!(placed(&bare, sized(1, 1)), Ok(3));
    bare.run("b", sized(1, 1), 3);
    assert_eq!(placed(&bare, sized(1, 1)), Ok(1), "the fewest VMs");
    bare.run("c", sized(1, 1), 1);
    bare.run("d", sized(1, 5000), 2);
    bare.run("e", sized(1, 1), 1);
    bare.run("f", sized(1, 1), 3);
    assert_eq!(placed(&bare, sized(1, 1)), Ok(3), "the most memory that is free");
}

#[test]
fn a_host_is_taken_to_the_brim_and_no_further() {
    let mut bare = Bare::new(0);
    bare.add_host(1, offering(4, 4096));
    assert_eq!(placed(&bare, sized(4, 4096)), Ok(1));
    let lacks = |why: &str| Err(vec![(1, why.to_owned())]);
    assert_eq!(placed(&bare, sized(5, 1)), lacks("has 4 vCPUs free of 5 wanted"));
    assert_eq!(placed(&bare, sized(1, 4097)), lacks("has 4096 MiB free of 4097 wanted"));
    bare.run("a", sized(3, 96), 1);
    assert_eq!(placed(&bare, sized(1, 4000)), Ok(1));
    assert_eq!(placed(&bare, sized(2, 1)), lacks("has 1 vCPUs free of 2 wanted"));
    assert_eq!(placed(&bare, sized(1, 4001)), lacks("has 4000 MiB free of 4001 wanted"));
}

#[test]
fn a_host_carries_the_labels_that_a_vm_requires_and_offers_its_backend() {
    let mut bare = Bare::new(1);
    let requires = |key: &str, value: &str| VmSpec {
        requires: Labels::from([(key.to_owned(), value.to_owned())]),
        ..(*spec()).clone()
    };
    let lacks = |why: &str| Err(vec![(1, why.to_owned())]);
    assert_eq!(placed(&bare, requires("disk", "fast")), lacks("has no label disk=fast"));
    let qemu = VmSpec { hypervisor: "qemu".into(), ..(*spec()).clone() };
    assert_eq!(placed(&bare, qemu.clone()), lacks("has no label hypervisor.qemu=true"));
    let mut labelled = host();
    labelled.labels.insert("disk".into(), "fast".into());
    labelled.labels.insert(format_backend("qemu"), "false".into());
    bare.add_host(1, labelled);
    assert_eq!(placed(&bare, requires("disk", "fast")), Ok(1));
    assert_eq!(placed(&bare, requires("disk", "slow")), lacks("has no label disk=slow"));
    assert_eq!(placed(&bare, qemu), lacks("has no label hypervisor.qemu=true"));
}

#[test]
fn every_host_says_what_it_lacks_up_to_sixteen() {
    let mut bare = Bare::new(20);
    bare.lose(1);
    bare.write(Write::CordonHost { node: NodeId(2), cordoned: true, reason: String::new() }).unwrap();
    bare.write(Write::RemoveHost { node: NodeId(3) }).unwrap();
    let Err(lacks) = placed(&bare, sized(9, 1)) else { panic!("there is no such host") };
    let why: BTreeMap<u64, String> = lacks.into_iter().collect();
    assert_eq!((why[&1].as_str(), why[&2].as_str(), why[&3].as_str()), ("lost", "cordoned", "leaving"));
    assert_eq!(why[&4], "has 4 vCPUs free of 9 wanted");
    assert_eq!(why.len(), RequestError::HOSTS_MAX);
}

#[test]
fn a_port_is_taken_by_the_vm_that_has_it() {
    let mut bare = Bare::new(1);
    let with_port =
        |host| VmSpec { ports: vec![Port { host, guest: 1, protocol: Protocol::Tcp }], ..(*spec()).clone() };
    bare.run("a", with_port(80), 1);
    assert_eq!(placed(&bare, with_port(80)), Err(vec![(1, "has port 80/tcp taken by VM a".to_owned())]));
    assert_eq!(placed(&bare, with_port(81)), Ok(1));
    bare.stop("a");
    assert!(placed(&bare, with_port(80)).is_err(), "its host has not confirmed it");
    bare.report(1, bare.told("a", Phase::Stopped));
    assert_eq!(placed(&bare, with_port(80)), Ok(1));
}

/// Three VMs of a lost host, with room for all on n2 and n3; n2 has more memory.
fn three_to_move() -> Bare {
    let mut bare = Bare::new(3);
    bare.add_host(2, offering(4, 8192));
    for text in ["a", "b", "c"] {
        bare.run(text, sized(1, 1), 1);
    }
    bare.lose(1);
    bare
}

fn moves(state: &State, max: usize) -> Vec<(String, u64)> {
    state.place_unplaced(max).into_iter().map(|placed| (placed.name.to_string(), placed.to.0)).collect()
}

#[test]
fn vms_placed_together_spread_as_those_placed_one_by_one() {
    let bare = three_to_move();
    let expected = [("a".to_owned(), 2), ("b".to_owned(), 3), ("c".to_owned(), 2)];
    for max in 0..=4 {
        assert_eq!(moves(&bare.state, max), expected[..max.min(3)]);
    }
}

/// What is promised to one is not there for the next: room, and ports.
#[test]
fn a_decision_for_many_counts_what_it_has_given_away() {
    let mut bare = Bare::new(0);
    bare.add_host(1, offering(8, 8192));
    bare.add_host(2, offering(2, 4096));
    for (text, spec) in [("a", sized(2, 1)), ("b", sized(1, 1)), ("c", sized(2, 5000))] {
        bare.run(text, spec, 1);
    }
    bare.lose(1);
    assert_eq!(moves(&bare.state, 9), [("a".to_owned(), 2)], "then there is no vCPU left");
    let port = Port { host: 80, guest: 1, protocol: Protocol::Udp };
    let mut bare = Bare::new(3);
    for (text, node) in [("a", 1), ("b", 3)] {
        bare.run(text, VmSpec { ports: vec![port], ..sized(1, 1) }, node);
        bare.lose(node);
    }
    assert_eq!(moves(&bare.state, 9), [("a".to_owned(), 2)], "the port goes to one of them");
    assert_eq!(bare.state.unplaced().map(|vm| vm.name.to_string()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_host_is_told_all_that_is_its_own_and_nothing_else() {
    let mut bare = Bare::new(2);
    bare.run("runs", (*spec()).clone(), 1);
    bare.run("elsewhere", (*spec()).clone(), 2);
    bare.run("deleted", (*spec()).clone(), 1);
    bare.stop_and_confirm("deleted");
    bare.delete("deleted", false);
    bare.run("deleted-while-it-runs", (*spec()).clone(), 1);
    bare.delete("deleted-while-it-runs", false);
    let told = |bare: &Bare| -> Vec<_> {
        let told = bare.state.assignments(NodeId(1)).into_iter();
        told.map(|told| (told.name.to_string(), told.wanted, told.purge)).collect()
    };
    let expected = [
        ("runs".to_owned(), Wanted::Running, false),
        ("deleted-while-it-runs".to_owned(), Wanted::Stopped, true),
        ("deleted".to_owned(), Wanted::Stopped, true),
    ];
    assert_eq!(told(&bare), expected);
    assert!(!bare.state.hosts[&NodeId(1)].is_empty());
    assert_eq!(bare.state.assignments(NodeId(9)), []);
    bare.lose(1);
    assert_eq!(told(&bare), [], "a lost host is told nothing");
}

#[test]
fn what_a_vms_home_has_is_listed_also_while_it_runs_nowhere() {
    let mut bare = Bare::new(2);
    bare.run("db", with_volume(), 1);
    bare.stop_and_confirm("db");
    bare.run("cache", (*spec()).clone(), 1);
    let at_home = |bare: &Bare, node| {
        bare.state.at_home_on(NodeId(node)).map(|vm| vm.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((at_home(&bare, 1), at_home(&bare, 2)), (vec!["db".to_owned()], vec![]));
}

#[test]
fn a_directory_has_the_voters_first_and_nobody_twice() {
    let mut bare = Bare::new(0);
    for node in 1..=4 {
        bare.add_host(node, HostSpec { address: format!("host{node}:1"), ..host() });
    }
    let listed = bare.state.directory(&[NodeId(3), NodeId(2), NodeId(9)]);
    let expected = [3, 2, 1, 4].map(|node| (NodeId(node), format!("host{node}:1")));
    assert_eq!(listed, expected);
}

#[test]
fn the_hosts_that_hold_the_level_back_are_named_up_to_sixteen() {
    let mut bare = Bare::new(20);
    bare.add_host(2, host().announcing(Level(2)));
    assert_eq!(bare.state.announced_by_all(), Level(1));
    let below: Vec<_> = bare.state.hosts_below(Level(2)).map(|node| node.0).collect();
    assert_eq!(below, (1..=20).filter(|node| *node != 2).collect::<Vec<_>>());
    assert_eq!(bare.state.hosts_below(Level(1)).count(), 0);
    let write = Write::CordonHost { node: NodeId(1), cordoned: true, reason: "new disks".into() };
    let refused = bare.state.below_level(&write);
    let RequestError::BelowLevel { held_back_by, .. } = &refused else { panic!("{refused}") };
    assert_eq!(held_back_by.len(), RequestError::HOSTS_MAX);
    let old = bare.state.clone();
    assert!(!old.is_too_old(Level(1)) && !old.is_too_old(Level(2)));
    let mut raised = bare.state.clone();
    raised.level = Level(2);
    assert!(raised.is_too_old(Level(1)) && !raised.is_too_old(Level(2)) && !raised.is_too_old(Level(3)));
    let nobody = State::new(raised.cluster, raised.settings, Revision(1));
    assert_eq!(nobody.announced_by_all(), Level(1));
}

/// All of it is in a snapshot: a replica that takes one has what the others have.
#[test]
fn a_state_is_the_same_after_a_snapshot() {
    let mut bare = three_to_move();
    bare.run("db", with_volume(), 2);
    bare.stop_and_confirm("db");
    bare.delete("db", false);
    bare.write(Write::RemoveHost { node: NodeId(1) }).unwrap_err();
    bare.add_host(4, host());
    bare.write(Write::RemoveHost { node: NodeId(4) }).unwrap();
    bare.act(blixard_node::command::Action::DropHost { node: NodeId(4) });
    let bytes = blixard_node::codec::encode_state(&bare.state);
    let back = blixard_node::codec::decode_state(&bytes).unwrap();
    back.check();
    assert_eq!(
        (back.hash(), back.revision, &back.removed),
        (bare.state.hash(), bare.state.revision, &bare.state.removed)
    );
    assert_eq!(back.vms, bare.state.vms);
    assert_eq!(back.hosts, bare.state.hosts);
    assert_eq!(back.sessions, bare.state.sessions);
    assert_eq!(moves(&back, 9), moves(&bare.state, 9));
}

#[test]
fn a_snapshot_keeps_the_clusters_settings() {
    let settings = Settings {
        lease_ttl: Duration::from_secs(9),
        clock_drift_ppm: 2,
        kill_grace: Duration::from_secs(3),
        voters_max: 7,
        sessions_max: 4,
        answers_max: 5,
        vms_max: 6,
    };
    let bare = Bare::with_settings(1, settings.clone());
    let back = blixard_node::codec::decode_state(&blixard_node::codec::encode_state(&bare.state)).unwrap();
    assert_eq!((back.cluster, back.settings), (bare.state.cluster, settings));
}
