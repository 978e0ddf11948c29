//! The commands of the binary, a file each.

pub(crate) mod diff;
mod files;
mod overrides;
pub(crate) mod run;
pub(crate) mod sweep;
