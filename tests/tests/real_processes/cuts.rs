//! Hosts cut off from the others, in network namespaces that the test makes: their VMs are dead before they run elsewhere, and
//! nothing runs twice when the cut heals.

use std::time::Duration;

use super::cluster::{Cluster, Place, all_well};
use super::lives::{moved_in_time, on_host, pids};
use super::network::{Network, in_network};
use super::processes::boot_time;

/// How a host is cut off.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// Its cable is pulled.
    Whole,
    /// It hears nothing, and is heard until connections notice.
    Deaf,
    /// It is not heard, and hears until connections notice.
    Silent,
}

#[test]
fn a_leader_cut_off_has_lost_its_vms_before_they_run_elsewhere() {
    cut_off(Cut::Whole, true);
}

#[test]
fn a_follower_that_hears_nothing_has_lost_its_vms_before_they_run_elsewhere() {
    cut_off(Cut::Deaf, false);
}

#[test]
#[ignore = "the same again, other ways: half a minute"]
fn hosts_cut_off_in_other_ways_have_lost_their_vms_before_they_run_elsewhere() {
    for (cut, leads) in [(Cut::Silent, false), (Cut::Silent, true), (Cut::Deaf, true), (Cut::Whole, false)] {
        cut_off(cut, leads);
    }
}

fn cut_off(cut: Cut, leads: bool) {
    if let Some(network) = Network::new(3) {
        in_network(network, move |network| cut_off_in(network, cut, leads));
    }
}

async fn cut_off_in(network: Network, cut: Cut, leads: bool) {
    let mut cluster = Cluster::three_at(Place { network: Some(network), ..Place::default() }).await;
    let names = cluster.run_both(3, 3).await;
    let before = cluster.living(&names);
    let leader = cluster.leader().await;
    let victim = if leads { leader } else { cluster.ids().into_iter().find(|id| *id != leader).unwrap() };
    let hit = on_host(&before, victim);

    eprintln!("host {victim}, cut off: {cut:?}; it led: {leads}");
    let since = boot_time();
    match cut {
        Cut::Whole => cluster.network().plug(victim, false),
        Cut::Deaf => cluster.network().deafen(victim),
        Cut::Silent => cluster.network().silence(victim),
    }
    let moved = moved_in_time(&cluster, &before, &hit, since).await;

    match cut {
        Cut::Whole => cluster.network().plug(victim, true),
        Cut::Deaf | Cut::Silent => cluster.network().heal(victim),
    }
    cluster.until("the one that was cut off is back", all_well).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(pids(&cluster.living(&hit)), pids(&moved), "the one that came back disturbed what runs");
    let others: Vec<String> = names.iter().filter(|name| !hit.contains(name)).cloned().collect();
    let mut untouched = before.clone();
    untouched.retain(|name, _| others.contains(name));
    assert_eq!(pids(&cluster.living(&others)), pids(&untouched), "VMs of other hosts were disturbed");
    cluster.journals.assert_never_twice();
}
