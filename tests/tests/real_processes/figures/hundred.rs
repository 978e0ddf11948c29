//! A hundred guests started at once on one host: how soon all run, and what daemon and supervisors take of the machine.

use std::fs;
use std::time::{Duration, Instant};

use blixard_node::request::Write;
use blixard_node::spec::VmName;

use super::super::client::qemu_spec;
use super::super::cluster::{Cluster, PATIENCE};
use super::super::processes::{children, cpu, memory_kib};
use super::super::scribe::{build_guest, runs};
use super::rounds;

/// How long the machine is watched when all run.
const WATCH: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_hundred_at_once() {
    let mut cluster = Cluster::new(1);
    let Some(kernel) = build_guest(cluster.folder()) else { return };
    cluster.start(1);
    cluster.until("it leads", |view| view.leader.is_some()).await;
    let count = rounds(100);
    let names: Vec<VmName> = (0..count).map(|vm| VmName::new(format!("guest-{vm}")).unwrap()).collect();
    let caller = cluster.caller();
    for name in &names {
        let spec = std::sync::Arc::new(qemu_spec(&kernel, name.as_str()));
        caller.change(&[Write::CreateVm { name: name.clone(), spec }]).await;
    }
    let daemon = cluster.pid(1);
    let (before, began) = (cpu(daemon), Instant::now());
    let starts = names.into_iter().map(|name| {
        let caller = caller.clone();
        tokio::spawn(async move { caller.change(&[Write::StartVm { name, generation: None }]).await })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.unwrap();
    }
    let answered = began.elapsed();
    let speaks = |text: Vec<u8>| text.windows(11).any(|part| part == b"GUEST-READY");
    loop {
        let all = runs(cluster.folder()).into_iter();
        if all.filter(|(_, run)| fs::read(run.join("output")).is_ok_and(speaks)).count() == count {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "not all {count} guests run");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let ran = began.elapsed();
    // Beside them, in its first seconds, the daemon may be trying KVM.
    let supervises = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|args| args.starts_with("blixard\0supervise"))
    };
    let supervisors: Vec<u32> = children(daemon).into_iter().filter(supervises).collect();
    assert_eq!(supervisors.len(), count, "one supervisor a VM");
    let start_cost = cpu(daemon) - before;
    let start_costs: Duration = supervisors.iter().map(|pid| cpu(*pid)).sum();

    tokio::time::sleep(Duration::from_secs(2)).await;
    let all = |pids: &[u32]| pids.iter().map(|pid| cpu(*pid)).sum::<Duration>();
    let (one, each) = (cpu(daemon), all(&supervisors));
    tokio::time::sleep(WATCH).await;
    let (one, each) = (cpu(daemon) - one, all(&supervisors) - each);
    let mut pss: Vec<u64> = supervisors.iter().map(|pid| memory_kib(*pid, "Pss")).collect();
    let mut rss: Vec<u64> = supervisors.iter().map(|pid| memory_kib(*pid, "Rss")).collect();
    let mut own: Vec<u64> = supervisors
        .iter()
        .map(|pid| memory_kib(*pid, "Private_Clean") + memory_kib(*pid, "Private_Dirty"))
        .collect();
    for list in [&mut pss, &mut rss, &mut own] {
        list.sort_unstable();
    }
    let last = count - 1;
    println!(
        "{count} guests started at once: all answered after {answered:.2?}, all run after {ran:.2?}\n  \
         CPU until then     daemon {start_cost:.2?}, all supervisors {start_costs:.2?}\n  \
         CPU in {WATCH:?}        daemon {one:.2?}, all supervisors {each:.2?}\n  \
         a supervisor       PSS {} KiB, most {} KiB; private {} KiB, most {}; resident {} KiB\n  \
         the daemon         PSS {} KiB, resident {} KiB",
        pss[count / 2],
        pss[last],
        own[count / 2],
        own[last],
        rss[count / 2],
        memory_kib(daemon, "Pss"),
        memory_kib(daemon, "Rss"),
    );
    assert!(pss[last] <= 3 << 10, "a supervisor takes more than 3 MiB");
}
