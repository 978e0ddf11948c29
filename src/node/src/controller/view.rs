//! What others may see of a controller.

use super::Controller;
use crate::context::Context;
use crate::ids::{NodeId, Revision};
use crate::level::Level;
use crate::request::{ClusterView, MemberView, Role};
use crate::state::{Host, State};
use crate::stored::Membership;

/// A node's part in consensus, for checkers and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsensusView {
    /// Its term.
    pub term: u64,
    /// Whether it leads that term.
    pub is_leader: bool,
    /// The leader it knows.
    pub leader: Option<NodeId>,
    /// Entries up to here are committed.
    pub commit: u64,
    /// Entries up to here are carried out.
    pub applied: u64,
    /// The first entry in memory.
    pub first_index: u64,
    /// The last entry.
    pub last_index: u64,
    /// The election timeout at work, in ticks.
    pub timeout_ticks: usize,
}

impl Controller {
    pub(crate) fn view(&self) -> ConsensusView {
        let log = self.consensus.log();
        ConsensusView {
            term: self.consensus.term(),
            is_leader: self.is_leader(),
            leader: self.leader(),
            commit: self.consensus.commit(),
            applied: self.applied,
            first_index: log.first(),
            last_index: log.last(),
            timeout_ticks: self.consensus.timeout_ticks(),
        }
    }

    pub(crate) fn membership(&self) -> &Membership {
        self.consensus.log().membership()
    }

    pub(crate) fn log_term(&self, index: u64) -> Option<u64> {
        self.consensus.log().term_of(index)
    }

    pub(crate) fn log_data(&self, index: u64) -> Option<&[u8]> {
        self.consensus.log().entry(index).map(|entry| &entry.data[..])
    }

    pub(super) fn cluster_view(&self, state: &State, ctx: &Context<'_>) -> ClusterView {
        let members = state.hosts.iter().map(|(node, host)| self.member_view(*node, host, ctx)).collect();
        ClusterView {
            cluster: state.cluster,
            answered_by: ctx.id(),
            leader: self.leader(),
            term: self.consensus.term(),
            revision: Revision(self.applied),
            level: state.level,
            members,
        }
    }

    fn member_view(&self, node: NodeId, host: &Host, ctx: &Context<'_>) -> MemberView {
        let membership = self.membership();
        let role = if self.leader() == Some(node) {
            Role::Leader
        } else if membership.voters.contains(&node) || membership.voters_outgoing.contains(&node) {
            Role::Voter
        } else if membership.learners.contains(&node) || membership.learners_next.contains(&node) {
            Role::Learner
        } else {
            Role::Worker
        };
        let seen = self.office.as_ref().and_then(|office| office.leases.last_seen(node));
        let progress = self.consensus.progress(node);
        MemberView {
            node,
            incarnation: host.incarnation,
            address: host.spec.address.clone(),
            role,
            healthy: !host.lost,
            cordoned: host.cordoned,
            cordon_reason: host.cordon_reason.clone(),
            level: host.spec.level(),
            leaving: host.leaving,
            capacity: host.spec.capacity,
            used: host.used,
            labels: host.spec.clone().announcing(Level::FIRST).labels,
            last_contact: seen.map(|seen| ctx.now.boot.since(seen)),
            lag: progress.map(|progress| self.consensus.last_index().saturating_sub(progress.matched)),
            vms: host.vms.len() as u64,
        }
    }

    /// Asserts what must hold of one node's consensus and state.
    pub(crate) fn check(&self) {
        let log = self.consensus.log();
        assert!(self.applied <= self.consensus.commit(), "invariant: only committed entries are carried out");
        assert!(self.consensus.commit() <= log.last(), "invariant: what is committed is in the log");
        assert!(log.first() <= self.applied + 1, "invariant: the log reaches down to what is carried out");
        assert_eq!(
            self.office.is_some(),
            self.is_leader(),
            "invariant: a leader, and only a leader, has an office"
        );
        if let Some(state) = &self.state {
            assert_eq!(
                state.revision.0, self.applied,
                "invariant: the state is that of the last entry carried out"
            );
            state.check();
        }
        if let Some(office) = &self.office {
            assert_eq!(office.term, self.consensus.term(), "invariant: an office is for one term");
            let indexes: Vec<_> = office.proposals.iter().map(|proposal| proposal.index).collect();
            assert!(indexes.is_sorted(), "invariant: proposals wait in the order of the log");
            assert!(
                indexes.first().is_none_or(|first| *first > self.applied),
                "invariant: no one waits for an entry that was carried out"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::HostSpec;
    use crate::config::{NodeConfig, Settings};
    use crate::ids::ClusterId;
    use crate::open::bootstrap;
    use crate::rng::Rng;
    use crate::spec::Resources;
    use crate::time::Time;

    fn opened() -> Controller {
        let capacity = Resources { vcpus: 1, memory_mib: 1 };
        let host = HostSpec { address: "a:1".into(), capacity, ..HostSpec::default() };
        let config = NodeConfig::new(NodeId(1), host, Vec::new());
        let Ok(stored) = bootstrap(&config, &Settings::default(), ClusterId(1), 1) else {
            panic!("it is sound")
        };
        match Controller::open(&config, stored, Rng::new(1, 0), Time(0)) {
            Ok(controller) => controller,
            Err(_) => panic!("it opens"),
        }
    }

    #[test]
    fn a_sound_controller_is_found_sound() {
        opened().check();
    }

    #[test]
    #[should_panic(expected = "only committed entries are carried out")]
    fn a_controller_that_went_ahead_of_the_log_is_found_out() {
        let mut controller = opened();
        controller.applied += 1;
        controller.check();
    }

    #[test]
    #[should_panic(expected = "the state is that of the last entry carried out")]
    fn a_state_that_is_not_that_of_the_log_is_found_out() {
        let mut controller = opened();
        if let Some(state) = &mut controller.state {
            state.revision = Revision(9);
        }
        controller.check();
    }
}
