//! Errors that reach a client. Each kind has a stable code, which JSON output and `docs/errors.md` carry.

use crate::ids::{Generation, NodeId, Revision};
use crate::level::Level;
use crate::spec::VmName;

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RequestError {
    /// `create` under a taken name.
    #[error("VM {name} exists already; choose another name, or delete it first")]
    VmExists {
        /// The name.
        name: VmName,
    },
    /// No VM of that name.
    #[error("there is no VM {name}; `blixard vm list` shows those there are")]
    VmUnknown {
        /// The name.
        name: VmName,
    },
    /// The VM changed since the client looked.
    #[error("VM {name} is at generation {actual}, not at {expected}: look at it again, then repeat", actual = .actual.0, expected = .expected.0)]
    GenerationConflict {
        /// The VM.
        name: VmName,
        /// What the client gave.
        expected: Generation,
        /// What it is.
        actual: Generation,
    },
    /// The VM is on its way out.
    #[error("VM {name} is being deleted; wait until its host has confirmed that it stopped")]
    VmDeleting {
        /// The VM.
        name: VmName,
    },
    /// The VM is wanted running, or not yet known to have stopped.
    #[error("VM {name} is not stopped; stop it first: blixard vm stop {name}")]
    VmNotStopped {
        /// The VM.
        name: VmName,
    },
    /// No host can take the VM.
    #[error("no host can take VM {name}: {}", rejections(.hosts))]
    NoRoom {
        /// The VM.
        name: VmName,
        /// Each host with what it lacks, at most [`RequestError::HOSTS_MAX`].
        hosts: Vec<(NodeId, String)>,
    },
    /// The spec breaks a bound.
    #[error("the spec cannot be taken: {reason}")]
    BadSpec {
        /// Which bound, with the value.
        reason: String,
    },
    /// The cluster holds as many VMs as its settings allow.
    #[error("the cluster lists {max} VMs, its limit; delete some first")]
    TooManyVms {
        /// The limit.
        max: u64,
    },
    /// No host of that id.
    #[error("there is no host {node} in this cluster; `blixard cluster status` shows those there are")]
    HostUnknown {
        /// The id.
        node: NodeId,
    },
    /// The host still has VMs.
    #[error("host {node} still has {vms} VMs: stop or delete them, or cordon it and move them, then repeat")]
    HostBusy {
        /// The host.
        node: NodeId,
        /// How many.
        vms: u64,
    },
    /// The host may not go.
    #[error("host {node} is the last voter: the cluster would be lost without it")]
    LastVoter {
        /// The host.
        node: NodeId,
    },
    /// A join under an id whose disk was another one.
    #[error(
        "node id {node} belongs to another data directory of this cluster (or was removed); join under an id never used before"
    )]
    IdTaken {
        /// The id.
        node: NodeId,
    },
    /// The member asked to lead is no voter.
    #[error("{node} is not a voter that could lead; `blixard cluster status` shows the voters")]
    NotAVoter {
        /// The member.
        node: NodeId,
    },
    /// The session was expired: whether this request took effect is not known any more.
    #[error(
        "the client's session has expired (the cluster remembers those used after revision {floor}): look at the state, then send the request anew under a new session", floor = .floor.0
    )]
    SessionExpired {
        /// Sessions last used at or before this revision may be gone.
        floor: Revision,
    },
    /// A request id came again with another content.
    #[error("request id {sequence} of this client was used for another request; ids must not be reused")]
    IdReused {
        /// The sequence number.
        sequence: u64,
    },
    /// No leader is known right now.
    #[error("no leader is known at the moment; the request was not taken, try again")]
    NoLeader,
    /// The leader changed, or did not answer in time: the request may yet take effect.
    #[error("the outcome is unknown: {reason}; repeat the request under the same id")]
    Unknown {
        /// What happened.
        reason: String,
    },
    /// A bounded queue is full.
    #[error("{what} is full ({max}); the request was not taken, try again later")]
    Overloaded {
        /// Which queue.
        what: String,
        /// Its bound.
        max: u64,
    },
    /// The cluster's feature level is too low for the request: not every member would understand it.
    #[error("{what} needs feature level {needs}, and the cluster is at {level}: {}", upgrades(.held_back_by))]
    BelowLevel {
        /// What of the request.
        what: String,
        /// The lowest level that knows it.
        needs: Level,
        /// The cluster's, or that of the member that was asked when it is that one that is too old.
        level: Level,
        /// The hosts that announce less than `needs`, at most [`RequestError::HOSTS_MAX`]; none when the level is about to rise.
        held_back_by: Vec<NodeId>,
    },
}

impl RequestError {
    /// The most hosts that [`RequestError::NoRoom`] names.
    pub const HOSTS_MAX: usize = 16;

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::VmExists { .. } => "BLX-VM-001",
            Self::VmUnknown { .. } => "BLX-VM-002",
            Self::GenerationConflict { .. } => "BLX-VM-003",
            Self::VmDeleting { .. } => "BLX-VM-004",
            Self::NoRoom { .. } => "BLX-VM-005",
            Self::BadSpec { .. } => "BLX-VM-006",
            Self::TooManyVms { .. } => "BLX-VM-007",
            Self::VmNotStopped { .. } => "BLX-VM-008",
            Self::HostUnknown { .. } => "BLX-HOST-001",
            Self::HostBusy { .. } => "BLX-HOST-002",
            Self::LastVoter { .. } => "BLX-HOST-003",
            Self::IdTaken { .. } => "BLX-HOST-004",
            Self::NotAVoter { .. } => "BLX-HOST-005",
            Self::SessionExpired { .. } => "BLX-REQ-001",
            Self::IdReused { .. } => "BLX-REQ-002",
            Self::NoLeader => "BLX-REQ-003",
            Self::Unknown { .. } => "BLX-REQ-004",
            Self::Overloaded { .. } => "BLX-REQ-005",
            Self::BelowLevel { .. } => "BLX-REQ-006",
        }
    }

    /// Whether repeating the same request under the same id may succeed without anything else changing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoLeader | Self::Unknown { .. } | Self::Overloaded { .. } => true,
            Self::BelowLevel { held_back_by, .. } => held_back_by.is_empty(),
            _ => false,
        }
    }

    /// Whether the request certainly had no effect.
    #[must_use]
    pub fn had_no_effect(&self) -> bool {
        !matches!(self, Self::Unknown { .. } | Self::SessionExpired { .. } | Self::IdReused { .. })
    }
}

fn upgrades(held_back_by: &[NodeId]) -> String {
    if held_back_by.is_empty() {
        return "it is about to rise, try again".into();
    }
    let hosts: Vec<String> = held_back_by.iter().map(ToString::to_string).collect();
    format!("upgrade {} first", hosts.join(", "))
}

fn rejections(hosts: &[(NodeId, String)]) -> String {
    if hosts.is_empty() {
        return "the cluster has no hosts".into();
    }
    let each: Vec<String> = hosts.iter().map(|(node, why)| format!("{node}: {why}")).collect();
    each.join("; ")
}
