//! What a node is told when it opens, and the settings that the whole cluster shares.

use crate::codec::MESSAGE_LEN_MAX;
use crate::command::HostSpec;
use crate::ids::NodeId;
use crate::level::Level;
use crate::time::Duration;

/// One node's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Its identity.
    pub id: NodeId,
    /// What it offers as a host, and its address.
    pub host: HostSpec,
    /// Members to ask for admission, with their addresses. Only needed until the node has joined.
    pub peers: Vec<(NodeId, String)>,
    /// Consensus timing and batch sizes.
    pub raft: RaftConfig,
    /// Bounds of queues.
    pub limits: Limits,
    /// The newest feature level it speaks. Below [`Level::NEWEST`] it behaves as a program of that level.
    pub feature_level: Level,
}

impl NodeConfig {
    /// The node `id` on `host` with the usual timing and bounds.
    #[must_use]
    pub fn new(id: NodeId, host: HostSpec, peers: Vec<(NodeId, String)>) -> Self {
        let (raft, limits) = (RaftConfig::default(), Limits::default());
        Self { id, host, peers, raft, limits, feature_level: Level::NEWEST }
    }
}

/// Consensus timing and batch sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftConfig {
    /// The unit of the two below.
    pub tick: Duration,
    /// An election begins after this many to twice this many ticks of silence.
    pub election_ticks: u64,
    /// A leader is heard at least this often.
    pub heartbeat_ticks: u64,
    /// The most bytes of entries that are read for an append at once; one entry may be larger. raft-rs joins appends that wait for the same
    /// follower, so that the largest message has up to `inflight_max` times as much: [`RaftConfig::appends_bytes_max`].
    pub append_bytes_max: u64,
    /// The most appends under way to one follower.
    pub inflight_max: usize,
    /// The most bytes of proposals not yet committed.
    pub uncommitted_bytes_max: u64,
    /// A snapshot is written and the log cut after this many applied entries.
    pub snapshot_every: u64,
    /// Entries kept in memory below a snapshot, for followers that are a little behind.
    pub keep_entries: u64,
    /// The size of a snapshot's pieces, in bytes.
    pub chunk_bytes: usize,
}

impl RaftConfig {
    /// The largest [`RaftConfig::appends_bytes_max`] that a node opens with: half of what a peer takes as one message, because there is
    /// more in it than entries, and one entry may be larger than an append.
    pub const APPENDS_LEN_MAX: u64 = (MESSAGE_LEN_MAX / 2) as u64;

    /// The most bytes of entries in one message, but for entries above [`RaftConfig::append_bytes_max`].
    #[must_use]
    pub fn appends_bytes_max(&self) -> u64 {
        self.append_bytes_max.saturating_mul(self.inflight_max as u64)
    }
}

impl Default for RaftConfig {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(50),
            election_ticks: 20,
            heartbeat_ticks: 6,
            append_bytes_max: 256 << 10,
            inflight_max: 64,
            uncommitted_bytes_max: 16 << 20,
            snapshot_every: 10_000,
            keep_entries: 1_000,
            chunk_bytes: 256 << 10,
        }
    }
}

/// Bounds of a node's queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests in the leader's hands: proposed, or waiting for a read's confirmation.
    pub requests_max: usize,
    /// Requests passed on to the leader and not answered yet.
    pub forwards_max: usize,
    /// How long a passed-on request waits for the leader's answer.
    pub forward_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests_max: 4_096, forwards_max: 4_096, forward_timeout: Duration::from_secs(5) }
    }
}

/// Settings the whole cluster shares; fixed when it bootstraps and part of the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// How long an agent may run its VMs after the sending of its last acknowledged heartbeat.
    pub lease_ttl: Duration,
    /// The bound on how much faster one host's clock runs than another's, in parts per million.
    pub clock_drift_ppm: u32,
    /// How long a hypervisor may take to kill a VM whose deadline has passed.
    pub kill_grace: Duration,
    /// The most voters; odd, 1 to 7.
    pub voters_max: u64,
    /// The most client sessions remembered.
    pub sessions_max: u64,
    /// The most answers remembered per session.
    pub answers_max: u64,
    /// The most VMs listed.
    pub vms_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(8),
            clock_drift_ppm: 1_000,
            kill_grace: Duration::from_secs(2),
            voters_max: 5,
            sessions_max: 4_096,
            answers_max: 16,
            vms_max: 100_000,
        }
    }
}

impl Settings {
    /// How long a leader waits after a host's last sign of life before it gives the host's VMs to others:
    /// `ttl × (1 + drift) + kill_grace`. A VM runs twice if this is shorter than the truth.
    #[must_use]
    pub fn give_up_after(&self) -> Duration {
        let drift_ppm = if planted!(DriftLeftOut) { 0 } else { self.clock_drift_ppm };
        let kill_grace = if planted!(KillGraceLeftOut) { Duration::ZERO } else { self.kill_grace };
        self.lease_ttl.stretched(drift_ppm) + kill_grace.stretched(drift_ppm)
    }
}
