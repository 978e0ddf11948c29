//! Many seeds of many scenarios, side by side on several cores. Each seed's world lives on one thread.
//!
//! What is not in here: nothing is printed and nothing written. An [`Observer`] hears of each run as it ends and of the whole
//! about once a second; memory is bounded, however many runs there are.

mod plan;
mod seeds;
mod tally;
#[cfg(test)]
mod tests;
mod under_way;

use std::borrow::Cow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

pub use plan::{Done, Shard};
pub use seeds::Seeds;
pub use tally::{Ending, FAILURES_KEPT, Failure, Share, Swept};
pub use under_way::{Slow, UnderWay};

use crate::hang::{self, GiveUp};
use crate::output::Stopwatch;
use crate::panics::{self, Caught};
use crate::scenario::{Outcome, Scenario};
use crate::subject::Subject;
use crate::world::Report;
use crate::{determinism, swarm};

/// How often an [`Observer`] hears of the whole, in milliseconds.
const BEAT_MS: u64 = 1_000;

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
    /// The scenario of a seed.
    #[must_use]
    pub fn scenario(&self, seed: u64) -> Cow<'_, Scenario> {
        match self {
            Self::Fixed(scenario) => Cow::Borrowed(scenario),
            Self::Drawn => Cow::Owned(swarm::draw(seed)),
        }
    }

    fn expects(&self, outcome: Outcome) -> bool {
        match self {
            Self::Fixed(scenario) => {
                let beyond = !scenario.swarm.is_empty() && outcome == Outcome::Inconclusive;
                outcome == scenario.expect.outcome || beyond
            }
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
    pub seeds: Seeds,
    /// The share of all that which is run here.
    pub shard: Shard,
    /// Threads.
    pub jobs: usize,
    /// No further seed is begun after this long, in milliseconds.
    pub time_max_ms: Option<u64>,
    /// No further seed is begun after so many failures.
    pub failures_max: Option<u64>,
    /// A run that has taken so long, in milliseconds, is given up.
    pub hang_ms: Option<u64>,
    /// Run each seed twice and compare.
    pub twice: bool,
}

impl Default for Sweep {
    /// Nothing to run, on all cores, without bounds.
    fn default() -> Self {
        Self {
            scenarios: Vec::new(),
            seeds: Seeds::default(),
            shard: Shard::WHOLE,
            jobs: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            time_max_ms: None,
            failures_max: None,
            hang_ms: None,
            twice: false,
        }
    }
}

/// One run of a sweep.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its number in the sweep.
    pub number: u64,
    /// The scenario, by its place in [`Sweep::scenarios`].
    pub scenario: usize,
    /// What it came to.
    pub report: Report,
    /// The same seed gave two runs.
    pub diverged: bool,
    /// It was given up because it took too long.
    pub hung: bool,
    /// It did not come to what the scenario expects.
    pub failed: bool,
    /// What it took the simulator, in microseconds.
    pub wall_us: u64,
}

/// How far a sweep is: enough to go on from.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// Which runs have ended.
    pub done: Done,
    /// What they came to.
    pub swept: Swept,
}

/// Who hears of a sweep while it goes.
pub trait Observer: Sync {
    /// A run ended, and is counted in `swept`. No two calls at a time.
    fn finished(&self, run: &Finished, failure: Option<&Failure>, swept: &Swept);

    /// About once a second: how far the sweep is, and what is under way.
    fn beat(&self, _at: &Checkpoint, _under_way: &[UnderWay]) {}

    /// No further seed is to be begun.
    fn stop(&self) -> bool {
        false
    }
}

/// An observer that hears of finished runs alone.
struct Each<'p>(&'p (dyn Fn(&Finished) + Sync));

impl Observer for Each<'_> {
    fn finished(&self, run: &Finished, _failure: Option<&Failure>, _swept: &Swept) {
        (self.0)(run);
    }
}

/// What the threads share: what to run next, and what came of the runs so far. No run sees it.
struct Shared<I> {
    next: I,
    at: Checkpoint,
    slots: Vec<under_way::Slot>,
    /// Threads that have not ended.
    threads: usize,
}

/// When no further seed is begun.
struct Bounds<'w> {
    /// Since this call began.
    watch: &'w Stopwatch,
    /// Failures in all, those before this call among them.
    failures_max: Option<u64>,
}

/// Tells that a thread has ended, also when its observer has panicked.
struct Leaves<'s, I> {
    shared: &'s Mutex<Shared<I>>,
    ended: &'s Condvar,
}

impl<I> Drop for Leaves<'_, I> {
    fn drop(&mut self) {
        lock(self.shared).threads -= 1;
        self.ended.notify_one();
    }
}

