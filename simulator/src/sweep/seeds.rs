//! Sets of seeds: one range or several.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Seeds, as ranges that neither touch nor overlap, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seeds(Vec<Range<u64>>);

impl Seeds {
    /// The seeds of all of `ranges`, each once.
    #[must_use]
    pub fn of(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut ranges: Vec<Range<u64>> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        ranges.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// How many there are; as many as fit when there are more.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, range| sum.saturating_add(range.end - range.start))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.ranges().flatten()
    }

    /// The ranges.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().cloned()
    }

    /// How many leave `rest` when divided by `by`.
    pub(super) fn congruent(&self, rest: u64, by: u64) -> u64 {
        // Of the numbers below `end`.
        let below = |end: u64| end / by + u64::from(end % by > rest);
        self.0.iter().map(|range| below(range.end) - below(range.start)).sum()
    }
}

impl From<Range<u64>> for Seeds {
    fn from(range: Range<u64>) -> Self {
        Self::of([range])
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.0.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{}..{}", range.start, range.end)?;
        }
        Ok(())
    }
}

impl FromStr for Seeds {
    type Err = String;

    /// Reads `0..1000`, a single seed, or several of both with commas between.
    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|each| range(each.trim())).collect::<Result<Vec<_>, _>>().map(Self::of)
    }
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let bad = || format!("{text:?} is no range of seeds: write such as 0..1000");
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| bad());
    let range = match text.split_once("..") {
        Some((from, to)) => number(from)?..number(to)?,
        None => {
            let seed = number(text)?;
            seed..seed.checked_add(1).ok_or_else(bad)?
        }
    };
    if range.is_empty() { Err(format!("{text:?} holds no seed: the end is not included")) } else { Ok(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_each_seed_counts_once() {
        let seeds: Seeds = "10..20, 3, 15..25,25..30".parse().unwrap();
        assert_eq!(seeds.to_string(), "3..4,10..30");
        assert_eq!(seeds.len(), 21);
        assert_eq!(seeds.iter().count(), 21);
        assert_eq!(seeds, seeds.to_string().parse().unwrap());
    }

    #[test]
    fn what_is_no_range_is_named() {
        for (text, why) in [
            ("5..5", "\"5..5\" holds no seed: the end is not included"),
            ("9..1", "\"9..1\" holds no seed: the end is not included"),
            ("1..x", "\"1..x\" is no range of seeds: write such as 0..1000"),
            ("0..9,", "\"\" is no range of seeds: write such as 0..1000"),
            ("-1..3", "\"-1..3\" is no range of seeds: write such as 0..1000"),
        ] {
            assert_eq!(text.parse::<Seeds>().unwrap_err(), why);
        }
    }

    #[test]
    fn congruent_seeds_are_counted_without_listing_them() {
        let seeds = Seeds::of([0..7, 9..10, 13..40]);
        for by in 1..9 {
            for rest in 0..by {
                let listed = seeds.iter().filter(|seed| seed % by == rest).count() as u64;
                assert_eq!(seeds.congruent(rest, by), listed, "{rest} modulo {by}");
            }
        }
    }
}
