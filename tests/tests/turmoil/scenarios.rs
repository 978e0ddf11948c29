//! What the members go through.

use std::time::Duration;

use blixard_proto::v1::{Phase, StatusResponse, Vm};
use blixard_tests::shell::{Client, all_run, is_settled};
use tokio::time::{sleep, timeout};

use crate::cluster::{CLIENTS, Cluster, host, simulate};

const VMS: usize = 6;

/// Three voters with [`VMS`] running VMs; who leads.
async fn ready(client: &mut Client) -> u64 {
    let status = client.until("three members vote", |status| is_settled(status, 3)).await;
    for number in 0..VMS {
        let name = format!("vm-{number}");
        client.create(&name).await.expect("the name is free");
        client.start(&name).await.expect("there is room");
    }
    client.until_vms("all run", |vms| all_run(vms, VMS)).await;
    status.leader.expect("who answers a linearizable read knows the leader")
}

fn leads_another(old: u64) -> impl Fn(&StatusResponse) -> bool {
    move |status| status.leader.is_some_and(|leader| leader != old)
}

/// All of the first VMs run, and none of them on `lost`.
fn run_beside(lost: u64) -> impl Fn(&[Vm]) -> bool {
    move |vms| {
        let beside = |vm: &&Vm| vm.assigned.is_some_and(|assigned| assigned.node != lost);
        vms.iter().filter(|vm| vm.phase() == Phase::Running).filter(beside).count() == VMS
    }
}

async fn whole_again(cluster: &Cluster, client: &mut Client, member: u64, vms: usize) {
    client.until("all three are well", |status| is_settled(status, 3)).await;
    let listed = cluster.client_of(99, member).list().await;
    assert_eq!(listed.len(), vms, "nothing acknowledged is missing");
    cluster.assert_none_ran_twice();
}

#[test]
fn a_partition_ends() {
    simulate(async |cluster: Cluster| {
        let mut client = cluster.client(1);
        let old = ready(&mut client).await;
        for other in cluster.others(old) {
            turmoil::partition(host(old), host(other));
        }
        sleep(Duration::from_secs(1)).await;
        let answer = timeout(Duration::from_secs(10), cluster.client_of(2, old).status()).await;
        assert!(answer.is_err(), "a leader without its quorum answered a linearizable read: {answer:?}");
        client.until("another leads", leads_another(old)).await;
        client.create("written-meanwhile").await.expect("the name is free");
        client.until_vms("its VMs run elsewhere", run_beside(old)).await;
        assert_eq!(cluster.alive_on(old), 0, "the cut-off host has killed its own");
        for other in cluster.others(old) {
            turmoil::repair(host(old), host(other));
        }
        whole_again(&cluster, &mut client, old, VMS + 1).await;
    });
}

/// A link that keeps what is sent on it and lets go of all of it later: connections are given up on both sides, and
/// what arrives at last is older than the connections there are then.
#[test]
fn a_held_link_is_released() {
    simulate(async |cluster: Cluster| {
        let mut client = cluster.client(1);
        let leader = ready(&mut client).await;
        let held = cluster.others(leader).next().expect("there are two others");
        turmoil::hold(host(leader), host(held));
        client.until_vms("the unheard host's VMs run elsewhere", run_beside(held)).await;
        assert_eq!(cluster.alive_on(held), 0, "it has killed its own");
        client.create("written-meanwhile").await.expect("the name is free");
        turmoil::release(host(leader), host(held));
        whole_again(&cluster, &mut client, held, VMS + 1).await;
    });
}

/// Shorter than any patience: nothing but time is lost.
#[test]
fn a_link_held_for_a_moment_changes_nothing() {
    simulate(async |cluster: Cluster| {
        let mut client = cluster.client(1);
        let leader = ready(&mut client).await;
        let before = client.list().await;
        for other in cluster.others(leader) {
            turmoil::hold(host(leader), host(other));
        }
        sleep(Duration::from_millis(400)).await;
        for other in cluster.others(leader) {
            turmoil::release(host(leader), host(other));
        }
        let status = client.until("all three are well", |status| is_settled(status, 3)).await;
        assert_eq!(status.leader, Some(leader));
        sleep(Duration::from_secs(15)).await;
        assert_eq!(client.list().await, before);
        cluster.assert_none_ran_twice();
    });
}

#[test]
fn a_lost_answer_is_given_again_by_another_member() {
    simulate(async |cluster: Cluster| {
        ready(&mut cluster.client(1)).await;
        for id in 2..=4 {
            let mut client = cluster.client(id);
            let name = format!("of-{id}");
            // Its session begins, so that the next request is nothing but a change.
            client.create(&format!("{name}-before")).await.expect("the name is free");
            let mute = host(cluster.member_at(client.asks()));
            turmoil::partition_oneway(mute.as_str(), CLIENTS);
            client.create(&name).await.expect("the second attempt gets the first one's answer");
            assert!(client.retries > 0);
            turmoil::repair_oneway(mute.as_str(), CLIENTS);
        }
    });
}

#[test]
fn a_killed_leader_is_replaced_and_comes_back() {
    simulate(async |cluster: Cluster| {
        let mut client = cluster.client(1);
        let old = ready(&mut client).await;
        cluster.kill(old);
        client.until("another leads", leads_another(old)).await;
        client.create("written-meanwhile").await.expect("the name is free");
        client.until_vms("the lost host's VMs run elsewhere", run_beside(old)).await;
        cluster.restart(old);
        whole_again(&cluster, &mut client, old, VMS + 1).await;
        assert!(client.retries > 0, "the leader was lost and the client had to repeat nothing");
    });
}
