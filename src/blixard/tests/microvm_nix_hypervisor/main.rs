//! The microvm-nix hypervisor with real builds of a real nix, offline: flakes without inputs whose runners are made by
//! `/bin/sh`, in a store of the tests' own. Skipped, with a line that says so, where nix is missing; what runs guests also
//! where QEMU or binutils is.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

#[expect(dead_code, reason = "a share of what all hypervisors' tests use")]
#[path = "../host/mod.rs"]
mod host;

mod builds;
mod failures;
mod modules;
mod runs;
mod store;
