//! A log in a file: JSON lines, the header first, then one line an entry, then how the run ended.
//!
//! The format has a name and a version. A reader takes that version alone, and nothing that is cut off or changed: the last line
//! carries the number of lines and their hash. Described in `docs/trace.md`.

mod read;
mod write;

pub use read::{ReadError, parse, read};
pub use write::Writer;

use super::Entry;

/// The format's name, in the header.
pub const FORMAT: &str = "blixard-trace";

/// The version that is written and read. It rises with every change after which an older reader would misread a file.
pub const VERSION: u64 = 2;

/// What a trace file says of its run before the first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What was run: `blixard`, or another subject.
    pub subject: String,
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// How many hosts there are, spares too.
    pub hosts: u64,
    /// The program that wrote it: version and profile.
    pub build: String,
    /// The command that gives the run again; may be empty.
    pub reproduce: String,
}

impl Header {
    /// Of a run of Blixard, by this build.
    #[must_use]
    pub fn new(scenario: &crate::scenario::Scenario, seed: u64, reproduce: String) -> Self {
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        Self {
            subject: "blixard".into(),
            scenario: scenario.name.clone(),
            seed,
            hosts: scenario.hosts(),
            build: format!("{} {profile}", env!("CARGO_PKG_VERSION")),
            reproduce,
        }
    }
}

/// How the run of a trace file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The outcome's word.
    pub outcome: String,
    /// What was violated, or not reached.
    pub violation: Option<Accusation>,
    /// Why nothing could be concluded.
    pub proof: Option<String>,
    /// The hash over all entries.
    pub hash: u64,
    /// How many entries there are.
    pub lines: u64,
}

/// A violation, as a file tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accusation {
    /// The property's stable name.
    pub property: String,
    /// What was seen, with the values.
    pub message: String,
    /// When, in true time: nanoseconds since the run began.
    pub at: u64,
    /// Whom and what it is about.
    pub subjects: crate::checkers::Subjects,
}

impl From<&crate::checkers::Violation> for Accusation {
    fn from(violation: &crate::checkers::Violation) -> Self {
        Self {
            property: violation.property.into(),
            message: violation.message.clone(),
            at: violation.at.0,
            subjects: violation.subjects.clone(),
        }
    }
}

impl End {
    /// What a report says of the end.
    #[must_use]
    pub fn of(report: &crate::world::Report) -> Self {
        Self {
            outcome: report.outcome.word().into(),
            violation: report.violation.as_ref().map(Accusation::from),
            proof: report.proof.clone(),
            hash: report.trace_hash,
            lines: report.trace_len,
        }
    }
}

/// A whole log with its header and its end: what is explained, drawn and compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Which run.
    pub header: Header,
    /// What happened.
    pub entries: Vec<Entry>,
    /// How it ended.
    pub end: End,
}

#[cfg(test)]
mod tests;
