//! Specs, resources, labels, runs, reports, addresses.

use crate::codec::CodecError;
use crate::codec::wire::{Numbered as _, Wire, forms, numbered, part, parts};
use crate::command::HostSpec;
use crate::hypervisor::{Run, VmReport};
use crate::ids::{Epoch, Generation, NodeId, VmId};
use crate::spec::{FailoverPolicy, Labels, Phase, Port, Protocol, Resources, RestartPolicy, VmSpec, Wanted};

numbered!(RestartPolicy, "the restart policy", Always = 1, OnFailure = 2, Never = 3);
numbered!(FailoverPolicy, "the failover policy", Move = 1, Wait = 2);
numbered!(Protocol, "the protocol", Tcp = 1, Udp = 2);
numbered!(Wanted, "the wanted state", Running = 1, Stopped = 2);
numbered!(
    Phase,
    "the phase",
    Stopped = 1,
    Pending = 2,
    Preparing = 3,
    Starting = 4,
    Running = 5,
    Stopping = 6,
    Failed = 7,
    Exited = 8,
    Lost = 9,
);

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ResourcesForm {
    #[prost(uint32, tag = "1")]
    vcpus: u32,
    #[prost(uint64, tag = "2")]
    memory_mib: u64,
}

impl Wire for Resources {
    type Form = ResourcesForm;

    fn form(&self) -> ResourcesForm {
        ResourcesForm { vcpus: self.vcpus, memory_mib: self.memory_mib }
    }

    fn read(form: ResourcesForm) -> Result<Self, CodecError> {
        Ok(Self { vcpus: form.vcpus, memory_mib: form.memory_mib })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct VmSpecForm {
    #[prost(message, optional, tag = "1")]
    resources: Option<ResourcesForm>,
    #[prost(btree_map = "string, string", tag = "2")]
    requires: Labels,
    #[prost(uint32, tag = "3")]
    restart: u32,
    #[prost(uint32, tag = "4")]
    failover: u32,
    #[prost(bool, tag = "5")]
    local_volume: bool,
    #[prost(string, tag = "6")]
    hypervisor: String,
    #[prost(string, tag = "7")]
    payload: String,
    #[prost(message, repeated, tag = "8")]
    ports: Vec<PortForm>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct PortForm {
    #[prost(uint32, tag = "1")]
    host: u32,
    #[prost(uint32, tag = "2")]
    guest: u32,
    #[prost(uint32, tag = "3")]
    protocol: u32,
}

impl Wire for Port {
    type Form = PortForm;

    fn form(&self) -> PortForm {
        let (host, guest) = (u32::from(self.host), u32::from(self.guest));
        PortForm { host, guest, protocol: self.protocol.number() }
    }

    fn read(form: PortForm) -> Result<Self, CodecError> {
        let port = |number: u32| {
            u16::try_from(number).map_err(|_| CodecError::malformed("a port", "it is above 65535"))
        };
        let protocol = Protocol::from_number(form.protocol)?;
        Ok(Self { host: port(form.host)?, guest: port(form.guest)?, protocol })
    }
}

impl Wire for VmSpec {
    type Form = VmSpecForm;

    fn form(&self) -> VmSpecForm {
        VmSpecForm {
            resources: Some(self.resources.form()),
            requires: self.requires.clone(),
            restart: self.restart.number(),
            failover: self.failover.number(),
            local_volume: self.local_volume,
            hypervisor: self.hypervisor.clone(),
            payload: self.payload.clone(),
            ports: forms(&self.ports),
        }
    }

    fn read(form: VmSpecForm) -> Result<Self, CodecError> {
        Ok(Self {
            resources: part("the spec's resources", form.resources)?,
            requires: form.requires,
            restart: RestartPolicy::from_number(form.restart)?,
            failover: FailoverPolicy::from_number(form.failover)?,
            local_volume: form.local_volume,
            hypervisor: form.hypervisor,
            payload: form.payload,
            ports: parts(form.ports)?,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HostSpecForm {
    #[prost(string, tag = "1")]
    address: String,
    #[prost(message, optional, tag = "2")]
    capacity: Option<ResourcesForm>,
    #[prost(btree_map = "string, string", tag = "3")]
    labels: Labels,
}

impl Wire for HostSpec {
    type Form = HostSpecForm;

    fn form(&self) -> HostSpecForm {
        HostSpecForm {
            address: self.address.clone(),
            capacity: Some(self.capacity.form()),
            labels: self.labels.clone(),
        }
    }

    fn read(form: HostSpecForm) -> Result<Self, CodecError> {
        Ok(Self {
            address: form.address,
            capacity: part("the host's capacity", form.capacity)?,
            labels: form.labels,
        })
    }
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct RunForm {
    #[prost(uint64, tag = "1")]
    vm: u64,
    #[prost(uint64, tag = "2")]
    epoch: u64,
}

impl Wire for Run {
    type Form = RunForm;

    fn form(&self) -> RunForm {
        RunForm { vm: self.vm.0, epoch: self.epoch.0 }
    }

    fn read(form: RunForm) -> Result<Self, CodecError> {
        Ok(Self { vm: VmId(form.vm), epoch: Epoch(form.epoch) })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct VmReportForm {
    #[prost(message, optional, tag = "1")]
    run: Option<RunForm>,
    #[prost(uint64, tag = "2")]
    generation: u64,
    #[prost(uint32, tag = "3")]
    phase: u32,
    #[prost(string, tag = "4")]
    reason: String,
    #[prost(uint32, tag = "5")]
    restarts: u32,
    #[prost(string, optional, tag = "6")]
    artifact: Option<String>,
}

impl Wire for VmReport {
    type Form = VmReportForm;

    fn form(&self) -> VmReportForm {
        VmReportForm {
            run: Some(self.run.form()),
            generation: self.generation.0,
            phase: self.phase.number(),
            reason: self.reason.clone(),
            restarts: self.restarts,
            artifact: self.artifact.clone(),
        }
    }

    fn read(form: VmReportForm) -> Result<Self, CodecError> {
        Ok(Self {
            run: part("the report's run", form.run)?,
            generation: Generation(form.generation),
            phase: Phase::from_number(form.phase)?,
            reason: form.reason,
            restarts: form.restarts,
            artifact: form.artifact,
        })
    }
}

/// A node with a text: its address, or what it lacks.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NodeTextForm {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(string, tag = "2")]
    text: String,
}

impl Wire for (NodeId, String) {
    type Form = NodeTextForm;

    fn form(&self) -> NodeTextForm {
        NodeTextForm { node: self.0.0, text: self.1.clone() }
    }

    fn read(form: NodeTextForm) -> Result<Self, CodecError> {
        Ok((NodeId(form.node), form.text))
    }
}
