//! Where a VM goes: the host with the most room left, among those that can take it. Pure: state in, decision out.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{State, Vm};
use crate::command::Placement;
use crate::error::RequestError;
use crate::ids::NodeId;
use crate::spec::{Resources, VmSpec};

/// Capacity already promised to other VMs in the same decision.
pub type Promised = BTreeMap<NodeId, (Resources, u64)>;

/// Why each host refuses; at most [`RequestError::HOSTS_MAX`].
pub type Rejections = Vec<(NodeId, String)>;

impl State {
    /// Chooses a host for `spec`: the labels fit, there is room; then the one with the fewest VMs, then the one with the most free
    /// memory, then the lowest id, so that VMs spread.
    ///
    /// # Errors
    /// What each host lacks.
    pub fn place(&self, spec: &VmSpec, promised: &Promised) -> Result<NodeId, Rejections> {
        let mut best = None;
        for (node, host) in &self.hosts {
            let (taken, count) = promised.get(node).copied().unwrap_or_default();
            let free = host.free().minus(taken);
            if host.lost
                || host.cordoned
                || !free.holds(spec.resources)
                || missing_label(spec, host).is_some()
            {
                continue;
            }
            let key = (host.vms.len() as u64 + count, Reverse(free.memory_mib), *node);
            if best.is_none_or(|other| key < other) {
                best = Some(key);
            }
        }
        best.map(|(.., node)| node).ok_or_else(|| self.rejections(spec, promised))
    }

    fn rejections(&self, spec: &VmSpec, promised: &Promised) -> Rejections {
        let rejection = |(node, host): (&NodeId, &super::Host)| {
            let free = host.free().minus(promised.get(node).map(|(taken, _)| *taken).unwrap_or_default());
            let want = spec.resources;
            let why = if host.lost {
                "lost".to_owned()
            } else if host.leaving {
                "leaving".to_owned()
            } else if host.cordoned {
                "cordoned".to_owned()
            } else if let Some((key, value)) = missing_label(spec, host) {
                format!("has no label {key}={value}")
            } else if free.vcpus < want.vcpus {
                format!("has {} vCPUs free of {} wanted", free.vcpus, want.vcpus)
            } else {
                format!("has {} MiB free of {} wanted", free.memory_mib, want.memory_mib)
            };
            (*node, why)
        };
        self.hosts.iter().take(RequestError::HOSTS_MAX).map(rejection).collect()
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
            if let Ok(to) = self.place(&vm.spec, &promised) {
                let (taken, count) = promised.entry(to).or_default();
                *taken = taken.plus(vm.spec.resources);
                *count += 1;
                moves.push(Placement { name: vm.name.clone(), vm: vm.id, epoch: vm.epoch, to });
            }
        }
        moves
    }

    /// Whether `node` can take `vm` right now.
    pub(super) fn fits(&self, vm: &Vm, node: NodeId) -> bool {
        self.hosts.get(&node).is_some_and(|host| {
            host.is_open() && host.free().holds(vm.spec.resources) && missing_label(&vm.spec, host).is_none()
        })
    }
}

fn missing_label<'a>(spec: &'a VmSpec, host: &super::Host) -> Option<(String, &'a str)> {
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
