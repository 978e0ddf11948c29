//! What clients ask and what they are answered.

use std::sync::Arc;

use crate::error::RequestError;
use crate::ids::{Epoch, Generation, Incarnation, NodeId, RequestId, Revision, VmId};
use crate::level::Level;
use crate::spec::{Labels, Phase, Resources, VmName, VmSpec, Wanted};
use crate::time::{Duration, WallMs};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Consistency {
    /// Sees every command acknowledged before the read began.
    #[default]
    Linearizable,
    /// The answering replica's own state, which may be old.
    Stale,
}

/// A client's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A change, executed exactly once per `id`.
    Write {
        /// Names the request and its retries.
        id: RequestId,
        /// The change.
        write: Write,
    },
    /// A look, repeated freely.
    Read {
        /// What to look at.
        read: Read,
        /// How fresh the answer must be.
        consistency: Consistency,
    },
    /// Hands leadership to `to`, or to the most up-to-date voter.
    TransferLeader {
        /// The wished successor.
        to: Option<NodeId>,
    },
}

/// A change to the cluster's spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Lists a new VM, stopped.
    CreateVm {
        /// Unused until now.
        name: VmName,
        /// What it is made of.
        spec: Arc<VmSpec>,
    },
    /// Wants a VM running.
    StartVm {
        /// The VM.
        name: VmName,
        /// Refuse when the VM is not at this generation.
        generation: Option<Generation>,
    },
    /// Wants a VM stopped; it stays listed.
    StopVm {
        /// The VM.
        name: VmName,
        /// Refuse when the VM is not at this generation.
        generation: Option<Generation>,
    },
    /// Stops a VM and removes it once its host has confirmed that nothing runs, and its hosts that they have removed its volumes. Hosts
    /// that are lost are not waited for, unless the VM's local volume is there.
    DeleteVm {
        /// The VM.
        name: VmName,
        /// Refuse when the VM is not at this generation.
        generation: Option<Generation>,
        /// Leave what the VM keeps on its hosts. Asked of a VM that is being deleted already, it stops waiting for that.
        keep_volumes: bool,
    },
    /// Gives a stopped VM another spec.
    UpdateVm {
        /// The VM.
        name: VmName,
        /// Refuse when the VM is not at this generation.
        generation: Option<Generation>,
        /// What it is made of from now on.
        spec: Arc<VmSpec>,
    },
    /// Keeps new VMs off a host, or lets them on again.
    CordonHost {
        /// The host.
        node: NodeId,
        /// Whether to keep them off.
        cordoned: bool,
        /// Why, for people; may be empty, at most [`Write::REASON_LEN_MAX`] bytes.
        reason: String,
    },
    /// Has a host leave the cluster for good, as soon as it votes no more. Refused while VMs are assigned to it.
    RemoveHost {
        /// The host.
        node: NodeId,
    },
}

impl Write {
    /// The longest reason of a cordon, in bytes.
    pub const REASON_LEN_MAX: usize = 256;

    /// Checks the bounds.
    ///
    /// # Errors
    /// A sentence that names the value and its bound.
    pub fn validate(&self) -> Result<(), String> {
        match self {
            Self::CreateVm { spec, .. } | Self::UpdateVm { spec, .. } => spec.validate(),
            Self::CordonHost { reason, .. } if reason.len() > Self::REASON_LEN_MAX => {
                let (len, max) = (reason.len(), Self::REASON_LEN_MAX);
                Err(format!("the reason has {len} bytes: at most {max} are kept"))
            }
            _ => Ok(()),
        }
    }
}

/// A look at the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// One VM.
    GetVm {
        /// The VM.
        name: VmName,
    },
    /// All VMs, by name.
    ListVms,
    /// A VM's newest changes of phase.
    VmEvents {
        /// The VM.
        name: VmName,
    },
    /// The members, the leader, the revision.
    ClusterStatus,
}

/// The outcome of a request.
pub type Reply = Result<Response, RequestError>;

/// A request's successful answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// A write took effect at `revision` (also when a retry is answered again).
    Written {
        /// Where in the log.
        revision: Revision,
        /// The VM's generation after it; 0 for writes that concern no VM.
        generation: Generation,
    },
    /// One VM, as of `revision`.
    Vm {
        /// The state's revision.
        revision: Revision,
        /// The VM.
        vm: Box<VmView>,
    },
    /// All VMs by name, as of `revision`.
    Vms {
        /// The state's revision.
        revision: Revision,
        /// Sorted by name.
        vms: Vec<VmView>,
    },
    /// A VM's newest changes of phase, as of `revision`.
    Events {
        /// The state's revision.
        revision: Revision,
        /// The newest last.
        events: Vec<Transition>,
    },
    /// The cluster.
    Cluster(Box<ClusterView>),
    /// Leadership is being handed to `to`.
    Transferring {
        /// The successor.
        to: NodeId,
    },
}

