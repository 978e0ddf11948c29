//! The loss of a host: its VMs run elsewhere within the time that users are promised.

use std::time::{Duration, Instant};

use super::cluster::{Cluster, PATIENCE, all_well};
use super::processes::boot_time;

/// What users are promised.
const PROMISE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vms_of_a_lost_leader_are_back_in_time() {
    lose_a_host(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vms_of_a_lost_follower_are_back_in_time() {
    lose_a_host(false).await;
}

async fn lose_a_host(leads: bool) {
    let mut cluster = Cluster::three().await;
    let names = cluster.run_both(6, 3).await;
    let before = cluster.living(&names);
    let leader = cluster.leader().await;
    let victim = if leads { leader } else { cluster.ids().into_iter().find(|id| *id != leader).unwrap() };
    let hit: Vec<_> = before.iter().filter(|(_, run)| run.host == victim).map(|(name, _)| name).collect();
    assert!(hit.len() >= 2, "the VMs are not spread: {before:?}");

    let lost = boot_time();
    cluster.lose_host(victim);
    let mut back = Vec::new();
    let began = Instant::now();
    while back.len() < hit.len() {
        assert!(began.elapsed() < PATIENCE, "only {back:?} of {hit:?} run again");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let again = |name: &&String| cluster.journals.alive(name).filter(|run| run.began > lost);
        back = hit.iter().filter_map(|name| again(name).map(|run| (run.began - lost, run.host))).collect();
    }
    let slowest = back.iter().map(|(took, _)| *took).max().unwrap();
    let whose = if leads { "leader" } else { "follower" };
    eprintln!("{} VMs of a lost {whose} ran again after {slowest:.2?} at the latest", hit.len());
    assert!(slowest < PROMISE, "too late: {back:?}");
    assert!(back.iter().all(|(_, host)| *host != victim), "on the lost host: {back:?}");
    let others = before.iter().filter(|(_, run)| run.host != victim);
    for (name, run) in others {
        let now = cluster.journals.alive(name).map(|now| now.token);
        assert_eq!(now.as_ref(), Some(&run.token), "{name} was on another host, and yet was started anew");
    }

    // The host comes back. What ran on it runs elsewhere and stays there.
    let moved = cluster.living(&names);
    cluster.start(victim);
    cluster.until("the host is back", all_well).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let now = cluster.living(&names);
    let tokens = |runs: &std::collections::BTreeMap<String, super::guest::Run>| {
        runs.iter().map(|(name, run)| (name.clone(), run.token.clone())).collect::<Vec<_>>()
    };
    assert_eq!(tokens(&now), tokens(&moved), "a host that came back disturbed what runs");
    cluster.journals.assert_never_twice();
}
