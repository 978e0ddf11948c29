//! Where a VM goes: the host with the most room left, among those that can take it. Pure: state in, decision out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Host, State, Vm};
use crate::command::Placement;
use crate::error::RequestError;
use crate::ids::NodeId;
use crate::spec::{HostPort, Resources, VmSpec};

/// What is already promised to other VMs in the same decision.
pub type Promised = BTreeMap<NodeId, Promise>;

/// What one host will have given to VMs that are not yet assigned to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    taken: Resources,
    ports: BTreeSet<HostPort>,
    vms: u64,
}

/// Why each host refuses; at most [`RequestError::HOSTS_MAX`].
pub type Rejections = Vec<(NodeId, String)>;

impl State {
    /// Chooses a host for `vm`: its volumes are there, if it has any, the labels fit, its ports are free, there is room; then the one
    /// with the fewest VMs, then the one with the most free memory, then the lowest id, so that VMs spread.
    ///
    /// # Errors
    /// What each host lacks.
    pub fn place(&self, vm: &Vm, promised: &Promised) -> Result<NodeId, Rejections> {
        let none = Promise::default();
        let mut best = None;
        for (node, host) in &self.hosts {
            let promise = promised.get(node).unwrap_or(&none);
            if rejection(vm, *node, host, promise).is_some() {
                continue;
            }
            let free = host.free().minus(promise.taken).memory_mib;
            let key = (host.vms.len() as u64 + promise.vms, Reverse(free), *node);
            if best.is_none_or(|other| key < other) {
                best = Some(key);
            }
        }
        let rejected = |(node, host): (&NodeId, &Host)| {
            let promise = promised.get(node).unwrap_or(&none);
            Some((*node, rejection(vm, *node, host, promise)?))
        };
        best.map(|(.., node)| node)
            .ok_or_else(|| self.hosts.iter().take(RequestError::HOSTS_MAX).filter_map(rejected).collect())
    }

    /// Places as many of the unplaced VMs as there is room for, at most `count_max`.
    #[must_use]
    pub fn place_unplaced(&self, count_max: usize) -> Vec<Placement> {
        let mut promised = Promised::new();
        let mut moves = Vec::new();
        for vm in self.unplaced() {
            if moves.len() >= count_max {
                break;
            }
            if let Ok(to) = self.place(vm, &promised) {
                let promise = promised.entry(to).or_default();
                promise.taken = promise.taken.plus(vm.spec.resources);
                promise.ports.extend(vm.spec.host_ports());
                promise.vms += 1;
                moves.push(Placement { name: vm.name.clone(), vm: vm.id, epoch: vm.epoch, to });
            }
        }
        moves
    }

    /// Whether `node` can take `vm` right now.
    pub(super) fn fits(&self, vm: &Vm, node: NodeId) -> bool {
        let rejected = |host| rejection(vm, node, host, &Promise::default()).is_some();
        self.hosts.get(&node).is_some_and(|host| !rejected(host))
    }
}

/// Why `host` cannot take `vm`, for people.
fn rejection(vm: &Vm, node: NodeId, host: &Host, promise: &Promise) -> Option<String> {
    let spec = &vm.spec;
    let (free, want) = (host.free().minus(promise.taken), spec.resources);
    let taken = |port: &HostPort| {
        !planted!(PortsNotChecked) && (host.ports.contains_key(port) || promise.ports.contains(port))
    };
    if host.lost && !planted!(LostHostUsed) {
        Some("lost".to_owned())
    } else if host.leaving {
        Some("leaving".to_owned())
    } else if host.cordoned && !planted!(CordonIgnored) {
        Some("cordoned".to_owned())
    } else if let Some(home) = vm.home().filter(|home| *home != node && !planted!(VolumePinIgnored)) {
        Some(format!("does not hold its volumes, {home} does"))
    } else if let Some((key, value)) = missing_label(spec, host) {
        Some(format!("has no label {key}={value}"))
    } else if let Some(port) = spec.host_ports().find(taken) {
        let by = host.ports.get(&port).map(|name| format!(" by VM {name}")).unwrap_or_default();
        Some(format!("has port {}/{} taken{by}", port.1, port.0))
    } else if free.vcpus < want.vcpus {
        Some(format!("has {} vCPUs free of {} wanted", free.vcpus, want.vcpus))
    } else if free.memory_mib < want.memory_mib {
        Some(format!("has {} MiB free of {} wanted", free.memory_mib, want.memory_mib))
    } else {
        None
    }
}

fn missing_label<'a>(spec: &'a VmSpec, host: &Host) -> Option<(String, &'a str)> {
    let backend = format_backend(&spec.hypervisor);
    if host.spec.labels.get(&backend).map(String::as_str) != Some("true") {
        return Some((backend, "true"));
    }
    let missing = spec.requires.iter().find(|(key, value)| host.spec.labels.get(*key) != Some(value));
    missing.map(|(key, value)| (key.clone(), value.as_str()))
}

/// The label by which a host offers a backend.
#[must_use]
pub fn format_backend(name: &str) -> String {
    format!("hypervisor.{name}")
}
