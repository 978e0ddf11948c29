//! Makes a failing run small: fewer faults, operations and hosts, less time, plainer conditions, and still the same violation.
//!
//! A run's schedule is written out first ([`Scenario::explicit`]); every strike and every operation has a stream of the seed of its
//! own, so that what is left does what it did when something is taken out. [`Search`] proposes one simpler case after another and is
//! told which of them still fail: delta debugging (Zeller and Hildebrandt, 2002) over the lists, simpler values for the rest. A
//! change as small as one message less can make a race go the other way, so what fails with one seed is also tried with others.

mod drive;
mod edits;
mod leaps;
mod search;

use std::fmt;

use blixard_node::time::Time;

use crate::scenario::{Outcome, Scenario};
use crate::world::Report;

pub use drive::{Options, Progress, Refused, Shrunk, shrink};
pub use search::Search;

/// A scenario with the seed that it fails with.
#[derive(Clone, PartialEq, Eq)]
pub struct Case {
    /// With an explicit schedule, once it is shrunk.
    pub scenario: Scenario,
    /// The seed.
    pub seed: u64,
}

/// As the file that replays it.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}:\n{}", self.seed, self.scenario.to_toml())
    }
}

/// What has to stay as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    /// How the run ends.
    pub outcome: Outcome,
    /// What is violated.
    pub property: &'static str,
}

impl Goal {
    /// What a run has violated; none when everything held or nothing can be concluded.
    #[must_use]
    pub fn of(report: &Report) -> Option<Self> {
        let property = report.violation.as_ref()?.property;
        matches!(report.outcome, Outcome::Safety | Outcome::Liveness)
            .then_some(Self { outcome: report.outcome, property })
    }

    /// When `report` violates the same: then.
    #[must_use]
    pub fn met(self, report: &Report) -> Option<Time> {
        let violation = report.violation.as_ref()?;
        (report.outcome == self.outcome && violation.property == self.property).then_some(violation.at)
    }
}

/// How large a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Strikes of faults.
    pub faults: usize,
    /// Operations of clients.
    pub operations: usize,
    /// Hosts.
    pub hosts: u64,
    /// Warm-up and safety phase, in milliseconds.
    pub span_ms: u64,
    /// Keys that do not stand at their defaults.
    pub keys: usize,
}

impl Size {
    /// The size of a scenario whose schedule is explicit.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Self {
        Self {
            faults: scenario.faults.len(),
            operations: scenario.operations.len(),
            hosts: scenario.hosts(),
            span_ms: scenario.run.warmup.as_millis() + scenario.run.duration.as_millis(),
            keys: scenario.changed_keys(),
        }
    }
}

#[cfg(test)]
mod tests;
