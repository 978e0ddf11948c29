//! What becomes of what a VM keeps on its hosts when it is deleted.

use std::sync::Arc;

use blixard_node::config::RaftConfig;
use blixard_node::hypervisor::{Run, VmReport};
use blixard_node::ids::{Generation, NodeId};
use blixard_node::request::Write;
use blixard_node::spec::{Phase, VmSpec};
use blixard_node::time::Duration;

use crate::cluster::{Cluster, name, spec};

/// Three nodes; a VM named "web" has run on the returned host and is stopped.
fn stopped_vm(local_volume: bool) -> (Cluster, u64) {
    let mut cluster = Cluster::new(1, RaftConfig::default());
    cluster.tell = true;
    cluster.add(2);
    cluster.add(3);
    cluster.run(Duration::from_secs(20));
    // The leader takes the first one; one that has to survive runs elsewhere.
    let leader = cluster.leader().unwrap();
    cluster.done(Write::CordonHost { node: NodeId(leader), cordoned: true, reason: String::new() }).unwrap();
    let spec = Arc::new(VmSpec { local_volume, ..(*spec()).clone() });
    cluster.done(Write::CreateVm { name: name("web"), spec }).unwrap();
    cluster.done(Write::StartVm { name: name("web"), generation: None }).unwrap();
    cluster.run(Duration::from_secs(2));
    let (host, _) = cluster.running()[0];
    cluster.done(Write::StopVm { name: name("web"), generation: None }).unwrap();
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.running(), [], "{}", cluster.log);
    assert_ne!(host, leader);
    (cluster, host)
}

fn delete(cluster: &mut Cluster, keep_volumes: bool) {
    cluster.done(Write::DeleteVm { name: name("web"), generation: None, keep_volumes }).unwrap();
}

/// As [`stopped_vm`], with a local volume on a host that is lost; that one is waited for.
fn deleted_while_its_host_is_lost() -> (Cluster, u64) {
    let (mut cluster, host) = stopped_vm(true);
    cluster.crash(host);
    cluster.run(Duration::from_secs(20));
    delete(&mut cluster, false);
    cluster.run(Duration::from_secs(2));
    (cluster, host)
}

/// Phase and reason, while it is listed.
fn stands(cluster: &Cluster) -> Option<(Phase, String)> {
    let leader = cluster.leader().unwrap();
    let vm = cluster.node(leader).state().unwrap().vms.get(&name("web"))?;
    Some((vm.phase, vm.reason.clone()))
}

#[test]
fn a_deleted_vms_host_removes_what_it_keeps_before_the_name_is_free() {
    let (mut cluster, host) = stopped_vm(false);
    delete(&mut cluster, false);
    cluster.run(Duration::from_secs(2));
    assert_eq!(stands(&cluster), None, "{}", cluster.log);
    assert_eq!(cluster.log.matches("is purged").count(), 1, "{}", cluster.log);
    assert!(
        cluster
            .log
            .lines()
            .any(|line| line.contains(&format!("host {host}: ")) && line.ends_with("is purged"))
    );
}

#[test]
fn kept_volumes_are_not_touched() {
    let (mut cluster, _) = stopped_vm(true);
    delete(&mut cluster, true);
    cluster.run(Duration::from_secs(20));
    assert_eq!(stands(&cluster), None, "{}", cluster.log);
    assert!(!cluster.log.contains("is purged"), "{}", cluster.log);
}

#[test]
fn a_lost_host_is_waited_for_only_where_the_local_volume_is() {
    for local in [false, true] {
        let (mut cluster, host) = stopped_vm(local);
        cluster.crash(host);
        cluster.run(Duration::from_secs(20));
        delete(&mut cluster, false);
        cluster.run(Duration::from_secs(2));
        let expected = (Phase::Lost, format!("waiting for n{host} to remove its volumes"));
        assert_eq!(stands(&cluster), local.then_some(expected), "{}", cluster.log);
        cluster.open(host);
        cluster.run(Duration::from_secs(10));
        assert_eq!(stands(&cluster), None, "{}", cluster.log);
        assert_eq!(cluster.log.contains("is purged"), local, "{}", cluster.log);
    }
}

#[test]
fn only_a_host_that_is_waited_for_has_news_of_its_volumes() {
    let (cluster, host) = deleted_while_its_host_is_lost();
    let leader = cluster.leader().unwrap();
    let vm = &cluster.node(leader).state().unwrap().vms[&name("web")];
    let removed = VmReport {
        run: Run { vm: vm.id, epoch: vm.epoch },
        generation: vm.generation,
        phase: Phase::Stopped,
        reason: String::new(),
        restarts: 0,
        artifact: None,
    };
    assert!(vm.is_told_news(NodeId(host), &removed));
    assert!(!vm.is_told_news(NodeId(leader), &removed), "nobody waits for it");
    let still_there = VmReport { phase: Phase::Stopping, ..removed.clone() };
    assert!(!vm.is_told_news(NodeId(host), &still_there));
    let before_it_was_deleted = VmReport { generation: Generation(vm.generation.0 - 1), ..removed };
    assert!(!vm.is_told_news(NodeId(host), &before_it_was_deleted));
}

