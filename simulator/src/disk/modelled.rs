//! A disk that is only a model: batches applied to a value, at the cost of moving what they hold.

use std::collections::VecDeque;
use std::fmt;

use blixard_node::rng::Rng;
use blixard_node::stored::{LogEntry, Stored, WriteBatch};
use blixard_runtime::DiskError;

use super::{Cost, Fault, LIE_BATCHES_MAX};

/// What has a checksum of its own, as in the real store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    Identity,
    HardState,
    Agent,
    Snapshot,
    Entry(u64),
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("the identity"),
            Self::HardState => f.write_str("term and vote"),
            Self::Agent => f.write_str("the agent's record"),
            Self::Snapshot => f.write_str("the snapshot"),
            Self::Entry(index) => write!(f, "entry {index}"),
        }
    }
}

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
    /// Records that do not match their checksums any more.
    rotten: Vec<Record>,
    /// A control: what has rotted is handed out as it is.
    unchecked: bool,
    lying: bool,
    /// Batches acknowledged, but not kept yet by a disk whose sync lies.
    lied: VecDeque<WriteBatch>,
}

impl Record {
    /// Whether nothing of it is left once `batch` is written.
    fn is_overwritten(self, batch: &WriteBatch) -> bool {
        let covered = |index| {
            batch.snapshot.as_ref().is_some_and(|new| batch.snapshot_resets_log || index <= new.index)
        };
        match self {
            Self::Identity => batch.identity.is_some(),
            Self::HardState => batch.hard_state.is_some(),
            Self::Agent => batch.agent.is_some(),
            Self::Snapshot => batch.snapshot.is_some(),
            Self::Entry(index) => {
                covered(index) || batch.append.first().is_some_and(|first| index >= first.index)
            }
        }
    }

    /// What a store that does not look at checksums would hand out.
    fn damage(self, stored: &mut Stored) {
        let flipped = |data: &[u8]| {
            let mut bytes = data.to_vec();
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
            }
            bytes
        };
        match self {
            Self::Identity => {
                if let Some(identity) = &mut stored.identity {
                    identity.incarnation.0 ^= 1;
                }
            }
            Self::HardState => stored.hard_state.vote ^= 1,
            Self::Agent => stored.agent.set_revision.0 ^= 1,
            Self::Snapshot => {
                if let Some(snapshot) = &mut stored.snapshot {
                    snapshot.data = flipped(&snapshot.data).into();
                }
            }
            Self::Entry(index) => {
                if let Some(entry) = stored.entries.iter_mut().find(|entry| entry.index == index) {
                    entry.data = flipped(&entry.data).into();
                }
            }
        }
    }
}

impl Modelled {
    pub(super) fn load(&mut self, path: &str) -> Result<Stored, DiskError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if let Some(record) = self.rotten.first()
            && !self.unchecked
        {
            let what = format!("{record}: its checksum is another than was written with it");
            return Err(DiskError::Corrupt { path: path.into(), what });
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
        self.rotten.iter().for_each(|record| record.damage(&mut stored));
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

    /// An empty one takes its place.
    pub(super) fn lose(&mut self) {
        *self = Self { unchecked: self.unchecked, lying: self.lying, ..Self::default() };
    }

    pub(super) fn is_dead(&self) -> bool {
        self.failed.is_some()
    }

    pub(super) fn arm(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    /// Flips `bits` bits: each in some record, or where nothing is kept.
    pub(super) fn rot(&mut self, bits: u32, rng: &mut Rng) {
        let mut records = vec![Record::HardState, Record::Agent];
        records.extend(self.rest.identity.is_some().then_some(Record::Identity));
        records.extend(self.rest.snapshot.is_some().then_some(Record::Snapshot));
        records.extend(self.entries.iter().map(|entry| Record::Entry(entry.index)));
        for _ in 0..bits {
            if rng.ratio(3, 4)
                && let Some(record) = rng.pick(&records)
                && !self.rotten.contains(record)
            {
                self.rotten.push(*record);
            }
        }
    }

    /// From now on what has rotted is handed out.
    pub(super) fn ignore_checksums(&mut self) {
        self.unchecked = true;
    }

    pub(super) fn lie(&mut self, lying: bool) {
        self.lying = lying;
    }

    /// [`Stored::apply`] in time proportional to the batch, however long the log.
    fn apply(&mut self, batch: WriteBatch) {
        if !self.rotten.is_empty() {
            self.rotten.retain(|record| !record.is_overwritten(&batch));
        }
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
