//! What JSON and YAML show, and what the tables are made of. Field names are an interface: they may be added to, not
//! changed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use blixard_node::ids::NodeId;
use blixard_node::request::{ClusterView, MemberView, Transition, VmView};
use blixard_node::spec::{self, FailoverPolicy, RestartPolicy, VmSpec, Wanted};
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
    /// The host it was assigned to last: holds its volumes and its output.
    pub(super) last_node: Option<u64>,
    pub(super) generation: u64,
    pub(super) observed_generation: u64,
    pub(super) restarts: u32,
    /// RFC 3339.
    since: String,
    /// What its first host built, and all its hosts run.
    pub(super) artifact: Option<String>,
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
    pub(super) ports: Vec<Port>,
    pub(super) payload: String,
}

/// A port, with the names of VM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Port {
    pub(super) host: u16,
    pub(super) guest: u16,
    pub(super) protocol: String,
}

/// `vm events`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Events {
    pub(super) revision: u64,
    /// In the order of the log.
    pub(super) events: Vec<Event>,
}

/// A VM came to stand otherwise.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Event {
    pub(super) vm: String,
    pub(super) revision: u64,
    /// RFC 3339.
    pub(super) at: String,
    pub(super) phase: String,
    pub(super) reason: String,
    pub(super) node: Option<u64>,
}

/// `vm ports`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PortList {
    pub(super) revision: u64,
    pub(super) ports: Vec<PortRow>,
}

/// A port of a VM, and where it is.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PortRow {
    pub(super) vm: String,
    pub(super) phase: String,
    pub(super) node: Option<u64>,
    /// Where its host has it; none while no host has the VM.
    pub(super) address: Option<String>,
    pub(super) host_port: u16,
    pub(super) guest_port: u16,
    pub(super) protocol: String,
    /// Reached from its host alone.
    pub(super) host_only: bool,
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

/// `vm update`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Update {
    pub(super) name: String,
    /// False under `--dry-run`, and when nothing differs.
    pub(super) updated: bool,
    /// The VM's generation after it.
    pub(super) generation: u64,
    pub(super) changes: Vec<Delta>,
    /// How what microvm.nix builds changes; none when it is not known.
    pub(super) packages: Option<String>,
}

/// A field of a spec that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Delta {
    /// As in VM files; keys of the backend's table begin with its name.
    pub(super) field: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
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
    /// The feature level that every member speaks.
    pub(super) level: u32,
    pub(super) members: Vec<Member>,
}

/// A member of the cluster.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Member {
    pub(super) node: u64,
    pub(super) role: String,
    pub(super) healthy: bool,
    pub(super) cordoned: bool,
    pub(super) cordon_reason: String,
    pub(super) leaving: bool,
    pub(super) level: u32,
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
            last_node: vm.last_host.map(|node| node.0),
            generation: vm.generation.0,
            observed_generation: vm.observed_generation.0,
            restarts: vm.restarts,
            since: rfc3339(vm.since.0),
            artifact: vm.artifact.clone(),
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
            ports: spec.ports.iter().map(Port::from).collect(),
            payload: spec.payload.clone(),
        }
    }
}

impl From<&spec::Port> for Port {
    fn from(port: &spec::Port) -> Self {
        Self { host: port.host, guest: port.guest, protocol: port.protocol.to_string() }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host, self.guest, self.protocol)
    }
}

impl Event {
    pub(super) fn new(vm: &str, event: &Transition) -> Self {
        Self {
            vm: vm.to_owned(),
            revision: event.revision.0,
            at: rfc3339(event.at.0),
            phase: event.phase.to_string(),
            reason: event.reason.clone(),
            node: event.host.map(|node| node.0),
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
            level: view.level.0,
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
            cordon_reason: member.cordon_reason.clone(),
            leaving: member.leaving,
            level: member.level.0,
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
