//! VMs started and stopped again and again through the daemon leave nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blixard_node::request::Write;
use blixard_node::spec::{Phase, VmName, VmSpec};

use super::client::{Caller, qemu_vm, spec};
use super::cluster::{Cluster, PATIENCE};
use super::processes::of;
use super::scribe::{build_guest, runs};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_rounds_leave_nothing() {
    rounds(2, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_thousand_rounds_leave_nothing() {
    rounds(8, 125).await;
}

/// What a host holds on to, for its VMs or by mistake.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    processes: BTreeSet<u32>,
    sockets: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    interfaces: BTreeSet<String>,
}

impl Held {
    fn look(cluster: &Cluster) -> Self {
        let vms = cluster.data_dir(1).join("vms");
        let listed = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
        let in_runs = runs(cluster.folder()).into_iter().flat_map(|(_, run)| listed(run));
        let is_socket = |kind: std::io::Result<fs::FileType>| kind.is_ok_and(|kind| kind.is_socket());
        let interfaces =
            listed("/sys/class/net".into()).map(|entry| entry.file_name().into_string().unwrap());
        Self {
            processes: of(cluster.folder()),
            sockets: in_runs.filter(|file| is_socket(file.file_type())).map(|file| file.path()).collect(),
            locks: listed(vms.join("locks")).map(|entry| entry.path()).collect(),
            interfaces: interfaces
                .filter(|name| !name.starts_with("veth") && !name.starts_with("port"))
                .collect(),
        }
    }
}

/// `vms` VMs at the same time, half of them guests where they can run, each started and stopped `count` times.
async fn rounds(vms: usize, count: usize) {
    let mut cluster = Cluster::new(1);
    let kernel = build_guest(cluster.folder());
    cluster.start(1);
    cluster.until("it leads", |view| view.leader.is_some()).await;
    let caller = cluster.caller();
    let vm_spec = |vm: usize| match &kernel {
        Some(kernel) if vm.is_multiple_of(2) => {
            qemu_vm(&format!("kernel = {kernel:?}\naccel = \"tcg\"\nnetwork = \"user\"\n"), 32)
        }
        _ => spec(&cluster.payload()),
    };
    let specs: Vec<(VmName, VmSpec)> =
        (0..vms).map(|vm| (VmName::new(format!("vm-{vm}")).unwrap(), vm_spec(vm))).collect();
    for (name, spec) in &specs {
        caller.change(&[Write::CreateVm { name: name.clone(), spec: Arc::new(spec.clone()) }]).await;
    }
    // Connections and threads are made by the first ones.
    all_rounds(&specs, &caller, 1).await;
    let (before, files) = (Held::look(&cluster), files(cluster.pid(1)));

    let began = Instant::now();
    all_rounds(&specs, &caller, count).await;
    let took = began.elapsed();
    let after = until(|| Held::look(&cluster) == before, || Held::look(&cluster)).await;
    assert_eq!(after, before, "left behind");
    assert!(after.locks.is_empty() && after.sockets.is_empty() && after.processes.len() == 1, "{after:?}");
    let files_after = until(|| self::files(cluster.pid(1)) <= files, || self::files(cluster.pid(1))).await;
    assert!(files_after <= files, "{files} open files before, and {files_after} after");
    assert!(runs(cluster.folder()).len() <= vms, "an ended run a VM is kept, no more");
    eprintln!(
        "{} rounds of {vms} VMs in {took:.1?} left nothing: no process, socket, lock, interface or open file",
        vms * count
    );
}

async fn all_rounds(specs: &[(VmName, VmSpec)], caller: &Caller, count: usize) {
    let vms = specs.iter().map(|(name, _)| {
        let (name, caller) = (name.clone(), caller.clone());
        tokio::spawn(async move {
            for _ in 0..count {
                caller.change(&[Write::StartVm { name: name.clone(), generation: None }]).await;
                until_phase(&caller, &name, Phase::Running).await;
                caller.change(&[Write::StopVm { name: name.clone(), generation: None }]).await;
                until_phase(&caller, &name, Phase::Stopped).await;
            }
        })
    });
    for vm in vms.collect::<Vec<_>>() {
        vm.await.unwrap();
    }
}

async fn until_phase(caller: &Caller, name: &VmName, phase: Phase) {
    let began = Instant::now();
    loop {
        let vms = caller.list(1).await.unwrap_or_default();
        if vms.iter().any(|vm| vm.name == *name && vm.phase == phase) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{name} is not {phase:?}: {vms:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for a while until it holds; how it is then.
async fn until<T>(holds: impl Fn() -> bool, look: impl Fn() -> T) -> T {
    let began = Instant::now();
    while !holds() && began.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    look()
}

/// How many files a process has open.
fn files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
