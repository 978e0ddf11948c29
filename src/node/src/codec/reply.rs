//! Replies: responses, views, request errors.

use crate::codec::CodecError;
use crate::codec::request::NothingForm;
use crate::codec::spec::{NodeTextForm, ResourcesForm, VmSpecForm};
use crate::codec::wire::{Numbered as _, Wire, forms, numbered, part, parts, vm_name};
use crate::error::RequestError;
use crate::ids::{ClusterId, Epoch, Generation, Incarnation, NodeId, Revision, VmId};
use crate::level::Level;
use crate::request::{ClusterView, MemberView, Reply, Response, Role, Transition, VmView};
use crate::spec::{Labels, Phase, Wanted};
use crate::time::{Duration, WallMs};

numbered!(Role, "the role", Leader = 1, Voter = 2, Learner = 3, Worker = 4);

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct AssignedForm {
    #[prost(uint64, tag = "1")]
    pub(crate) node: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) epoch: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct VmViewForm {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, optional, tag = "3")]
    spec: Option<VmSpecForm>,
    #[prost(uint64, tag = "4")]
    generation: u64,
    #[prost(uint32, tag = "5")]
    wanted: u32,
    #[prost(bool, tag = "6")]
    deleting: bool,
    #[prost(message, optional, tag = "7")]
    assigned: Option<AssignedForm>,
    #[prost(uint32, tag = "8")]
    phase: u32,
    #[prost(string, tag = "9")]
    reason: String,
    #[prost(uint64, tag = "10")]
    since: u64,
    #[prost(uint32, tag = "11")]
    restarts: u32,
    #[prost(uint64, tag = "12")]
    observed_generation: u64,
    #[prost(string, optional, tag = "13")]
    artifact: Option<String>,
    #[prost(uint64, optional, tag = "14")]
    last_host: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TransitionForm {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(uint64, tag = "2")]
    at: u64,
    #[prost(uint32, tag = "3")]
    phase: u32,
    #[prost(string, tag = "4")]
    reason: String,
    #[prost(uint64, optional, tag = "5")]
    host: Option<u64>,
}

impl Wire for Transition {
    type Form = TransitionForm;

    fn form(&self) -> TransitionForm {
        TransitionForm {
            revision: self.revision.0,
            at: self.at.0,
            phase: self.phase.number(),
            reason: self.reason.clone(),
            host: self.host.map(|node| node.0),
        }
    }

    fn read(form: TransitionForm) -> Result<Self, CodecError> {
        Ok(Self {
            revision: Revision(form.revision),
            at: WallMs(form.at),
            phase: Phase::from_number(form.phase)?,
            reason: form.reason,
            host: form.host.map(NodeId),
        })
    }
}

impl Wire for VmView {
    type Form = VmViewForm;

    fn form(&self) -> VmViewForm {
        VmViewForm {
            id: self.id.0,
            name: self.name.as_str().to_owned(),
            spec: Some(self.spec.form()),
            generation: self.generation.0,
            wanted: self.wanted.number(),
            deleting: self.deleting,
            assigned: self.assigned.map(|(node, epoch)| AssignedForm { node: node.0, epoch: epoch.0 }),
            phase: self.phase.number(),
            reason: self.reason.clone(),
            since: self.since.0,
            restarts: self.restarts,
            observed_generation: self.observed_generation.0,
            artifact: self.artifact.clone(),
            last_host: self.last_host.map(|node| node.0),
        }
    }

