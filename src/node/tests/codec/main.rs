//! Everything that is logged or sent survives its encoding, and no bytes bring the decoder down.

mod drawn;
mod levels;
mod raft_types;

use std::collections::BTreeSet;

use blixard_node::codec::{
    CONF_CHANGE_LEN_MAX, CodecError, MESSAGE_LEN_MAX, decode_command, decode_conf_change, decode_message,
    encode_command, encode_conf_change, encode_message,
};
use blixard_node::command::{Action, Command};
use blixard_node::error::RequestError;
use blixard_node::message::{Body, Message};
use blixard_node::request::{Request, Response, Write};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use raft::eraftpb;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn commands_come_back(command in drawn::command()) {
        prop_assert_eq!(decode_command(&encode_command(&command)), Ok(command));
    }

    #[test]
    fn messages_come_back(message in drawn::message()) {
        prop_assert_eq!(decode_message(&encode_message(&message)), Ok(message));
    }

    #[test]
    fn membership_changes_come_back(change in raft_types::conf_change()) {
        prop_assert_eq!(decode_conf_change(&encode_conf_change(&change)), Ok(change));
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_message(&bytes);
        let _ = decode_command(&bytes);
        let _ = decode_conf_change(&bytes);
    }

    #[test]
    fn damaged_messages_give_an_answer(message in drawn::message(), at in any::<prop::sample::Index>(), bit in 0..8, cut in any::<prop::sample::Index>()) {
        let mut bytes = encode_message(&message);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let _ = decode_message(&bytes);
        bytes.truncate(cut.index(bytes.len() + 1));
        let _ = decode_message(&bytes);
    }
}

/// Which variant; the matches are exhaustive, so that a new variant must be drawn too.
fn body_kind(body: &Body) -> usize {
    match body {
        Body::Raft(_) => 0,
        Body::SnapshotChunk(_) => 1,
        Body::SnapshotAck { .. } => 2,
        Body::Forward { .. } => 3,
        Body::Forwarded { .. } => 4,
        Body::Heartbeat(_) => 5,
        Body::HeartbeatAck(_) => 6,
        Body::NotLeader { .. } => 7,
        Body::Nudge => 8,
        Body::Join(_) => 9,
        Body::Joined { .. } => 10,
        Body::Refused { .. } => 11,
    }
}

fn action_kind(action: &Action) -> usize {
    match action {
        Action::Client { .. } => 0,
        Action::AddHost { .. } => 1,
        Action::LoseHost { .. } => 2,
        Action::RegainHost { .. } => 3,
        Action::Assign { .. } => 4,
        Action::Report { .. } => 5,
        Action::DropHost { .. } => 6,
        Action::RaiseLevel { .. } => 7,
    }
}

fn request_kind(request: &Request) -> usize {
    match request {
        Request::Write { write, .. } => match write {
            Write::CreateVm { .. } => 0,
            Write::StartVm { .. } => 1,
            Write::StopVm { .. } => 2,
            Write::DeleteVm { .. } => 3,
            Write::CordonHost { .. } => 4,
            Write::RemoveHost { .. } => 5,
            Write::UpdateVm { .. } => 10,
        },
        Request::Read { read, .. } => match read {
            blixard_node::request::Read::GetVm { .. } => 6,
            blixard_node::request::Read::ListVms => 7,
            blixard_node::request::Read::VmEvents { .. } => 11,
            blixard_node::request::Read::ClusterStatus => 8,
        },
        Request::TransferLeader { .. } => 9,
    }
}

fn response_kind(response: &Response) -> usize {
    match response {
        Response::Written { .. } => 0,
        Response::Vm { .. } => 1,
        Response::Vms { .. } => 2,
        Response::Cluster(_) => 3,
        Response::Transferring { .. } => 4,
        Response::Events { .. } => 5,
    }
}

