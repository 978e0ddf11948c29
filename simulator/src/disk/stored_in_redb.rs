//! The production store over a simulated medium.

use std::task::Poll;

use blixard_node::rng::Rng;
use blixard_node::stored::{Stored, WriteBatch};
use blixard_runtime::{Disk, DiskError, RedbDisk};

use super::backend::{Shared, SimBackend, SimHome};
use super::media::Media;
use super::{Cost, Fault, Loss};

/// A medium, and the store that is open on it.
#[derive(Debug, Default)]
pub(super) struct StoredInRedb {
    media: Shared,
    open: Option<RedbDisk<SimBackend>>,
    /// How the batch under way will turn out. redb has done all of it; that it is not over yet is the simulator's secret.
    outcome: Option<Result<(), DiskError>>,
}

impl StoredInRedb {
    pub(super) fn load(&mut self, path: &str) -> Result<Stored, DiskError> {
        if self.open.is_none() {
            let opened = RedbDisk::open(&mut SimHome { media: self.media.clone(), path })?;
            self.open = Some(opened);
            self.media.lock().settle();
        }
        match &mut self.open {
            Some(disk) => disk.load(),
            None => Ok(Stored::default()),
        }
    }

    pub(super) fn begin(&mut self, path: &str, batch: WriteBatch) {
        let failed = DiskError::Io { path: path.into(), reason: "it was never loaded".into() };
        self.outcome = Some(match &mut self.open {
            Some(disk) => {
                disk.begin(batch);
                match disk.poll() {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => Err(failed),
                }
            }
            None => Err(failed),
        });
    }

    pub(super) fn cost(&self) -> Cost {
        self.media.lock().cost()
    }

    pub(super) fn complete(&mut self) -> Result<(), DiskError> {
        let outcome = self.outcome.take().unwrap_or(Ok(()));
        if outcome.is_ok() {
            self.media.lock().settle();
        }
        outcome
    }

    pub(super) fn crash(&mut self, rng: &mut Rng, loss: Loss) {
        let after = {
            let mut media = self.media.lock();
            let after = match loss {
                Loss::Process => media.after_process_death(rng),
                Loss::Power => media.after_power_loss(rng),
            };
            media.die();
            after
        };
        self.replace(after);
    }

    pub(super) fn close(&mut self) {
        self.open = None;
        self.outcome = None;
        self.media.lock().settle();
    }

    pub(super) fn lose(&mut self) {
        self.media.lock().die();
        self.replace(Media::default());
    }

    pub(super) fn copy(&self) -> Self {
        Self { media: Shared::new(self.media.lock().copy()), open: None, outcome: None }
    }

    pub(super) fn rot(&mut self, bits: u32, rng: &mut Rng) {
        self.media.lock().rot(bits, rng);
    }

    pub(super) fn tear_backwards(&mut self) {
        self.media.lock().tear_backwards();
    }

    pub(super) fn flip(&mut self, byte: u64, bit: u8) {
        self.media.lock().flip(byte, bit);
    }

    pub(super) fn len(&self) -> u64 {
        self.media.lock().store_len()
    }

    pub(super) fn arm(&mut self, fault: Fault) {
        self.media.lock().arm(fault.after_ops, fault.kind);
    }

    pub(super) fn die_after(&mut self, ops: u32) {
        self.media.lock().die_after(ops);
    }

    pub(super) fn is_dead(&self) -> bool {
        self.media.lock().is_dead()
    }

    pub(super) fn lie(&mut self, lying: bool) {
        self.media.lock().lying = lying;
    }

    /// The dead process's handles stay with the old medium, which takes nothing from them any more.
    fn replace(&mut self, media: Media) {
        self.media = Shared::new(media);
        self.open = None;
        self.outcome = None;
    }
}
