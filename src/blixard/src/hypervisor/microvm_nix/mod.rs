//! The `microvm-nix` backend: VMs that microvm.nix builds.

mod spec;

pub use spec::{NixSpec, REFERENCE_LEN_MAX};
