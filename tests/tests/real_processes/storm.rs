//! One fault after another, drawn by chance, against a cluster in network namespaces: whatever comes, no VM lives twice, and in
//! the end all live.

use std::time::Duration;

use blixard_node::rng::Rng;
use rustix::process::{Pid, Signal, kill_process};

use super::cluster::{Cluster, Place, all_well, draw};
use super::network::{Network, in_network};
use super::processes::parent;

/// The longest that a fault lasts: a lease and more, so that VMs move.
const AWAY_MAX_MS: u64 = 14_000;

#[test]
#[ignore = "takes minutes"]
fn whatever_comes_no_vm_lives_twice() {
    let faults = std::env::var("BLIXARD_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    if let Some(network) = Network::new(3) {
        in_network(network, move |network| storm(network, faults));
    }
}

async fn storm(network: Network, faults: usize) {
    let seed = draw();
    eprintln!("seed {seed} of the faults: it does not repeat the run, real machines do not");
    let mut rng = Rng::new(seed, 0);
    let mut cluster = Cluster::three_at(Place { network: Some(network), ..Place::default() }).await;
    let names = cluster.run_both(4, 6).await;
    for _ in 0..faults {
        let host = rng.between(1, 3);
        let away = Duration::from_millis(rng.between(0, AWAY_MAX_MS));
        let what = fault(&mut cluster, &names, host, away, rng.below(7)).await;
        eprintln!("host {host}: {what}, for {away:.1?}");
        cluster.until("all are well again", all_well).await;
        cluster.until_alive(&names).await;
        cluster.journals.assert_never_twice();
    }
    let runs = cluster.journals.assert_never_twice();
    eprintln!("{faults} faults, {runs} lives of {} VMs, never two of one at once", names.len());
}

/// Lets a fault come and go. What it was.
async fn fault(
    cluster: &mut Cluster,
    names: &[String],
    host: u64,
    away: Duration,
    which: u64,
) -> &'static str {
    match which {
        0 => {
            cluster.kill(host);
            tokio::time::sleep(away).await;
            cluster.start(host);
            "its daemon killed"
        }
        1 => {
            cluster.signal(host, Signal::STOP);
            tokio::time::sleep(away).await;
            cluster.signal(host, Signal::CONT);
            "its daemon stopped"
        }
        2 => {
            cluster.lose_host(host);
            tokio::time::sleep(away).await;
            cluster.start(host);
            "lost with all that ran on it"
        }
        3 => {
            for run in cluster.living(names).values().filter(|run| run.host == host) {
                if let Some(supervisor) = Pid::from_raw(parent(run.pid).cast_signed()) {
                    let _ = kill_process(supervisor, Signal::KILL);
                }
            }
            "its supervisors killed"
        }
        4 => {
            cluster.network().plug(host, false);
            tokio::time::sleep(away).await;
            cluster.network().plug(host, true);
            "its cable pulled"
        }
        5 => {
            cluster.network().deafen(host);
            tokio::time::sleep(away).await;
            cluster.network().heal(host);
            "it heard nothing"
        }
        _ => {
            cluster.network().silence(host);
            tokio::time::sleep(away).await;
            cluster.network().heal(host);
            "it was not heard"
        }
    }
}
