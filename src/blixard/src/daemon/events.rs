//! The node's events in the log.

use blixard_node::effects::Event;

/// Logs an event.
pub(super) fn log(event: &Event) {
    match event {
        Event::BecameLeader { term } => tracing::info!(term, "leads the cluster"),
        Event::LostLeadership { term } => tracing::info!(term, "leads no more"),
        Event::Applied { revision, term, state_hash } => {
            tracing::trace!(revision = revision.0, term, state_hash, "applied");
        }
        Event::Restored { revision, .. } => {
            tracing::info!(revision = revision.0, "took a snapshot from the leader");
        }
        Event::Compacted { revision } => tracing::debug!(revision = revision.0, "wrote a snapshot"),
        Event::MembershipChanged { voters, outgoing, learners } => {
            tracing::info!(?voters, ?outgoing, ?learners, "the voters changed");
        }
        Event::HostLost { node } => {
            tracing::warn!(host = %node, "the host's lease has ended, its VMs are given up");
        }
        Event::LeaseExpired => tracing::error!("the lease ran out: every VM here is being killed"),
        Event::StaleSetRefused { at, got } => {
            tracing::warn!(at = at.0, got = got.0, "refused an assignment set older than the one at work");
        }
        Event::Refused { reason } => tracing::error!(reason, "the cluster refuses this node"),
        Event::LevelRaised { level } => tracing::info!(%level, "the cluster's feature level has risen"),
        Event::Outgrown { cluster, own } => {
            tracing::error!(%cluster, %own, "the cluster's feature level is above this process's");
        }
        Event::Joined => tracing::info!("is a member of the cluster"),
        Event::Retired => tracing::info!("has handed over what it could"),
    }
}
