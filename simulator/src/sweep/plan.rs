//! Which runs a sweep has, in which order, and which of them are done.

use std::fmt;
use std::str::FromStr;

use super::seeds::Seeds;

/// A share of a sweep, for one of several machines: every run is in exactly one of the shares 1 to `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which share, from 1.
    number: u64,
    /// How many there are.
    of: u64,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Self = Self { number: 1, of: 1 };

    /// Whether the run of this seed of the scenario at this place belongs to the share. The scenario's place shifts which seeds do, so
    /// that every share has runs of every scenario.
    fn has(self, place: u64, seed: u64) -> bool {
        seed % self.of == self.rest(place)
    }

    /// What a seed of the scenario at `place` leaves when divided by the number of shares, if it is of this one.
    fn rest(self, place: u64) -> u64 {
        (self.number - 1 + place) % self.of
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no share: write such as 3/16, for the third of sixteen");
        let (number, of) = text.split_once('/').ok_or_else(bad)?;
        let number: u64 = number.trim().parse().map_err(|_| bad())?;
        let of: u64 = of.trim().parse().map_err(|_| bad())?;
        if of == 0 || of > u64::from(u32::MAX) {
            return Err(bad());
        }
        if number == 0 || number > of {
            return Err(format!("{text:?} is no share: the shares of {of} are 1/{of} to {of}/{of}"));
        }
        Ok(Self { number, of })
    }
}

/// One run that a sweep has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// Its number in the sweep, from 0.
    pub(super) number: u64,
    /// The scenario's place.
    pub(super) place: usize,
    /// The seed.
    pub(super) seed: u64,
}

/// The runs of a share, in order: all scenarios of one seed come before the next seed, so that a sweep cut short has seen them all.
pub(super) fn runs(seeds: &Seeds, scenarios: usize, shard: Shard) -> impl Iterator<Item = Planned> {
    let pairs = seeds.iter().flat_map(move |seed| (0..scenarios).map(move |place| (place, seed)));
    let mine = pairs.filter(move |(place, seed)| shard.has(*place as u64, *seed));
    (0..).zip(mine).map(|(number, (place, seed))| Planned { number, place, seed })
}

/// How many runs a share has.
pub(super) fn len(seeds: &Seeds, scenarios: usize, shard: Shard) -> u64 {
    let of = |place| seeds.congruent(shard.rest(place), shard.of);
    (0..scenarios as u64).map(of).sum()
}

/// Numbers of runs that are done, as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done(std::collections::BTreeMap<u64, u64>);

impl Done {
    /// Whether the run is done.
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, end)| number < *end)
    }

    /// How many are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(from, to)| to - from).sum()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The run is done.
    pub(super) fn add(&mut self, number: u64) {
        self.add_range(number, number + 1);
    }

    fn add_range(&mut self, from: u64, to: u64) {
        let (mut from, mut to) = (from, to);
        // Ranges that touch become one: runs end nearly in order, so there are never more than a few.
        while let Some((other_from, other_to)) =
            self.0.range(..=to).next_back().map(|(from, to)| (*from, *to)).filter(|(_, end)| *end >= from)
        {
            self.0.remove(&other_from);
            (from, to) = (from.min(other_from), to.max(other_to));
        }
        self.0.insert(from, to);
    }

    /// As pairs of a range's first number and the one behind its last.
    #[must_use]
    pub fn ranges(&self) -> Vec<(u64, u64)> {
        self.0.iter().map(|(from, to)| (*from, *to)).collect()
    }

    /// What [`Done::ranges`] gave; whatever is no range is left out.
    #[must_use]
    pub fn of_ranges(ranges: &[(u64, u64)]) -> Self {
        let mut done = Self::default();
        for (from, to) in ranges.iter().filter(|(from, to)| from < to) {
            done.add_range(*from, *to);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn shares_are_disjoint_and_together_everything() {
        let seeds = Seeds::of([0..37, 50..61, 1_000..1_001]);
        for scenarios in [1, 2, 5, 12] {
            let pairs = |shard| runs(&seeds, scenarios, shard).map(|run| (run.place, run.seed));
            let whole: BTreeSet<_> = pairs(Shard::WHOLE).collect();
            assert_eq!(whole.len() as u64, seeds.len() * scenarios as u64);
            for of in [1, 2, 3, 4, 12, 16, 700] {
                let mut seen = BTreeSet::new();
                for number in 1..=of {
                    let shard: Shard = format!("{number}/{of}").parse().unwrap();
                    let mine: Vec<_> = pairs(shard).collect();
                    assert_eq!(len(&seeds, scenarios, shard), mine.len() as u64, "{shard}");
                    for pair in mine {
                        assert!(seen.insert(pair), "{pair:?} is in two of {of} shares");
                    }
                }
                assert_eq!(seen, whole, "{of} shares");
            }
        }
    }

    #[test]
    fn every_share_has_runs_of_every_scenario_and_as_many_as_the_others() {
        let seeds = Seeds::from(0..160);
        for number in 1..=16 {
            let shard: Shard = format!("{number}/16").parse().unwrap();
            let mut each = [0; 12];
            runs(&seeds, 12, shard).for_each(|run| each[run.place] += 1);
            assert_eq!(each, [10; 12], "{shard}");
            // Also of fewer seeds than there are shares.
            let few = len(&Seeds::from(0..8), 12, shard);
            assert!((4..=8).contains(&few), "{shard} has {few} of 96");
        }
    }

    #[test]
    fn what_is_no_share_is_named() {
        for (text, why) in [
            ("3", "\"3\" is no share: write such as 3/16, for the third of sixteen"),
            ("0/4", "\"0/4\" is no share: the shares of 4 are 1/4 to 4/4"),
            ("5/4", "\"5/4\" is no share: the shares of 4 are 1/4 to 4/4"),
            ("1/0", "\"1/0\" is no share: write such as 3/16, for the third of sixteen"),
        ] {
            assert_eq!(text.parse::<Shard>().unwrap_err(), why);
        }
    }

    #[test]
    fn what_is_done_is_kept_as_few_ranges() {
        let mut done = Done::default();
        for number in [0, 2, 1, 5, 7, 6, 3] {
            assert!(!done.has(number));
            done.add(number);
            assert!(done.has(number));
        }
        assert_eq!(done.ranges(), [(0, 4), (5, 8)]);
        assert_eq!(done.len(), 7);
        done.add(4);
        assert_eq!(done.ranges(), [(0, 8)]);
        assert!(!done.has(8));
        assert_eq!(Done::of_ranges(&[(4, 9), (0, 5), (20, 10), (30, 31)]).ranges(), [(0, 9), (30, 31)]);
    }
}
