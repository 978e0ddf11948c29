//! Runs what a search proposes, on several threads, within a time.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{Case, Goal, Search, Size};
use crate::output::Stopwatch;
use crate::scenario::{Expect, Scenario};
use crate::subject::Subject;
use crate::world::Report;

/// How to shrink.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads.
    pub jobs: usize,
    /// The search ends after this long, in milliseconds, with what it has.
    pub time_max_ms: Option<u64>,
}

/// Where a search stands.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Runs so far.
    pub runs: u64,
    /// What it began with.
    pub before: Size,
    /// What it has.
    pub now: Size,
    /// The smallest case so far, when it has just been found.
    pub better: Option<&'a Shrunk>,
}

/// The smallest case that was found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The case, with what is expected of it.
    pub case: Case,
    /// What its run came to.
    pub report: Report,
    /// The size it began with.
    pub before: Size,
    /// Its size.
    pub size: Size,
    /// How many runs it took.
    pub runs: u64,
    /// The time ran out; a longer search might find a smaller one.
    pub cut_short: bool,
}

/// Why there is nothing to shrink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The run violates nothing.
    #[error("seed {seed} violates nothing: the run was {outcome}; shrink a seed that fails")]
    Holds {
        /// The seed.
        seed: u64,
        /// How it ended.
        outcome: crate::scenario::Outcome,
    },
    /// The schedule, written out, gives another run: the subject draws from something that is not in it.
    #[error(
        "seed {seed} does not violate {property} any more when its schedule is written out: this is a bug of the simulator"
    )]
    Differs {
        /// The seed.
        seed: u64,
        /// What it violated.
        property: &'static str,
    },
}

/// Shrinks the failing run of `scenario` with `seed`. `told` hears of progress, and of each better case as it is found.
///
/// # Errors
/// The run violates nothing, or not the same when its schedule is written out.
pub fn shrink(
    subject: &dyn Subject,
    scenario: &Scenario,
    seed: u64,
    options: Options,
    told: &mut dyn FnMut(&Progress<'_>),
) -> Result<Shrunk, Refused> {
    let watch = Stopwatch::start();
    let drawn = subject.run(scenario, seed, None);
    let Some(goal) = Goal::of(&drawn) else {
        return Err(Refused::Holds { seed, outcome: drawn.outcome });
    };
    let first = Case { scenario: scenario.explicit(seed, &drawn.schedule), seed };
    let report = subject.run(&first.scenario, seed, None);
    let Some(fails_at) = goal.met(&report) else {
        return Err(Refused::Differs { seed, property: goal.property });
    };
    let before = Size::of(&first.scenario);
    let origin = (scenario.name.clone(), seed);
    let mut best = Shrunk { report, before, size: before, runs: 2, cut_short: false, case: first.clone() };
    best.finish(&origin);
    let mut search = Search::new(first, goal, fails_at);
    let mut tried = BTreeSet::new();
    let mut runs = 2;
    loop {
        if options.time_max_ms.is_some_and(|max| watch.elapsed_ms() >= max) {
            best.cut_short = true;
            break;
        }
        let batch = ahead(&search, options.jobs.max(1), &tried);
        if batch.is_empty() {
            break;
        }
        runs += batch.iter().filter(|each| each.fresh).count() as u64;
        let reports = run_all(subject, &batch);
        let found = reports
            .iter()
            .position(|report| report.as_ref().is_some_and(|report| goal.met(report).is_some()));
        let told_of = found.map_or(batch.len(), |found| found + 1);
        tried.extend(batch[..told_of].iter().map(|each| each.digest));
        for (place, each) in batch[..told_of].iter().enumerate() {
            // The search goes the way that was looked ahead; what is skipped was proposed as well.
            let proposed = search.propose();
            debug_assert_eq!(proposed.as_ref(), Some(&each.case));
            if found != Some(place) {
                search.reject();
            }
        }
        if let Some(found) = found
            && let Some(report) = reports.into_iter().nth(found).flatten()
            && let Some(fails_at) = goal.met(&report)
        {
            let case = batch[found].case.clone();
            search.accept(case.clone(), fails_at);
            best = Shrunk { size: Size::of(&case.scenario), case, report, runs, ..best };
            best.finish(&origin);
            told(&Progress { runs, before, now: best.size, better: Some(&best) });
        } else {
            told(&Progress { runs, before, now: best.size, better: None });
        }
    }
    best.runs = runs;
    Ok(best)
}

impl Shrunk {
    /// Names the case, and writes down what is expected of it.
    fn finish(&mut self, (name, seed): &(String, u64)) {
        let scenario = &mut self.case.scenario;
        scenario.name = format!("repro-{name}-{seed}");
        if let Some(violation) = &self.report.violation {
            scenario.description = format!("Shrunk from {name} with seed {seed}: {violation}");
            scenario.expect = Expect {
                outcome: self.report.outcome,
                property: violation.property.into(),
                trace: format!("{:016x}", self.report.trace_hash),
            };
        }
    }
}

#[derive(Debug)]
struct Candidate {
    case: Case,
    digest: u64,
    /// It was not run before.
    fresh: bool,
}

/// What the search proposes as long as nothing better is found: enough to keep `jobs` threads busy.
fn ahead(search: &Search, jobs: usize, tried: &BTreeSet<u64>) -> Vec<Candidate> {
    const SKIPPED_MAX: usize = 256;
    let mut ahead = search.clone();
    let mut batch: Vec<Candidate> = Vec::new();
    let mut fresh = 0;
    while fresh < jobs
        && batch.len() < SKIPPED_MAX
        && let Some(case) = ahead.propose()
    {
        let digest = digest(&case);
        let new = !tried.contains(&digest);
        fresh += usize::from(new);
        batch.push(Candidate { case, digest, fresh: new });
        ahead.reject();
    }
    batch
}

/// Only to know a case again within this search.
fn digest(case: &Case) -> u64 {
    let mut hasher = DefaultHasher::new();
    case.scenario.to_toml().hash(&mut hasher);
    case.seed.hash(&mut hasher);
    hasher.finish()
}

fn run_all(subject: &dyn Subject, batch: &[Candidate]) -> Vec<Option<Report>> {
    std::thread::scope(|scope| {
        let run = |each: &Candidate| subject.run(&each.case.scenario, each.case.seed, None);
        let threads: Vec<_> =
            batch.iter().map(|each| each.fresh.then(|| scope.spawn(move || run(each)))).collect();
        threads.into_iter().map(|thread| thread.and_then(|thread| thread.join().ok())).collect()
    })
}
