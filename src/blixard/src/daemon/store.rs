//! Which disk a daemon uses, and a new cluster's first content of it.

use std::path::Path;
use std::task::Poll;

use blixard_node::stored::{Stored, WriteBatch};
use blixard_runtime::store::{FileBackend, RedbDisk};
use blixard_runtime::{Disk, DiskError, MemoryDisk};

/// The storage engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Storage {
    /// A redb file in the data directory
    #[default]
    Redb,
    /// Nothing outlives the process: for trying things out
    Memory,
}

/// A disk of either engine.
#[derive(Debug)]
pub enum AnyDisk {
    /// redb.
    Redb(Box<RedbDisk<FileBackend>>),
    /// Memory.
    Memory(Box<MemoryDisk>),
}

impl AnyDisk {
    /// Opens the store in `data_dir`, or makes it there.
    ///
    /// # Errors
    /// As [`RedbDisk::open_path`].
    pub fn open(storage: Storage, data_dir: &Path) -> Result<Self, DiskError> {
        Ok(match storage {
            Storage::Redb => Self::Redb(Box::new(RedbDisk::open_path(data_dir.join("store.redb"))?)),
            Storage::Memory => Self::Memory(Box::default()),
        })
    }
}

impl Disk for AnyDisk {
    fn load(&mut self) -> Result<Stored, DiskError> {
        match self {
            Self::Redb(disk) => disk.load(),
            Self::Memory(disk) => disk.load(),
        }
    }

    fn begin(&mut self, batch: WriteBatch) {
        match self {
            Self::Redb(disk) => disk.begin(batch),
            Self::Memory(disk) => disk.begin(batch),
        }
    }

    fn poll(&mut self) -> Poll<Result<(), DiskError>> {
        match self {
            Self::Redb(disk) => disk.poll(),
            Self::Memory(disk) => disk.poll(),
        }
    }
}

/// Everything in `stored` as one batch for an empty disk.
pub(super) fn whole(stored: Stored) -> WriteBatch {
    WriteBatch {
        identity: stored.identity,
        snapshot_resets_log: stored.snapshot.is_some(),
        snapshot: stored.snapshot,
        append: stored.entries,
        hard_state: Some(stored.hard_state),
        agent: Some(stored.agent),
    }
}
