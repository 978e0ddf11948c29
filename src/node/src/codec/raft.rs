//! What raft-rs defines: its messages, entries, snapshots and membership changes, copied field by field into our own
//! structures. The numbers of fields and enums are those of raft-rs (`eraftpb.proto`), so that a membership change,
//! which raft-rs encodes itself, reads back here.

use bytes::Bytes;
use prost::Message as _;
use raft::eraftpb;

use crate::codec::CodecError;
use crate::codec::wire::{Wire, decode, forms, part, parts};

/// The longest encoded membership change that is read, in bytes.
pub const CONF_CHANGE_LEN_MAX: usize = 64 << 10;

/// Encodes a membership change as raft-rs does.
#[must_use]
pub fn encode_conf_change(change: &eraftpb::ConfChangeV2) -> Bytes {
    change.form().encode_to_vec().into()
}

/// Decodes the data of a membership entry.
///
/// # Errors
/// When the bytes are no membership change.
pub fn decode_conf_change(bytes: &[u8]) -> Result<eraftpb::ConfChangeV2, CodecError> {
    decode("a membership change", bytes, CONF_CHANGE_LEN_MAX)
}

/// Both ways between an enum of raft-rs and its number, which starts at 0 there.
macro_rules! raft_enum {
    ($to:ident, $from:ident, $type:ident, $what:literal, $($variant:ident = $number:literal),+ $(,)?) => {
        fn $to(value: eraftpb::$type) -> u32 {
            match value {
                $(eraftpb::$type::$variant => $number,)+
            }
        }

        fn $from(number: u32) -> Result<eraftpb::$type, CodecError> {
            match number {
                $($number => Ok(eraftpb::$type::$variant),)+
                _ => Err(CodecError::UnknownKind { what: $what, number: u64::from(number) }),
            }
        }
    };
}

raft_enum!(
    entry_type_number,
    entry_type,
    EntryType,
    "the entry's type",
    EntryNormal = 0,
    EntryConfChange = 1,
    EntryConfChangeV2 = 2,
);
raft_enum!(
    message_type_number,
    message_type,
    MessageType,
    "the raft message's type",
    MsgHup = 0,
    MsgBeat = 1,
    MsgPropose = 2,
    MsgAppend = 3,
    MsgAppendResponse = 4,
    MsgRequestVote = 5,
    MsgRequestVoteResponse = 6,
    MsgSnapshot = 7,
    MsgHeartbeat = 8,
    MsgHeartbeatResponse = 9,
    MsgUnreachable = 10,
    MsgSnapStatus = 11,
    MsgCheckQuorum = 12,
    MsgTransferLeader = 13,
    MsgTimeoutNow = 14,
    MsgReadIndex = 15,
    MsgReadIndexResp = 16,
    MsgRequestPreVote = 17,
    MsgRequestPreVoteResponse = 18,
);
raft_enum!(
    transition_number,
    transition,
    ConfChangeTransition,
    "the membership change's transition",
    Auto = 0,
    Implicit = 1,
    Explicit = 2,
);
raft_enum!(
    change_type_number,
    change_type,
    ConfChangeType,
    "the membership change's type",
    AddNode = 0,
    RemoveNode = 1,
    AddLearnerNode = 2,
);

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EntryForm {
    #[prost(uint32, tag = "1")]
    entry_type: u32,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(uint64, tag = "3")]
    index: u64,
    #[prost(bytes = "bytes", tag = "4")]
    data: Bytes,
    #[prost(bool, tag = "5")]
    sync_log: bool,
    #[prost(bytes = "bytes", tag = "6")]
    context: Bytes,
}

impl Wire for eraftpb::Entry {
    type Form = EntryForm;

    fn form(&self) -> EntryForm {
        EntryForm {
            entry_type: entry_type_number(self.entry_type),
            term: self.term,
            index: self.index,
            data: self.data.clone(),
            sync_log: self.sync_log,
            context: self.context.clone(),
        }
    }

