//! The commands of the binary, a file each.

mod files;
mod overrides;
pub(crate) mod run;
pub(crate) mod sweep;
