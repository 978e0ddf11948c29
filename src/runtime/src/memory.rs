//! A disk that lasts as long as the process: for trying things out, and for tests.

use std::task::Poll;

use blixard_node::stored::{Stored, WriteBatch};

use crate::backend::{Disk, DiskError};

/// A disk in memory. Its writes are done at once and never fail.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    stored: Stored,
}

impl Disk for MemoryDisk {
    fn load(&mut self) -> Result<Stored, DiskError> {
        Ok(self.stored.clone())
    }

    fn begin(&mut self, batch: WriteBatch) {
        self.stored.apply(&batch);
    }

    fn poll(&mut self) -> Poll<Result<(), DiskError>> {
        Poll::Ready(Ok(()))
    }
}
