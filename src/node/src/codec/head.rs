//! The head of a store: what must be found on the disk besides it.
//!
//! A record that fails its checksum is noticed; a record that is not there any more is noticed because the head
//! speaks of it.

use bytes::Bytes;

use super::CodecError;
use super::stored::{open_record, seal_record};

/// What a store holds, rewritten with each batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StoreHead {
    /// How many batches were written.
    pub sequence: u64,
    /// The first and the last index of the log, if it has entries.
    pub log: Option<(u64, u64)>,
    /// Of how many pieces the snapshot consists; 0 if there is none.
    pub snapshot_pieces: u64,
    /// Whether there is an identity.
    pub identity: bool,
    /// Whether there is a hard state.
    pub hard_state: bool,
    /// Whether there is an agent's record.
    pub agent: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Head {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(uint64, optional, tag = "2")]
    log_first: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    log_last: Option<u64>,
    #[prost(uint64, tag = "4")]
    snapshot_pieces: u64,
    #[prost(bool, tag = "5")]
    identity: bool,
    #[prost(bool, tag = "6")]
    hard_state: bool,
    #[prost(bool, tag = "7")]
    agent: bool,
}

const HEAD: &str = "store head";

/// Encodes a store's head.
#[must_use]
pub fn encode_head(head: &StoreHead) -> Bytes {
    seal_record(
        HEAD,
        &Head {
            sequence: head.sequence,
            log_first: head.log.map(|(first, _)| first),
            log_last: head.log.map(|(_, last)| last),
            snapshot_pieces: head.snapshot_pieces,
            identity: head.identity,
            hard_state: head.hard_state,
            agent: head.agent,
        },
    )
}

/// Decodes a store's head.
///
/// # Errors
/// When the bytes are no head.
pub fn decode_head(record: Bytes) -> Result<StoreHead, CodecError> {
    let read: Head = open_record(HEAD, record)?;
    let log = match (read.log_first, read.log_last) {
        (None, None) => None,
        (Some(first), Some(last)) if first <= last => Some((first, last)),
        (first, last) => {
            return Err(CodecError::malformed(HEAD, format!("its log runs from {first:?} to {last:?}")));
        }
    };
    Ok(StoreHead {
        sequence: read.sequence,
        log,
        snapshot_pieces: read.snapshot_pieces,
        identity: read.identity,
        hard_state: read.hard_state,
        agent: read.agent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back() {
        let full = StoreHead {
            sequence: 7,
            log: Some((3, 9)),
            snapshot_pieces: 2,
            identity: true,
            hard_state: true,
            agent: true,
        };
        for head in [StoreHead::default(), full] {
            assert_eq!(decode_head(encode_head(&head)), Ok(head));
        }
    }

    #[test]
    fn a_head_with_half_a_log_is_refused() {
        let record = seal_record(HEAD, &Head { log_first: Some(4), ..Head::default() });
        let refused = decode_head(record).unwrap_err();
        assert_eq!(refused.to_string(), "store head: its log runs from Some(4) to None");
    }

    #[test]
    fn a_log_runs_forward() {
        let one = StoreHead { log: Some((4, 4)), ..StoreHead::default() };
        assert_eq!(decode_head(encode_head(&one)), Ok(one));
        let refused = decode_head(encode_head(&StoreHead { log: Some((5, 4)), ..one })).unwrap_err();
        assert_eq!(refused.to_string(), "store head: its log runs from Some(5) to Some(4)");
    }
}
