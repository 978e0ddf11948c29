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

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> VmName {
        VmName::new("web").expect("a name")
    }

    fn below_level(held_back_by: Vec<NodeId>) -> RequestError {
        RequestError::BelowLevel { what: "it".into(), needs: Level(3), level: Level(2), held_back_by }
    }

    /// One of each kind, with what scripts and clients rely on: its code, whether they try again, whether nothing was done.
    fn all() -> Vec<(RequestError, &'static str, bool, bool)> {
        let (name, node) = (name(), NodeId(3));
        let (expected, actual) = (Generation(1), Generation(2));
        let (reason, what) = (String::from("so"), String::from("the queue"));
        vec![
            (RequestError::VmExists { name: name.clone() }, "BLX-VM-001", false, true),
            (RequestError::VmUnknown { name: name.clone() }, "BLX-VM-002", false, true),
            (
                RequestError::GenerationConflict { name: name.clone(), expected, actual },
                "BLX-VM-003",
                false,
                true,
            ),
            (RequestError::VmDeleting { name: name.clone() }, "BLX-VM-004", false, true),
            (RequestError::NoRoom { name: name.clone(), hosts: Vec::new() }, "BLX-VM-005", false, true),
            (RequestError::BadSpec { reason: reason.clone() }, "BLX-VM-006", false, true),
            (RequestError::TooManyVms { max: 1 }, "BLX-VM-007", false, true),
            (RequestError::VmNotStopped { name }, "BLX-VM-008", false, true),
            (RequestError::HostUnknown { node }, "BLX-HOST-001", false, true),
            (RequestError::HostBusy { node, vms: 1 }, "BLX-HOST-002", false, true),
            (RequestError::LastVoter { node }, "BLX-HOST-003", false, true),
            (RequestError::IdTaken { node }, "BLX-HOST-004", false, true),
            (RequestError::NotAVoter { node }, "BLX-HOST-005", false, true),
            (RequestError::SessionExpired { floor: Revision(1) }, "BLX-REQ-001", false, false),
            (RequestError::IdReused { sequence: 1 }, "BLX-REQ-002", false, false),
            (RequestError::NoLeader, "BLX-REQ-003", true, true),
            (RequestError::Unknown { reason }, "BLX-REQ-004", true, false),
            (RequestError::Overloaded { what, max: 1 }, "BLX-REQ-005", true, true),
            (below_level(vec![node]), "BLX-REQ-006", false, true),
            (below_level(Vec::new()), "BLX-REQ-006", true, true),
        ]
    }

    #[test]
    fn codes_never_change_and_clients_know_what_to_do() {
        for (error, code, transient, had_no_effect) in all() {
            let told = (error.code(), error.is_transient(), error.had_no_effect());
            assert_eq!(told, (code, transient, had_no_effect), "{error}");
        }
    }

    #[test]
    fn an_error_says_what_is_in_the_way() {
        let hosts = vec![(NodeId(1), "cordoned".into()), (NodeId(2), "lost".into())];
        let no_room = |hosts| RequestError::NoRoom { name: name(), hosts }.to_string();
        assert_eq!(no_room(hosts), "no host can take VM web: n1: cordoned; n2: lost");
        assert_eq!(no_room(Vec::new()), "no host can take VM web: the cluster has no hosts");
        let held_back = below_level(vec![NodeId(1), NodeId(2)]).to_string();
        assert_eq!(held_back, "it needs feature level 3, and the cluster is at 2: upgrade n1, n2 first");
        assert!(below_level(Vec::new()).to_string().ends_with("it is about to rise, try again"));
    }
}
