//! Making finds small: the first one of each bug, through the same search as `blixard-sim shrink`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use blixard_sim::sabotage::Bug;
use blixard_sim::scenario::Scenario;
use blixard_sim::shrink::{Options, Shrunk, Size, shrink};
use blixard_sim::subject::{Blixard, Subject as _};
use blixard_sim::swarm;

use super::hunt::Searched;

/// What the first find of a bug was shrunk to.
#[derive(Clone, Debug)]
pub(super) struct Small {
    /// The seed it began with.
    pub(super) seed: u64,
    pub(super) size: Size,
    pub(super) runs: u64,
    /// The time ran out before the search was over.
    pub(super) cut_short: bool,
    /// Its file, read and run again, does not give the same violation and trace.
    pub(super) differs: bool,
}

/// Shrinks the first find of each bug, for at most `time_max_ms` each, on `jobs` threads; `told` hears of each. By bug.
pub(super) fn all(
    bugs: &[Bug],
    searched: &[Vec<Searched>],
    jobs: usize,
    time_max_ms: u64,
    told: &(dyn Fn(&Bug, &Result<Small, String>) + Sync),
) -> Vec<Option<Small>> {
    let results: Vec<Mutex<Option<Small>>> = bugs.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(bug) = bugs.get(number) else { return };
                    let Some(find) = searched[number].iter().find_map(|each| each.found.as_ref()) else {
                        continue;
                    };
                    let small = one(bug, find.seed, time_max_ms);
                    told(bug, &small);
                    if let (Ok(small), Ok(mut result)) = (small, results[number].lock()) {
                        *result = Some(small);
                    }
                }
            });
        }
    });
    let inner = |result: Mutex<_>| result.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.into_iter().map(inner).collect()
}

fn one(bug: &Bug, seed: u64, time_max_ms: u64) -> Result<Small, String> {
    let subject = Blixard(bug.sabotage);
    let options = Options { jobs: 1, time_max_ms: Some(time_max_ms) };
    let shrunk = shrink(&subject, &swarm::draw(seed), seed, options, &mut |_| {});
    let shrunk = shrunk.map_err(|refused| refused.to_string())?;
    let Shrunk { size, runs, cut_short, .. } = shrunk;
    Ok(Small { seed, size, runs, cut_short, differs: !is_as_recorded(subject, &shrunk) })
}

/// Whether the file that `shrink` would write gives the recorded run.
fn is_as_recorded(subject: Blixard, shrunk: &Shrunk) -> bool {
    let Ok(read) = Scenario::parse("a shrunk scenario", &shrunk.case.scenario.to_toml()) else {
        return false;
    };
    let again = subject.run(&read, read.seed.unwrap_or_default(), None);
    (again.outcome, again.trace_hash) == (shrunk.report.outcome, shrunk.report.trace_hash)
        && again.violation == shrunk.report.violation
}

/// As the table has it: strikes of faults, client operations, hosts.
pub(super) fn cell(size: Size) -> String {
    let Size { faults, operations, hosts, .. } = size;
    format!("{faults} / {operations} / {hosts}")
}
