//! What a sweep came to: finished runs are folded into counts, and of the failures the first ones are kept.

use std::collections::BTreeMap;

use crate::probes::Probe;
use serde::{Deserialize, Serialize};

use super::Finished;
use crate::output;
use crate::scenario::Outcome;

/// How many failures are kept; the rest is counted. What is kept are those that come first in the sweep's order.
pub const FAILURES_KEPT: usize = 100;

/// How a run ended that should have ended otherwise. The first that a sweep has decides its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// The same seed gave two runs.
    Nondeterminism,
    /// A safety property was violated, or something panicked.
    Safety,
    /// The healed core did not recover.
    Liveness,
    /// It had not ended after [`super::Sweep::hang_ms`].
    Hung,
    /// The faults exceeded what the design can survive.
    Inconclusive,
    /// It held, although the scenario expects otherwise.
    Held,
}

impl Ending {
    /// How the run ended.
    #[must_use]
    pub fn of(run: &Finished) -> Self {
        match run.report.outcome {
            _ if run.diverged => Self::Nondeterminism,
            _ if run.hung => Self::Hung,
            Outcome::Safety => Self::Safety,
            Outcome::Liveness => Self::Liveness,
            Outcome::Inconclusive => Self::Inconclusive,
            Outcome::Held => Self::Held,
        }
    }

    /// Its name, in JSON too.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Nondeterminism => "nondeterminism",
            Self::Safety => "safety",
            Self::Liveness => "liveness",
            Self::Hung => "hung",
            Self::Inconclusive => "inconclusive",
            Self::Held => "held",
        }
    }
}

/// One run that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The run's number in its sweep.
    pub number: u64,
    /// The scenario's place in [`super::Sweep::scenarios`].
    pub place: usize,
    /// The scenario, as it is reproduced.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// How it ended.
    pub ending: Ending,
    /// The property violated, or what the core did not reach.
    pub property: Option<String>,
    /// What happened, in a line.
    pub message: String,
    /// The command that gives the run again.
    pub reproduce: String,
}

impl Failure {
    fn of(run: &Finished, scenario: &str) -> Self {
        let ending = Ending::of(run);
        let message = match ending {
            Ending::Nondeterminism => "two runs of one seed".to_owned(),
            Ending::Hung => format!("HUNG: {}", run.report.proof.as_deref().unwrap_or_default()),
            _ => output::verdict(&run.report),
        };
        Self {
            number: run.number,
            place: run.scenario,
            scenario: scenario.to_owned(),
            seed: run.report.seed,
            ending,
            property: run.report.violation.as_ref().map(|violation| violation.property.to_string()),
            message,
            reproduce: output::reproduce(scenario, run.report.seed, &[]),
        }
    }
}

/// What the runs of one scenario came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Runs ended.
    pub runs: u64,
    /// Runs that failed.
    pub failures: u64,
    /// True time simulated, in milliseconds.
    pub virtual_ms: u64,
    /// What the simulator took for them, in microseconds, summed over threads.
    pub busy_us: u64,
}

/// What a sweep came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// Runs ended.
    pub runs: u64,
    /// Runs that did not come to what was expected.
    pub failures: u64,
    /// The first [`FAILURES_KEPT`] of them, in the sweep's order.
    #[serde(skip)]
    pub failed: Vec<Failure>,
    /// All of them, by how they ended.
    pub endings: BTreeMap<Ending, u64>,
    /// Runs whose faults were proved to exceed what the design can survive.
    pub inconclusive: u64,
    /// True time simulated, in milliseconds.
    pub virtual_ms: u64,
    /// What the sweep took, in microseconds: from its beginning to its end, not summed over threads.
    pub wall_us: u64,
    /// Events.
    pub events: u64,
    /// Elections.
    pub elections: u64,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// Of these, those that were aimed, by the moment.
    #[serde(default)]
    pub aimed: BTreeMap<String, u64>,
    /// What was legal and rare, by site.
    #[serde(default)]
    pub buggify: BTreeMap<String, u64>,
    /// How many runs hit each probe.
    #[serde(with = "by_name")]
    pub probes: BTreeMap<Probe, u64>,
    /// The scenarios, by their places.
    pub shares: Vec<Share>,
}

impl Swept {
    /// Folds one run in. What it was, if it failed.
    pub(super) fn take(&mut self, run: &Finished, scenario: &str) -> Option<Failure> {
        let counts = &run.report.counts;
        self.runs += 1;
        self.inconclusive += u64::from(run.report.outcome == Outcome::Inconclusive && !run.hung);
        self.virtual_ms += run.report.virtual_ms;
        self.events += counts.events;
        self.elections += counts.elections;
        add(&mut self.faults, &counts.faults);
        add(&mut self.aimed, &counts.aimed);
        add(&mut self.buggify, &counts.buggify);
        for probe in counts.probes.iter() {
            *self.probes.entry(probe).or_default() += 1;
        }
        if self.shares.len() <= run.scenario {
            self.shares.resize(run.scenario + 1, Share::default());
        }
        let share = &mut self.shares[run.scenario];
        share.runs += 1;
        share.failures += u64::from(run.failed);
        share.virtual_ms += run.report.virtual_ms;
        share.busy_us += run.wall_us;
        run.failed.then(|| self.keep(Failure::of(run, scenario)))
    }

    fn keep(&mut self, failure: Failure) -> Failure {
        self.failures += 1;
        *self.endings.entry(failure.ending).or_default() += 1;
        let place = self.failed.partition_point(|kept| kept.number < failure.number);
        if place < FAILURES_KEPT {
            self.failed.insert(place, failure.clone());
            self.failed.truncate(FAILURES_KEPT);
        }
        failure
    }

    /// Probes that no run has hit.
    #[must_use]
    pub fn never_hit(&self) -> Vec<Probe> {
        Probe::ALL.iter().copied().filter(|probe| !self.probes.contains_key(probe)).collect()
    }
}

fn add(sums: &mut BTreeMap<String, u64>, counts: &BTreeMap<&'static str, u64>) {
    for (name, count) in counts {
        match sums.get_mut(*name) {
            Some(sum) => *sum += count,
            None => drop(sums.insert((*name).to_owned(), *count)),
        }
    }
}

/// Probes by their stable names. A name that this build does not know is left out.
mod by_name {
    use std::collections::BTreeMap;

    use crate::probes::Probe;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        probes: &BTreeMap<Probe, u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(probes.iter().map(|(probe, count)| (probe.name(), count)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Probe, u64>, D::Error> {
        let named = BTreeMap::<String, u64>::deserialize(deserializer)?;
        let known = Probe::ALL.iter().filter_map(|probe| Some((*probe, *named.get(probe.name())?)));
        Ok(known.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failures_are_kept_in_whatever_order_they_come() {
        let failure = |number| Failure {
            number,
            place: 0,
            scenario: String::new(),
            seed: number,
            ending: Ending::Safety,
            property: None,
            message: String::new(),
            reproduce: String::new(),
        };
        let mut swept = Swept::default();
        let many = 3 * FAILURES_KEPT as u64;
        for number in (0..many).rev() {
            assert_eq!(swept.keep(failure(number)), failure(number));
            assert!(swept.failed.len() <= FAILURES_KEPT, "{} are kept", swept.failed.len());
        }
        assert_eq!(swept.failures, many);
        assert!(swept.failed.iter().map(|failure| failure.number).eq(0..FAILURES_KEPT as u64));
    }
}