#[test]
fn a_host_that_is_lost_while_it_is_waited_for_is_waited_for_no_more() {
    let (mut cluster, host) = stopped_vm(false);
    cluster.crash(host);
    // The leader does not know yet.
    delete(&mut cluster, false);
    cluster.run(Duration::from_secs(2));
    let expected = (Phase::Stopping, "its volumes are being removed".to_owned());
    assert_eq!(stands(&cluster), Some(expected), "{}", cluster.log);
    cluster.run(Duration::from_secs(20));
    assert_eq!(stands(&cluster), None, "{}", cluster.log);
}

#[test]
fn whoever_gives_the_volumes_up_waits_no_more() {
    let (mut cluster, host) = deleted_while_its_host_is_lost();
    cluster.run(Duration::from_secs(60));
    assert!(stands(&cluster).is_some(), "{}", cluster.log);
    delete(&mut cluster, true);
    assert_eq!(stands(&cluster), None, "{}", cluster.log);
    cluster.open(host);
    cluster.run(Duration::from_secs(10));
    assert!(!cluster.log.contains("is purged"), "{}", cluster.log);
}

/// A removal may be under way when somebody says that the volumes are to stay, and its completion may never come.
#[test]
fn a_removal_without_an_end_holds_nothing_up_once_the_volumes_are_given_up() {
    let (mut cluster, _) = stopped_vm(false);
    cluster.purges_hang = true;
    delete(&mut cluster, false);
    cluster.run(Duration::from_secs(5));
    assert!(stands(&cluster).is_some(), "{}", cluster.log);
    delete(&mut cluster, true);
    cluster.run(Duration::from_secs(5));
    assert_eq!(stands(&cluster), None, "{}", cluster.log);
    cluster.done(Write::CreateVm { name: name("web"), spec: spec() }).unwrap();
    cluster.done(Write::StartVm { name: name("web"), generation: None }).unwrap();
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.running().len(), 1, "{}", cluster.log);
}

/// As above, but the removal hangs for a VM that ran when it was deleted and keeps its host.
#[test]
fn a_running_vms_removal_without_an_end_can_be_given_up() {
    let (mut cluster, _) = stopped_vm(false);
    cluster.done(Write::StartVm { name: name("web"), generation: None }).unwrap();
    cluster.run(Duration::from_secs(2));
    cluster.purges_hang = true;
    delete(&mut cluster, false);
    cluster.run(Duration::from_secs(5));
    assert!(stands(&cluster).is_some(), "{}", cluster.log);
    delete(&mut cluster, true);
    cluster.run(Duration::from_secs(5));
    assert_eq!(stands(&cluster), None, "{}", cluster.log);
}

#[test]
fn a_running_vm_is_stopped_first() {
    let (mut cluster, host) = stopped_vm(false);
    cluster.done(Write::StartVm { name: name("web"), generation: None }).unwrap();
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.running().len(), 1, "{}", cluster.log);
    let (now, _) = cluster.running()[0];
    delete(&mut cluster, false);
    cluster.run(Duration::from_secs(2));
    assert_eq!(stands(&cluster), None, "{}", cluster.log);
    let hosts = if now == host { 1 } else { 2 };
    assert_eq!(cluster.log.matches("is purged").count(), hosts, "every host it ran on:\n{}", cluster.log);
}

/// `local_volume` may be taken back as long as there is no volume: before the VM's first host, and when it never had any.
#[test]
fn a_spec_is_bound_to_its_volumes_only_when_there_are_some() {
    let update = |cluster: &mut Cluster, text: &str, local_volume: bool, payload: &str| {
        let spec = VmSpec { local_volume, payload: payload.into(), ..(*spec()).clone() };
        cluster.done(Write::UpdateVm { name: name(text), generation: None, spec: Arc::new(spec) })
    };
    let (mut cluster, _) = stopped_vm(true);
    assert!(update(&mut cluster, "web", false, "").is_err(), "its volume is on its host");
    assert!(update(&mut cluster, "web", true, "other").is_ok());
    let (mut cluster, _) = stopped_vm(false);
    assert!(update(&mut cluster, "web", false, "other").is_ok());
    let fresh = Arc::new(VmSpec { local_volume: true, ..(*spec()).clone() });
    cluster.done(Write::CreateVm { name: name("new"), spec: fresh }).unwrap();
    assert!(update(&mut cluster, "new", false, "").is_ok(), "it was on no host");
}