    fn read(form: EntryForm) -> Result<Self, CodecError> {
        Ok(Self {
            entry_type: entry_type(form.entry_type)?,
            term: form.term,
            index: form.index,
            data: form.data,
            sync_log: form.sync_log,
            context: form.context,
            ..Self::default()
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfStateForm {
    #[prost(uint64, repeated, tag = "1")]
    voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    learners: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    voters_outgoing: Vec<u64>,
    #[prost(uint64, repeated, tag = "4")]
    learners_next: Vec<u64>,
    #[prost(bool, tag = "5")]
    auto_leave: bool,
}

impl Wire for eraftpb::ConfState {
    type Form = ConfStateForm;

    fn form(&self) -> ConfStateForm {
        ConfStateForm {
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            voters_outgoing: self.voters_outgoing.clone(),
            learners_next: self.learners_next.clone(),
            auto_leave: self.auto_leave,
        }
    }

    fn read(form: ConfStateForm) -> Result<Self, CodecError> {
        Ok(Self {
            voters: form.voters,
            learners: form.learners,
            voters_outgoing: form.voters_outgoing,
            learners_next: form.learners_next,
            auto_leave: form.auto_leave,
            ..Self::default()
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotMetadataForm {
    #[prost(message, optional, tag = "1")]
    conf_state: Option<ConfStateForm>,
    #[prost(uint64, tag = "2")]
    index: u64,
    #[prost(uint64, tag = "3")]
    term: u64,
}

impl Wire for eraftpb::SnapshotMetadata {
    type Form = SnapshotMetadataForm;

    fn form(&self) -> SnapshotMetadataForm {
        SnapshotMetadataForm {
            conf_state: self.conf_state.as_ref().map(Wire::form),
            index: self.index,
            term: self.term,
        }
    }

    fn read(form: SnapshotMetadataForm) -> Result<Self, CodecError> {
        Ok(Self {
            conf_state: form.conf_state.map(eraftpb::ConfState::read).transpose()?.into(),
            index: form.index,
            term: form.term,
            ..Self::default()
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotForm {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
    #[prost(message, optional, tag = "2")]
    metadata: Option<SnapshotMetadataForm>,
}

impl Wire for eraftpb::Snapshot {
    type Form = SnapshotForm;

    fn form(&self) -> SnapshotForm {
        SnapshotForm { data: self.data.clone(), metadata: self.metadata.as_ref().map(Wire::form) }
    }

    fn read(form: SnapshotForm) -> Result<Self, CodecError> {
        Ok(Self {
            data: form.data,
            metadata: form.metadata.map(eraftpb::SnapshotMetadata::read).transpose()?.into(),
            ..Self::default()
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RaftMessageForm {
    #[prost(uint32, tag = "1")]
    msg_type: u32,
    #[prost(uint64, tag = "2")]
    to: u64,
    #[prost(uint64, tag = "3")]
    from: u64,
    #[prost(uint64, tag = "4")]
    term: u64,
    #[prost(uint64, tag = "5")]
    log_term: u64,
    #[prost(uint64, tag = "6")]
    index: u64,
    #[prost(message, repeated, tag = "7")]
    entries: Vec<EntryForm>,
    #[prost(uint64, tag = "8")]
    commit: u64,
    #[prost(message, optional, tag = "9")]
    snapshot: Option<SnapshotForm>,
    #[prost(bool, tag = "10")]
    reject: bool,
    #[prost(uint64, tag = "11")]
    reject_hint: u64,
    #[prost(bytes = "bytes", tag = "12")]
    context: Bytes,
    #[prost(uint64, tag = "13")]
    request_snapshot: u64,
    #[prost(uint64, tag = "14")]
    deprecated_priority: u64,
    #[prost(uint64, tag = "15")]
    commit_term: u64,
    #[prost(int64, tag = "16")]
    priority: i64,
}

impl Wire for eraftpb::Message {
    type Form = RaftMessageForm;

    fn form(&self) -> RaftMessageForm {
        RaftMessageForm {
            msg_type: message_type_number(self.msg_type),
            to: self.to,
            from: self.from,
            term: self.term,
            log_term: self.log_term,
            index: self.index,
            entries: forms(&self.entries),
            commit: self.commit,
            snapshot: self.snapshot.as_ref().map(Wire::form),
            reject: self.reject,
            reject_hint: self.reject_hint,
            context: self.context.clone(),
            request_snapshot: self.request_snapshot,
            deprecated_priority: self.deprecated_priority,
            commit_term: self.commit_term,
            priority: self.priority,
        }
    }

    fn read(form: RaftMessageForm) -> Result<Self, CodecError> {
        Ok(Self {
            msg_type: message_type(form.msg_type)?,
            to: form.to,
            from: form.from,
            term: form.term,
            log_term: form.log_term,
            index: form.index,
            entries: parts::<eraftpb::Entry>(form.entries)?.into(),
            commit: form.commit,
            snapshot: form.snapshot.map(eraftpb::Snapshot::read).transpose()?.into(),
            reject: form.reject,
            reject_hint: form.reject_hint,
            context: form.context,
            request_snapshot: form.request_snapshot,
            deprecated_priority: form.deprecated_priority,
            commit_term: form.commit_term,
            priority: form.priority,
            ..Self::default()
        })
    }
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct ConfChangeSingleForm {
    #[prost(uint32, tag = "1")]
    change_type: u32,
    #[prost(uint64, tag = "2")]
    node_id: u64,
}

impl Wire for eraftpb::ConfChangeSingle {
    type Form = ConfChangeSingleForm;

    fn form(&self) -> ConfChangeSingleForm {
        ConfChangeSingleForm { change_type: change_type_number(self.change_type), node_id: self.node_id }
    }

    fn read(form: ConfChangeSingleForm) -> Result<Self, CodecError> {
        Ok(Self { change_type: change_type(form.change_type)?, node_id: form.node_id, ..Self::default() })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfChangeForm {
    #[prost(uint32, tag = "1")]
    transition: u32,
    #[prost(message, repeated, tag = "2")]
    changes: Vec<ConfChangeSingleForm>,
    #[prost(bytes = "bytes", tag = "3")]
    context: Bytes,
}

impl Wire for eraftpb::ConfChangeV2 {
    type Form = ConfChangeForm;

    fn form(&self) -> ConfChangeForm {
        ConfChangeForm {
            transition: transition_number(self.transition),
            changes: forms(&self.changes),
            context: self.context.clone(),
        }
    }

    fn read(form: ConfChangeForm) -> Result<Self, CodecError> {
        Ok(Self {
            transition: transition(form.transition)?,
            changes: parts::<eraftpb::ConfChangeSingle>(form.changes)?.into(),
            context: form.context,
            ..Self::default()
        })
    }
}

/// Reads a raft message that must be there.
pub(crate) fn raft_message(
    what: &'static str,
    form: Option<RaftMessageForm>,
) -> Result<Box<eraftpb::Message>, CodecError> {
    part(what, form).map(Box::new)
}
