//! What a configuration remembers of the operations placed, and which configurations were entered before.

use std::hash::{BuildHasherDefault, Hash};
use std::rc::Rc;

use blixard_node::state::hash::StableHasher;

/// A set of slots: open operations that have taken effect.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Slots<const N: usize>([u64; N]);

impl<const N: usize> Slots<N> {
    pub(super) const EMPTY: Self = Self([0; N]);

    pub(super) fn has(&self, slot: usize) -> bool {
        self.0[slot / 64] >> (slot % 64) & 1 == 1
    }

    pub(super) fn add(&mut self, slot: usize) {
        self.0[slot / 64] |= 1 << (slot % 64);
    }

    pub(super) fn remove(&mut self, slot: usize) {
        self.0[slot / 64] &= !(1 << (slot % 64));
    }
}

/// How many operations of each kind have taken effect without an answer: kinds in ascending order, those with none left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Used(Rc<[(u32, u32)]>);

impl Used {
    pub(super) fn none() -> Self {
        Self(Rc::new([]))
    }

    pub(super) fn count(&self, kind: u32) -> u32 {
        self.0.binary_search_by_key(&kind, |entry| entry.0).map_or(0, |place| self.0[place].1)
    }

    /// How many of all kinds.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// One more of a kind.
    pub(super) fn with(&self, kind: u32) -> Self {
        let mut counts = self.0.to_vec();
        match counts.binary_search_by_key(&kind, |entry| entry.0) {
            Ok(place) => counts[place].1 += 1,
            Err(place) => counts.insert(place, (kind, 1)),
        }
        Self(counts.into())
    }

    /// Whether nothing was used here that was not used there.
    fn is_within(&self, other: &Self) -> bool {
        let mut theirs = other.0.iter();
        self.0.iter().all(|(kind, count)| {
            theirs
                .by_ref()
                .find(|entry| entry.0 >= *kind)
                .is_some_and(|entry| entry.0 == *kind && entry.1 >= *count)
        })
    }
}

/// Places entered before, each with the smallest sets of operations without an answer that led there. Whatever can be reached from a place can be
/// reached with fewer of them used up.
///
/// Only asked, never iterated, and its hasher has no random keys.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "never iterated, and hashed without random keys")]
pub(super) struct Entered<P>(std::collections::HashMap<P, Vec<Used>, BuildHasherDefault<StableHasher>>);

impl<P: Eq + Hash> Entered<P> {
    pub(super) fn new() -> Self {
        Self(Default::default())
    }

    /// Notes a place, unless it was entered with no more used up. Whether it is new.
    pub(super) fn enter(&mut self, place: P, used: &Used) -> bool {
        let sets = self.0.entry(place).or_default();
        if sets.iter().any(|smaller| smaller.is_within(used)) {
            return false;
        }
        sets.retain(|larger| !used.is_within(larger));
        sets.push(used.clone());
        true
    }

    /// Whether a place that was entered so was not entered with less used up since.
    pub(super) fn is_least(&self, place: &P, used: &Used) -> bool {
        self.0.get(place).is_some_and(|sets| sets.contains(used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(kinds: &[u32]) -> Used {
        kinds.iter().fold(Used::none(), |used, kind| used.with(*kind))
    }

    #[test]
    fn what_was_used_is_compared_kind_by_kind() {
        assert!(used(&[]).is_within(&used(&[])));
        assert!(used(&[3]).is_within(&used(&[1, 3, 3])));
        assert!(!used(&[3, 3]).is_within(&used(&[1, 3])));
        assert!(!used(&[2]).is_within(&used(&[1, 3])));
        assert!(!used(&[1, 4]).is_within(&used(&[1, 3])));
        assert_eq!((used(&[5, 2, 5]).count(5), used(&[5, 2, 5]).count(3)), (2, 0));
    }

    #[test]
    fn a_place_is_entered_again_only_with_less_used_up() {
        let mut entered = Entered::new();
        assert!(entered.enter('a', &used(&[1, 2])));
        assert!(!entered.enter('a', &used(&[1, 2, 3])));
        assert!(!entered.enter('a', &used(&[1, 2])));
        assert!(entered.enter('a', &used(&[3])), "neither holds the other");
        assert!(entered.enter('a', &used(&[2])));
        assert!(!entered.enter('a', &used(&[1, 2])), "the smaller one has taken its place");
        assert!(entered.enter('b', &used(&[2])));
    }
}
