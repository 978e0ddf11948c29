//! The loss of supervisors alone: the daemon lives, and their VMs do not.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::cluster::{Cluster, PATIENCE};
use super::lives::on_host;
use super::processes::{boot_time, parent};

/// How long a VM may live on without its supervisor: the kernel kills it, and on a busy machine that takes its time.
const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vms_whose_supervisors_are_killed_die_at_once_and_run_again_once() {
    let mut cluster = Cluster::three().await;
    let names = cluster.run_both(3, 3).await;
    let before = cluster.living(&names);
    let hit = on_host(&before, 2);
    let supervisors: Vec<u32> = hit.iter().map(|name| parent(before[name].pid)).collect();

    let killed = boot_time();
    for supervisor in supervisors {
        let args = fs::read_to_string(format!("/proc/{supervisor}/cmdline")).unwrap();
        assert!(args.starts_with("blixard\0supervise"), "{args}");
        kill_process(Pid::from_raw(supervisor.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    let began = Instant::now();
    let again = loop {
        assert!(began.elapsed() < PATIENCE, "{hit:?} do not run again");
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut now = cluster.living(&hit);
        now.retain(|name, run| run.token != before[name].token);
        if now.len() == hit.len() {
            break now;
        }
    };
    for (name, run) in &again {
        let runs = cluster.journals.runs(name);
        assert_eq!(runs.len(), 2, "{runs:?}");
        let (died, began) = (runs[0].last.saturating_sub(killed), run.began - killed);
        eprintln!("{name}: its supervisor killed, it died after {died:.2?} and ran again after {began:.2?}");
        assert!(died < AT_ONCE, "{name} outlived its supervisor");
        assert_eq!(run.host, 2, "its host lives, and it moved");
    }
    cluster.journals.assert_never_twice();
}
