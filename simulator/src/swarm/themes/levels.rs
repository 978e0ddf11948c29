//! Themes about versions that meet.

use blixard_node::rng::Rng;

use super::strike;
use crate::scenario::{Among, FaultKind, Scenario, Spread};

/// Old hosts that are upgraded one by one, and now and then taken back, while leaders change, hosts are cut off and others join.
pub(super) fn upgrades(scenario: &mut Scenario, rng: &mut Rng) {
    let cluster = &mut scenario.cluster;
    (cluster.voters, cluster.spares) = (cluster.voters.max(3), cluster.spares.max(2));
    let hosts = cluster.voters + cluster.workers + cluster.spares;
    cluster.old_hosts = rng.between(1, hosts);
    cluster.snapshot_every = rng.between(5, 100);
    let secs = (scenario.run.duration.as_millis() / 1_000).max(hosts);
    let short = Spread::millis(50, 3_000);
    strike(scenario, FaultKind::Upgrade, Spread::millis(300, 1_000 * secs / hosts), short, Among::Any);
    strike(scenario, FaultKind::Isolate, Spread::millis(2_000, 10_000), short, Among::Any);
    strike(scenario, FaultKind::Crash, Spread::millis(1_000, 5_000), short, Among::Any);
    strike(scenario, FaultKind::MemberAdd, Spread::millis(5_000, 20_000), short, Among::Any);
    strike(scenario, FaultKind::Cordon, Spread::millis(3_000, 10_000), short, Among::Any);
    strike(scenario, FaultKind::TransferLeader, Spread::millis(2_000, 8_000), short, Among::Any);
}
