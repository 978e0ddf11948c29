//! Seeking bugs: for each, several ranges of the swarm's seeds, each until the first seed that shows it.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use blixard_sim::sabotage::Bug;
use blixard_sim::scenario::Outcome;
use blixard_sim::subject::{Blixard, Subject as _};
use blixard_sim::swarm;
use rustix::time::{ClockId, clock_gettime};

/// The ranges of seeds begin so far apart.
pub(super) const APART: u64 = 100_000;

/// How to seek.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// The first seed of the first range.
    pub(super) from: u64,
    /// How many ranges.
    pub(super) ranges: u64,
    /// The most seeds tried in a range.
    pub(super) seeds: u64,
    /// Threads.
    pub(super) jobs: usize,
    /// The CPU time that all ranges of one bug may take, in nanoseconds.
    pub(super) bug_cpu_max: u64,
}

/// What one range of seeds came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Searched {
    /// Seeds run with the bug.
    pub(super) seeds: u64,
    /// CPU time of those runs, in nanoseconds.
    pub(super) cpu: u64,
    /// The seed that shows the bug.
    pub(super) found: Option<Find>,
    /// Seeds that broke another property than those expected.
    pub(super) others: Vec<Find>,
    /// Seeds that also fail without the bug: failures of the shipped node.
    pub(super) unsound: Vec<u64>,
}

/// A seed and what it broke.
#[derive(Clone, Debug)]
pub(super) struct Find {
    pub(super) seed: u64,
    pub(super) property: &'static str,
    pub(super) message: String,
}

impl Plan {
    fn range(&self, number: u64) -> Range<u64> {
        let first = self.from + number * APART;
        first..first + self.seeds
    }

    /// Seeks every bug in every range; `progress` hears of each range that is through. By bug, then by range.
    pub(super) fn run(
        &self,
        bugs: &[Bug],
        progress: &(dyn Fn(&Bug, &Searched) + Sync),
    ) -> Vec<Vec<Searched>> {
        let units: Vec<(u64, usize)> =
            (0..self.ranges).flat_map(|range| (0..bugs.len()).map(move |bug| (range, bug))).collect();
        let spent: Vec<AtomicU64> = bugs.iter().map(|_| AtomicU64::new(0)).collect();
        let results: Vec<Mutex<Vec<(u64, Searched)>>> = bugs.iter().map(|_| Mutex::default()).collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while let Some((range, bug)) = units.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                        let searched = self.search(&bugs[bug], self.range(range), &spent[bug]);
                        progress(&bugs[bug], &searched);
                        if let Ok(mut results) = results[bug].lock() {
                            results.push((range, searched));
                        }
                    }
                });
            }
        });
        let in_order = |results: Mutex<Vec<(u64, Searched)>>| {
            let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            results.sort_by_key(|(range, _)| *range);
            results.into_iter().map(|(_, searched)| searched).collect()
        };
        results.into_iter().map(in_order).collect()
    }

    fn search(&self, bug: &Bug, seeds: Range<u64>, spent: &AtomicU64) -> Searched {
        let mut searched = Searched::default();
        for seed in seeds {
            if spent.load(Ordering::Relaxed) >= self.bug_cpu_max {
                break;
            }
            let scenario = swarm::draw(seed);
            let began = thread_cpu();
            let report = Blixard(bug.sabotage).run(&scenario, seed, None);
            let cpu = thread_cpu() - began;
            spent.fetch_add(cpu, Ordering::Relaxed);
            searched.seeds += 1;
            searched.cpu += cpu;
            if !matches!(report.outcome, Outcome::Safety | Outcome::Liveness) {
                continue;
            }
            let Some(violation) = report.violation else { continue };
            let (property, message) = (violation.property, violation.message);
            let find = Find { seed, property, message };
            if !bug.shown_by.contains(&find.property) {
                searched.others.push(find);
                continue;
            }
            let sound = Blixard::default().run(&scenario, seed, None);
            if !matches!(sound.outcome, Outcome::Held | Outcome::Inconclusive) {
                searched.unsound.push(seed);
                continue;
            }
            searched.found = Some(find);
            break;
        }
        searched
    }
}

/// CPU time of this thread, in nanoseconds.
fn thread_cpu() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
