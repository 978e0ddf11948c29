//! The log of a run: typed lines, a rolling hash over all of them, and whoever listens.
//!
//! Two runs are the same if and only if their logs are: the hash is what `--check-determinism` compares. Everything
//! under it is an integer, so a debug and a release build agree. What each kind of line says stands in [`Kind`]; how a log
//! is kept in a file, in [`mod@file`]. `docs/trace.md` describes both.

mod entry;
pub mod file;
mod kind;
pub(crate) mod of_node;
mod page;
pub mod words;

use std::fmt;

pub use entry::{Entry, SLOTS_MAX, text};
pub use kind::{Field, Kind, Shape};
pub use page::reference;

/// Listens to the log while it is written.
pub trait Sink {
    /// Takes one line.
    fn entry(&mut self, entry: &Entry);
}

impl Sink for Vec<Entry> {
    fn entry(&mut self, entry: &Entry) {
        self.push(*entry);
    }
}

/// The log's rolling hash, and its listener.
pub struct Trace<'s> {
    hash: Hash,
    count: u64,
    sink: Option<&'s mut dyn Sink>,
}

impl fmt::Debug for Trace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("hash", &self.hash).field("count", &self.count).finish_non_exhaustive()
    }
}

/// The rolling hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash(u64);

/// An odd number without a pattern (the golden ratio's fraction).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hash {
    pub(crate) const EMPTY: Self = Self(MIX);

    fn mix(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value.wrapping_mul(MIX)) * u128::from(MIX | 1 << 63);
        self.0 = (product as u64) ^ (product >> 64) as u64 ^ self.0.rotate_left(23);
    }

    #[inline]
    fn head(&mut self, at: u64, kind: Kind, host: u16) {
        self.mix(at);
        self.mix((kind as u64) << 32 | u64::from(host));
    }

    /// Takes a line in.
    pub(crate) fn line(&mut self, entry: &Entry) {
        self.head(entry.at, entry.kind, entry.host);
        entry.numbers().iter().for_each(|number| self.mix(*number));
    }

    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

impl<'s> Trace<'s> {
    /// A log that `sink` listens to.
    #[must_use]
    pub fn new(sink: Option<&'s mut dyn Sink>) -> Self {
        Self { hash: Hash::EMPTY, count: 0, sink }
    }

    /// Writes one line: `host` counts from 1, 0 is the world; the numbers are those that the kind has.
    #[inline]
    pub fn write<const N: usize>(&mut self, at: u64, kind: Kind, host: usize, numbers: [u64; N]) {
        debug_assert_eq!(N, kind.slots(), "{} has other numbers", kind.word());
        self.hash.head(at, kind, host as u16);
        for number in numbers {
            self.hash.mix(number);
        }
        self.count += 1;
        if let Some(sink) = &mut self.sink {
            sink.entry(&Entry::new(at, kind, host as u16, &numbers));
        }
    }

    /// Writes a line that was written before, to another log.
    pub fn take(&mut self, entry: &Entry) {
        self.hash.line(entry);
        self.count += 1;
        if let Some(sink) = &mut self.sink {
            sink.entry(entry);
        }
    }

    /// The hash over all lines so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash.get()
    }

    /// How many lines there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_under_the_hash() {
        let hash = |at, kind, host, numbers: [u64; 2]| {
            let mut trace = Trace::new(None);
            trace.write(at, kind, host, numbers);
            trace.hash()
        };
        let base = hash(1, Kind::Started, 1, [1, 2]);
        assert_eq!(base, hash(1, Kind::Started, 1, [1, 2]));
        for other in [
            hash(2, Kind::Started, 1, [1, 2]),
            hash(1, Kind::Purged, 1, [1, 2]),
            hash(1, Kind::Started, 2, [1, 2]),
            hash(1, Kind::Started, 1, [0, 2]),
            hash(1, Kind::Started, 1, [1, 0]),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_hash_can_be_had_from_the_lines() {
        let mut lines = Vec::new();
        let mut trace = Trace::new(Some(&mut lines));
        trace.write(1, Kind::Started, 1, [1, 2]);
        trace.write(5, Kind::Frozen, 2, []);
        let written = trace.hash();
        let mut hash = Hash::EMPTY;
        lines.iter().for_each(|line| hash.line(line));
        assert_eq!(hash.get(), written);
    }
}
