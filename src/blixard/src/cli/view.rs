//! What JSON and YAML show, and what the tables are made of. Field names are an interface: they may be added to, not
//! changed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use blixard_node::ids::NodeId;
use blixard_node::request::{ClusterView, MemberView, VmView};
use blixard_node::spec::{FailoverPolicy, RestartPolicy, VmSpec, Wanted};
use serde::Serialize;

/// A VM.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Vm {
    pub(super) name: String,
    id: u64,
    pub(super) phase: String,
    pub(super) reason: String,
    pub(super) wanted: &'static str,
    pub(super) deleting: bool,
    pub(super) node: Option<u64>,
    pub(super) epoch: Option<u64>,
    pub(super) generation: u64,
    pub(super) observed_generation: u64,
    pub(super) restarts: u32,
    /// RFC 3339.
    since: String,
    pub(super) spec: Spec,
    #[serde(skip)]
    pub(super) since_ms: u64,
}

/// `vm status`: a VM with more words in the table.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct VmDetail(pub(super) Vm);

/// A VM's spec, with the names of VM files.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Spec {
    pub(super) vcpus: u32,
    pub(super) memory_mib: u64,
    pub(super) hypervisor: String,
    pub(super) restart: &'static str,
    pub(super) failover: &'static str,
    pub(super) local_volume: bool,
    pub(super) requires: BTreeMap<String, String>,
    payload: String,
}

/// `vm list`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct VmList {
    revision: u64,
    pub(super) vms: Vec<Vm>,
}

/// A VM that is gone, or an answer that was not waited for.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    pub(super) name: String,
    pub(super) revision: u64,
    pub(super) generation: u64,
    pub(super) deleted: bool,
}

/// `cluster status`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cluster {
    /// Hexadecimal, because it is wider than JSON's numbers are safe.
    pub(super) cluster: String,
    pub(super) term: u64,
    pub(super) leader: Option<u64>,
    pub(super) answered_by: u64,
    pub(super) revision: u64,
    pub(super) members: Vec<Member>,
}

/// A member of the cluster.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Member {
    pub(super) node: u64,
    pub(super) role: String,
    pub(super) healthy: bool,
    pub(super) cordoned: bool,
    pub(super) leaving: bool,
    pub(super) address: String,
    pub(super) last_contact_ms: Option<u64>,
    pub(super) lag: Option<u64>,
    pub(super) vms: u64,
    pub(super) vcpus: u32,
    pub(super) vcpus_used: u32,
    pub(super) memory_mib: u64,
    pub(super) memory_mib_used: u64,
    labels: BTreeMap<String, String>,
    incarnation: String,
}

impl From<&VmView> for Vm {
    fn from(vm: &VmView) -> Self {
        Self {
            name: vm.name.to_string(),
            id: vm.id.0,
            phase: vm.phase.to_string(),
            reason: vm.reason.clone(),
            wanted: match vm.wanted {
                Wanted::Running => "running",
                Wanted::Stopped => "stopped",
            },
            deleting: vm.deleting,
            node: vm.assigned.map(|(node, _)| node.0),
            epoch: vm.assigned.map(|(_, epoch)| epoch.0),
            generation: vm.generation.0,
            observed_generation: vm.observed_generation.0,
            restarts: vm.restarts,
            since: rfc3339(vm.since.0),
            spec: Spec::from(&*vm.spec),
            since_ms: vm.since.0,
        }
    }
}

impl From<&VmSpec> for Spec {
    fn from(spec: &VmSpec) -> Self {
        Self {
            vcpus: spec.resources.vcpus,
            memory_mib: spec.resources.memory_mib,
            hypervisor: spec.hypervisor.clone(),
            restart: match spec.restart {
                RestartPolicy::Always => "always",
                RestartPolicy::OnFailure => "on-failure",
                RestartPolicy::Never => "never",
            },
            failover: match spec.failover {
                FailoverPolicy::Move => "move",
                FailoverPolicy::Wait => "wait",
            },
            local_volume: spec.local_volume,
            requires: spec.requires.clone(),
            payload: spec.payload.clone(),
        }
    }
}

impl VmList {
    pub(super) fn new(revision: u64, vms: &[VmView]) -> Self {
        Self { revision, vms: vms.iter().map(Vm::from).collect() }
    }
}

impl From<&ClusterView> for Cluster {
    fn from(view: &ClusterView) -> Self {
        Self {
            cluster: format!("{:016x}", view.cluster.0),
            term: view.term,
            leader: view.leader.map(|NodeId(node)| node),
            answered_by: view.answered_by.0,
            revision: view.revision.0,
            members: view.members.iter().map(Member::from).collect(),
        }
    }
}

impl From<&MemberView> for Member {
    fn from(member: &MemberView) -> Self {
        Self {
            node: member.node.0,
            role: member.role.to_string(),
            healthy: member.healthy,
            cordoned: member.cordoned,
            leaving: member.leaving,
            address: member.address.clone(),
            last_contact_ms: member.last_contact.map(blixard_node::time::Duration::as_millis),
            lag: member.lag,
            vms: member.vms,
            vcpus: member.capacity.vcpus,
            vcpus_used: member.used.vcpus,
            memory_mib: member.capacity.memory_mib,
            memory_mib_used: member.used.memory_mib,
            labels: member.labels.clone(),
            incarnation: format!("{:016x}", member.incarnation.0),
        }
    }
}

fn rfc3339(ms: u64) -> String {
    match SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)) {
        // Past the year 9999 humantime has no words.
        Some(time) if ms < 253_402_300_800_000 => humantime::format_rfc3339_millis(time).to_string(),
        _ => format!("{ms} ms after 1970"),
    }
}
