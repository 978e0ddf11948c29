//! A disk that keeps what was synced. Of what was written since, a crash leaves the first writes, as many as chance wants.

use std::collections::VecDeque;

use blixard_node::rng::Rng;

#[derive(Debug)]
pub(super) struct Disk<S> {
    durable: S,
    /// Writes that are not durable yet, oldest first.
    unsynced: VecDeque<S>,
    /// Writes so far.
    written: u64,
    /// How many of them the sync under way covers.
    syncing: Option<u64>,
}

impl<S: Clone + Default> Disk<S> {
    pub(super) fn new() -> Self {
        Self { durable: S::default(), unsynced: VecDeque::new(), written: 0, syncing: None }
    }

    /// What a process sees: the newest write.
    pub(super) fn view(&self) -> &S {
        self.unsynced.back().unwrap_or(&self.durable)
    }

    pub(super) fn write(&mut self, stored: S) {
        self.unsynced.push_back(stored);
        self.written += 1;
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes that no crash can take any more.
    pub(super) fn durable(&self) -> u64 {
        self.written - self.unsynced.len() as u64
    }

    /// Begins a sync of all that was written; false when there is nothing to sync, or one is under way.
    pub(super) fn begin_sync(&mut self) -> bool {
        if self.syncing.is_some() || self.unsynced.is_empty() {
            return false;
        }
        self.syncing = Some(self.written);
        true
    }

    pub(super) fn end_sync(&mut self) {
        if let Some(covered) = self.syncing.take() {
            self.keep((covered - self.durable()) as usize);
        }
    }

    /// The process dies, or the power goes. Writes after the first `kept_max` are lost whatever chance says. Whether any were lost.
    pub(super) fn crash(&mut self, kept_max: u64, rng: &mut Rng) -> bool {
        let open = (self.unsynced.len() as u64).min(kept_max.saturating_sub(self.durable()));
        let kept = rng.below(open + 1);
        let lost = self.unsynced.len() as u64 - kept;
        self.keep(kept as usize);
        self.unsynced.clear();
        self.written -= lost;
        self.syncing = None;
        lost > 0
    }

    fn keep(&mut self, writes: usize) {
        if let Some(last) = self.unsynced.drain(..writes).next_back() {
            self.durable = last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_leaves_what_was_synced_and_the_first_of_the_rest() {
        let mut seen = [false; 3];
        for seed in 0..50 {
            let mut disk = Disk::new();
            disk.write(1);
            assert!(disk.begin_sync() && !disk.begin_sync(), "one at a time");
            disk.write(2);
            disk.write(3);
            assert_eq!((*disk.view(), disk.durable()), (3, 0));
            disk.end_sync();
            assert_eq!(disk.durable(), 1, "the sync covers what was written when it began");
            disk.crash(u64::MAX, &mut Rng::new(seed, 0));
            let left: usize = *disk.view();
            assert!(disk.durable() == disk.written() && !disk.begin_sync());
            seen[left - 1] = true;
        }
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn a_crash_before_a_write_takes_all_of_it() {
        for seed in 0..20 {
            let mut disk = Disk::new();
            disk.write(1);
            disk.write(2);
            disk.crash(1, &mut Rng::new(seed, 0));
            assert!(*disk.view() < 2);
        }
    }
}
