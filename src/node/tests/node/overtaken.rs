//! Commands that no longer fit when they are carried out: something came before them in the log.

use blixard_node::config::RaftConfig;
use blixard_node::hypervisor::VmReport;
use blixard_node::ids::NodeId;
use blixard_node::input::Input;
use blixard_node::message::{Body, Heartbeat, Message, Nonce};
use blixard_node::probes::Probe;
use blixard_node::request::Write;
use blixard_node::spec::Phase;
use blixard_node::time::Duration;

use crate::cluster::{Cluster, name};
use crate::replication::{create, isolate, three};

fn cordon(node: u64, cordoned: bool) -> Write {
    Write::CordonHost { node: NodeId(node), cordoned, reason: String::new() }
}

/// The only VM runs on the one host that takes any.
fn with_a_vm_on(cluster: &mut Cluster, host: u64) {
    for other in (1..=3).filter(|other| *other != host) {
        cluster.done(cordon(other, true)).unwrap();
    }
    cluster.done(create("web")).unwrap();
    cluster.done(Write::StartVm { name: name("web"), generation: None }).unwrap();
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.running().len(), 1, "{}", cluster.log);
    assert_eq!(cluster.running()[0].0, host);
}

#[test]
fn a_vm_that_is_stopped_before_its_assignment_is_carried_out_stays_stopped() {
    let (mut cluster, leader, [host, _]) = three(RaftConfig::default());
    with_a_vm_on(&mut cluster, host);
    cluster.crash(host);
    cluster.run(Duration::from_secs(20));
    // Room for it comes up, and the leader finds that out with the stop behind it in the log.
    cluster.write(leader, cordon(leader, false));
    cluster.run(Duration::from_millis(1));
    cluster.write(leader, Write::StopVm { name: name("web"), generation: None });
    assert!(!cluster.node(leader).probes().has(Probe::AssignmentOvertaken));
    cluster.run(Duration::from_secs(2));
    assert!(cluster.node(leader).probes().has(Probe::AssignmentOvertaken), "{}", cluster.log);
    assert!(cluster.running().iter().all(|(at, _)| *at == host), "{}", cluster.log);
}

#[test]
fn a_report_of_a_host_that_is_given_up_meanwhile_changes_nothing() {
    let (mut cluster, leader, [host, _]) = three(RaftConfig::default());
    with_a_vm_on(&mut cluster, host);
    let (_, run) = cluster.running()[0];
    isolate(&mut cluster, host);
    let under_way = |cluster: &Cluster| {
        let view = cluster.node(leader).consensus();
        view.last_index > view.applied
    };
    for _ in 0..20_000 {
        if under_way(&cluster) {
            break;
        }
        cluster.run(Duration::from_millis(1));
    }
    assert!(under_way(&cluster) && !cluster.node(leader).state().unwrap().hosts[&NodeId(host)].lost);
    let generation = cluster.node(leader).state().unwrap().vms[&name("web")].generation;
    let (phase, reason) = (Phase::Failed, "too late".to_owned());
    let report = VmReport { run, generation, phase, reason, restarts: 0, artifact: None };
    let node = cluster.node(host);
    let identity = node.identity();
    let body = Body::Heartbeat(Heartbeat {
        nonce: Nonce { process: 1, sequence: 1 },
        sent: cluster.now,
        set_revision: node.set_revision(),
        answered: 0,
        reports: vec![report],
        urgent: true,
        level: node.level(),
    });
    let (from, incarnation) = (identity.node, identity.incarnation);
    let message = Message { cluster: identity.cluster, from, incarnation, body };
    cluster.turn(leader, Input::Deliver(Box::new(message)));
    cluster.run(Duration::from_secs(1));
    let state = cluster.node(leader).state().unwrap();
    assert!(state.hosts[&NodeId(host)].lost, "{}", cluster.log);
    assert_eq!(state.vms[&name("web")].phase, Phase::Lost);
    assert!(cluster.node(leader).probes().has(Probe::ReportOvertaken));
}
