//! How things are encoded, on the disk and on the wire. The one module that knows.
//!
//! The layouts are protobuf messages written out as private prost structs, so that versions which know different
//! fields can read each other. What the rest of the node handles are its own types; each file here converts both ways.
//! That holds for what raft-rs defines too: bytes from a peer or a disk never reach the protobuf library it is built on.
//!
//! Decoding is total: any bytes give a value or a [`CodecError`]. Field numbers are never reused. A number of an enum
//! that this version does not know is an error: acting on half a command would let replicas of different versions
//! disagree.

mod command;
mod head;
mod message;
mod raft;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod spec;
mod state;
mod stored;
pub(crate) mod wire;

pub use command::{COMMAND_LEN_MAX, decode_command, encode_command};
pub use head::{StoreHead, decode_head, encode_head};
pub use message::{MESSAGE_LEN_MAX, decode_message, encode_message};
pub use raft::{CONF_CHANGE_LEN_MAX, decode_conf_change, encode_conf_change};
pub use state::{STATE_LEN_MAX, decode_state, encode_state};
pub use stored::{
    STORED_VERSION, decode_agent, decode_entry, decode_hard_state, decode_identity, decode_snapshot,
    encode_agent, encode_entry, encode_hard_state, encode_identity, encode_snapshot,
};

/// Why bytes were not understood. Nothing is ever half decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Too short to be what it should be.
    #[error("{what}: {len} bytes are too few")]
    Truncated {
        /// What was expected.
        what: &'static str,
        /// How many bytes there were.
        len: usize,
    },
    /// The bytes are not those that were written.
    #[error("{what}: the checksum over its bytes is {computed:08x}, but {written:08x} was written with it")]
    Checksum {
        /// What was expected.
        what: &'static str,
        /// What came with the bytes.
        written: u32,
        /// What they add up to.
        computed: u32,
    },
    /// Written by a newer Blixard.
    #[error("{what}: its version is {found}, versions up to {known} are known here")]
    NewerVersion {
        /// What was expected.
        what: &'static str,
        /// Its version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// More bytes than a valid encoding ever has.
    #[error("{what}: {len} bytes are too many, at most {max} are read")]
    TooLong {
        /// What was expected.
        what: &'static str,
        /// How many bytes there were.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// A part that is always there is not.
    #[error("{what} is missing")]
    Missing {
        /// The part.
        what: &'static str,
    },
    /// A number of an enum that this version does not know; a newer version may have written it.
    #[error("{what} {number} is not known to this version")]
    UnknownKind {
        /// The enum.
        what: &'static str,
        /// The number.
        number: u64,
    },
    /// A field is missing, or has a value that it cannot have.
    #[error("{what}: {reason}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// Which field, and how.
        reason: String,
    },
}

impl CodecError {
    /// A field of `what` that is missing or has a value it cannot have.
    #[must_use]
    pub fn malformed(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed { what, reason: reason.into() }
    }
}
