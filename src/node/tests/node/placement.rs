//! Where VMs may go: ports that a host hands out once, volumes that pin a VM to its host.

use std::sync::Arc;

use blixard_node::config::RaftConfig;
use blixard_node::error::RequestError;
use blixard_node::ids::NodeId;
use blixard_node::request::{Reply, Write};
use blixard_node::spec::{Port, Protocol, VmSpec};
use blixard_node::time::Duration;

use crate::cluster::{Cluster, name, spec};

fn hosts(count: u64) -> Cluster {
    let mut cluster = Cluster::new(1, RaftConfig::default());
    (2..=count).for_each(|id| cluster.add(id));
    cluster.run(Duration::from_secs(20));
    cluster
}

fn create(cluster: &mut Cluster, text: &str, spec: VmSpec) {
    cluster.done(Write::CreateVm { name: name(text), spec: Arc::new(spec) }).unwrap();
}

fn start(cluster: &mut Cluster, text: &str) -> Reply {
    let reply = cluster.done(Write::StartVm { name: name(text), generation: None });
    cluster.run(Duration::from_secs(2));
    reply
}

fn stop(cluster: &mut Cluster, text: &str) {
    cluster.done(Write::StopVm { name: name(text), generation: None }).unwrap();
    cluster.run(Duration::from_secs(2));
}

fn with_port(host: u16, protocol: Protocol) -> VmSpec {
    VmSpec { ports: vec![Port { host, guest: 80, protocol }], ..(*spec()).clone() }
}

/// What each host lacks, when none takes the VM.
fn refused(reply: Reply) -> Vec<(NodeId, String)> {
    match reply {
        Err(RequestError::NoRoom { hosts, .. }) => hosts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hosts_port_belongs_to_one_vm_at_a_time() {
    let mut cluster = hosts(1);
    for (text, port, protocol) in
        [("a", 8080, Protocol::Tcp), ("b", 8080, Protocol::Tcp), ("c", 8080, Protocol::Udp)]
    {
        create(&mut cluster, text, with_port(port, protocol));
    }
    start(&mut cluster, "a").unwrap();
    let taken = vec![(NodeId(1), "has port 8080/tcp taken by VM a".to_owned())];
    assert_eq!(refused(start(&mut cluster, "b")), taken);
    start(&mut cluster, "c").expect("another protocol's port is another port");
    stop(&mut cluster, "a");
    start(&mut cluster, "b").expect("a stopped VM takes no port");
    assert_eq!(cluster.running().len(), 2, "{}", cluster.log);
}

#[test]
fn vms_with_the_same_port_go_to_different_hosts_also_after_a_loss() {
    let mut cluster = hosts(3);
    for text in ["a", "b"] {
        create(&mut cluster, text, with_port(8080, Protocol::Tcp));
        start(&mut cluster, text).unwrap();
    }
    let leader = cluster.leader().unwrap();
    let running = cluster.running();
    let host_of = |at: usize| running[at].0;
    assert_ne!(host_of(0), host_of(1));
    let lost = [0, 1].map(host_of).into_iter().find(|host| *host != leader).unwrap();
    cluster.crash(lost);
    cluster.run(Duration::from_secs(30));
    let mut alive: Vec<_> =
        cluster.running().iter().map(|(host, _)| *host).filter(|host| *host != lost).collect();
    alive.dedup();
    assert_eq!(alive.len(), 2, "each on a host of its own:\n{}", cluster.log);
}

#[test]
fn a_vm_with_a_local_volume_returns_to_its_host_or_waits() {
    let mut cluster = hosts(3);
    let leader = NodeId(cluster.leader().unwrap());
    cluster.done(Write::CordonHost { node: leader, cordoned: true, reason: String::new() }).unwrap();
    create(&mut cluster, "db", VmSpec { local_volume: true, ..(*spec()).clone() });
    start(&mut cluster, "db").unwrap();
    let (home, _) = cluster.running()[0];
    assert_ne!(NodeId(home), leader);
    stop(&mut cluster, "db");
    cluster.done(Write::CordonHost { node: leader, cordoned: false, reason: String::new() }).unwrap();
    // Its host is the fullest by now, and still the only one.
    for text in ["x", "y", "z"] {
        create(&mut cluster, text, (*spec()).clone());
        start(&mut cluster, text).unwrap();
    }
    cluster.done(Write::CordonHost { node: NodeId(home), cordoned: true, reason: String::new() }).unwrap();
    let lacks = refused(start(&mut cluster, "db"));
    for (host, why) in lacks {
        let elsewhere = format!("does not hold its volumes, n{home} does");
        assert_eq!(why, if host.0 == home { "cordoned".to_owned() } else { elsewhere });
    }
    cluster.done(Write::CordonHost { node: NodeId(home), cordoned: false, reason: String::new() }).unwrap();
    start(&mut cluster, "db").unwrap();
    let vm = cluster.node(cluster.leader().unwrap()).state().unwrap().vms[&name("db")].id;
    assert!(cluster.running().iter().any(|(host, run)| (*host, run.vm) == (home, vm)), "{}", cluster.log);
    // Lost, it is waited for.
    cluster.crash(home);
    cluster.run(Duration::from_secs(30));
    let vms = &cluster.node(cluster.leader().unwrap()).state().unwrap().vms;
    assert_eq!(vms[&name("db")].reason, format!("waiting for n{home}"));
}
