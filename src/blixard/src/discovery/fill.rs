//! Finding members beside a node that runs: those of its cluster that have moved while nobody heard of it, and for a node that still
//! waits to be taken in, others to ask than those that it was told of.

use std::time::Duration;

use blixard_node::ids::{ClusterId, NodeId};
use blixard_node::request::{ClusterView, Consistency, Read, Request, Response};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{Discovery, ask};
use crate::daemon::NodeHandle;
use crate::net::Peers;

/// How often members are looked at.
const FILL_EVERY: Duration = Duration::from_secs(30);

/// When they are looked at first: those that are where they were have been heard by then.
const FILL_FIRST: Duration = Duration::from_secs(3);

/// Looks again and again for members that do not answer under the address they are known by, and tells `peers` where
/// discovery found them. A node that knows no leader is told who was found. Never ends.
pub async fn fill(mut discovery: Discovery, node: NodeHandle, peers: Peers) {
    let mut rounds = interval_at(Instant::now() + FILL_FIRST, FILL_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let read = Request::Read { read: Read::ClusterStatus, consistency: Consistency::Stale };
        match node.ask(read).await {
            Ok(Response::Cluster(view)) if view.cluster != ClusterId(0) => {
                round(&mut discovery, &view, &peers).await;
            }
            _ => {
                let found = discovery.members_of_one_cluster().await;
                if !found.is_empty() {
                    node.found(found.into_iter().map(|found| (found.node, found.address)).collect());
                }
            }
        }
    }
}

async fn round(discovery: &mut Discovery, view: &ClusterView, peers: &Peers) {
    let mut missing: Vec<NodeId> = Vec::new();
    for node in view.members.iter().map(|member| member.node).filter(|node| *node != discovery.me) {
        let Some(address) = peers.address(node) else { continue };
        let answer = ask::one(&discovery.connect, &address).await;
        if !answer.is_ok_and(|answer| answer.node == node && answer.cluster == view.cluster) {
            missing.push(node);
        }
    }
    if missing.is_empty() {
        return;
    }
    for found in discovery.members(Some(view.cluster)).await {
        if missing.contains(&found.node) {
            tracing::info!(node = %found.node, address = found.address, "a member has moved");
            peers.found(found.node, found.address);
        }
    }
}
