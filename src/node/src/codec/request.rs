//! Client requests and writes.

use std::sync::Arc;

use crate::codec::CodecError;
use crate::codec::spec::VmSpecForm;
use crate::codec::wire::{Numbered as _, Wire, numbered, part, vm_name};
use crate::ids::{ClientId, Generation, NodeId, RequestId, Revision};
use crate::request::{Consistency, Read, Request, Write};
use crate::spec::VmName;

numbered!(Consistency, "the consistency", Linearizable = 1, Stale = 2);

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct RequestIdForm {
    #[prost(uint64, tag = "1")]
    client: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(uint64, tag = "3")]
    born: u64,
}

impl Wire for RequestId {
    type Form = RequestIdForm;

    fn form(&self) -> RequestIdForm {
        RequestIdForm { client: self.client.0, sequence: self.sequence, born: self.born.0 }
    }

    fn read(form: RequestIdForm) -> Result<Self, CodecError> {
        Ok(Self { client: ClientId(form.client), sequence: form.sequence, born: Revision(form.born) })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CreateVmForm {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    spec: Option<VmSpecForm>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct VmAtForm {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, optional, tag = "2")]
    generation: Option<u64>,
}

impl VmAtForm {
    fn new(name: &VmName, generation: Option<Generation>) -> Self {
        Self { name: name.as_str().to_owned(), generation: generation.map(|generation| generation.0) }
    }

