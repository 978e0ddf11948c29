//! What checkers see of a node.

use blixard_node::Node;
use blixard_node::ids::NodeId;
use blixard_node::level::Level;
use blixard_node::state::State;

/// A node's part in consensus. All numbers are log indexes but the term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogView {
    /// Its term.
    pub term: u64,
    /// Whether it leads that term.
    pub is_leader: bool,
    /// Committed up to here.
    pub commit: u64,
    /// Carried out up to here.
    pub applied: u64,
    /// The first entry it still has.
    pub first_index: u64,
    /// The last entry it has.
    pub last_index: u64,
}

/// A node, alive or as a test makes it up.
pub trait NodeView {
    /// Who it is.
    fn id(&self) -> NodeId;
    /// Its part in consensus; none for a worker.
    fn log(&self) -> Option<LogView>;
    /// The term of an entry it has.
    fn log_term(&self, index: u64) -> Option<u64>;
    /// The content of an entry it has.
    fn log_data(&self, index: u64) -> Option<&[u8]>;
    /// Its replica of the cluster state; none for a worker that never held one.
    fn state(&self) -> Option<&State>;
    /// Whether `node` is to hold a replica, as far as this one knows. One that was demoted keeps an old one.
    fn replicates_to(&self, node: NodeId) -> bool;
    /// The newest feature level that it speaks.
    fn level(&self) -> Level;
    /// Whether its agent has been granted a lease since it opened.
    fn has_lease(&self) -> bool;
}

impl NodeView for Node {
    fn id(&self) -> NodeId {
        Self::id(self)
    }

    fn log(&self) -> Option<LogView> {
        self.state()?;
        let view = self.consensus();
        Some(LogView {
            term: view.term,
            is_leader: view.is_leader,
            commit: view.commit,
            applied: view.applied,
            first_index: view.first_index,
            last_index: view.last_index,
        })
    }

    fn log_term(&self, index: u64) -> Option<u64> {
        self.log_term(index)
    }

    fn log_data(&self, index: u64) -> Option<&[u8]> {
        self.log_data(index)
    }

    fn state(&self) -> Option<&State> {
        self.state()
    }

    fn replicates_to(&self, node: NodeId) -> bool {
        let members = self.membership();
        [&members.voters, &members.voters_outgoing, &members.learners, &members.learners_next]
            .iter()
            .any(|half| half.contains(&node))
    }

    fn level(&self) -> Level {
        Self::level(self)
    }

    fn has_lease(&self) -> bool {
        self.lease_end().is_some()
    }
}
