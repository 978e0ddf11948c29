//! Daemons of two feature levels in one cluster: the newer ones run with what the older one knows until it is replaced.

use std::process::{Command, Output};

use blixard_node::level::Level;
use blixard_node::request::ClusterView;
use rustix::process::Signal;

use super::binary::blixard;
use super::cluster::{Cluster, all_well};

const OLD: &[&str] = &["--feature-level", "1"];

fn is_at(level: u32) -> impl Fn(&ClusterView) -> bool {
    move |view| view.level == Level(level) && all_well(view)
}

fn cordon(cluster: &Cluster, reason: &str) -> Output {
    let mut command = Command::new(blixard());
    command.env_clear().args(["cluster", "cordon", "2", "--server", cluster.address(3)]);
    command.args(["--format", "json", "--timeout", "30s", "--reason", reason]).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_is_held_back_by_one_old_daemon_and_rises_when_it_is_replaced() {
    let mut cluster = Cluster::new(3);
    cluster.start_with(1, OLD);
    cluster.until("member 1 leads", |view| view.leader.is_some()).await;
    cluster.start(2);
    cluster.start(3);
    let view = cluster.until("all vote and are healthy", all_well).await;
    assert_eq!(view.level, Level(1));
    let told: Vec<u32> = view.members.iter().map(|member| member.level.0).collect();
    assert_eq!(told, [1, Level::NEWEST.0, Level::NEWEST.0]);
    let names = cluster.run_vms(2).await;

    let refused = cordon(&cluster, "new disks");
    let said =
        String::from_utf8_lossy(&refused.stdout).into_owned() + &String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("BLX-REQ-006") && said.contains("upgrade n1 first"), "{said}");

    cluster.signal(1, Signal::TERM);
    assert_eq!(cluster.wait(1).code(), Some(0), "{}", cluster.logged(1));
    cluster.start(1);
    cluster.until("the level has risen", is_at(Level::NEWEST.0)).await;
    cluster.until_alive(&names).await;
    let taken = cordon(&cluster, "new disks");
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    let shown: serde_json::Value = serde_json::from_slice(&taken.stdout).unwrap();
    assert_eq!(shown["level"], Level::NEWEST.0);
    assert_eq!(shown["members"][1]["cordon_reason"], "new disks");

    // There is no way back.
    cluster.signal(1, Signal::TERM);
    cluster.wait(1);
    cluster.start_with(1, OLD);
    assert_eq!(cluster.wait(1).code(), Some(3), "{}", cluster.logged(1));
    let last = cluster.logged(1).lines().next_back().unwrap_or_default().to_owned();
    assert!(last.starts_with("error[BLX-NODE-011]: ") && last.contains("this process speaks 1"), "{last}");
    cluster.start(1);
    cluster.until("all are there again", is_at(Level::NEWEST.0)).await;
}
