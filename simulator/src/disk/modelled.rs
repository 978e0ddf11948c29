//! A disk that is only a model: batches applied to a value, at the cost of moving what they hold.

use std::collections::VecDeque;

use blixard_node::rng::Rng;
use blixard_node::stored::{LogEntry, Stored, WriteBatch};
use blixard_runtime::DiskError;

use super::{Cost, Fault, LIE_BATCHES_MAX};

/// Keeps what [`Stored`] says, with the promises of [`blixard_runtime::Disk`] and nothing more: a crash leaves the
/// image from before or from after the batch under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Modelled {
    /// What is stored, but for the entries.
    rest: Stored,
    entries: VecDeque<LogEntry>,
    under_way: Option<WriteBatch>,
    fault: Option<Fault>,
    /// Set after an error: why everything is refused.
    failed: Option<DiskError>,
    rotten: bool,
    lying: bool,
    /// Batches acknowledged, but not kept yet by a disk whose sync lies.
    lied: VecDeque<WriteBatch>,
}

impl Modelled {
    pub(super) fn load(&mut self, path: &str) -> Result<Stored, DiskError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.rotten {
            return Err(DiskError::Corrupt { path: path.into(), what: "a bit of it has flipped".into() });
        }
        if let Some(fault) = self.fault.take() {
            let error = fault.error(path);
            self.failed = Some(error.clone());
            return Err(error);
        }
        let mut stored = self.rest.clone();
        stored.entries = self.entries.iter().cloned().collect();
        for batch in &self.lied {
            stored.apply(batch);
        }
        Ok(stored)
    }

    pub(super) fn begin(&mut self, batch: WriteBatch) {
        self.under_way = Some(batch);
    }

    pub(super) fn cost(&self) -> Cost {
        match &self.under_way {
            Some(batch) if !batch.is_empty() => {
                let bytes: u64 = batch.append.iter().map(|entry| entry.data.len() as u64).sum();
                let snapshot = batch.snapshot.as_ref().map_or(0, |snapshot| snapshot.data.len() as u64);
                Cost { writes: 4 + ((bytes + snapshot) / 4_096) as u32, syncs: 1, bytes: bytes + snapshot }
            }
            _ => Cost::default(),
        }
    }

    pub(super) fn complete(&mut self, path: &str) -> Result<(), DiskError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let Some(batch) = self.under_way.take() else { return Ok(()) };
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(fault) = self.fault.take() {
            let error = fault.error(path);
            self.failed = Some(error.clone());
            // Whether a write that failed took effect shows after the next opening.
            self.under_way = Some(batch);
            return Err(error);
        }
        if self.lying {
            self.lied.push_back(batch);
            if self.lied.len() > LIE_BATCHES_MAX {
                let kept = self.lied.pop_front().unwrap_or_default();
                self.apply(kept);
            }
        } else {
            self.apply(batch);
        }
        Ok(())
    }

    /// The process dies, or its host does.
    pub(super) fn crash(&mut self, rng: &mut Rng, power_loss: bool) {
        let lied = std::mem::take(&mut self.lied);
        let kept = if power_loss { rng.below(lied.len() as u64 + 1) as usize } else { lied.len() };
        let whole = kept == lied.len();
        for batch in lied.into_iter().take(kept) {
            self.apply(batch);
        }
        if let Some(batch) = self.under_way.take()
            && whole
            && !batch.is_empty()
            && rng.ratio(1, 2)
        {
            self.apply(batch);
        }
        self.fault = None;
        self.failed = None;
    }

    pub(super) fn is_dead(&self) -> bool {
        self.failed.is_some()
    }

    pub(super) fn arm(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    pub(super) fn rot(&mut self) {
        self.rotten = true;
    }

    pub(super) fn lie(&mut self, lying: bool) {
        self.lying = lying;
    }

    /// [`Stored::apply`] in time proportional to the batch, however long the log.
    fn apply(&mut self, batch: WriteBatch) {
        if let Some(identity) = batch.identity {
            self.rest.identity = Some(identity);
        }
        if let Some(snapshot) = batch.snapshot {
            if batch.snapshot_resets_log {
                self.entries.clear();
            }
            while self.entries.front().is_some_and(|entry| entry.index <= snapshot.index) {
                self.entries.pop_front();
            }
            self.rest.snapshot = Some(snapshot);
        }
        if let Some(first) = batch.append.first() {
            while self.entries.back().is_some_and(|entry| entry.index >= first.index) {
                self.entries.pop_back();
            }
            self.entries.extend(batch.append);
        }
        if let Some(hard_state) = batch.hard_state {
            self.rest.hard_state = hard_state;
        }
        if let Some(agent) = batch.agent {
            self.rest.agent = agent;
        }
    }
}
