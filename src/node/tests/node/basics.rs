//! What a small cluster must do when nothing goes wrong, and the first things that do.

use crate::cluster::{Cluster, name, spec};
use blixard_node::config::RaftConfig;
use blixard_node::error::RequestError;
use blixard_node::ids::NodeId;
use blixard_node::input::Input;
use blixard_node::request::{Consistency, Read, Request, Response, Write};
use blixard_node::time::Duration;

fn three() -> Cluster {
    Cluster::grown(3, RaftConfig::default())
}

fn create_and_start(cluster: &mut Cluster, text: &str) {
    cluster.done(Write::CreateVm { name: name(text), spec: spec() }).unwrap();
    cluster.done(Write::StartVm { name: name(text), generation: None }).unwrap();
    cluster.run(Duration::from_secs(2));
}

#[test]
fn one_node_leads_and_runs_a_vm() {
    let mut cluster = Cluster::new(1, RaftConfig::default());
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.leader(), Some(1));
    create_and_start(&mut cluster, "web");
    assert_eq!(cluster.running().len(), 1, "{}", cluster.log);
    cluster.done(Write::StopVm { name: name("web"), generation: None }).unwrap();
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.running(), []);
    cluster.done(Write::DeleteVm { name: name("web"), generation: None, keep_volumes: false }).unwrap();
    assert!(cluster.node(1).state().unwrap().vms.is_empty());
}

#[test]
fn three_nodes_become_three_voters() {
    let cluster = three();
    let voters = &cluster.node(1).membership().voters;
    assert_eq!(*voters, [NodeId(1), NodeId(2), NodeId(3)], "{}", cluster.log);
}

#[test]
fn a_dead_leaders_vm_is_back_within_thirty_seconds_and_never_twice() {
    let mut cluster = three();
    for text in ["a", "b", "c"] {
        create_and_start(&mut cluster, text);
    }
    assert_eq!(cluster.running().len(), 3, "{}", cluster.log);
    let leader = cluster.leader().unwrap();
    cluster.crash(leader);
    for _ in 0..300 {
        cluster.run(Duration::from_millis(100));
        let mut vms: Vec<_> = cluster.running().iter().map(|(_, run)| run.vm).collect();
        let count = vms.len();
        vms.dedup();
        vms.sort_unstable();
        vms.dedup();
        assert_eq!(vms.len(), count, "a VM runs twice:\n{}", cluster.log);
    }
    let alive = cluster.running().iter().filter(|(host, _)| *host != leader).count();
    assert_eq!(alive, 3, "{}", cluster.log);
}

#[test]
fn a_read_sees_the_write_before_it_from_any_node() {
    let mut cluster = three();
    cluster.done(Write::CreateVm { name: name("web"), spec: spec() }).unwrap();
    for id in 1..=3 {
        let read = Read::GetVm { name: name("web") };
        let ticket = cluster.ask(id, Request::Read { read, consistency: Consistency::Linearizable });
        cluster.run(Duration::from_secs(1));
        assert!(matches!(cluster.replies[&ticket], Ok(Response::Vm { .. })), "n{id}");
    }
}

#[test]
fn a_retry_has_one_effect_and_the_same_answer_across_leaders_and_snapshots() {
    let mut cluster = three();
    let id = cluster.next_id();
    let write = Write::CreateVm { name: name("web"), spec: spec() };
    let leader = cluster.leader().unwrap();
    let first = cluster.ask(leader, Request::Write { id, write: write.clone() });
    cluster.run(Duration::from_secs(1));
    let answer = cluster.replies[&first].clone();
    assert!(answer.is_ok());
    cluster.crash(leader);
    cluster.run(Duration::from_secs(10));
    let second = cluster.leader().unwrap();
    assert_ne!(second, leader);
    let again = cluster.ask(second, Request::Write { id, write });
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.replies[&again], answer);
}

