//! Clients at work while the leader is killed and suspended again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use blixard_node::ids::Generation;
use blixard_node::request::{Response, VmView, Write};
use blixard_node::rng::Rng;
use blixard_node::spec::{Phase, VmName, Wanted};
use blixard_sim::history::Outcome;
use rustix::process::Signal;
use tokio::task::JoinHandle;

use super::client::{Client, get, list, spec};
use super::cluster::{Cluster, all_well, draw};
use super::history::{History, judge};

/// Each time so many faults have come, the leader is suspended instead of killed.
const SUSPEND_EVERY: usize = 4;

/// A leader suspended for this long has a successor: an election timeout is two seconds at most.
const DEPOSED: Duration = Duration::from_millis(2_500);

/// How much of it.
#[derive(Clone, Copy, Debug)]
struct Share {
    clients: usize,
    vms: usize,
    /// How often the leader is killed, or now and then suspended.
    faults: usize,
    /// The longest that a killed or suspended daemon stays away.
    away_max: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_killed_under_load_lose_nothing_and_run_nothing_twice() {
    let away_max = Duration::from_secs(3);
    churn(Share { clients: 4, vms: 5, faults: 4, away_max }).await;
}

#[cfg(feature = "simulation")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_killed_for_minutes_lose_nothing_and_run_nothing_twice() {
    // Away for longer than a lease, so that VMs move as well.
    let away_max = Duration::from_secs(14);
    churn(Share { clients: 8, vms: 12, faults: 25, away_max }).await;
}

async fn churn(share: Share) {
    let seed = draw();
    eprintln!("seed {seed} of the clients and the kills: it does not repeat the run, real machines do not");
    let mut rng = Rng::new(seed, u64::MAX);
    let mut cluster = Cluster::three().await;
    let names: Vec<VmName> = (0..share.vms).map(|vm| VmName::new(format!("vm-{vm}")).unwrap()).collect();
    let history = Arc::new(History::default());
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<JoinHandle<()>> = (0..share.clients)
        .map(|number| {
            let client = Client::new(number, seed, cluster.caller(), Arc::clone(&history));
            tokio::spawn(work(client, names.clone(), cluster.payload(), Arc::clone(&done)))
        })
        .collect();

    let began = Instant::now();
    for fault in 1..=share.faults {
        let leader = cluster.leader().await;
        let away = Duration::from_millis(rng.between(0, u64::try_from(share.away_max.as_millis()).unwrap()));
        if fault.is_multiple_of(SUSPEND_EVERY) {
            // It wakes up as a leader that was deposed, and does not know.
            cluster.signal(leader, Signal::STOP);
            tokio::time::sleep(away.max(DEPOSED)).await;
            cluster.signal(leader, Signal::CONT);
        } else {
            cluster.kill(leader);
            tokio::time::sleep(away).await;
            cluster.start(leader);
        }
        cluster.until("all are well again", all_well).await;
        tokio::time::sleep(Duration::from_millis(rng.between(0, 1_000))).await;
    }
    // And all of them at once: what was acknowledged is on the disks.
    for id in cluster.ids() {
        cluster.kill(id);
    }
    for id in cluster.ids() {
        cluster.start(id);
    }
    cluster.until("all are well after all were killed", all_well).await;
    done.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let took = began.elapsed();

    settle(&cluster).await;
    let mut last = Client::new(share.clients, seed, cluster.caller(), Arc::clone(&history));
    for name in &names {
        assert!(
            matches!(last.perform(get(name.clone())).await, Outcome::Answered(_)),
            "{name} is not answered"
        );
    }
    let Outcome::Answered(Ok(Response::Vms { .. })) = last.perform(list()).await else { panic!("no list") };
    let judged = judge(&history.operations()).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    let runs = cluster.journals.assert_never_twice();
    eprintln!("{} faults in {took:.1?}, {runs} runs of VMs, {judged:?}", share.faults + cluster.ids().len());
    assert!(judged.linearized > share.faults * 10, "hardly anything was asked: {judged:?}");
    assert!(runs >= share.vms / 2, "hardly anything ran: {runs}");
}

/// Waits until everything is as it is wanted: by the cluster's word, and by the VMs' own.
async fn settle(cluster: &Cluster) {
    let settled = |vm: &VmView| match vm.wanted {
        Wanted::Running => vm.phase == Phase::Running,
        Wanted::Stopped => vm.phase == Phase::Stopped && !vm.deleting,
    };
    let vms = cluster.until_vms("all VMs are as wanted", |vms| vms.iter().all(settled)).await;
    for vm in &vms {
        let run = cluster.journals.alive(vm.name.as_str());
        let (runs_on, assigned) = (run.as_ref().map(|run| run.host), vm.assigned.map(|(node, _)| node.0));
        match vm.wanted {
            Wanted::Running => assert_eq!(runs_on, assigned, "{} runs as {run:?}: {vm:?}", vm.name),
            Wanted::Stopped => assert_eq!(runs_on, None, "{} runs as {run:?}: {vm:?}", vm.name),
        }
    }
}

/// One client: looks and changes until it is done.
async fn work(mut client: Client, names: Vec<VmName>, payload: String, done: Arc<AtomicBool>) {
    let spec = Arc::new(spec(&payload));
    let mut generation = Generation(1);
    while !done.load(Ordering::SeqCst) {
        let name = client.rng().pick(&names).unwrap().clone();
        // Now and then only if nothing has changed since this client last looked, at this VM or at another.
        let expected = client.rng().ratio(1, 6).then_some(generation);
        let outcome = match client.rng().below(100) {
            0..20 => client.write(Write::CreateVm { name, spec: Arc::clone(&spec) }).await,
            20..45 => client.write(Write::StartVm { name, generation: expected }).await,
            45..60 => client.write(Write::StopVm { name, generation: expected }).await,
            60..70 => client.write(Write::DeleteVm { name, generation: expected, keep_volumes: false }).await,
            70..90 => client.perform(get(name)).await,
            _ => client.perform(list()).await,
        };
        match outcome {
            Outcome::Answered(Ok(Response::Written { generation: told, .. })) => generation = told,
            Outcome::Answered(Ok(Response::Vm { vm, .. })) => generation = vm.generation,
            _ => {}
        }
        let pause = Duration::from_millis(client.rng().between(10, 100));
        tokio::time::sleep(pause).await;
    }
}
