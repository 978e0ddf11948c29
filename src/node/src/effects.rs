//! What a node wants done. The runtime releases the lanes in the order of their promises.

use crate::hypervisor::HypervisorRequest;
use crate::ids::{NodeId, OpId, Revision, Ticket};
use crate::level::Level;
use crate::message::Message;
use crate::request::Reply;
use crate::stored::WriteBatch;

/// Everything that the steps of one turn ask for.
///
/// `writes` are durable, all of them, before any lane but `early_sends` is released.
#[derive(Debug, Default)]
pub struct Effects {
    /// One disk transaction.
    pub writes: WriteBatch,
    /// A leader's append messages, which may leave while its own write is still under way. Safe because a leader
    /// counts its own copy only in what the other lanes let out: a follower's acknowledgement can come in no sooner than
    /// the next turn, and that begins after this turn's write is durable (Ongaro, "Consensus", section 10.2.1).
    /// The node leaves this lane empty in a turn that changes term or vote, and when it alone is the quorum: then a
    /// message could speak of a term or a commit that a crash would undo.
    pub early_sends: Vec<(NodeId, Message)>,
    /// Messages.
    pub sends: Vec<(NodeId, Message)>,
    /// Answers to clients.
    pub replies: Vec<(Ticket, Reply)>,
    /// Operations for the hypervisor.
    pub hypervisor: Vec<(OpId, HypervisorRequest)>,
    /// Where members are reached, when that has changed: the whole list.
    pub directory: Option<Vec<(NodeId, String)>>,
    /// What happened, for logs and checkers. Never read back by the node.
    pub events: Vec<Event>,
}

/// A step of the node's life that an operator may want in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It won an election.
    BecameLeader {
        /// The term it leads.
        term: u64,
    },
    /// It leads no more.
    LostLeadership {
        /// The term that ended it.
        term: u64,
    },
    /// It carried out a log entry.
    Applied {
        /// The entry.
        revision: Revision,
        /// Its term.
        term: u64,
        /// The state's hash after it.
        state_hash: u64,
    },
    /// It took a snapshot from the leader in place of its state.
    Restored {
        /// The snapshot's index.
        revision: Revision,
        /// The state's hash.
        state_hash: u64,
    },
    /// It wrote a snapshot of its own state and dropped the log below.
    Compacted {
        /// The snapshot's index.
        revision: Revision,
    },
    /// The voters changed.
    MembershipChanged {
        /// The voters now.
        voters: Vec<NodeId>,
        /// The outgoing half of a joint change, else empty.
        outgoing: Vec<NodeId>,
        /// The learners now.
        learners: Vec<NodeId>,
    },
    /// As leader: a host's lease has certainly ended, its VMs are given up.
    HostLost {
        /// The host.
        node: NodeId,
    },
    /// As agent: the lease ran out, everything is being killed.
    LeaseExpired,
    /// As agent: an assignment set older than the one at work was refused.
    StaleSetRefused {
        /// The one at work.
        at: Revision,
        /// The refused one.
        got: Revision,
    },
    /// The cluster refuses this node; it can do no more.
    Refused {
        /// Why.
        reason: String,
    },
    /// It is a member now.
    Joined,
    /// It has handed over what it could and may be ended.
    Retired,
    /// It has carried out that the cluster's feature level rises.
    LevelRaised {
        /// The level from now on.
        level: Level,
    },
    /// The cluster's feature level is above its own: it can do no more. The turn that finds out has no other effect.
    Outgrown {
        /// The cluster's level.
        cluster: Level,
        /// Its own.
        own: Level,
    },
}