#[test]
fn errors_name_what_is_wrong() {
    let mut cluster = three();
    let unknown = cluster.done(Write::StartVm { name: name("web"), generation: None });
    assert!(matches!(unknown, Err(RequestError::VmUnknown { .. })));
    let big = std::sync::Arc::new(blixard_node::spec::VmSpec {
        resources: blixard_node::spec::Resources { vcpus: 64, memory_mib: 1 },
        ..(*spec()).clone()
    });
    cluster.done(Write::CreateVm { name: name("big"), spec: big }).unwrap();
    let refused = cluster.done(Write::StartVm { name: name("big"), generation: None });
    let Err(RequestError::NoRoom { hosts, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(hosts.len(), 3);
    assert_eq!(hosts[0].1, "has 4 vCPUs free of 64 wanted");
}

#[test]
fn a_follower_far_behind_catches_up_by_a_snapshot_in_pieces() {
    let raft = RaftConfig { snapshot_every: 20, keep_entries: 5, chunk_bytes: 300, ..RaftConfig::default() };
    let mut cluster = Cluster::new(1, raft);
    cluster.add(2);
    cluster.add(3);
    cluster.run(Duration::from_secs(20));
    let behind = if cluster.leader() == Some(3) { 2 } else { 3 };
    cluster.crash(behind);
    for count in 0..40 {
        cluster.done(Write::CreateVm { name: name(&format!("vm{count}")), spec: spec() }).unwrap();
    }
    cluster.open(behind);
    cluster.run(Duration::from_secs(5));
    let states: Vec<_> = (1..=3).map(|id| cluster.node(id).state().unwrap().hash()).collect();
    assert_eq!(states[0], states[1]);
    assert_eq!(states[1], states[2]);
    assert!(cluster.node(behind).probes().has(blixard_node::probes::Probe::SnapshotRestored));
}

#[test]
fn a_leaving_host_goes_for_good() {
    let mut cluster = three();
    cluster.add(4);
    cluster.run(Duration::from_secs(5));
    let leader = cluster.leader().unwrap();
    cluster.done(Write::RemoveHost { node: NodeId(leader) }).unwrap();
    cluster.run(Duration::from_secs(20));
    let leader_now = cluster.leader().unwrap();
    assert_ne!(leader_now, leader, "{}", cluster.log);
    let state = cluster.node(leader_now).state().unwrap();
    assert!(state.removed.contains(&NodeId(leader)), "{}", cluster.log);
    assert!(cluster.log.contains(&format!("n{leader} is refused")), "{}", cluster.log);
    assert_eq!(cluster.node(leader_now).membership().voters.len(), 3);
}

#[test]
fn a_reopened_agent_calls_nothing_stopped_before_it_knows_what_runs() {
    let mut cluster = three();
    create_and_start(&mut cluster, "a");
    create_and_start(&mut cluster, "b");
    let leader = cluster.leader().unwrap();
    let (host, run) = cluster.running().into_iter().find(|(host, _)| *host != leader).unwrap();
    let vms = &cluster.node(leader).state().unwrap().vms;
    let vm = vms.values().find(|vm| vm.id == run.vm).unwrap().name.clone();
    cluster.crash(host);
    cluster.done(Write::StopVm { name: vm.clone(), generation: None }).unwrap();
    cluster.list_takes = Duration::from_secs(2);
    cluster.open(host);
    for _ in 0..100 {
        cluster.run(Duration::from_millis(100));
        let freed = cluster.node(leader).state().unwrap().vms[&vm].assigned.is_none();
        assert!(!freed || !cluster.running().contains(&(host, run)), "freed while it runs:\n{}", cluster.log);
    }
    assert!(!cluster.running().contains(&(host, run)), "{}", cluster.log);
    assert!(cluster.node(leader).state().unwrap().vms[&vm].assigned.is_none(), "{}", cluster.log);
}

#[test]
fn a_worker_is_heard_and_runs_vms() {
    let mut cluster = three();
    cluster.add(4);
    cluster.run(Duration::from_secs(3));
    for text in ["a", "b", "c", "d"] {
        create_and_start(&mut cluster, text);
    }
    let mut hosts: Vec<_> = cluster.running().iter().map(|(host, _)| *host).collect();
    hosts.sort_unstable();
    assert_eq!(hosts, [1, 2, 3, 4], "{}", cluster.log);
    assert!(!cluster.node(4).membership().voters.contains(&NodeId(4)));
    cluster.run(Duration::from_secs(30));
    assert_eq!(cluster.running().len(), 4, "{}", cluster.log);
}

#[test]
fn a_host_that_an_earlier_leader_took_in_is_given_up_when_it_is_never_heard() {
    let mut cluster = three();
    let leader = cluster.leader().unwrap();
    let knows = |cluster: &Cluster, id| cluster.node(id).state().unwrap().hosts.contains_key(&NodeId(4));
    cluster.add(4);
    for _ in 0..1_000 {
        if knows(&cluster, leader) {
            break;
        }
        cluster.run(Duration::from_millis(1));
    }
    assert!(knows(&cluster, leader), "{}", cluster.log);
    let others: Vec<_> = (1..=3).filter(|id| *id != leader).collect();
    // The next leader has the entry, and carries it out only when it leads.
    assert!(others.iter().all(|id| !knows(&cluster, *id)), "{}", cluster.log);
    cluster.crash(leader);
    cluster.crash(4);
    cluster.run(Duration::from_secs(20));
    let next = cluster.leader().unwrap();
    assert!(cluster.node(next).state().unwrap().hosts[&NodeId(4)].lost, "{}", cluster.log);
}

/// The only member that it was told of is gone.
#[test]
fn a_newcomer_asks_members_that_were_found_for_it() {
    let mut cluster = three();
    cluster.crash(1);
    cluster.add(4);
    cluster.run(Duration::from_secs(20));
    assert!(!cluster.node(4).is_joined(), "{}", cluster.log);
    cluster.turn(4, Input::Found { members: vec![(NodeId(2), "host2:7001".into())] });
    cluster.run(Duration::from_secs(5));
    assert!(cluster.node(4).is_joined(), "{}", cluster.log);
}

/// All that it knows of is gone, and no found member makes a member look elsewhere: the leader calls.
#[test]
fn a_host_that_knows_only_members_that_are_gone_is_called_by_the_leader() {
    let mut cluster = three();
    cluster.add(4);
    cluster.run(Duration::from_secs(3));
    cluster.crash(4);
    cluster.crash(1);
    cluster.run(Duration::from_secs(3));
    cluster.machines.get_mut(&4).unwrap().disk.agent.members = vec![(NodeId(9), "host9:7001".into())];
    cluster.open(4);
    cluster.run(Duration::from_secs(10));
    assert!(cluster.node(4).lease_end().is_some(), "{}", cluster.log);
    assert!(cluster.node(4).is_joined(), "{}", cluster.log);
}

#[test]
fn term_and_vote_are_written_only_when_they_change() {
    let mut cluster = three();
    let (term, written) = (cluster.node(1).consensus().term, cluster.votes_written);
    for text in ["a", "b", "c"] {
        create_and_start(&mut cluster, text);
    }
    cluster.run(Duration::from_secs(5));
    assert_eq!((cluster.node(1).consensus().term, cluster.votes_written), (term, written), "{}", cluster.log);
}