    fn read(form: VmViewForm) -> Result<Self, CodecError> {
        Ok(Self {
            id: VmId(form.id),
            name: vm_name(form.name)?,
            spec: std::sync::Arc::new(part("the VM's spec", form.spec)?),
            generation: Generation(form.generation),
            wanted: Wanted::from_number(form.wanted)?,
            deleting: form.deleting,
            assigned: form.assigned.map(|form| (NodeId(form.node), Epoch(form.epoch))),
            phase: Phase::from_number(form.phase)?,
            reason: form.reason,
            since: WallMs(form.since),
            restarts: form.restarts,
            observed_generation: Generation(form.observed_generation),
            artifact: form.artifact,
            last_host: form.last_host.map(NodeId),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MemberViewForm {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(uint64, tag = "2")]
    incarnation: u64,
    #[prost(string, tag = "3")]
    address: String,
    #[prost(uint32, tag = "4")]
    role: u32,
    #[prost(bool, tag = "5")]
    healthy: bool,
    #[prost(bool, tag = "6")]
    cordoned: bool,
    #[prost(message, optional, tag = "7")]
    capacity: Option<ResourcesForm>,
    #[prost(message, optional, tag = "8")]
    used: Option<ResourcesForm>,
    #[prost(btree_map = "string, string", tag = "9")]
    labels: Labels,
    #[prost(uint64, optional, tag = "10")]
    last_contact: Option<u64>,
    #[prost(uint64, optional, tag = "11")]
    lag: Option<u64>,
    #[prost(uint64, tag = "12")]
    vms: u64,
    #[prost(bool, tag = "13")]
    leaving: bool,
    #[prost(string, tag = "14")]
    cordon_reason: String,
    #[prost(uint32, tag = "15")]
    level: u32,
}

impl Wire for MemberView {
    type Form = MemberViewForm;

    fn form(&self) -> MemberViewForm {
        MemberViewForm {
            node: self.node.0,
            incarnation: self.incarnation.0,
            address: self.address.clone(),
            role: self.role.number(),
            healthy: self.healthy,
            cordoned: self.cordoned,
            leaving: self.leaving,
            capacity: Some(self.capacity.form()),
            used: Some(self.used.form()),
            labels: self.labels.clone(),
            last_contact: self.last_contact.map(Duration::as_nanos),
            lag: self.lag,
            vms: self.vms,
            cordon_reason: self.cordon_reason.clone(),
            level: self.level.number(),
        }
    }

    fn read(form: MemberViewForm) -> Result<Self, CodecError> {
        Ok(Self {
            node: NodeId(form.node),
            incarnation: Incarnation(form.incarnation),
            address: form.address,
            role: Role::from_number(form.role)?,
            healthy: form.healthy,
            cordoned: form.cordoned,
            leaving: form.leaving,
            capacity: part("the member's capacity", form.capacity)?,
            used: part("the member's used resources", form.used)?,
            labels: form.labels,
            last_contact: form.last_contact.map(Duration::from_nanos),
            lag: form.lag,
            vms: form.vms,
            cordon_reason: form.cordon_reason,
            level: Level::from_number(form.level),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ClusterViewForm {
    #[prost(uint64, tag = "1")]
    cluster: u64,
    #[prost(uint64, tag = "2")]
    answered_by: u64,
    #[prost(uint64, optional, tag = "3")]
    leader: Option<u64>,
    #[prost(uint64, tag = "4")]
    term: u64,
    #[prost(uint64, tag = "5")]
    revision: u64,
    #[prost(message, repeated, tag = "6")]
    members: Vec<MemberViewForm>,
    #[prost(uint32, tag = "7")]
    level: u32,
}

impl Wire for ClusterView {
    type Form = ClusterViewForm;

    fn form(&self) -> ClusterViewForm {
        ClusterViewForm {
            cluster: self.cluster.0,
            answered_by: self.answered_by.0,
            leader: self.leader.map(|node| node.0),
            term: self.term,
            revision: self.revision.0,
            members: forms(&self.members),
            level: self.level.number(),
        }
    }

    fn read(form: ClusterViewForm) -> Result<Self, CodecError> {
        Ok(Self {
            cluster: ClusterId(form.cluster),
            answered_by: NodeId(form.answered_by),
            leader: form.leader.map(NodeId),
            term: form.term,
            revision: Revision(form.revision),
            members: parts(form.members)?,
            level: Level::from_number(form.level),
        })
    }
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct WrittenForm {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(uint64, tag = "2")]
    generation: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct VmAsOfForm {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(message, optional, tag = "2")]
    vm: Option<VmViewForm>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct VmsAsOfForm {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(message, repeated, tag = "2")]
    vms: Vec<VmViewForm>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EventsAsOfForm {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(message, repeated, tag = "2")]
    events: Vec<TransitionForm>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum ResponseKind {
    #[prost(message, tag = "1")]
    Written(WrittenForm),
    #[prost(message, boxed, tag = "2")]
    Vm(Box<VmAsOfForm>),
    #[prost(message, tag = "3")]
    Vms(VmsAsOfForm),
    #[prost(message, tag = "4")]
    Cluster(ClusterViewForm),
    #[prost(uint64, tag = "5")]
    Transferring(u64),
    #[prost(message, tag = "6")]
    Events(EventsAsOfForm),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ResponseForm {
    #[prost(oneof = "ResponseKind", tags = "1, 2, 3, 4, 5, 6")]
    kind: Option<ResponseKind>,
}

impl Wire for Response {
    type Form = ResponseForm;

    fn form(&self) -> ResponseForm {
        let kind = match self {
            Self::Written { revision, generation } => {
                ResponseKind::Written(WrittenForm { revision: revision.0, generation: generation.0 })
            }
            Self::Vm { revision, vm } => {
                ResponseKind::Vm(Box::new(VmAsOfForm { revision: revision.0, vm: Some(vm.form()) }))
            }
            Self::Vms { revision, vms } => {
                ResponseKind::Vms(VmsAsOfForm { revision: revision.0, vms: forms(vms) })
            }
            Self::Events { revision, events } => {
                ResponseKind::Events(EventsAsOfForm { revision: revision.0, events: forms(events) })
            }
            Self::Cluster(view) => ResponseKind::Cluster(view.form()),
            Self::Transferring { to } => ResponseKind::Transferring(to.0),
        };
        ResponseForm { kind: Some(kind) }
    }

    fn read(form: ResponseForm) -> Result<Self, CodecError> {
        Ok(match form.kind.ok_or(CodecError::Missing { what: "the response's kind" })? {
            ResponseKind::Written(WrittenForm { revision, generation }) => {
                Self::Written { revision: Revision(revision), generation: Generation(generation) }
            }
            ResponseKind::Vm(form) => {
                let VmAsOfForm { revision, vm } = *form;
                Self::Vm { revision: Revision(revision), vm: Box::new(part("the response's VM", vm)?) }
            }
            ResponseKind::Vms(VmsAsOfForm { revision, vms }) => {
                Self::Vms { revision: Revision(revision), vms: parts(vms)? }
            }
            ResponseKind::Events(EventsAsOfForm { revision, events }) => {
                Self::Events { revision: Revision(revision), events: parts(events)? }
            }
            ResponseKind::Cluster(view) => Self::Cluster(Box::new(ClusterView::read(view)?)),
            ResponseKind::Transferring(to) => Self::Transferring { to: NodeId(to) },
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConflictForm {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    expected: u64,
    #[prost(uint64, tag = "3")]
    actual: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NoRoomForm {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    hosts: Vec<NodeTextForm>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct HostBusyForm {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(uint64, tag = "2")]
    vms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OverloadedForm {
    #[prost(string, tag = "1")]
    what: String,
    #[prost(uint64, tag = "2")]
    max: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BelowLevelForm {
    #[prost(string, tag = "1")]
    what: String,
    #[prost(uint32, tag = "2")]
    needs: u32,
    #[prost(uint32, tag = "3")]
    level: u32,
    #[prost(uint64, repeated, tag = "4")]
    held_back_by: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum ErrorKind {
    #[prost(string, tag = "1")]
    VmExists(String),
    #[prost(string, tag = "2")]
    VmUnknown(String),
    #[prost(message, tag = "3")]
    GenerationConflict(ConflictForm),
    #[prost(string, tag = "4")]
    VmDeleting(String),
    #[prost(message, tag = "5")]
    NoRoom(NoRoomForm),
    #[prost(string, tag = "6")]
    BadSpec(String),
    #[prost(uint64, tag = "7")]
    TooManyVms(u64),
    #[prost(uint64, tag = "8")]
    HostUnknown(u64),
    #[prost(message, tag = "9")]
    HostBusy(HostBusyForm),
    #[prost(uint64, tag = "10")]
    LastVoter(u64),
    #[prost(uint64, tag = "11")]
    IdTaken(u64),
    #[prost(uint64, tag = "12")]
    NotAVoter(u64),
    #[prost(uint64, tag = "13")]
    SessionExpired(u64),
    #[prost(uint64, tag = "14")]
    IdReused(u64),
    #[prost(message, tag = "15")]
    NoLeader(NothingForm),
    #[prost(string, tag = "16")]
    Unknown(String),
    #[prost(message, tag = "17")]
    Overloaded(OverloadedForm),
    #[prost(string, tag = "18")]
    VmNotStopped(String),
    #[prost(message, tag = "19")]
    BelowLevel(BelowLevelForm),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ErrorForm {
    #[prost(oneof = "ErrorKind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19")]
    kind: Option<ErrorKind>,
}

impl Wire for RequestError {
    type Form = ErrorForm;

    fn form(&self) -> ErrorForm {
        let text = |name: &crate::spec::VmName| name.as_str().to_owned();
        let kind = match self {
            Self::VmExists { name } => ErrorKind::VmExists(text(name)),
            Self::VmUnknown { name } => ErrorKind::VmUnknown(text(name)),
            Self::GenerationConflict { name, expected, actual } => {
                let (name, expected, actual) = (text(name), expected.0, actual.0);
                ErrorKind::GenerationConflict(ConflictForm { name, expected, actual })
            }
            Self::VmNotStopped { name } => ErrorKind::VmNotStopped(text(name)),
            Self::VmDeleting { name } => ErrorKind::VmDeleting(text(name)),
            Self::NoRoom { name, hosts } => {
                ErrorKind::NoRoom(NoRoomForm { name: text(name), hosts: forms(hosts) })
            }
            Self::BadSpec { reason } => ErrorKind::BadSpec(reason.clone()),
            Self::TooManyVms { max } => ErrorKind::TooManyVms(*max),
            Self::HostUnknown { node } => ErrorKind::HostUnknown(node.0),
            Self::HostBusy { node, vms } => ErrorKind::HostBusy(HostBusyForm { node: node.0, vms: *vms }),
            Self::LastVoter { node } => ErrorKind::LastVoter(node.0),
            Self::IdTaken { node } => ErrorKind::IdTaken(node.0),
            Self::NotAVoter { node } => ErrorKind::NotAVoter(node.0),
            Self::SessionExpired { floor } => ErrorKind::SessionExpired(floor.0),
            Self::IdReused { sequence } => ErrorKind::IdReused(*sequence),
            Self::NoLeader => ErrorKind::NoLeader(NothingForm {}),
            Self::Unknown { reason } => ErrorKind::Unknown(reason.clone()),
            Self::Overloaded { what, max } => {
                ErrorKind::Overloaded(OverloadedForm { what: what.clone(), max: *max })
            }
            Self::BelowLevel { what, needs, level, held_back_by } => ErrorKind::BelowLevel(BelowLevelForm {
                what: what.clone(),
                needs: needs.0,
                level: level.0,
                held_back_by: held_back_by.iter().map(|node| node.0).collect(),
            }),
        };
        ErrorForm { kind: Some(kind) }
    }

    fn read(form: ErrorForm) -> Result<Self, CodecError> {
        Ok(match form.kind.ok_or(CodecError::Missing { what: "the error's kind" })? {
            ErrorKind::VmExists(name) => Self::VmExists { name: vm_name(name)? },
            ErrorKind::VmUnknown(name) => Self::VmUnknown { name: vm_name(name)? },
            ErrorKind::GenerationConflict(ConflictForm { name, expected, actual }) => {
                Self::GenerationConflict {
                    name: vm_name(name)?,
                    expected: Generation(expected),
                    actual: Generation(actual),
                }
            }
            ErrorKind::VmNotStopped(name) => Self::VmNotStopped { name: vm_name(name)? },
            ErrorKind::VmDeleting(name) => Self::VmDeleting { name: vm_name(name)? },
            ErrorKind::NoRoom(NoRoomForm { name, hosts }) => {
                Self::NoRoom { name: vm_name(name)?, hosts: parts(hosts)? }
            }
            ErrorKind::BadSpec(reason) => Self::BadSpec { reason },
            ErrorKind::TooManyVms(max) => Self::TooManyVms { max },
            ErrorKind::HostUnknown(node) => Self::HostUnknown { node: NodeId(node) },
            ErrorKind::HostBusy(HostBusyForm { node, vms }) => Self::HostBusy { node: NodeId(node), vms },
            ErrorKind::LastVoter(node) => Self::LastVoter { node: NodeId(node) },
            ErrorKind::IdTaken(node) => Self::IdTaken { node: NodeId(node) },
            ErrorKind::NotAVoter(node) => Self::NotAVoter { node: NodeId(node) },
            ErrorKind::SessionExpired(floor) => Self::SessionExpired { floor: Revision(floor) },
            ErrorKind::IdReused(sequence) => Self::IdReused { sequence },
            ErrorKind::NoLeader(NothingForm {}) => Self::NoLeader,
            ErrorKind::Unknown(reason) => Self::Unknown { reason },
            ErrorKind::Overloaded(OverloadedForm { what, max }) => Self::Overloaded { what, max },
            ErrorKind::BelowLevel(BelowLevelForm { what, needs, level, held_back_by }) => Self::BelowLevel {
                what,
                needs: Level(needs),
                level: Level(level),
                held_back_by: held_back_by.into_iter().map(NodeId).collect(),
            },
        })
    }
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum ReplyKind {
    #[prost(message, tag = "1")]
    Done(ResponseForm),
    #[prost(message, tag = "2")]
    Failed(ErrorForm),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReplyForm {
    #[prost(oneof = "ReplyKind", tags = "1, 2")]
    kind: Option<ReplyKind>,
}

impl Wire for Reply {
    type Form = ReplyForm;

    fn form(&self) -> ReplyForm {
        let kind = match self {
            Ok(response) => ReplyKind::Done(response.form()),
            Err(error) => ReplyKind::Failed(error.form()),
        };
        ReplyForm { kind: Some(kind) }
    }

    fn read(form: ReplyForm) -> Result<Self, CodecError> {
        match form.kind.ok_or(CodecError::Missing { what: "the reply's kind" })? {
            ReplyKind::Done(response) => Ok(Ok(Response::read(response)?)),
            ReplyKind::Failed(error) => Ok(Err(RequestError::read(error)?)),
        }
    }
}
