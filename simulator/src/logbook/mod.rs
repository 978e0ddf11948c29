//! The local history: one record for each sweep, in a redb file that all sweeps of a machine share.
//!
//! The file is opened for each look and each entry and closed again, so that several sweeps can keep theirs at the same time, and a sweep that
//! is killed leaves what it had entered last. A run depends on none of it.

mod build;
mod file;
mod record;
#[cfg(test)]
mod tests;

pub use build::Build;
pub use file::{LogError, Logbook};
pub use record::{Key, Record, State};
