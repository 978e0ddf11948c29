//! Nothing of raft-rs's ambient randomness reaches a node: the same seed gives the same life, also in another process.

use std::fmt::Write as _;

use crate::cluster::Cluster;
use blixard_node::config::RaftConfig;
use blixard_node::time::Duration;

/// Many leader changes under one seed, told in full.
fn life(seed: u64) -> String {
    let mut cluster = Cluster::new(seed, RaftConfig::default());
    cluster.tell = true;
    for id in 2..=5 {
        cluster.add(id);
    }
    cluster.run(Duration::from_secs(10));
    for _ in 0..20 {
        let Some(leader) = cluster.leader() else {
            cluster.run(Duration::from_secs(5));
            continue;
        };
        cluster.crash(leader);
        cluster.run(Duration::from_secs(4));
        cluster.open(leader);
        cluster.run(Duration::from_secs(2));
    }
    let timeouts: Vec<_> = (1..=5).map(|id| cluster.node(id).consensus().timeout_ticks).collect();
    let _ = writeln!(cluster.log, "timeouts {timeouts:?}");
    cluster.log
}

#[test]
fn the_same_seed_gives_the_same_life() {
    let first = life(7);
    assert!(first.matches(" leads term ").count() >= 20, "too few elections to prove anything:\n{first}");
    assert_eq!(first, life(7));
    assert_ne!(first, life(8));
}

/// Prints its life when a parent asks for it.
#[test]
fn child() {
    if std::env::var_os("BLIXARD_TELL_LIFE").is_some() {
        println!("LIFE{}LIFE", life(7));
    }
}

#[test]
fn the_same_seed_gives_the_same_life_in_another_process() {
    let told = || {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "randomness::child", "--nocapture"]).env("BLIXARD_TELL_LIFE", "1");
        let out = String::from_utf8(command.output().unwrap().stdout).unwrap();
        out.split("LIFE").nth(1).expect("the child told its life").to_owned()
    };
    assert_eq!(told(), life(7));
    assert_eq!(told(), told());
}
