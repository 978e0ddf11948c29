//! What the members go through. Each test is one run of one seed; `MADSIM_TEST_SEED` and `MADSIM_TEST_NUM` say which.

use std::cell::Cell;
use std::time::Duration;

use blixard_proto::v1::{Phase, StatusResponse};
use blixard_tests::shell::{Client, all_run, is_settled, vote};
use madsim::rand::Rng as _;
use madsim::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use crate::cluster::Cluster;

async fn three_voters(client: &mut Client) -> StatusResponse {
    client.until("three members vote", |status| is_settled(status, 3)).await
}

fn leader(status: &StatusResponse) -> u64 {
    status.leader.expect("who answers a linearizable read knows the leader")
}

async fn create_running(client: &mut Client, names: &[String]) {
    for name in names {
        client.create(name).await.expect("the name is free");
        client.start(name).await.expect("there is room");
    }
    client.until_vms("all run", |vms| all_run(vms, names.len())).await;
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("vm-{number}")).collect()
}

#[madsim::test]
async fn members_join_and_serve_vms() {
    let cluster = Cluster::start();
    let mut client = cluster.client(1);
    three_voters(&mut client).await;
    create_running(&mut client, &names(6)).await;
    for member in 1..=3 {
        assert_eq!(cluster.alive_on(member), 2, "VMs are spread");
        let vms = cluster.client_of(10 + member, member).list().await;
        assert!(all_run(&vms, 6), "any member answers for all: {vms:?}");
    }
    client.stop("vm-0").await.expect("is there");
    client.delete("vm-1").await.expect("is there");
    let as_told = |vms: &[blixard_proto::v1::Vm]| {
        vms.len() == 5 && vms[0].phase() == Phase::Stopped && all_run(&vms[1..], 4)
    };
    client.until_vms("one is stopped and one is gone", as_told).await;
    assert_eq!((1..=3).map(|member| cluster.alive_on(member)).sum::<usize>(), 4);
    let refused = client.start("vm-1").await.expect_err("is gone");
    assert_eq!(refused.code(), tonic::Code::NotFound);
    cluster.assert_none_ran_twice();
}

#[madsim::test]
async fn a_killed_leader_is_replaced_and_comes_back() {
    let cluster = Cluster::start();
    let mut client = cluster.client(1);
    let old = leader(&three_voters(&mut client).await);
    create_running(&mut client, &names(6)).await;

    cluster.kill(old);
    assert_eq!(cluster.alive_on(old), 2, "VMs outlive the daemon");
    client.until("another leads", |status| status.leader.is_some_and(|leader| leader != old)).await;
    // Enough that the old leader's log is cut off from the new one's.
    for number in 0..100 {
        client.create(&format!("more-{number}")).await.expect("the name is free");
    }
    let moved = |vms: &[blixard_proto::v1::Vm]| {
        let on_old = |vm: &blixard_proto::v1::Vm| vm.assigned.is_some_and(|assigned| assigned.node == old);
        vms.iter().filter(|vm| vm.phase() == Phase::Running && !on_old(vm)).count() == 6
    };
    client.until_vms("the lost host's VMs run elsewhere", moved).await;
    assert_eq!(cluster.alive_on(old), 0, "their deadline has passed there");

    cluster.restart(old);
    three_voters(&mut client).await;
    let vms = cluster.client_of(2, old).list().await;
    assert_eq!(vms.len(), 106, "nothing acknowledged is missing");
    cluster.assert_none_ran_twice();
}

#[madsim::test]
async fn a_daemon_soon_restarted_finds_its_vms() {
    let cluster = Cluster::start();
    let mut client = cluster.client(1);
    let old = leader(&three_voters(&mut client).await);
    create_running(&mut client, &names(3)).await;
    let before = client.list().await;
    cluster.kill(old);
    sleep(Duration::from_secs(2)).await;
    cluster.restart(old);
    three_voters(&mut client).await;
    // Longer than any lease: if the daemon had not adopted its VM, it would be dead by now.
    sleep(Duration::from_secs(15)).await;
    assert_eq!(cluster.alive_on(old), 1);
    let after = client.list().await;
    let stays = |(before, after): (&blixard_proto::v1::Vm, &blixard_proto::v1::Vm)| {
        before.assigned == after.assigned && after.phase() == Phase::Running && after.restarts == 0
    };
    assert!(before.iter().zip(&after).all(stays), "{before:?} became {after:?}");
    cluster.assert_none_ran_twice();
}

