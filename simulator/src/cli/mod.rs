//! The commands of the binary, a file each.

pub(crate) mod diff;
pub(crate) mod explain;
mod failing;
mod files;
pub(crate) mod history;
mod kept;
mod listen;
mod overrides;
pub(crate) mod print;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod shrink;
mod signals;
mod subject;
pub(crate) mod sweep;
mod watching;
