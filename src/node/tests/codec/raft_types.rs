//! Draws of raft-rs's types, all fields of them.

use bytes::Bytes;
use proptest::prelude::*;
use raft::eraftpb;
use raft::eraftpb::{ConfChangeTransition, ConfChangeType, EntryType, MessageType};

pub(crate) fn small_bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn entry() -> impl Strategy<Value = eraftpb::Entry> {
    let kind = prop::sample::select(vec![
        EntryType::EntryNormal,
        EntryType::EntryConfChange,
        EntryType::EntryConfChangeV2,
    ]);
    (kind, any::<u64>(), any::<u64>(), small_bytes(), small_bytes(), any::<bool>()).prop_map(
        |(kind, term, index, data, context, sync_log)| eraftpb::Entry {
            entry_type: kind,
            term,
            index,
            data,
            context,
            sync_log,
            ..eraftpb::Entry::default()
        },
    )
}

fn ids() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(any::<u64>(), 0..4)
}

fn conf_state() -> impl Strategy<Value = eraftpb::ConfState> {
    (ids(), ids(), ids(), ids(), any::<bool>()).prop_map(|(voters, learners, outgoing, next, auto_leave)| {
        eraftpb::ConfState {
            voters,
            learners,
            voters_outgoing: outgoing,
            learners_next: next,
            auto_leave,
            ..eraftpb::ConfState::default()
        }
    })
}

fn metadata() -> impl Strategy<Value = eraftpb::SnapshotMetadata> {
    (prop::option::of(conf_state()), any::<u64>(), any::<u64>()).prop_map(|(conf_state, index, term)| {
        eraftpb::SnapshotMetadata {
            conf_state: conf_state.into(),
            index,
            term,
            ..eraftpb::SnapshotMetadata::default()
        }
    })
}

fn snapshot() -> impl Strategy<Value = eraftpb::Snapshot> {
    (small_bytes(), prop::option::of(metadata())).prop_map(|(data, metadata)| eraftpb::Snapshot {
        data,
        metadata: metadata.into(),
        ..eraftpb::Snapshot::default()
    })
}

fn message_type() -> impl Strategy<Value = MessageType> {
    prop::sample::select(vec![
        MessageType::MsgHup,
        MessageType::MsgBeat,
        MessageType::MsgPropose,
        MessageType::MsgAppend,
        MessageType::MsgAppendResponse,
        MessageType::MsgRequestVote,
        MessageType::MsgRequestVoteResponse,
        MessageType::MsgSnapshot,
        MessageType::MsgHeartbeat,
        MessageType::MsgHeartbeatResponse,
        MessageType::MsgUnreachable,
        MessageType::MsgSnapStatus,
        MessageType::MsgCheckQuorum,
        MessageType::MsgTransferLeader,
        MessageType::MsgTimeoutNow,
        MessageType::MsgReadIndex,
        MessageType::MsgReadIndexResp,
        MessageType::MsgRequestPreVote,
        MessageType::MsgRequestPreVoteResponse,
    ])
}

pub(crate) fn message() -> impl Strategy<Value = eraftpb::Message> {
    (
        message_type(),
        any::<[u64; 10]>(),
        prop::collection::vec(entry(), 0..4),
        prop::option::of(snapshot()),
        any::<bool>(),
        small_bytes(),
        any::<i64>(),
    )
        .prop_map(|(kind, numbers, entries, snapshot, reject, context, priority)| {
            let [to, from, term, log_term, index, commit, commit_term, request_snapshot, hint, old] = numbers;
            eraftpb::Message {
                msg_type: kind,
                to,
                from,
                term,
                log_term,
                index,
                entries: entries.into(),
                commit,
                commit_term,
                snapshot: snapshot.into(),
                request_snapshot,
                reject,
                reject_hint: hint,
                context,
                deprecated_priority: old,
                priority,
                ..eraftpb::Message::default()
            }
        })
}

pub(crate) fn conf_change() -> impl Strategy<Value = eraftpb::ConfChangeV2> {
    let transition = prop::sample::select(vec![
        ConfChangeTransition::Auto,
        ConfChangeTransition::Implicit,
        ConfChangeTransition::Explicit,
    ]);
    let kind = prop::sample::select(vec![
        ConfChangeType::AddNode,
        ConfChangeType::RemoveNode,
        ConfChangeType::AddLearnerNode,
    ]);
    let single = (kind, any::<u64>()).prop_map(|(kind, node)| eraftpb::ConfChangeSingle {
        change_type: kind,
        node_id: node,
        ..eraftpb::ConfChangeSingle::default()
    });
    (transition, prop::collection::vec(single, 0..4), small_bytes()).prop_map(
        |(transition, changes, context)| eraftpb::ConfChangeV2 {
            transition,
            changes: changes.into(),
            context,
            ..eraftpb::ConfChangeV2::default()
        },
    )
}
