//! What the log holds: commands with the decision inside. The leader decides, the replicas only carry out, so that
//! replicas of different versions agree.

use crate::hypervisor::VmReport;
use crate::ids::{Epoch, Incarnation, NodeId, RequestId, VmId};
use crate::level::Level;
use crate::request::Write;
use crate::spec::{Labels, Resources, VmName};
use crate::time::WallMs;

/// A log entry's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The proposing leader's wall clock, for people.
    pub at: WallMs,
    /// What to do.
    pub action: Action,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A client's write.
    Client {
        /// For answering its retries.
        id: RequestId,
        /// The write.
        write: Write,
        /// What the scheduler decided.
        place: Place,
    },
    /// Takes a new member in. Without effect when it is one already.
    AddHost {
        /// The member.
        node: NodeId,
        /// Its disk.
        incarnation: Incarnation,
        /// What it offers.
        host: HostSpec,
    },
    /// Takes a leaving host out for good: it votes no more and has no VMs.
    DropHost {
        /// The host.
        node: NodeId,
    },
    /// Gives a silent host up: its lease has certainly ended.
    LoseHost {
        /// The host.
        node: NodeId,
    },
    /// Takes a lost host back: it was heard again.
    RegainHost {
        /// The host.
        node: NodeId,
    },
    /// Assigns VMs that are wanted and have no host, or a lost one.
    Assign {
        /// Each VM with its new host.
        moves: Vec<Placement>,
    },
    /// What an agent reported of its VMs.
    Report {
        /// The agent's host.
        node: NodeId,
        /// What changed.
        reports: Vec<VmReport>,
    },
    /// Raises the cluster's level: the leader has seen every member announce it. Without effect when one does not, any more or yet.
    RaiseLevel {
        /// The new level.
        to: Level,
    },
}

/// The scheduler's decision for one write.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Place {
    /// The write needs no host.
    #[default]
    Unneeded,
    /// Start the VM there.
    On(NodeId),
    /// No host can take it; each with what it lacks.
    Nowhere(Vec<(NodeId, String)>),
}

/// A VM and the host chosen for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The VM's name.
    pub name: VmName,
    /// The VM; another VM of that name is left alone.
    pub vm: VmId,
    /// The newest epoch the leader saw; a VM assigned since is left alone.
    pub epoch: Epoch,
    /// The host.
    pub to: NodeId,
}

/// What a host tells of itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct HostSpec {
    /// Where its peers reach it.
    pub address: String,
    /// What it offers to VMs.
    pub capacity: Resources,
    /// Its labels, the backends it offers among them.
    pub labels: Labels,
}