fn error_kind(error: &RequestError) -> usize {
    match error {
        RequestError::VmExists { .. } => 0,
        RequestError::VmUnknown { .. } => 1,
        RequestError::GenerationConflict { .. } => 2,
        RequestError::VmDeleting { .. } => 3,
        RequestError::NoRoom { .. } => 4,
        RequestError::BadSpec { .. } => 5,
        RequestError::TooManyVms { .. } => 6,
        RequestError::HostUnknown { .. } => 7,
        RequestError::HostBusy { .. } => 8,
        RequestError::LastVoter { .. } => 9,
        RequestError::IdTaken { .. } => 10,
        RequestError::NotAVoter { .. } => 11,
        RequestError::SessionExpired { .. } => 12,
        RequestError::IdReused { .. } => 13,
        RequestError::NoLeader => 14,
        RequestError::Unknown { .. } => 15,
        RequestError::Overloaded { .. } => 16,
        RequestError::VmNotStopped { .. } => 17,
        RequestError::BelowLevel { .. } => 18,
    }
}

fn kinds_drawn<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, kind: fn(&T) -> usize) -> Vec<usize> {
    let mut runner = TestRunner::deterministic();
    let drawn: BTreeSet<usize> =
        (0..400).map(|_| kind(&strategy.new_tree(&mut runner).expect("a draw").current())).collect();
    drawn.into_iter().collect()
}

#[test]
fn every_variant_is_drawn() {
    assert_eq!(kinds_drawn(drawn::body(), body_kind), (0..12).collect::<Vec<_>>());
    assert_eq!(kinds_drawn(drawn::action(), action_kind), (0..8).collect::<Vec<_>>());
    assert_eq!(kinds_drawn(drawn::request(), request_kind), (0..12).collect::<Vec<_>>());
    assert_eq!(kinds_drawn(drawn::response(), response_kind), (0..6).collect::<Vec<_>>());
    assert_eq!(kinds_drawn(drawn::request_error(), error_kind), (0..19).collect::<Vec<_>>());
}

/// The bytes that protobuf prescribes for raft-rs's `ConfChangeV2`: raft-rs encodes proposals itself.
#[test]
fn membership_changes_have_the_bytes_of_raft_rs() {
    let add = eraftpb::ConfChangeSingle { node_id: 7, ..eraftpb::ConfChangeSingle::default() };
    let learner = eraftpb::ConfChangeSingle {
        change_type: eraftpb::ConfChangeType::AddLearnerNode,
        node_id: 300,
        ..eraftpb::ConfChangeSingle::default()
    };
    let change = eraftpb::ConfChangeV2 {
        transition: eraftpb::ConfChangeTransition::Explicit,
        changes: vec![add, learner].into(),
        context: bytes::Bytes::from_static(b"x"),
        ..eraftpb::ConfChangeV2::default()
    };
    let expected: &[u8] = &[
        0x08, 2, // transition
        0x12, 2, 0x10, 7, // add voter 7 (type 0 is not written)
        0x12, 5, 0x08, 2, 0x10, 0xac, 0x02, // add learner 300
        0x1a, 1, b'x',
    ];
    assert_eq!(&encode_conf_change(&change)[..], expected);
    assert_eq!(decode_conf_change(expected), Ok(change));
    // raft-rs proposes an empty change to leave a joint configuration, with no bytes at all.
    assert_eq!(decode_conf_change(&[]), Ok(eraftpb::ConfChangeV2::default()));
}

#[test]
fn errors_say_what_failed() {
    assert_eq!(
        decode_command(&[]).map_err(|error| error.to_string()),
        Err("the command's action is missing".into())
    );
    // Field 3 of a command's action (AddHost) without its host.
    assert_eq!(
        decode_command(&[0x1a, 2, 0x08, 1]).map_err(|error| error.to_string()),
        Err("the new host is missing".into())
    );
    // A raft message of a type that raft-rs has not.
    assert_eq!(
        decode_message(&[0x22, 2, 0x08, 99]),
        Err(CodecError::UnknownKind { what: "the raft message's type", number: 99 })
    );
    let long = vec![0; MESSAGE_LEN_MAX + 1];
    assert!(matches!(decode_message(&long), Err(CodecError::TooLong { what: "a message", .. })));
    assert!(matches!(decode_message(&[0xff]), Err(CodecError::Malformed { .. })));
}

