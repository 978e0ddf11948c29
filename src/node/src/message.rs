//! What members say to each other. Any message may be lost, late, doubled or reordered, and may come from a member
//! that was deposed, removed or lost its disk; each receiver says how it tells.

use std::sync::Arc;

use bytes::Bytes;

use crate::command::HostSpec;
use crate::hypervisor::{Run, VmReport};
use crate::ids::{ClusterId, Generation, Incarnation, NodeId, Revision};
use crate::level::Level;
use crate::request::{Reply, Request};
use crate::spec::{VmName, VmSpec, Wanted};
use crate::time::{Duration, Time};

/// A message with its sender. The transport vouches for `from`.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The sender's cluster; 0 only in [`Body::Join`] and its answer's refusal.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// The sender's disk. A member is refused when it differs from the one recorded at its joining.
    pub incarnation: Incarnation,
    /// What is said.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Consensus among voters and learners.
    Raft(Box<raft::eraftpb::Message>),
    /// A piece of a snapshot, from the leader.
    SnapshotChunk(SnapshotChunk),
    /// The receiver has all bytes below `offset` of that snapshot.
    SnapshotAck {
        /// The snapshot's index.
        index: u64,
        /// The leader's term.
        term: u64,
        /// The next byte wanted.
        offset: u64,
    },
    /// A client's request, passed on to the leader.
    Forward {
        /// The sender's name for it.
        ticket: u64,
        /// The request.
        request: Box<Request>,
    },
    /// The answer to a [`Body::Forward`].
    Forwarded {
        /// The asker's name for it.
        ticket: u64,
        /// The answer.
        reply: Box<Reply>,
    },
    /// An agent tells the leader that it lives and what it runs.
    Heartbeat(Heartbeat),
    /// The leader grants a lease and says what to run.
    HeartbeatAck(Box<HeartbeatAck>),
    /// The receiver is not the leader, and was asked as if it were; or it is a host that its leader has not heard for long.
    NotLeader {
        /// Whom to ask instead: the sender itself, when it calls.
        leader: Option<NodeId>,
        /// Where members are reached.
        members: Vec<(NodeId, String)>,
    },
    /// The leader asks for a heartbeat at once: something changed for this host.
    Nudge,
    /// A node asks to become a member.
    Join(Box<HostSpec>),
    /// It is one (also when it was before).
    Joined {
        /// Where members are reached.
        members: Vec<(NodeId, String)>,
    },
    /// The sender is not served: its id belongs to another disk or was removed, or it is of another cluster.
    Refused {
        /// Why, for people.
        reason: String,
        /// When it is refused for speaking less than this level: so is every process that does, and no other.
        below: Option<Level>,
    },
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotChunk {
    /// The raft message the snapshot belongs to, its data taken out.
    pub message: Box<raft::eraftpb::Message>,
    /// Where `data` begins.
    pub offset: u64,
    /// The snapshot's length in bytes.
    pub len: u64,
    /// CRC-32 of the whole snapshot.
    pub crc: u32,
    /// The piece.
    pub data: Bytes,
}

/// An agent's sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Names this heartbeat within this agent process.
    pub nonce: Nonce,
    /// When it was sent, by the agent's clock; comes back in the acknowledgement, and the lease counts from it.
    pub sent: Time,
    /// The revision of the set the agent works from; the whole set is sent again when it is older than the last change.
    pub set_revision: Revision,
    /// The newest heartbeat of this process whose answer has come in; 0 for none. Without it a leader could not tell a host that
    /// hears it from one that only speaks.
    pub answered: u64,
    /// Every VM on this host, and what the agent has to say of each.
    pub reports: Vec<VmReport>,
    /// The agent has something new to tell or was nudged: answer without waiting to serve others along with it.
    pub urgent: bool,
    /// The level that the agent's process speaks. What the state has of it may be of an earlier process.
    pub level: Level,
}

/// Names a heartbeat: `process` is drawn anew by each process of the agent, so that no acknowledgement for an
/// earlier process is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Nonce {
    /// The agent's process.
    pub process: u64,
    /// Rises by one with each heartbeat.
    pub sequence: u64,
}

/// The leader's answer to a heartbeat, sent only after a quorum has confirmed, later than the heartbeat came in, that it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatAck {
    /// The heartbeat's.
    pub nonce: Nonce,
    /// The heartbeat's: the lease runs from here by the agent's clock.
    pub sent: Time,
    /// How long the lease runs. Zero grants nothing and needs no quorum: the leader only wants to know whether it is heard.
    pub ttl: Duration,
    /// The revision of the state this answer comes from.
    pub revision: Revision,
    /// The host's whole assignment set as of `revision`; none when it has not changed since the heartbeat's `set_revision`.
    pub set: Option<Vec<Assignment>>,
    /// The leader's reachable members: voters first, for finding the next leader.
    pub members: Vec<(NodeId, String)>,
    /// The cluster's level; none from a leader that knows no levels, and where nothing is granted for another reason.
    pub level: Option<Level>,
}

/// A VM assigned to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Which run.
    pub run: Run,
    /// The VM's name.
    pub name: VmName,
    /// The spec's generation.
    pub generation: Generation,
    /// Run it, or stop it and report.
    pub wanted: Wanted,
    /// What it is made of.
    pub spec: Arc<VmSpec>,
    /// What its first host has built, by name; none while nobody has.
    pub artifact: Option<String>,
    /// Once it is stopped, remove for good what it keeps here, and only then report it as stopped. Never with `Wanted::Running`.
    pub purge: bool,
}
