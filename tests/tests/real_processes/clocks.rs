//! The wall clock is for people: whatever it does, no deadline moves.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use super::client::spec;
use super::cluster::{Cluster, Place, all_well};
use super::figures::shim;
use super::lives::{KILL_GRACE, LEASE, pids};
use super::processes::boot_time;

const DAY: i64 = 86_400;

/// Steps of the wall clock, by a shim between each daemon and its C library: the machine's own clock is left alone. A supervisor
/// asks no wall clock, so there is nothing to step for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wall_clocks_that_jump_stop_and_move_nothing() {
    let Some(shim) = shim() else { return };
    let clock = tempfile::NamedTempFile::new().unwrap();
    fs::write(clock.path(), "0").unwrap();
    let env = [("LD_PRELOAD", shim.as_path()), ("SHIM_CLOCK", clock.path())];
    let env = env.map(|(key, path)| (key.to_owned(), path.display().to_string())).to_vec();
    let mut cluster = Cluster::three_at(Place { env, ..Place::default() }).await;
    let names = cluster.run_both(3, 3).await;
    let before = cluster.living(&names);
    let leader = cluster.leader().await;

    let began = boot_time();
    let mut steps = [DAY, -400 * DAY, 3_600, -1, 10_000 * DAY, 0].into_iter().cycle();
    // Past every deadline that was set before the first step.
    while boot_time() - began < LEASE + KILL_GRACE + Duration::from_secs(1) {
        fs::write(clock.path(), steps.next().unwrap().to_string()).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    cluster.until("all are well", all_well).await;
    assert_eq!(pids(&cluster.living(&names)), pids(&before), "a wall clock ended or moved a VM");
    assert_eq!(cluster.leader().await, leader, "a wall clock deposed the leader");

    // And everything goes on, at a time when it says itself that it is some other year.
    fs::write(clock.path(), (-4_000 * DAY).to_string()).unwrap();
    cluster.caller().create_and_start("late", spec(&cluster.payload())).await;
    cluster.until_alive(&["late".to_owned()]).await;
    let logs: String = cluster.ids().into_iter().map(|id| cluster.logged(id)).collect();
    let years: BTreeSet<&str> = logs.lines().filter_map(|line| line.get(..4)).collect();
    assert!(years.len() > 1, "the shim moves no clock: {years:?}");
    cluster.journals.assert_never_twice();
}
