//! Blixard's gRPC interface: the generated types and services, and the one place where they are converted to and from
//! the node's types.
//!
//! What is not in here: no connection, no server, no runtime. Under `--cfg madsim` the services are those of the
//! simulated tonic.

pub mod convert;
pub mod error;

/// The generated types and services of `blixard.v1`.
#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("blixard.v1");
}

/// The encoded descriptors of `blixard.proto`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/blixard.bin"));
