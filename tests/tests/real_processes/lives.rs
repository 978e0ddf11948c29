//! Ends and absences of a daemon that its VMs outlive, and one that they must not outlive.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::{Duration, Instant};

use blixard_node::spec::Phase;
use rustix::process::Signal;

use super::cluster::{Cluster, PATIENCE, all_well};
use super::guest::Run;
use super::processes::boot_time;

/// The lease of a daemon's VMs, as clusters are begun with it.
pub(crate) const LEASE: Duration = Duration::from_secs(8);

/// What a kill at the end of a lease may take.
pub(crate) const KILL_GRACE: Duration = Duration::from_secs(2);

/// The shortest silence of a leader that makes others want to lead: an election timeout of a second, less the heartbeat
/// that may have been due.
const SILENCE_MIN: Duration = Duration::from_millis(700);

/// Which process runs which VM, and in which life of the VM's own.
pub(crate) fn pids(runs: &BTreeMap<String, Run>) -> BTreeMap<String, (u64, u32, String)> {
    runs.iter().map(|(name, run)| (name.clone(), (run.host, run.pid, run.token.clone()))).collect()
}

/// Those of `runs` that are on `host`.
pub(crate) fn on_host(runs: &BTreeMap<String, Run>, host: u64) -> Vec<String> {
    let hit: Vec<String> =
        runs.iter().filter(|(_, run)| run.host == host).map(|(name, _)| name.clone()).collect();
    assert!(!hit.is_empty(), "the VMs are not spread: {runs:?}");
    hit
}

/// Waits until all `hit` VMs, which ran as `before` on a host that was cut off at `since`, run elsewhere; asserts that each was
/// dead by then, and by its deadline. What runs now.
pub(crate) async fn moved_in_time(
    cluster: &Cluster,
    before: &BTreeMap<String, Run>,
    hit: &[String],
    since: Duration,
) -> BTreeMap<String, Run> {
    let began = Instant::now();
    let moved = loop {
        assert!(began.elapsed() < PATIENCE, "{hit:?} do not run elsewhere");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut now = cluster.living(hit);
        now.retain(|name, run| run.token != before[name].token);
        if now.len() == hit.len() {
            break now;
        }
    };
    cluster.journals.assert_never_twice();
    for (name, run) in &moved {
        let runs = cluster.journals.runs(name);
        let first = runs.iter().find(|run| run.token == before[name].token).unwrap();
        let (died, again) = (first.last.saturating_sub(since), run.began - since);
        eprintln!("{name}: cut off, it died after {died:.2?} and ran elsewhere after {again:.2?}");
        assert!(died < LEASE + KILL_GRACE, "{name} outlived its lease");
        assert_ne!(run.host, before[name].host);
    }
    moved
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vms_outlive_daemons_that_end_or_are_killed() {
    let mut cluster = Cluster::three().await;
    let names = cluster.run_both(6, 3).await;
    let before = cluster.living(&names);
    let hosts: std::collections::BTreeSet<u64> = before.values().map(|run| run.host).collect();
    assert_eq!(hosts.len(), 3, "the VMs are not spread: {before:?}");

    // Asked to end, the leader hands over, and leaves nothing that is in the way of the next one.
    let old = cluster.leader().await;
    let asked = Instant::now();
    cluster.signal(old, Signal::TERM);
    let status = cluster.wait(old);
    let ended = asked.elapsed();
    assert_eq!(status.code(), Some(0), "{}", cluster.logged(old));
    another_leads(&cluster, old).await;
    let led = asked.elapsed() - ended;
    eprintln!(
        "a leader asked to end was gone after {ended:.2?}, and another one led {led:.2?} later at most"
    );
    // Without a handover nobody asks for votes before this.
    assert!(led < SILENCE_MIN, "that was an election, no handover");
    for path in [cluster.data_dir(old).to_owned(), cluster.data_dir(old).join("store.redb")] {
        File::open(&path)
            .unwrap()
            .try_lock()
            .unwrap_or_else(|_| panic!("{} is still locked", path.display()));
    }
    assert_eq!(pids(&cluster.living(&names)), pids(&before), "a daemon that ended took VMs along");
    cluster.start(old);
    cluster.until("the one that ended is back", all_well).await;
    assert_eq!(pids(&cluster.living(&names)), pids(&before), "a daemon that came back did not adopt its VMs");

    // Killed, and back within the lease.
    let victim = cluster.leader().await;
    let killed = Instant::now();
    cluster.kill(victim);
    cluster.start(victim);
    cluster.until("the killed one is back", all_well).await;
    let back = killed.elapsed();
    // Past every deadline that the killed daemon can have set: the next one has moved them.
    tokio::time::sleep((LEASE + KILL_GRACE).saturating_sub(killed.elapsed())).await;
    assert_eq!(pids(&cluster.living(&names)), pids(&before), "the VMs were not adopted");
    let vms = cluster.until_vms("all VMs run", |vms| vms.iter().all(|vm| vm.phase == Phase::Running)).await;
    for vm in &vms {
        assert_eq!(vm.assigned.map(|(node, _)| node.0), before.get(vm.name.as_str()).map(|run| run.host));
        assert_eq!(vm.restarts, 0, "{vm:?}");
    }
    let runs = cluster.journals.assert_never_twice();
    assert_eq!(runs, names.len(), "a VM was started anew");
    eprintln!("a killed leader's daemon was back after {back:.2?}; its VMs never noticed");
}

/// Waits until another than `old` leads by what the others themselves know: they are not asked to confirm it.
async fn another_leads(cluster: &Cluster, old: u64) {
    let caller = cluster.caller();
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        for id in cluster.ids().into_iter().filter(|id| *id != old) {
            let leader = caller.status(id, true).await.and_then(|view| view.leader);
            if leader.is_some_and(|leader| leader.0 != old) {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody took over from {old}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_daemons_vms_are_dead_before_they_run_elsewhere() {
    let mut cluster = Cluster::three().await;
    let names = cluster.run_both(6, 3).await;
    let before = cluster.living(&names);
    let victim = cluster.leader().await;
    let hit = on_host(&before, victim);

    let stopped = boot_time();
    cluster.signal(victim, Signal::STOP);
    let moved = moved_in_time(&cluster, &before, &hit, stopped).await;

    // It wakes up into a cluster that has given it up.
    cluster.signal(victim, Signal::CONT);
    cluster.until("the suspended one is back", all_well).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(pids(&cluster.living(&hit)), pids(&moved), "the one that woke up disturbed what runs");
    cluster.journals.assert_never_twice();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_disk_is_refused_under_its_old_id() {
    let mut cluster = Cluster::three().await;
    cluster.kill(3);
    std::fs::remove_dir_all(cluster.data_dir(3)).unwrap();
    cluster.start(3);
    let status = cluster.wait(3);
    let log = cluster.logged(3);
    assert_eq!(status.code(), Some(3), "{log}");
    let last = log.lines().next_back().unwrap_or_default();
    assert!(last.starts_with("error[BLX-NODE-004]: ") && last.contains("n3"), "{last}");
}
