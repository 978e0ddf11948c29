//! Finding members again that have moved while nobody of their cluster heard of it.

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
/// discovery found them. Never ends.
pub async fn fill(mut discovery: Discovery, node: NodeHandle, peers: Peers) {
    let mut rounds = interval_at(Instant::now() + FILL_FIRST, FILL_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let read = Request::Read { read: Read::ClusterStatus, consistency: Consistency::Stale };
        if let Ok(Response::Cluster(view)) = node.ask(read).await
            && view.cluster != ClusterId(0)
        {
            round(&mut discovery, &view, &peers).await;
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
