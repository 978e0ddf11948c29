//! Runs that have begun and not ended: one that never ends is told.

use std::sync::atomic::Ordering;

use crate::hang::GiveUp;
use crate::output::Stopwatch;

/// A run that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// Its number in the sweep.
    pub number: u64,
    /// The scenario's place.
    pub place: usize,
    /// The seed.
    pub seed: u64,
    /// For how long, in milliseconds.
    pub for_ms: u64,
}

/// One thread's run, with when it began, and what gives it up.
pub(super) type Slot = Option<(super::plan::Planned, Stopwatch, GiveUp)>;

/// Gives up the runs that have taken `max_ms`.
pub(super) fn give_up(slots: &[Slot], max_ms: u64) {
    for (_, began, give_up) in slots.iter().flatten() {
        give_up.fetch_or(began.elapsed_ms() >= max_ms, Ordering::Relaxed);
    }
}

/// The runs of all threads.
pub(super) fn list(slots: &[Slot]) -> Vec<UnderWay> {
    let each = slots.iter().flatten();
    each.map(|(run, began, _)| UnderWay {
        number: run.number,
        place: run.place,
        seed: run.seed,
        for_ms: began.elapsed_ms(),
    })
    .collect()
}

/// Tells of runs that take long: once when they have taken the first span, and again each time that has doubled.
#[derive(Clone, Debug)]
pub struct Slow {
    after_ms: u64,
    /// Runs told of, with the span at which to tell of them again.
    told: Vec<(u64, u64)>,
}

impl Slow {
    /// Tells from `after_ms` on.
    #[must_use]
    pub fn new(after_ms: u64) -> Self {
        Self { after_ms: after_ms.max(1), told: Vec::new() }
    }

    /// Those of which something is to be told now.
    pub fn news(&mut self, under_way: &[UnderWay]) -> Vec<UnderWay> {
        self.told.retain(|(number, _)| under_way.iter().any(|run| run.number == *number));
        let mut news = Vec::new();
        for run in under_way {
            let due = self.told.iter().find(|(number, _)| *number == run.number);
            if run.for_ms < due.map_or(self.after_ms, |(_, again)| *again) {
                continue;
            }
            self.told.retain(|(number, _)| *number != run.number);
            self.told.push((run.number, run.for_ms.saturating_mul(2)));
            news.push(*run);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_run_is_told_of_once_for_each_doubling() {
        let at = |number, for_ms| UnderWay { number, place: 0, seed: number, for_ms };
        let mut slow = Slow::new(60_000);
        assert_eq!(slow.news(&[at(1, 59_999), at(2, 3)]), []);
        assert_eq!(slow.news(&[at(1, 60_500), at(2, 500)]), [at(1, 60_500)]);
        assert_eq!(slow.news(&[at(1, 61_000), at(2, 1_000)]), []);
        assert_eq!(slow.news(&[at(1, 121_000), at(2, 61_000)]), [at(1, 121_000), at(2, 61_000)]);
        // The first has ended, and another one took its thread.
        assert_eq!(slow.news(&[at(3, 1_000), at(2, 62_000)]), []);
        assert_eq!(slow.news(&[at(3, 60_000), at(2, 121_000)]), [at(3, 60_000)]);
    }
}
