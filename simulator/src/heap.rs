//! The event heap, keyed by true time and then by the order of scheduling.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

#[derive(Debug)]
struct Scheduled<E> {
    at: u64,
    sequence: u64,
    event: E,
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl<E> Eq for Scheduled<E> {}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Scheduled<E> {
    /// The heap gives its greatest: the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// All that will happen.
#[derive(Debug)]
pub(crate) struct Heap<E> {
    heap: BinaryHeap<Scheduled<E>>,
    sequence: u64,
    first_sequence: u64,
}

/// Where the sequence of ordinary events begins, above that of events that come first.
const ORDINARY: u64 = 1 << 63;

impl<E> Default for Heap<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), sequence: 0, first_sequence: 0 }
    }
}

impl<E> Heap<E> {
    pub(crate) fn push(&mut self, at: u64, event: E) {
        self.sequence += 1;
        self.heap.push(Scheduled { at, sequence: ORDINARY | self.sequence, event });
    }

    /// As [`Self::push`], before all others at that time: for what comes from outside, so that its place does not hang on when it
    /// was decided.
    pub(crate) fn push_first(&mut self, at: u64, event: E) {
        self.first_sequence += 1;
        self.heap.push(Scheduled { at, sequence: self.first_sequence, event });
    }

    /// The next event that is due at `end` or before.
    pub(crate) fn pop_until(&mut self, end: u64) -> Option<(u64, E)> {
        if self.heap.peek()?.at > end {
            return None;
        }
        self.heap.pop().map(|scheduled| (scheduled.at, scheduled.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_keep_the_order_of_scheduling() {
        let mut heap = Heap::default();
        for (at, event) in [(5, 0), (3, 1), (5, 2), (3, 3), (9, 4)] {
            heap.push(at, event);
        }
        heap.push_first(5, 5);
        let order: Vec<(u64, i32)> = std::iter::from_fn(|| heap.pop_until(5)).collect();
        assert_eq!(order, [(3, 1), (3, 3), (5, 5), (5, 0), (5, 2)]);
    }
}
