//! How long guests are away when their host is lost, with all that runs on it.

use std::time::{Duration, Instant};

use blixard_node::request::Write;
use blixard_node::spec::{Phase, VmName};

use super::super::cluster::{Cluster, PATIENCE, all_well};
use super::super::lives::on_host;
use super::super::processes::boot_time;
use super::{Spread, rounds};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn host_lost() {
    let mut cluster = Cluster::three().await;
    let names = cluster.run_guests(10).await;
    if names.is_empty() {
        return;
    }
    let (mut leaders, mut followers) = (Vec::new(), Vec::new());
    for round in 0..rounds(20) {
        let leads = round % 2 == 0;
        let before = cluster.until_alive(&names).await;
        let leader = cluster.leader().await;
        let others: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
        let victim = if leads { leader } else { others[round / 2 % others.len()] };
        let hit = on_host(&before, victim);
        let lost = boot_time();
        cluster.lose_host(victim);
        let began = Instant::now();
        let back = loop {
            assert!(began.elapsed() < PATIENCE, "{hit:?} do not run again");
            tokio::time::sleep(Duration::from_millis(250)).await;
            let mut now = cluster.living(&hit);
            now.retain(|name, run| run.token != before[name].token);
            if now.len() == hit.len() {
                break now.values().map(|run| run.began - lost).max().unwrap();
            }
        };
        println!(
            "round {round}: {} guests of host {victim} ran again after {back:.2?}; it led: {leads}",
            hit.len()
        );
        if leads { &mut leaders } else { &mut followers }.push(back);
        cluster.journals.assert_never_twice();
        cluster.start(victim);
        cluster.until("the host is back", all_well).await;
        spread(&cluster, &names).await;
    }
    let runs = cluster.journals.assert_never_twice();
    println!(
        "10 guests on 3 hosts, a host lost, until all its guests run again ({runs} runs, none of them twice)\n  \
         a leader's   {}\n  a follower's {}",
        Spread(leaders),
        Spread(followers)
    );
}

/// Stops all VMs and starts them again, so that each host has its share.
async fn spread(cluster: &Cluster, names: &[String]) {
    let caller = cluster.caller();
    let all = |write: fn(VmName) -> Write| {
        names.iter().map(|name| write(VmName::new(name.clone()).unwrap())).collect()
    };
    let stops: Vec<Write> = all(|name| Write::StopVm { name, generation: None });
    let starts: Vec<Write> = all(|name| Write::StartVm { name, generation: None });
    caller.change(&stops).await;
    cluster.until_vms("all are stopped", |vms| vms.iter().all(|vm| vm.phase == Phase::Stopped)).await;
    caller.change(&starts).await;
    cluster.until_vms("all run", |vms| vms.iter().all(|vm| vm.phase == Phase::Running)).await;
}
