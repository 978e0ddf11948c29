//! Proof that a seed gives one run: it is run twice, and the logs are compared line by line.

use crate::scenario::Scenario;
use crate::subject::Subject;
use crate::trace::Entry;
use crate::world::Report;

/// The first line in which two runs of one seed differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Its number, from 0.
    pub line: usize,
    /// The lines before it, the same in both runs.
    pub before: Vec<Entry>,
    /// The first run's line, if it has one.
    pub first: Option<Entry>,
    /// The second run's.
    pub second: Option<Entry>,
}

/// How many lines before the difference are shown.
const BEFORE: usize = 5;

/// Runs `seed` twice. The report is the first run's.
pub fn check(subject: &dyn Subject, scenario: &Scenario, seed: u64) -> (Report, Option<Divergence>) {
    let mut first = Vec::new();
    let mut second = Vec::new();
    let report = subject.run(scenario, seed, Some(&mut first));
    let again = subject.run(scenario, seed, Some(&mut second));
    let divergence = compare(&first, &second);
    debug_assert_eq!(divergence.is_none(), report.trace_hash == again.trace_hash, "the hash covers the log");
    (report, divergence)
}

/// The first line in which two logs part; none when they are the same.
#[must_use]
pub fn compare(first: &[Entry], second: &[Entry]) -> Option<Divergence> {
    let same = first.iter().zip(second).take_while(|(a, b)| a == b).count();
    if same == first.len() && same == second.len() {
        return None;
    }
    Some(Divergence {
        line: same,
        before: first[same.saturating_sub(BEFORE)..same].to_vec(),
        first: first.get(same).copied(),
        second: second.get(same).copied(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Kind;

    #[test]
    fn the_first_difference_is_found() {
        let entry = |at| Entry::new(at, Kind::Phase, 0, &[0]);
        let first = [entry(1), entry(2), entry(3)];
        assert_eq!(compare(&first, &first), None);
        let found = compare(&first, &[entry(1), entry(2), entry(4)]).unwrap();
        assert_eq!((found.line, found.first, found.second), (2, Some(entry(3)), Some(entry(4))));
        let shorter = compare(&first, &first[..1]).unwrap();
        assert_eq!((shorter.line, shorter.second), (1, None));
    }
}
