//! How things are encoded, on the disk and on the wire. The one module that knows.
//!
//! The layouts are protobuf messages written out as private prost structs, so that versions which know different
//! fields can read each other. What the rest of the node handles are its own types; each file here converts both ways.

mod stored;

pub use stored::{
    STORED_VERSION, decode_agent, decode_entry, decode_hard_state, decode_identity, decode_snapshot,
    encode_agent, encode_entry, encode_hard_state, encode_identity, encode_snapshot, open_record,
    seal_record,
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
