//! The records of a node's disk.
//!
//! ```text
//! record = CRC-32 of all that follows, with the kind before it (4 bytes, little endian)
//!        │ version (1 byte)
//!        │ protobuf message
//! ```
//!
//! The kind is a part of the checksum but not of the bytes: a record read back from the wrong place fails its
//! checksum. Each record carries a checksum because the store below does not verify what it reads.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::CodecError;
use super::state::level_of;
use crate::ids::{ClusterId, Incarnation, NodeId, Revision};
use crate::level::Level;
use crate::stored::{AgentRecord, EntryKind, HardState, Identity, LogEntry, Membership, Snapshot};

/// The newest version of records that is read here. A snapshot is written as the version that is its state's feature level, so that programs
/// which know no levels refuse one that they would misread; all else is written as the first.
pub const STORED_VERSION: u8 = 2;

const FIRST_VERSION: u8 = 1;

/// Bytes before the message: checksum and version.
const PREFIX_LEN: usize = 5;

mod pb {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Identity {
        #[prost(fixed64, tag = "1")]
        pub(super) cluster: u64,
        #[prost(uint64, tag = "2")]
        pub(super) node: u64,
        #[prost(fixed64, tag = "3")]
        pub(super) incarnation: u64,
    }

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct HardState {
        #[prost(uint64, tag = "1")]
        pub(super) term: u64,
        #[prost(uint64, tag = "2")]
        pub(super) vote: u64,
        #[prost(uint64, tag = "3")]
        pub(super) commit: u64,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub(super) enum Kind {
        Unspecified = 0,
        Command = 1,
        Membership = 2,
    }

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct LogEntry {
        #[prost(uint64, tag = "1")]
        pub(super) index: u64,
        #[prost(uint64, tag = "2")]
        pub(super) term: u64,
        #[prost(enumeration = "Kind", tag = "3")]
        pub(super) kind: i32,
        #[prost(bytes = "bytes", tag = "4")]
        pub(super) data: Bytes,
    }

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Membership {
        #[prost(uint64, repeated, tag = "1")]
        pub(super) voters: Vec<u64>,
        #[prost(uint64, repeated, tag = "2")]
        pub(super) voters_outgoing: Vec<u64>,
        #[prost(uint64, repeated, tag = "3")]
        pub(super) learners: Vec<u64>,
        #[prost(uint64, repeated, tag = "4")]
        pub(super) learners_next: Vec<u64>,
    }

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Snapshot {
        #[prost(uint64, tag = "1")]
        pub(super) index: u64,
        #[prost(uint64, tag = "2")]
        pub(super) term: u64,
        #[prost(message, optional, tag = "3")]
        pub(super) membership: Option<Membership>,
        #[prost(bytes = "bytes", tag = "4")]
        pub(super) data: Bytes,
    }

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct Address {
        #[prost(uint64, tag = "1")]
        pub(super) node: u64,
        #[prost(string, tag = "2")]
        pub(super) address: String,
    }

    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub(super) struct AgentRecord {
        #[prost(uint64, tag = "1")]
        pub(super) set_revision: u64,
        #[prost(message, repeated, tag = "2")]
        pub(super) members: Vec<Address>,
    }
}

/// Wraps `message` as a record of the kind `what`.
#[must_use]
pub(super) fn seal_record(what: &'static str, message: &impl Message) -> Bytes {
    seal_version(FIRST_VERSION, what, message)
}

fn seal_version(version: u8, what: &'static str, message: &impl Message) -> Bytes {
    let mut record = BytesMut::with_capacity(PREFIX_LEN + message.encoded_len());
    record.put_bytes(0, PREFIX_LEN - 1);
    record.put_u8(version);
    message.encode_raw(&mut record);
    let checksum = checksum(what, &record[PREFIX_LEN - 1..]);
    record[..PREFIX_LEN - 1].copy_from_slice(&checksum.to_le_bytes());
    record.freeze()
}

/// Reads a record of the kind `what` back.
///
/// # Errors
/// When the bytes are not those that [`seal_record`] made, or a newer version's.
pub(super) fn open_record<M: Message + Default>(what: &'static str, record: Bytes) -> Result<M, CodecError> {
    let Some((written, sealed)) = record.split_first_chunk::<4>() else {
        return Err(CodecError::Truncated { what, len: record.len() });
    };
    let Some(&version) = sealed.first() else {
        return Err(CodecError::Truncated { what, len: record.len() });
    };
    let (written, computed) = (u32::from_le_bytes(*written), checksum(what, sealed));
    if written != computed {
        return Err(CodecError::Checksum { what, written, computed });
    }
    if version > STORED_VERSION {
        return Err(CodecError::NewerVersion { what, found: version.into(), known: STORED_VERSION.into() });
    }
    M::decode(record.slice(PREFIX_LEN..)).map_err(|error| CodecError::malformed(what, error.to_string()))
}

fn checksum(what: &str, sealed: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(what.as_bytes());
    hasher.update(sealed);
    hasher.finalize()
}

const IDENTITY: &str = "identity";
const HARD_STATE: &str = "hard state";
const ENTRY: &str = "log entry";
const SNAPSHOT: &str = "snapshot";
const AGENT: &str = "agent record";

/// Encodes an identity.
#[must_use]
pub fn encode_identity(identity: &Identity) -> Bytes {
    seal_record(
        IDENTITY,
        &pb::Identity {
            cluster: identity.cluster.0,
            node: identity.node.0,
            incarnation: identity.incarnation.0,
        },
    )
}

/// Decodes an identity.
///
/// # Errors
/// When the bytes are no identity.
pub fn decode_identity(record: Bytes) -> Result<Identity, CodecError> {
    let read: pb::Identity = open_record(IDENTITY, record)?;
    Ok(Identity {
        cluster: ClusterId(read.cluster),
        node: NodeId(read.node),
        incarnation: Incarnation(read.incarnation),
    })
}

/// Encodes a hard state.
#[must_use]
pub fn encode_hard_state(state: &HardState) -> Bytes {
    seal_record(HARD_STATE, &pb::HardState { term: state.term, vote: state.vote, commit: state.commit })
}

/// Decodes a hard state.
///
/// # Errors
/// When the bytes are no hard state.
pub fn decode_hard_state(record: Bytes) -> Result<HardState, CodecError> {
    let read: pb::HardState = open_record(HARD_STATE, record)?;
    Ok(HardState { term: read.term, vote: read.vote, commit: read.commit })
}

/// Encodes a log entry.
#[must_use]
pub fn encode_entry(entry: &LogEntry) -> Bytes {
    let kind = match entry.kind {
        EntryKind::Command => pb::Kind::Command,
        EntryKind::Membership => pb::Kind::Membership,
    };
    seal_record(
        ENTRY,
        &pb::LogEntry { index: entry.index, term: entry.term, kind: kind.into(), data: entry.data.clone() },
    )
}

/// Decodes a log entry. Its data shares the record's memory.
///
/// # Errors
/// When the bytes are no log entry.
pub fn decode_entry(record: Bytes) -> Result<LogEntry, CodecError> {
    let read: pb::LogEntry = open_record(ENTRY, record)?;
    let kind = match pb::Kind::try_from(read.kind) {
        Ok(pb::Kind::Command) => EntryKind::Command,
        Ok(pb::Kind::Membership) => EntryKind::Membership,
        Ok(pb::Kind::Unspecified) | Err(_) => {
            return Err(CodecError::malformed(ENTRY, format!("its kind is {}", read.kind)));
        }
    };
    Ok(LogEntry { index: read.index, term: read.term, kind, data: read.data })
}

/// Encodes a snapshot.
#[must_use]
pub fn encode_snapshot(snapshot: &Snapshot) -> Bytes {
    // What is no state, as tests have it, is written as the first version.
    let version = if level_of(&snapshot.data) > Level::FIRST { STORED_VERSION } else { FIRST_VERSION };
    seal_version(
        version,
        SNAPSHOT,
        &pb::Snapshot {
            index: snapshot.index,
            term: snapshot.term,
            membership: Some(pb::Membership {
                voters: numbers(&snapshot.membership.voters),
                voters_outgoing: numbers(&snapshot.membership.voters_outgoing),
                learners: numbers(&snapshot.membership.learners),
                learners_next: numbers(&snapshot.membership.learners_next),
            }),
            data: snapshot.data.clone(),
        },
    )
}

/// Decodes a snapshot. Its data shares the record's memory.
///
/// # Errors
/// When the bytes are no snapshot.
pub fn decode_snapshot(record: Bytes) -> Result<Snapshot, CodecError> {
    let read: pb::Snapshot = open_record(SNAPSHOT, record)?;
    let membership =
        read.membership.ok_or_else(|| CodecError::malformed(SNAPSHOT, "it has no membership"))?;
    Ok(Snapshot {
        index: read.index,
        term: read.term,
        membership: Membership {
            voters: nodes(membership.voters),
            voters_outgoing: nodes(membership.voters_outgoing),
            learners: nodes(membership.learners),
            learners_next: nodes(membership.learners_next),
        },
        data: read.data,
    })
}

/// Encodes an agent's record.
#[must_use]
pub fn encode_agent(agent: &AgentRecord) -> Bytes {
    let members =
        agent.members.iter().map(|(node, address)| pb::Address { node: node.0, address: address.clone() });
    seal_record(AGENT, &pb::AgentRecord { set_revision: agent.set_revision.0, members: members.collect() })
}

/// Decodes an agent's record.
///
/// # Errors
/// When the bytes are no agent's record.
pub fn decode_agent(record: Bytes) -> Result<AgentRecord, CodecError> {
    let read: pb::AgentRecord = open_record(AGENT, record)?;
    Ok(AgentRecord {
        set_revision: Revision(read.set_revision),
        members: read.members.into_iter().map(|member| (NodeId(member.node), member.address)).collect(),
    })
}

fn numbers(nodes: &[NodeId]) -> Vec<u64> {
    nodes.iter().map(|node| node.0).collect()
}

fn nodes(numbers: Vec<u64>) -> Vec<NodeId> {
    numbers.into_iter().map(NodeId).collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..200).prop_map(Bytes::from)
    }

    fn node_ids() -> impl Strategy<Value = Vec<NodeId>> {
        vec(any::<u64>().prop_map(NodeId), 0..5)
    }

    fn identity() -> impl Strategy<Value = Identity> {
        any::<(u64, u64, u64)>().prop_map(|(cluster, node, incarnation)| Identity {
            cluster: ClusterId(cluster),
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
        })
    }

    fn hard_state() -> impl Strategy<Value = HardState> {
        any::<(u64, u64, u64)>().prop_map(|(term, vote, commit)| HardState { term, vote, commit })
    }

    fn entry() -> impl Strategy<Value = LogEntry> {
        (any::<(u64, u64, bool)>(), bytes()).prop_map(|((index, term, command), data)| LogEntry {
            index,
            term,
            kind: if command { EntryKind::Command } else { EntryKind::Membership },
            data,
        })
    }

    fn snapshot() -> impl Strategy<Value = Snapshot> {
        (any::<(u64, u64)>(), [node_ids(), node_ids(), node_ids(), node_ids()], bytes()).prop_map(
            |((index, term), [voters, voters_outgoing, learners, learners_next], data)| Snapshot {
                index,
                term,
                membership: Membership { voters, voters_outgoing, learners, learners_next },
                data,
            },
        )
    }

    fn agent() -> impl Strategy<Value = AgentRecord> {
        (any::<u64>(), vec((any::<u64>(), ".{0,20}"), 0..4)).prop_map(|(revision, members)| AgentRecord {
            set_revision: Revision(revision),
            members: members.into_iter().map(|(node, address)| (NodeId(node), address)).collect(),
        })
    }

    /// What every kind of record owes: it comes back as it was, and with any one bit flipped, or cut, it is refused.
    fn check<T: Debug + PartialEq>(
        value: &T,
        encode: impl Fn(&T) -> Bytes,
        decode: impl Fn(Bytes) -> Result<T, CodecError>,
    ) -> Result<(), TestCaseError> {
        let record = encode(value);
        let back = decode(record.clone());
        prop_assert_eq!(back.as_ref(), Ok(value));
        for bit in 0..record.len() * 8 {
            let mut flipped = record.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let refused = decode(flipped.into());
            prop_assert!(
                matches!(refused, Err(CodecError::Checksum { .. })),
                "bit {} flipped: {:?}",
                bit,
                refused
            );
        }
        for len in 0..record.len() {
            prop_assert!(decode(record.slice(..len)).is_err(), "cut to {} bytes", len);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn identity_comes_back_or_is_refused(value in identity()) {
            check(&value, encode_identity, decode_identity)?;
        }

        #[test]
        fn hard_state_comes_back_or_is_refused(value in hard_state()) {
            check(&value, encode_hard_state, decode_hard_state)?;
        }

        #[test]
        fn entry_comes_back_or_is_refused(value in entry()) {
            check(&value, encode_entry, decode_entry)?;
        }

        #[test]
        fn snapshot_comes_back_or_is_refused(value in snapshot()) {
            check(&value, encode_snapshot, decode_snapshot)?;
        }

        #[test]
        fn agent_comes_back_or_is_refused(value in agent()) {
            check(&value, encode_agent, decode_agent)?;
        }

        #[test]
        fn arbitrary_bytes_are_never_taken_for_a_record(record in bytes()) {
            prop_assert!(decode_entry(record.clone()).is_err());
            prop_assert!(decode_snapshot(record).is_err());
        }
    }

    #[test]
    fn a_record_of_another_kind_is_refused() {
        let record = encode_hard_state(&HardState { term: 3, vote: 1, commit: 9 });
        let refused = decode_identity(record).unwrap_err();
        assert!(matches!(refused, CodecError::Checksum { what: "identity", .. }), "{refused}");
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut record = encode_hard_state(&HardState::default()).to_vec();
        record[4] = STORED_VERSION + 1;
        let checksum = checksum(HARD_STATE, &record[4..]);
        record[..4].copy_from_slice(&checksum.to_le_bytes());
        let refused = decode_hard_state(record.into()).unwrap_err();
        assert_eq!(refused.to_string(), "hard state: its version is 3, versions up to 2 are known here");
    }

    #[test]
    fn a_kind_of_entry_from_the_future_is_refused() {
        let record = seal_record(ENTRY, &pb::LogEntry { index: 7, term: 2, kind: 3, data: Bytes::new() });
        let refused = decode_entry(record).unwrap_err();
        assert_eq!(refused.to_string(), "log entry: its kind is 3");
    }
}
