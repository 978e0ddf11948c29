//! What a node needs before its first step: a sound configuration, and on a cluster's first node the disk's first content.

use bytes::Bytes;

use crate::codec;
use crate::config::{NodeConfig, RaftConfig, Settings};
use crate::ids::{ClusterId, Incarnation, NodeId, Revision};
use crate::level::Level;
use crate::rng::Rng;
use crate::state::{Host, State};
use crate::stored::{AgentRecord, HardState, Identity, Membership, Snapshot, Stored};
use crate::time::Duration;

/// Why a node cannot open on what its disk holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The disk belongs to another member.
    #[error(
        "the data directory belongs to {stored}, not to {configured}: give the node its own directory, or its own id"
    )]
    WrongNode {
        /// Whose it is.
        stored: NodeId,
        /// Who asked.
        configured: NodeId,
    },
    /// What is stored contradicts itself.
    #[error(
        "the stored state is corrupt: {reason}; remove the data directory and join again under a new node id"
    )]
    Corrupt {
        /// What does not fit.
        reason: String,
    },
    /// The cluster's feature level is above the process's.
    #[error(
        "the cluster is at feature level {cluster}, and this process speaks {own}: start a version that speaks {cluster}, or raise --feature-level"
    )]
    BelowLevel {
        /// The cluster's.
        cluster: Level,
        /// The process's.
        own: Level,
    },
    /// The configuration cannot work.
    #[error("bad configuration: {reason}")]
    BadConfig {
        /// What does not fit.
        reason: String,
    },
}

impl OpenError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::WrongNode { .. } => "BLX-NODE-001",
            Self::Corrupt { .. } => "BLX-NODE-002",
            Self::BadConfig { .. } => "BLX-NODE-003",
            Self::BelowLevel { .. } => "BLX-NODE-011",
        }
    }
}

/// The log index of the first snapshot: the state with the first node in it.
const FIRST_INDEX: u64 = 1;
/// Its term. Not 0: raft-rs panics on a pre-vote at term 0.
const FIRST_TERM: u64 = 1;

/// The first content of the disk of a cluster's first node: it alone is voter and host. Every other node opens on an
/// empty disk and joins.
///
/// # Errors
/// When the configuration or the settings cannot work.
pub fn bootstrap(
    config: &NodeConfig,
    settings: &Settings,
    cluster: ClusterId,
    seed: u64,
) -> Result<Stored, OpenError> {
    config.validate()?;
    settings.validate()?;
    if cluster == ClusterId(0) {
        return bad("a cluster's id must not be 0");
    }
    let incarnation = Incarnation(Rng::new(seed, config.id.0).u64().max(1));
    let mut state = State::new(cluster, settings.clone(), Revision(FIRST_INDEX));
    state.level = config.feature_level;
    let host = config.host.clone().announcing(config.feature_level);
    let host = Host::new(host, incarnation, Revision(FIRST_INDEX));
    state = State::restore(state, [(config.id, host)], [], []);
    let membership = Membership { voters: vec![config.id], ..Membership::default() };
    let data: Bytes = codec::encode_state(&state);
    Ok(Stored {
        identity: Some(Identity { cluster, node: config.id, incarnation }),
        hard_state: HardState { term: FIRST_TERM, vote: 0, commit: FIRST_INDEX },
        snapshot: Some(Snapshot { index: FIRST_INDEX, term: FIRST_TERM, membership, data }),
        entries: Vec::new(),
        agent: AgentRecord::default(),
    })
}

fn bad<T>(reason: impl Into<String>) -> Result<T, OpenError> {
    Err(OpenError::BadConfig { reason: reason.into() })
}

impl NodeConfig {
    /// Checks what the node relies on.
    ///
    /// # Errors
    /// The value that cannot work.
    pub fn validate(&self) -> Result<(), OpenError> {
        let raft = &self.raft;
        if self.id == NodeId(0) {
            return bad("a node's id must not be 0");
        }
        if raft.tick == Duration::ZERO
            || raft.heartbeat_ticks == 0
            || raft.election_ticks <= raft.heartbeat_ticks
        {
            return bad("the tick must be longer than 0, and an election longer than a heartbeat");
        }
        if raft.chunk_bytes == 0 || raft.snapshot_every == 0 || raft.inflight_max == 0 {
            return bad("chunk_bytes, snapshot_every and inflight_max must not be 0");
        }
        if raft.uncommitted_bytes_max <= raft.append_bytes_max {
            return bad("uncommitted_bytes_max must be above append_bytes_max");
        }
        if raft.appends_bytes_max() > RaftConfig::APPENDS_LEN_MAX {
            let (appends, inflight) = (raft.append_bytes_max, raft.inflight_max);
            let max = RaftConfig::APPENDS_LEN_MAX;
            return bad(format!(
                "append_bytes_max {appends} times inflight_max {inflight} must be at most {max}"
            ));
        }
        if !(Level::FIRST..=Level::NEWEST).contains(&self.feature_level) {
            let (level, first, newest) = (self.feature_level, Level::FIRST, Level::NEWEST);
            return bad(format!("feature level {level}: this version speaks {first} to {newest}"));
        }
        if self.host.labels.contains_key(Level::LABEL) {
            return bad(format!("label {}: it is the node's own, do not give it", Level::LABEL));
        }
        let announced = self.host.clone().announcing(self.feature_level);
        if let Err(reason) = crate::spec::validate_labels(&announced.labels) {
            return bad(reason);
        }
        Ok(())
    }
}

impl Settings {
    /// Checks what the cluster relies on.
    ///
    /// # Errors
    /// The value that cannot work.
    pub fn validate(&self) -> Result<(), OpenError> {
        if self.voters_max == 0 || self.voters_max > 7 || self.voters_max.is_multiple_of(2) {
            return bad(format!("voters_max is {}: use 1, 3, 5 or 7", self.voters_max));
        }
        if self.lease_ttl < Duration::from_secs(1) {
            return bad(format!("lease_ttl is {}: use at least 1s", self.lease_ttl));
        }
        if self.sessions_max == 0 || self.answers_max == 0 {
            return bad("sessions_max and answers_max must not be 0");
        }
        Ok(())
    }
}