#[madsim::test]
async fn a_leader_cut_off_answers_nothing_and_finds_back() {
    let cluster = Cluster::start();
    let mut client = cluster.client(1);
    let old = leader(&three_voters(&mut client).await);
    create_running(&mut client, &names(6)).await;

    cluster.cut_off(old);
    sleep(Duration::from_secs(1)).await;
    let mut stubborn = cluster.client_of(2, old);
    let answer = timeout(Duration::from_secs(10), stubborn.status()).await;
    assert!(answer.is_err(), "a leader without its quorum answered a linearizable read: {answer:?}");
    client.until("another leads", |status| status.leader.is_some_and(|leader| leader != old)).await;
    client.create("written-meanwhile").await.expect("the name is free");
    let elsewhere = |vms: &[blixard_proto::v1::Vm]| {
        let on_old = |vm: &blixard_proto::v1::Vm| vm.assigned.is_some_and(|assigned| assigned.node == old);
        vms.iter().filter(|vm| vm.phase() == Phase::Running && !on_old(vm)).count() == 6
    };
    client.until_vms("its VMs run elsewhere", elsewhere).await;
    assert_eq!(cluster.alive_on(old), 0, "the cut-off host has killed its own");

    // What the simulated streams have kept for each other arrives now, all of it old.
    cluster.reconnect(old);
    three_voters(&mut client).await;
    let vms = cluster.client_of(3, old).list().await;
    assert!(vms.iter().any(|vm| vm.name == "written-meanwhile"), "{vms:?}");
    cluster.assert_none_ran_twice();
}

#[madsim::test]
async fn a_lost_answer_is_given_again_by_another_member() {
    let cluster = Cluster::start();
    three_voters(&mut cluster.client(1)).await;
    for id in 2..=4 {
        let mut client = cluster.client(id);
        let name = format!("of-{id}");
        // Its session begins, so that the next request is nothing but a change.
        client.create(&format!("{name}-before")).await.expect("the name is free");
        cluster.lose_answers_to(&client);
        client.create(&name).await.expect("the second attempt gets the first one's answer");
        assert!(client.retries > 0);
        cluster.hear_all();
    }
}

/// Creates and deletes VMs until `done`; how often a request had to be repeated. Each change must take effect once,
/// however often it was sent: a name is not created twice, and what is gone is not deleted again.
async fn change_again_and_again(mut client: Client, name: &str, done: &Cell<bool>) -> u64 {
    let mut revision = 0;
    for number in 0.. {
        if done.get() {
            break;
        }
        let name = format!("{name}-{number}");
        let created = client.create(&name).await.expect("the name is free");
        let deleted = client.delete(&name).await.expect("it was created");
        assert!(revision < created.revision && created.revision < deleted.revision);
        revision = deleted.revision;
        sleep(Duration::from_millis(madsim::rand::thread_rng().gen_range(1..100))).await;
    }
    client.create(name).await.expect("the name is free");
    client.retries
}

#[madsim::test]
async fn changes_take_effect_once_however_often_they_are_sent() {
    changes_under_faults().await;
}

/// The daemons on simulated tokio hold nothing that differs between two runs of one seed.
#[test]
fn a_seed_gives_one_run() {
    let Builder { seed, config, .. } = Builder::from_env();
    Runtime::check_determinism(seed, config, changes_under_faults);
}

async fn changes_under_faults() {
    let cluster = Cluster::start();
    let mut observer = cluster.client(100);
    three_voters(&mut observer).await;
    let done = Cell::new(false);
    let (a, b, c) = (cluster.client(1), cluster.client(2), cluster.client(3));
    let faults = async {
        for _ in 0..4 {
            let wait = madsim::rand::thread_rng().gen_range(500..1_500);
            sleep(Duration::from_millis(wait)).await;
            let victim = leader(&observer.until("three vote", |status| vote(status) == 3).await);
            if madsim::rand::thread_rng().gen_bool(0.5) {
                cluster.kill(victim);
                sleep(Duration::from_secs(3)).await;
                cluster.restart(victim);
            } else {
                cluster.cut_off(victim);
                sleep(Duration::from_secs(3)).await;
                cluster.reconnect(victim);
            }
        }
        three_voters(&mut observer).await;
        done.set(true);
    };
    let ((), a, b, c) = tokio::join!(
        faults,
        change_again_and_again(a, "a", &done),
        change_again_and_again(b, "b", &done),
        change_again_and_again(c, "c", &done),
    );
    let listed = observer.list().await;
    let names: Vec<_> = listed.iter().map(|vm| vm.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(a + b + c > 0, "four leaders were lost and no client had to repeat anything");
    cluster.assert_none_ran_twice();
}