/// A VM came to stand otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transition {
    /// Where in the log.
    pub revision: Revision,
    /// When, by the proposing leader's wall clock.
    pub at: WallMs,
    /// Where it stood from then on.
    pub phase: Phase,
    /// Why; may be empty.
    pub reason: String,
    /// The host it was assigned to.
    pub host: Option<NodeId>,
}

/// A VM as clients see it: spec and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmView {
    /// This object's identity.
    pub id: VmId,
    /// Its name.
    pub name: VmName,
    /// What it is made of.
    pub spec: Arc<VmSpec>,
    /// Rises with each change of spec or wanted state.
    pub generation: Generation,
    /// What the client wants.
    pub wanted: Wanted,
    /// Deleted, waiting for its host to confirm that nothing runs.
    pub deleting: bool,
    /// The host it is assigned to, and under which epoch.
    pub assigned: Option<(NodeId, Epoch)>,
    /// Where it stands.
    pub phase: Phase,
    /// Why it stands there; may be empty.
    pub reason: String,
    /// Since when, by the proposing leader's wall clock.
    pub since: WallMs,
    /// How often its host has started it again under this epoch.
    pub restarts: u32,
    /// The generation the phase belongs to.
    pub observed_generation: Generation,
    /// What its first host has built, by name.
    pub artifact: Option<String>,
    /// The host it was assigned to last; holds its volumes and its last output.
    pub last_host: Option<NodeId>,
}

/// The cluster as one member sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// Which cluster.
    pub cluster: crate::ids::ClusterId,
    /// The answering member.
    pub answered_by: NodeId,
    /// The leader it knows.
    pub leader: Option<NodeId>,
    /// Its Raft term.
    pub term: u64,
    /// Its state's revision.
    pub revision: Revision,
    /// The feature level that all members speak.
    pub level: Level,
    /// All members, by id.
    pub members: Vec<MemberView>,
}

/// A member's part in consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A voter that leads.
    Leader,
    /// Votes and holds a replica.
    Voter,
    /// Holds a replica, is on its way to become a voter.
    Learner,
    /// Holds no replica.
    Worker,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Leader => "leader",
            Self::Voter => "voter",
            Self::Learner => "learner",
            Self::Worker => "worker",
        })
    }
}

/// A member as the leader sees it; what only the leader knows is absent in another member's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Its identity.
    pub node: NodeId,
    /// Which life of its disk.
    pub incarnation: Incarnation,
    /// Where its peers reach it.
    pub address: String,
    /// Its part in consensus.
    pub role: Role,
    /// False once its lease ran out and its VMs were given up, until it is heard again.
    pub healthy: bool,
    /// New VMs are kept off.
    pub cordoned: bool,
    /// Why; empty when nobody said.
    pub cordon_reason: String,
    /// The feature level it has announced.
    pub level: Level,
    /// On its way out of the cluster.
    pub leaving: bool,
    /// What it offers.
    pub capacity: Resources,
    /// What its VMs take.
    pub used: Resources,
    /// Its labels.
    pub labels: Labels,
    /// Time since the leader last heard its agent.
    pub last_contact: Option<Duration>,
    /// Log entries it lacks (voters and learners).
    pub lag: Option<u64>,
    /// VMs assigned to it.
    pub vms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{FailoverPolicy, RestartPolicy};

    fn spec(vcpus: u32) -> Arc<VmSpec> {
        Arc::new(VmSpec {
            resources: Resources { vcpus, memory_mib: 1 },
            requires: Labels::new(),
            restart: RestartPolicy::Always,
            failover: FailoverPolicy::Move,
            local_volume: false,
            hypervisor: "process".into(),
            payload: String::new(),
            ports: Vec::new(),
        })
    }

    #[test]
    fn a_write_is_as_sound_as_its_spec() {
        let name = VmName::new("web").expect("a name");
        let create = |vcpus| Write::CreateVm { name: name.clone(), spec: spec(vcpus) };
        let update = |vcpus| Write::UpdateVm { name: name.clone(), generation: None, spec: spec(vcpus) };
        assert_eq!((create(1).validate(), update(1).validate()), (Ok(()), Ok(())));
        for bad in [create(0), update(0)] {
            assert_eq!(bad.validate(), Err("vcpus is 0: a VM needs at least 1".into()));
        }
        assert_eq!(Write::RemoveHost { node: NodeId(1) }.validate(), Ok(()));
    }

    #[test]
    fn a_reason_has_at_most_256_bytes() {
        let cordon = |len| Write::CordonHost { node: NodeId(1), cordoned: true, reason: "x".repeat(len) };
        assert_eq!([0, 1, 255, 256].map(|len| cordon(len).validate()), [Ok(()), Ok(()), Ok(()), Ok(())]);
        for len in [257, 300] {
            let refused = Err(format!("the reason has {len} bytes: at most 256 are kept"));
            assert_eq!(cordon(len).validate(), refused);
        }
    }
}
