//! Many seeds of many scenarios, side by side on several cores. Each seed's world lives on one thread.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use blixard_node::probes::Probe;

use std::borrow::Cow;

use crate::output::Stopwatch;
use crate::scenario::{Outcome, Scenario};
use crate::subject::Subject;
use crate::world::Report;
use crate::{determinism, swarm};

/// Where the scenarios of a sweep's seeds come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The same for every seed.
    Fixed(Box<Scenario>),
    /// Drawn from each seed. What such a run proves to be beyond the design counts as no failure: nobody wrote it down as one that
    /// must be survived.
    Drawn,
}

impl Source {
    fn scenario(&self, seed: u64) -> Cow<'_, Scenario> {
        match self {
            Self::Fixed(scenario) => Cow::Borrowed(scenario),
            Self::Drawn => Cow::Owned(swarm::draw(seed)),
        }
    }

    fn expects(&self, outcome: Outcome) -> bool {
        match self {
            Self::Fixed(scenario) => outcome == scenario.expect.outcome,
            Self::Drawn => matches!(outcome, Outcome::Held | Outcome::Inconclusive),
        }
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Each scenario with the name it is reproduced by.
    pub scenarios: Vec<(String, Source)>,
    /// The seeds of each.
    pub seeds: Range<u64>,
    /// Threads.
    pub jobs: usize,
    /// No further seed is begun after this long, in milliseconds.
    pub time_max_ms: Option<u64>,
    /// Run each seed twice and compare.
    pub twice: bool,
}

/// One run of a sweep.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The scenario, by its place in [`Sweep::scenarios`].
    pub scenario: usize,
    /// What it came to.
    pub report: Report,
    /// The same seed gave two runs.
    pub diverged: bool,
    /// It did not come to what the scenario expects.
    pub failed: bool,
}

/// What a sweep came to.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// Runs ended.
    pub runs: u64,
    /// Runs that did not come to what was expected, in the order of scenario and seed.
    pub failed: Vec<Finished>,
    /// Runs whose faults were proved to exceed what the design can survive.
    pub inconclusive: u64,
    /// True time simulated, in milliseconds.
    pub virtual_ms: u64,
    /// Events.
    pub events: u64,
    /// Elections.
    pub elections: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// How many runs hit each probe.
    pub probes: BTreeMap<Probe, u64>,
}

impl Sweep {
    /// How many runs there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.scenarios.len() as u64 * (self.seeds.end - self.seeds.start)
    }

    /// Whether there is nothing to run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs all of it on `subject`; `progress` hears of each run as it ends.
    pub fn run(&self, subject: &dyn Subject, progress: &(dyn Fn(&Finished) + Sync)) -> Swept {
        let watch = Stopwatch::start();
        let next = AtomicU64::new(0);
        let swept = Mutex::new(Swept::default());
        // Threads share nothing but the counter of what to run next: no run sees another.
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let late = self.time_max_ms.is_some_and(|max| watch.elapsed_ms() >= max);
                        if number >= self.len() || late {
                            return;
                        }
                        let finished = self.run_one(subject, number);
                        progress(&finished);
                        if let Ok(mut swept) = swept.lock() {
                            swept.take(finished);
                        }
                    }
                });
            }
        });
        let mut swept = swept.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        swept.failed.sort_by_key(|finished| (finished.scenario, finished.report.seed));
        swept
    }

    /// All scenarios of one seed come before the next seed, so that a sweep cut short has seen them all.
    fn run_one(&self, subject: &dyn Subject, number: u64) -> Finished {
        let place = (number % self.scenarios.len() as u64) as usize;
        let seed = self.seeds.start + number / self.scenarios.len() as u64;
        let source = &self.scenarios[place].1;
        let scenario = source.scenario(seed);
        let (report, diverged) = if self.twice {
            let (report, divergence) = determinism::check(subject, &scenario, seed);
            (report, divergence.is_some())
        } else {
            (subject.run(&scenario, seed, None), false)
        };
        let failed = diverged || !source.expects(report.outcome);
        Finished { scenario: place, report, diverged, failed }
    }
}

impl Swept {
    fn take(&mut self, finished: Finished) {
        let counts = &finished.report.counts;
        self.runs += 1;
        self.inconclusive += u64::from(finished.report.outcome == Outcome::Inconclusive);
        self.virtual_ms += finished.report.virtual_ms;
        self.events += counts.events;
        self.elections += counts.elections;
        for (kind, count) in &counts.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for probe in counts.probes.iter() {
            *self.probes.entry(probe).or_default() += 1;
        }
        if finished.failed {
            self.failed.push(finished);
        }
    }
}
