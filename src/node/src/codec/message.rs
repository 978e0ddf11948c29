//! Messages between members.

use bytes::Bytes;
use prost::Message as _;

use crate::codec::CodecError;
use crate::codec::raft::{RaftMessageForm, raft_message};
use crate::codec::reply::ReplyForm;
use crate::codec::request::{NothingForm, RequestForm};
use crate::codec::spec::{HostSpecForm, NodeTextForm, RunForm, VmReportForm, VmSpecForm};
use crate::codec::wire::{Numbered as _, Wire, decode, forms, part, parts, vm_name};
use crate::command::HostSpec;
use crate::ids::{ClusterId, Generation, Incarnation, NodeId, Revision};
use crate::level::Level;
use crate::message::{Assignment, Body, Heartbeat, HeartbeatAck, Message, Nonce, SnapshotChunk};
use crate::spec::Wanted;
use crate::time::{Duration, Time};

/// The longest encoded message that is read, in bytes. The largest are a host's whole assignment set and a list of
/// all VMs passed on to the leader's asker; snapshots travel in pieces.
pub const MESSAGE_LEN_MAX: usize = 64 << 20;

/// Encodes a message.
#[must_use]
pub fn encode_message(message: &Message) -> Vec<u8> {
    message.form().encode_to_vec()
}

/// Decodes a message.
///
/// # Errors
/// When the bytes are no message that this version knows.
pub fn decode_message(bytes: &[u8]) -> Result<Message, CodecError> {
    decode("a message", bytes, MESSAGE_LEN_MAX)
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ChunkForm {
    #[prost(message, optional, tag = "1")]
    message: Option<RaftMessageForm>,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(uint64, tag = "3")]
    len: u64,
    #[prost(fixed32, tag = "4")]
    crc: u32,
    #[prost(bytes = "bytes", tag = "5")]
    data: Bytes,
}

impl Wire for SnapshotChunk {
    type Form = ChunkForm;

    fn form(&self) -> ChunkForm {
        ChunkForm {
            message: Some(self.message.form()),
            offset: self.offset,
            len: self.len,
            crc: self.crc,
            data: self.data.clone(),
        }
    }

