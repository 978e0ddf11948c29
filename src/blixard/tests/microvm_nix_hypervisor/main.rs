//! The microvm-nix hypervisor with real builds of a real nix, offline: flakes without inputs whose runners are made by
//! `/bin/sh`, in a store of the tests' own. Skipped, with a line that says so, where nix is missing; what runs guests also
//! where QEMU or binutils is.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod builds;
mod failures;
mod modules;
mod runs;
mod store;