impl Sweep {
    /// How many runs there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        plan::len(&self.seeds, self.scenarios.len(), self.shard)
    }

    /// Whether there is nothing to run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs all of it on `subject`; `progress` hears of each run as it ends.
    pub fn run(&self, subject: &dyn Subject, progress: &(dyn Fn(&Finished) + Sync)) -> Swept {
        self.run_from(Checkpoint::default(), subject, &Each(progress)).swept
    }

    /// Runs what is not yet done at `from`.
    pub fn run_from(&self, from: Checkpoint, subject: &dyn Subject, observer: &dyn Observer) -> Checkpoint {
        let watch = Stopwatch::start();
        let wall_us_before = from.swept.wall_us;
        // The bounds are those of this call: whoever goes on with a sweep that has stopped at one wants more of it.
        let failures_max = self.failures_max.map(|max| from.swept.failures.saturating_add(max));
        let bounds = Bounds { watch: &watch, failures_max };
        let jobs = self.jobs.max(1);
        let done = from.done.clone();
        let next = plan::runs(&self.seeds, self.scenarios.len(), self.shard)
            .filter(move |run| !done.has(run.number));
        let shared = Mutex::new(Shared { next, at: from, slots: vec![None; jobs], threads: jobs });
        let ended = Condvar::new();
        let elapsed_us = || wall_us_before + watch.elapsed_us();
        std::thread::scope(|scope| {
            for thread in 0..jobs {
                let (shared, ended, bounds) = (&shared, &ended, &bounds);
                scope.spawn(move || {
                    let _leaves = Leaves { shared, ended };
                    self.work(thread, shared, bounds, subject, observer);
                });
            }
            let mut guard = lock(&shared);
            let mut last_beat = Stopwatch::start();
            let wait =
                std::time::Duration::from_millis(self.hang_ms.map_or(BEAT_MS, |max| max.clamp(1, BEAT_MS)));
            while guard.threads > 0 {
                guard = ended.wait_timeout(guard, wait).unwrap_or_else(PoisonError::into_inner).0;
                if let Some(max) = self.hang_ms {
                    under_way::give_up(&guard.slots, max);
                }
                if guard.threads > 0 && last_beat.elapsed_ms() < BEAT_MS {
                    continue;
                }
                last_beat = Stopwatch::start();
                guard.at.swept.wall_us = elapsed_us();
                let (at, under_way) = (guard.at.clone(), under_way::list(&guard.slots));
                drop(guard);
                observer.beat(&at, &under_way);
                guard = lock(&shared);
            }
        });
        let mut at = shared.into_inner().unwrap_or_else(PoisonError::into_inner).at;
        at.swept.wall_us = elapsed_us();
        at
    }

    /// One thread: it takes runs until there is none, or none is to be begun.
    fn work<I: Iterator<Item = plan::Planned>>(
        &self,
        thread: usize,
        shared: &Mutex<Shared<I>>,
        bounds: &Bounds<'_>,
        subject: &dyn Subject,
        observer: &dyn Observer,
    ) {
        loop {
            let give_up = GiveUp::default();
            let planned = {
                let mut shared = lock(shared);
                let late = self.time_max_ms.is_some_and(|max| bounds.watch.elapsed_ms() >= max);
                let failed = bounds.failures_max.is_some_and(|max| shared.at.swept.failures >= max);
                if late || failed || observer.stop() {
                    return;
                }
                let Some(planned) = shared.next.next() else { return };
                shared.slots[thread] = Some((planned, Stopwatch::start(), give_up.clone()));
                planned
            };
            let finished = self.run_one(subject, planned, &give_up);
            let mut shared = lock(shared);
            shared.slots[thread] = None;
            shared.at.done.add(planned.number);
            let failure = shared.at.swept.take(&finished, &self.scenarios[planned.place].0);
            observer.finished(&finished, failure.as_ref(), &shared.at.swept);
        }
    }

    /// Runs one seed. A panic is its outcome, wherever it comes from: the other runs go on. So is that it was given up.
    fn run_one(&self, subject: &dyn Subject, planned: plan::Planned, give_up: &GiveUp) -> Finished {
        let plan::Planned { number, place, seed } = planned;
        let source = &self.scenarios[place].1;
        let watch = Stopwatch::start();
        let run = || {
            let scenario = source.scenario(seed);
            if self.twice {
                let (report, divergence) = determinism::check(subject, &scenario, seed);
                (report, divergence.is_some())
            } else {
                (subject.run(&scenario, seed, None), false)
            }
        };
        let ran = hang::watched(give_up, || panics::caught(run));
        let wall_us = watch.elapsed_us();
        let name = &self.scenarios[place].0;
        let hung = ran.is_err();
        let panicked = matches!(ran, Ok(Err(_)));
        let (report, diverged) = match ran {
            Ok(Ok(ran)) => ran,
            Ok(Err(panic)) => (of_panic(name, seed, &panic), false),
            Err(given_up) => (Report::of_hang(name, seed, wall_us / 1_000, given_up), false),
        };
        // What panics outside of a node, or has no end, proves nothing, also where a violation is expected.
        let failed = panicked || hung || diverged || !source.expects(report.outcome);
        Finished { number, scenario: place, report, diverged, hung, failed, wall_us }
    }
}

/// The report of a run that panicked outside of the node: in the world, in a checker, or in another subject than the shipped node.
fn of_panic(scenario: &str, seed: u64, panic: &Caught) -> Report {
    Report::of_panic(scenario, seed, format!("the simulator panicked at {}: {}", panic.place, panic.message))
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