    fn read(self) -> Result<(VmName, Option<Generation>), CodecError> {
        Ok((vm_name(self.name)?, self.generation.map(Generation)))
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DeleteVmForm {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, optional, tag = "2")]
    generation: Option<u64>,
    #[prost(bool, tag = "3")]
    keep_volumes: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct CordonForm {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(bool, tag = "2")]
    cordoned: bool,
}

/// A cordon with a reason. Not a field of [`CordonForm`]: a program that does not know of reasons must not carry out half of it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CordonForReasonForm {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(bool, tag = "2")]
    cordoned: bool,
    #[prost(string, tag = "3")]
    reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct UpdateVmForm {
    #[prost(message, optional, tag = "1")]
    vm: Option<VmAtForm>,
    #[prost(message, optional, tag = "2")]
    spec: Option<VmSpecForm>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum WriteKind {
    #[prost(message, tag = "1")]
    CreateVm(CreateVmForm),
    #[prost(message, tag = "2")]
    StartVm(VmAtForm),
    #[prost(message, tag = "3")]
    StopVm(VmAtForm),
    #[prost(message, tag = "4")]
    DeleteVm(DeleteVmForm),
    #[prost(message, tag = "5")]
    CordonHost(CordonForm),
    #[prost(uint64, tag = "6")]
    RemoveHost(u64),
    #[prost(message, tag = "7")]
    UpdateVm(UpdateVmForm),
    #[prost(message, tag = "8")]
    CordonForReason(CordonForReasonForm),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WriteForm {
    #[prost(oneof = "WriteKind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    kind: Option<WriteKind>,
}

impl Wire for Write {
    type Form = WriteForm;

    fn form(&self) -> WriteForm {
        let kind = match self {
            Self::CreateVm { name, spec } => {
                WriteKind::CreateVm(CreateVmForm { name: name.as_str().to_owned(), spec: Some(spec.form()) })
            }
            Self::StartVm { name, generation } => WriteKind::StartVm(VmAtForm::new(name, *generation)),
            Self::StopVm { name, generation } => WriteKind::StopVm(VmAtForm::new(name, *generation)),
            Self::DeleteVm { name, generation, keep_volumes } => {
                let VmAtForm { name, generation } = VmAtForm::new(name, *generation);
                WriteKind::DeleteVm(DeleteVmForm { name, generation, keep_volumes: *keep_volumes })
            }
            Self::CordonHost { node, cordoned, reason } if reason.is_empty() => {
                WriteKind::CordonHost(CordonForm { node: node.0, cordoned: *cordoned })
            }
            Self::CordonHost { node, cordoned, reason } => WriteKind::CordonForReason(CordonForReasonForm {
                node: node.0,
                cordoned: *cordoned,
                reason: reason.clone(),
            }),
            Self::RemoveHost { node } => WriteKind::RemoveHost(node.0),
            Self::UpdateVm { name, generation, spec } => WriteKind::UpdateVm(UpdateVmForm {
                vm: Some(VmAtForm::new(name, *generation)),
                spec: Some(spec.form()),
            }),
        };
        WriteForm { kind: Some(kind) }
    }

    fn read(form: WriteForm) -> Result<Self, CodecError> {
        Ok(match form.kind.ok_or(CodecError::Missing { what: "the write's kind" })? {
            WriteKind::CreateVm(CreateVmForm { name, spec }) => {
                Self::CreateVm { name: vm_name(name)?, spec: Arc::new(part("the new VM's spec", spec)?) }
            }
            WriteKind::StartVm(form) => {
                let (name, generation) = form.read()?;
                Self::StartVm { name, generation }
            }
            WriteKind::StopVm(form) => {
                let (name, generation) = form.read()?;
                Self::StopVm { name, generation }
            }
            WriteKind::DeleteVm(DeleteVmForm { name, generation, keep_volumes }) => {
                let (name, generation) = VmAtForm { name, generation }.read()?;
                Self::DeleteVm { name, generation, keep_volumes }
            }
            WriteKind::CordonHost(CordonForm { node, cordoned }) => {
                Self::CordonHost { node: NodeId(node), cordoned, reason: String::new() }
            }
            WriteKind::CordonForReason(CordonForReasonForm { node, cordoned, reason }) => {
                Self::CordonHost { node: NodeId(node), cordoned, reason }
            }
            WriteKind::RemoveHost(node) => Self::RemoveHost { node: NodeId(node) },
            WriteKind::UpdateVm(UpdateVmForm { vm, spec }) => {
                let (name, generation) = vm.ok_or(CodecError::Missing { what: "the VM's name" })?.read()?;
                Self::UpdateVm { name, generation, spec: Arc::new(part("the VM's new spec", spec)?) }
            }
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WriteRequestForm {
    #[prost(message, optional, tag = "1")]
    id: Option<RequestIdForm>,
    #[prost(message, optional, tag = "2")]
    write: Option<WriteForm>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct NothingForm {}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum ReadKind {
    #[prost(string, tag = "2")]
    GetVm(String),
    #[prost(message, tag = "3")]
    ListVms(NothingForm),
    #[prost(message, tag = "4")]
    ClusterStatus(NothingForm),
    #[prost(string, tag = "5")]
    VmEvents(String),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReadRequestForm {
    #[prost(uint32, tag = "1")]
    consistency: u32,
    #[prost(oneof = "ReadKind", tags = "2, 3, 4, 5")]
    kind: Option<ReadKind>,
}

impl ReadRequestForm {
    fn new(read: &Read, consistency: Consistency) -> Self {
        let kind = match read {
            Read::GetVm { name } => ReadKind::GetVm(name.as_str().to_owned()),
            Read::ListVms => ReadKind::ListVms(NothingForm {}),
            Read::VmEvents { name } => ReadKind::VmEvents(name.as_str().to_owned()),
            Read::ClusterStatus => ReadKind::ClusterStatus(NothingForm {}),
        };
        Self { consistency: consistency.number(), kind: Some(kind) }
    }

    fn read(self) -> Result<Request, CodecError> {
        let read = match self.kind.ok_or(CodecError::Missing { what: "the read's kind" })? {
            ReadKind::GetVm(name) => Read::GetVm { name: vm_name(name)? },
            ReadKind::ListVms(NothingForm {}) => Read::ListVms,
            ReadKind::VmEvents(name) => Read::VmEvents { name: vm_name(name)? },
            ReadKind::ClusterStatus(NothingForm {}) => Read::ClusterStatus,
        };
        Ok(Request::Read { read, consistency: Consistency::from_number(self.consistency)? })
    }
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct TransferForm {
    #[prost(uint64, optional, tag = "1")]
    to: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum RequestKind {
    #[prost(message, tag = "1")]
    Write(WriteRequestForm),
    #[prost(message, tag = "2")]
    Read(ReadRequestForm),
    #[prost(message, tag = "3")]
    TransferLeader(TransferForm),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RequestForm {
    #[prost(oneof = "RequestKind", tags = "1, 2, 3")]
    kind: Option<RequestKind>,
}

impl Wire for Request {
    type Form = RequestForm;

    fn form(&self) -> RequestForm {
        let kind = match self {
            Self::Write { id, write } => {
                RequestKind::Write(WriteRequestForm { id: Some(id.form()), write: Some(write.form()) })
            }
            Self::Read { read, consistency } => RequestKind::Read(ReadRequestForm::new(read, *consistency)),
            Self::TransferLeader { to } => {
                RequestKind::TransferLeader(TransferForm { to: to.map(|node| node.0) })
            }
        };
        RequestForm { kind: Some(kind) }
    }

    fn read(form: RequestForm) -> Result<Self, CodecError> {
        match form.kind.ok_or(CodecError::Missing { what: "the request's kind" })? {
            RequestKind::Write(WriteRequestForm { id, write }) => Ok(Self::Write {
                id: part("the request's id", id)?,
                write: part("the request's write", write)?,
            }),
            RequestKind::Read(form) => form.read(),
            RequestKind::TransferLeader(TransferForm { to }) => {
                Ok(Self::TransferLeader { to: to.map(NodeId) })
            }
        }
    }
}
