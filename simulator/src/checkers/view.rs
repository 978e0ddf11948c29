//! What checkers see of a node.

use blixard_node::Node;
use blixard_node::ids::NodeId;
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
    /// Its replica of the cluster state; none for a worker.
    fn state(&self) -> Option<&State>;
}

impl NodeView for Node {
    fn id(&self) -> NodeId {
        Self::id(self)
    }

    fn log(&self) -> Option<LogView> {
        None
    }

    fn log_term(&self, _: u64) -> Option<u64> {
        None
    }

    fn log_data(&self, _: u64) -> Option<&[u8]> {
        None
    }

    fn state(&self) -> Option<&State> {
        None
    }
}