    fn read(form: ChunkForm) -> Result<Self, CodecError> {
        Ok(Self {
            message: raft_message("the snapshot chunk's message", form.message)?,
            offset: form.offset,
            len: form.len,
            crc: form.crc,
            data: form.data,
        })
    }
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct ChunkAckForm {
    #[prost(uint64, tag = "1")]
    index: u64,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(uint64, tag = "3")]
    offset: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ForwardForm {
    #[prost(uint64, tag = "1")]
    ticket: u64,
    #[prost(message, optional, tag = "2")]
    request: Option<RequestForm>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ForwardedForm {
    #[prost(uint64, tag = "1")]
    ticket: u64,
    #[prost(message, optional, tag = "2")]
    reply: Option<ReplyForm>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct NonceForm {
    #[prost(uint64, tag = "1")]
    process: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
}

impl Wire for Nonce {
    type Form = NonceForm;

    fn form(&self) -> NonceForm {
        NonceForm { process: self.process, sequence: self.sequence }
    }

    fn read(form: NonceForm) -> Result<Self, CodecError> {
        Ok(Self { process: form.process, sequence: form.sequence })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HeartbeatForm {
    #[prost(message, optional, tag = "1")]
    nonce: Option<NonceForm>,
    #[prost(uint64, tag = "2")]
    sent: u64,
    #[prost(uint64, tag = "3")]
    set_revision: u64,
    #[prost(message, repeated, tag = "4")]
    reports: Vec<VmReportForm>,
    #[prost(bool, tag = "5")]
    urgent: bool,
    #[prost(uint64, tag = "6")]
    answered: u64,
    #[prost(uint32, tag = "7")]
    level: u32,
}

impl Wire for Heartbeat {
    type Form = HeartbeatForm;

    fn form(&self) -> HeartbeatForm {
        HeartbeatForm {
            nonce: Some(self.nonce.form()),
            sent: self.sent.0,
            set_revision: self.set_revision.0,
            reports: forms(&self.reports),
            urgent: self.urgent,
            answered: self.answered,
            level: self.level.number(),
        }
    }

    fn read(form: HeartbeatForm) -> Result<Self, CodecError> {
        Ok(Self {
            nonce: part("the heartbeat's nonce", form.nonce)?,
            sent: Time(form.sent),
            set_revision: Revision(form.set_revision),
            reports: parts(form.reports)?,
            urgent: form.urgent,
            answered: form.answered,
            level: Level::from_number(form.level),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AssignmentForm {
    #[prost(message, optional, tag = "1")]
    run: Option<RunForm>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(uint64, tag = "3")]
    generation: u64,
    #[prost(uint32, tag = "4")]
    wanted: u32,
    #[prost(message, optional, tag = "5")]
    spec: Option<VmSpecForm>,
    #[prost(string, optional, tag = "6")]
    artifact: Option<String>,
    #[prost(bool, tag = "7")]
    purge: bool,
}

impl Wire for Assignment {
    type Form = AssignmentForm;

    fn form(&self) -> AssignmentForm {
        AssignmentForm {
            run: Some(self.run.form()),
            name: self.name.as_str().to_owned(),
            generation: self.generation.0,
            wanted: self.wanted.number(),
            spec: Some(self.spec.form()),
            artifact: self.artifact.clone(),
            purge: self.purge,
        }
    }

    fn read(form: AssignmentForm) -> Result<Self, CodecError> {
        if form.purge && Wanted::from_number(form.wanted)? == Wanted::Running {
            return Err(CodecError::malformed("an assignment", "it is to run and to be removed"));
        }
        Ok(Self {
            run: part("the assignment's run", form.run)?,
            name: vm_name(form.name)?,
            generation: Generation(form.generation),
            wanted: Wanted::from_number(form.wanted)?,
            spec: std::sync::Arc::new(part("the assignment's spec", form.spec)?),
            artifact: form.artifact,
            purge: form.purge,
        })
    }
}

/// A set of its own, so that an empty set differs from none.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AssignmentSetForm {
    #[prost(message, repeated, tag = "1")]
    assignments: Vec<AssignmentForm>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HeartbeatAckForm {
    #[prost(message, optional, tag = "1")]
    nonce: Option<NonceForm>,
    #[prost(uint64, tag = "2")]
    sent: u64,
    #[prost(uint64, tag = "3")]
    ttl: u64,
    #[prost(uint64, tag = "4")]
    revision: u64,
    #[prost(message, optional, tag = "5")]
    set: Option<AssignmentSetForm>,
    #[prost(message, repeated, tag = "6")]
    members: Vec<NodeTextForm>,
    #[prost(uint32, tag = "7")]
    level: u32,
}

impl Wire for HeartbeatAck {
    type Form = HeartbeatAckForm;

    fn form(&self) -> HeartbeatAckForm {
        HeartbeatAckForm {
            nonce: Some(self.nonce.form()),
            sent: self.sent.0,
            ttl: self.ttl.as_nanos(),
            revision: self.revision.0,
            set: self.set.as_ref().map(|set| AssignmentSetForm { assignments: forms(set) }),
            members: forms(&self.members),
            level: self.level.map_or(0, |level| level.0),
        }
    }

    fn read(form: HeartbeatAckForm) -> Result<Self, CodecError> {
        Ok(Self {
            nonce: part("the acknowledgement's nonce", form.nonce)?,
            sent: Time(form.sent),
            ttl: Duration::from_nanos(form.ttl),
            revision: Revision(form.revision),
            set: form.set.map(|set| parts(set.assignments)).transpose()?,
            members: parts(form.members)?,
            level: (form.level > 0).then_some(Level(form.level)),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NotLeaderForm {
    #[prost(uint64, optional, tag = "1")]
    leader: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    members: Vec<NodeTextForm>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct JoinedForm {
    #[prost(message, repeated, tag = "1")]
    members: Vec<NodeTextForm>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum BodyKind {
    #[prost(message, tag = "4")]
    Raft(RaftMessageForm),
    #[prost(message, tag = "5")]
    SnapshotChunk(ChunkForm),
    #[prost(message, tag = "6")]
    SnapshotAck(ChunkAckForm),
    #[prost(message, tag = "7")]
    Forward(ForwardForm),
    #[prost(message, tag = "8")]
    Forwarded(ForwardedForm),
    #[prost(message, tag = "9")]
    Heartbeat(HeartbeatForm),
    #[prost(message, tag = "10")]
    HeartbeatAck(HeartbeatAckForm),
    #[prost(message, tag = "11")]
    NotLeader(NotLeaderForm),
    #[prost(message, tag = "12")]
    Nudge(NothingForm),
    #[prost(message, tag = "13")]
    Join(HostSpecForm),
    #[prost(message, tag = "14")]
    Joined(JoinedForm),
    #[prost(string, tag = "15")]
    Refused(String),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MessageForm {
    #[prost(fixed64, tag = "1")]
    cluster: u64,
    #[prost(uint64, tag = "2")]
    from: u64,
    #[prost(fixed64, tag = "3")]
    incarnation: u64,
    #[prost(oneof = "BodyKind", tags = "4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15")]
    body: Option<BodyKind>,
    /// With `Refused`, where programs of the first level still read why.
    #[prost(uint32, tag = "16")]
    refused_below: u32,
}

impl Wire for Message {
    type Form = MessageForm;

    fn form(&self) -> MessageForm {
        MessageForm {
            cluster: self.cluster.0,
            from: self.from.0,
            incarnation: self.incarnation.0,
            body: Some(body_form(&self.body)),
            refused_below: match self.body {
                Body::Refused { below: Some(level), .. } => level.0,
                _ => 0,
            },
        }
    }

    fn read(form: MessageForm) -> Result<Self, CodecError> {
        Ok(Self {
            cluster: ClusterId(form.cluster),
            from: NodeId(form.from),
            incarnation: Incarnation(form.incarnation),
            body: read_body(
                form.body.ok_or(CodecError::Missing { what: "the message's body" })?,
                form.refused_below,
            )?,
        })
    }
}

fn body_form(body: &Body) -> BodyKind {
    match body {
        Body::Raft(message) => BodyKind::Raft(message.form()),
        Body::SnapshotChunk(chunk) => BodyKind::SnapshotChunk(chunk.form()),
        Body::SnapshotAck { index, term, offset } => {
            BodyKind::SnapshotAck(ChunkAckForm { index: *index, term: *term, offset: *offset })
        }
        Body::Forward { ticket, request } => {
            BodyKind::Forward(ForwardForm { ticket: *ticket, request: Some(request.form()) })
        }
        Body::Forwarded { ticket, reply } => {
            BodyKind::Forwarded(ForwardedForm { ticket: *ticket, reply: Some(reply.form()) })
        }
        Body::Heartbeat(heartbeat) => BodyKind::Heartbeat(heartbeat.form()),
        Body::HeartbeatAck(ack) => BodyKind::HeartbeatAck(ack.form()),
        Body::NotLeader { leader, members } => {
            BodyKind::NotLeader(NotLeaderForm { leader: leader.map(|node| node.0), members: forms(members) })
        }
        Body::Nudge => BodyKind::Nudge(NothingForm {}),
        Body::Join(host) => BodyKind::Join(host.form()),
        Body::Joined { members } => BodyKind::Joined(JoinedForm { members: forms(members) }),
        Body::Refused { reason, .. } => BodyKind::Refused(reason.clone()),
    }
}

fn read_body(kind: BodyKind, refused_below: u32) -> Result<Body, CodecError> {
    Ok(match kind {
        BodyKind::Raft(form) => Body::Raft(Box::new(raft::eraftpb::Message::read(form)?)),
        BodyKind::SnapshotChunk(form) => Body::SnapshotChunk(SnapshotChunk::read(form)?),
        BodyKind::SnapshotAck(ChunkAckForm { index, term, offset }) => {
            Body::SnapshotAck { index, term, offset }
        }
        BodyKind::Forward(ForwardForm { ticket, request }) => {
            Body::Forward { ticket, request: Box::new(part("the forwarded request", request)?) }
        }
        BodyKind::Forwarded(ForwardedForm { ticket, reply }) => {
            Body::Forwarded { ticket, reply: Box::new(part("the forwarded reply", reply)?) }
        }
        BodyKind::Heartbeat(form) => Body::Heartbeat(Heartbeat::read(form)?),
        BodyKind::HeartbeatAck(form) => Body::HeartbeatAck(Box::new(HeartbeatAck::read(form)?)),
        BodyKind::NotLeader(NotLeaderForm { leader, members }) => {
            Body::NotLeader { leader: leader.map(NodeId), members: parts(members)? }
        }
        BodyKind::Nudge(NothingForm {}) => Body::Nudge,
        BodyKind::Join(form) => Body::Join(Box::new(HostSpec::read(form)?)),
        BodyKind::Joined(JoinedForm { members }) => Body::Joined { members: parts(members)? },
        BodyKind::Refused(reason) => {
            Body::Refused { reason, below: (refused_below > 0).then_some(Level(refused_below)) }
        }
    })
}
