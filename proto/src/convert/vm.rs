//! VMs.

use std::sync::Arc;

use blixard_node::ids::{Epoch, Generation, NodeId, Revision, VmId};
use blixard_node::request::{Transition, VmView};
use blixard_node::spec::{FailoverPolicy, Phase, Port, Protocol, Resources, RestartPolicy, VmSpec, Wanted};
use blixard_node::time::WallMs;

use super::{BadMessage, number, same_variants, vm_name};
use crate::v1;

same_variants!(RestartPolicy, v1::RestartPolicy, "spec.restart", Always, OnFailure, Never);
same_variants!(FailoverPolicy, v1::FailoverPolicy, "spec.failover", Move, Wait);
same_variants!(Wanted, v1::Wanted, "wanted", Running, Stopped);
same_variants!(
    Phase,
    v1::Phase,
    "phase",
    Stopped,
    Pending,
    Preparing,
    Starting,
    Running,
    Stopping,
    Failed,
    Exited,
    Lost,
);

impl From<Resources> for v1::Resources {
    fn from(resources: Resources) -> Self {
        Self { vcpus: resources.vcpus, memory_mib: resources.memory_mib }
    }
}

impl From<v1::Resources> for Resources {
    fn from(resources: v1::Resources) -> Self {
        Self { vcpus: resources.vcpus, memory_mib: resources.memory_mib }
    }
}

impl From<&VmSpec> for v1::VmSpec {
    fn from(spec: &VmSpec) -> Self {
        Self {
            resources: Some(spec.resources.into()),
            requires: spec.requires.clone(),
            restart: v1::RestartPolicy::from(spec.restart).into(),
            failover: v1::FailoverPolicy::from(spec.failover).into(),
            local_volume: spec.local_volume,
            hypervisor: spec.hypervisor.clone(),
            payload: spec.payload.clone(),
            ports: spec.ports.iter().map(|port| (*port).into()).collect(),
        }
    }
}

impl From<Port> for v1::Port {
    fn from(port: Port) -> Self {
        let protocol = match port.protocol {
            Protocol::Tcp => v1::Protocol::Tcp,
            Protocol::Udp => v1::Protocol::Udp,
        };
        Self { host: port.host.into(), guest: port.guest.into(), protocol: protocol.into() }
    }
}

impl TryFrom<v1::Port> for Port {
    type Error = BadMessage;

    fn try_from(port: v1::Port) -> Result<Self, BadMessage> {
        let number = |number: u32| {
            let reason = || format!("{number} is no port: they go from 1 to 65535");
            u16::try_from(number).map_err(|_| BadMessage::new("spec.ports", reason()))
        };
        let protocol = match v1::Protocol::try_from(port.protocol) {
            Ok(v1::Protocol::Unspecified | v1::Protocol::Tcp) => Protocol::Tcp,
            Ok(v1::Protocol::Udp) => Protocol::Udp,
            Err(_) => {
                let reason = format!("{} is no protocol that this version knows", port.protocol);
                return Err(BadMessage::new("spec.ports.protocol", reason));
            }
        };
        Ok(Self { host: number(port.host)?, guest: number(port.guest)?, protocol })
    }
}

impl From<&Transition> for v1::Transition {
    fn from(transition: &Transition) -> Self {
        Self {
            revision: transition.revision.0,
            at_ms: transition.at.0,
            phase: v1::Phase::from(transition.phase).into(),
            reason: transition.reason.clone(),
            host: transition.host.map(|node| node.0),
        }
    }
}

impl TryFrom<v1::Transition> for Transition {
    type Error = BadMessage;

    fn try_from(transition: v1::Transition) -> Result<Self, BadMessage> {
        Ok(Self {
            revision: Revision(transition.revision),
            at: WallMs(transition.at_ms),
            phase: number::<v1::Phase, _>("phase", transition.phase)?,
            reason: transition.reason,
            host: transition.host.map(NodeId),
        })
    }
}

/// An enum that a client may leave out.
fn or_default<W, T>(field: &'static str, value: i32) -> Result<T, BadMessage>
where
    W: TryFrom<i32>,
    T: TryFrom<W, Error = BadMessage> + Default,
{
    if value == 0 { Ok(T::default()) } else { number::<W, T>(field, value) }
}

impl TryFrom<v1::VmSpec> for VmSpec {
    type Error = BadMessage;

    fn try_from(spec: v1::VmSpec) -> Result<Self, BadMessage> {
        Ok(Self {
            resources: spec.resources.ok_or(BadMessage::missing("spec.resources"))?.into(),
            requires: spec.requires,
            restart: or_default::<v1::RestartPolicy, _>("spec.restart", spec.restart)?,
            failover: or_default::<v1::FailoverPolicy, _>("spec.failover", spec.failover)?,
            local_volume: spec.local_volume,
            hypervisor: spec.hypervisor,
            payload: spec.payload,
            ports: spec.ports.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&VmView> for v1::Vm {
    fn from(vm: &VmView) -> Self {
        Self {
            id: vm.id.0,
            name: vm.name.as_str().to_owned(),
            spec: Some(vm.spec.as_ref().into()),
            generation: vm.generation.0,
            wanted: v1::Wanted::from(vm.wanted).into(),
            deleting: vm.deleting,
            assigned: vm.assigned.map(|(node, epoch)| v1::Assignment { node: node.0, epoch: epoch.0 }),
            phase: v1::Phase::from(vm.phase).into(),
            reason: vm.reason.clone(),
            since_ms: vm.since.0,
            restarts: vm.restarts,
            observed_generation: vm.observed_generation.0,
            artifact: vm.artifact.clone(),
            last_host: vm.last_host.map(|node| node.0),
        }
    }
}

impl TryFrom<v1::Vm> for VmView {
    type Error = BadMessage;

    fn try_from(vm: v1::Vm) -> Result<Self, BadMessage> {
        Ok(Self {
            id: VmId(vm.id),
            name: vm_name(vm.name)?,
            spec: Arc::new(vm.spec.ok_or(BadMessage::missing("spec"))?.try_into()?),
            generation: Generation(vm.generation),
            wanted: number::<v1::Wanted, _>("wanted", vm.wanted)?,
            deleting: vm.deleting,
            assigned: vm.assigned.map(|assigned| (NodeId(assigned.node), Epoch(assigned.epoch))),
            phase: number::<v1::Phase, _>("phase", vm.phase)?,
            reason: vm.reason,
            since: WallMs(vm.since_ms),
            restarts: vm.restarts,
            observed_generation: Generation(vm.observed_generation),
            artifact: vm.artifact,
            last_host: vm.last_host.map(NodeId),
        })
    }
}