#[test]
fn an_unknown_action_is_refused_not_skipped() {
    // Field 15 of a command is no action of this version: a newer leader's command must stop this replica.
    let command = Command { at: blixard_node::time::WallMs(5), action: Action::Assign { moves: Vec::new() } };
    assert!(decode_command(&encode_command(&command)).is_ok());
    assert_eq!(
        decode_command(&[0x08, 5, 0x7a, 0]),
        Err(CodecError::Missing { what: "the command's action" })
    );
}

#[test]
fn an_empty_assignment_set_is_not_an_absent_one() {
    for set in [None, Some(Vec::new())] {
        let message = Message {
            cluster: blixard_node::ids::ClusterId(1),
            from: blixard_node::ids::NodeId(2),
            incarnation: blixard_node::ids::Incarnation(3),
            body: Body::HeartbeatAck(Box::new(blixard_node::message::HeartbeatAck {
                nonce: blixard_node::message::Nonce { process: 1, sequence: 2 },
                sent: blixard_node::time::Time(3),
                ttl: blixard_node::time::Duration::from_secs(8),
                revision: blixard_node::ids::Revision(9),
                set,
                members: Vec::new(),
                level: None,
            })),
        };
        assert_eq!(decode_message(&encode_message(&message)), Ok(message));
    }
}

#[test]
fn as_many_bytes_are_read_as_are_allowed() {
    let encoded = |len: usize| {
        let context = vec![7; len].into();
        let change = eraftpb::ConfChangeV2 { context, ..eraftpb::ConfChangeV2::default() };
        (encode_conf_change(&change), change)
    };
    let around = encoded(CONF_CHANGE_LEN_MAX).0.len() - CONF_CHANGE_LEN_MAX;
    let (bytes, change) = encoded(CONF_CHANGE_LEN_MAX - around);
    assert_eq!((bytes.len(), decode_conf_change(&bytes)), (65_536, Ok(change)));
    for more in [1, 100] {
        let (bytes, _) = encoded(CONF_CHANGE_LEN_MAX - around + more);
        let (what, len, max) = ("a membership change", 65_536 + more, 65_536);
        assert_eq!(decode_conf_change(&bytes), Err(CodecError::TooLong { what, len, max }));
    }
}

/// No agent would know what to do with it.
#[test]
fn an_assignment_that_is_to_run_and_to_be_removed_is_refused() {
    use blixard_node::spec::Wanted;
    let told = |wanted, purge| {
        let mut runner = TestRunner::deterministic();
        let mut assignment = drawn::assignment().new_tree(&mut runner).expect("a draw").current();
        (assignment.wanted, assignment.purge) = (wanted, purge);
        let ack = blixard_node::message::HeartbeatAck {
            nonce: blixard_node::message::Nonce { process: 1, sequence: 2 },
            sent: blixard_node::time::Time(3),
            ttl: blixard_node::time::Duration::from_secs(8),
            revision: blixard_node::ids::Revision(9),
            set: Some(vec![assignment]),
            members: Vec::new(),
            level: None,
        };
        let message = Message {
            cluster: blixard_node::ids::ClusterId(1),
            from: blixard_node::ids::NodeId(2),
            incarnation: blixard_node::ids::Incarnation(3),
            body: Body::HeartbeatAck(Box::new(ack)),
        };
        let back = decode_message(&encode_message(&message));
        back.map(|back| assert_eq!(back, message)).map_err(|error| error.to_string())
    };
    for good in [(Wanted::Running, false), (Wanted::Stopped, false), (Wanted::Stopped, true)] {
        assert_eq!(told(good.0, good.1), Ok(()));
    }
    let refused = "an assignment: it is to run and to be removed";
    assert_eq!(told(Wanted::Running, true), Err(refused.into()));
}
