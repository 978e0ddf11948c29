//! The commands of the binary, a file each.

pub(crate) mod diff;
mod files;
pub(crate) mod history;
mod kept;
mod overrides;
pub(crate) mod run;
mod signals;
pub(crate) mod sweep;
mod watching;
