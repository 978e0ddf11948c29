//! A property that did not hold.

use std::fmt;

use blixard_node::time::Time;

/// The first violation of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property's stable name.
    pub property: &'static str,
    /// What was seen, with the values.
    pub message: String,
    /// When, at true time.
    pub at: Time,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}: {}", self.property, self.at, self.message)
    }
}

/// What a single checker says; the time is added by its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) property: &'static str,
    pub(crate) message: String,
}

impl Breach {
    pub(crate) fn new(property: &'static str, message: String) -> Self {
        Self { property, message }
    }
}
