//! The production disk: redb in one file. `docs/storage.md` explains the format and what is promised.

mod error;
mod file;
mod frame;
mod home;
mod tables;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use blixard_node::codec::StoreHead;
use blixard_node::planted;
use blixard_node::stored::{HardState, Stored, WriteBatch};
use redb::{Builder, Database, StorageBackend};

use crate::backend::{Disk, DiskError};
use error::StoreError;
use frame::Framed;

pub use file::{FileBackend, FileHome};
pub use frame::FORMAT;
pub use home::Home;

/// How much of the file redb keeps in memory, in bytes.
const CACHE_BYTES: usize = 8 << 20;

/// The store in one file of redb.
#[derive(Debug)]
pub struct RedbDisk<B: StorageBackend> {
    path: String,
    /// Under redb too; the marks are written through this one.
    backend: Arc<B>,
    db: Database,
    head: StoreHead,
    /// What a load gives, or would give.
    hard_state: HardState,
    /// The outcome of the last batch.
    outcome: Result<(), DiskError>,
}

impl RedbDisk<FileBackend> {
    /// Opens the store in the file `path`, or creates it there.
    ///
    /// # Errors
    /// When the file is in use, another program's, of a newer format, corrupt, or cannot be read or written.
    pub fn open_path(path: impl AsRef<Path>) -> Result<Self, DiskError> {
        Self::open(&mut FileHome::new(path.as_ref()))
    }
}

impl<B: StorageBackend> RedbDisk<B> {
    /// Opens the store in `home`, or creates it there.
    ///
    /// A new store gets its name when it is whole and synced, because a crash while redb creates a file leaves one
    /// that does not open.
    ///
    /// # Errors
    /// As [`RedbDisk::open_path`].
    pub fn open(home: &mut impl Home<File = B>) -> Result<Self, DiskError> {
        let path = home.path();
        if let Some(file) = home.open()? {
            return guarded(&path, || Self::open_file(&path, file));
        }
        let file = home.create_temporary()?;
        if planted!(CreationNotAtomic) {
            home.publish()?;
            return guarded(&path, || Self::create_file(&path, file));
        }
        let disk = guarded(&path, || Self::create_file(&path, file))?;
        home.publish()?;
        Ok(disk)
    }

    fn create_file(path: &str, file: B) -> Result<Self, DiskError> {
        let backend = Arc::new(file);
        frame::create(&*backend).map_err(|error| error::from_io(path, &error))?;
        let create = || -> Result<Database, StoreError> {
            let db = builder().create_with_backend(Framed(backend.clone()))?;
            tables::create(&db)?;
            Ok(db)
        };
        let db = create().map_err(|error| error.at(path))?;
        Ok(Self::with(path, backend, db, StoreHead::default(), HardState::default()))
    }

    fn open_file(path: &str, file: B) -> Result<Self, DiskError> {
        let backend = Arc::new(file);
        let mark = frame::open(&*backend).map_err(|error| error.at(path))?;
        let open = || -> Result<(Database, StoreHead, HardState), StoreError> {
            if Framed(backend.clone()).len()? == 0 {
                // redb would make a new database of it.
                return Err(StoreError::corrupt("it ends after its first page"));
            }
            let db = builder().create_with_backend(Framed(backend.clone()))?;
            let head = tables::read_head(&db)?;
            mark.check(head.sequence).map_err(StoreError::Corrupt)?;
            let stored = tables::read(&db, &head)?;
            // From here on the node may act upon what it reads.
            frame::mark(&*backend, head.sequence)?;
            Ok((db, head, stored.hard_state))
        };
        let (db, head, hard_state) = open().map_err(|error| error.at(path))?;
        Ok(Self::with(path, backend, db, head, hard_state))
    }

    fn with(path: &str, backend: Arc<B>, db: Database, head: StoreHead, hard_state: HardState) -> Self {
        Self { path: path.into(), backend, db, head, hard_state, outcome: Ok(()) }
    }

    fn write(&mut self, batch: &WriteBatch) -> Result<(), DiskError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.assert_no_gap(batch);
        let commit = || -> Result<StoreHead, StoreError> {
            #[cfg(feature = "planted")]
            self.cut_log(batch)?;
            let mut txn = self.db.begin_write()?;
            if planted!(SyncSkipped) {
                let unsynced = txn.set_durability(redb::Durability::None);
                unsynced.map_err(|error| StoreError::corrupt(error.to_string()))?;
            }
            let head = tables::write(&txn, &self.head, batch, batch.hard_state)?;
            txn.commit()?;
            frame::mark(&*self.backend, head.sequence)?;
            Ok(head)
        };
        self.head = commit().map_err(|error| error.at(&self.path))?;
        self.hard_state = batch.hard_state.unwrap_or(self.hard_state);
        Ok(())
    }

    /// Cuts the log in a transaction before the one that writes the snapshot which stands for it.
    #[cfg(feature = "planted")]
    fn cut_log(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        if planted!(LogCutBeforeSnapshot) && batch.snapshot.is_some() {
            let txn = self.db.begin_write()?;
            let cut = WriteBatch { append: Vec::new(), ..batch.clone() };
            tables::write_log(&txn, &mut self.head.clone(), &cut)?;
            txn.commit()?;
        }
        Ok(())
    }

    /// A gap would make a log that does not open again: better not to write it.
    fn assert_no_gap(&self, batch: &WriteBatch) {
        for pair in batch.append.windows(2) {
            assert_eq!(pair[0].index + 1, pair[1].index, "entries to append follow each other");
        }
        let kept = match (&batch.snapshot, self.head.log) {
            (Some(_), _) if batch.snapshot_resets_log => None,
            (Some(snapshot), Some((_, last))) => (last > snapshot.index).then_some(last),
            (_, log) => log.map(|(_, last)| last),
        };
        if let (Some(last), Some(first)) = (kept, batch.append.first()) {
            assert!(first.index <= last + 1, "entry {} would leave a gap after {last}", first.index);
        }
    }
}

impl<B: StorageBackend> Disk for RedbDisk<B> {
    fn load(&mut self) -> Result<Stored, DiskError> {
        self.outcome.clone()?;
        let read = || tables::read(&self.db, &self.head).map_err(|error| error.at(&self.path));
        let read = guarded(&self.path, read);
        let mut stored = read.inspect_err(|error| self.outcome = Err(error.clone()))?;
        stored.hard_state = self.hard_state;
        Ok(stored)
    }

    fn begin(&mut self, batch: WriteBatch) {
        if self.outcome.is_ok() {
            self.outcome = self.write(&batch);
        }
    }

    fn poll(&mut self) -> Poll<Result<(), DiskError>> {
        Poll::Ready(self.outcome.clone())
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // redb trusts what it reads. Checking it once, when it opens, costs a read of a file that is read whole anyway.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// Runs what reads a file that may be corrupt. redb asserts what a file of its own cannot break; a file
/// that has rotted can, and that is the file's fault, not this program's.
fn guarded<T>(path: &str, run: impl FnOnce() -> Result<T, DiskError>) -> Result<T, DiskError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("redb broke down on it");
        Err(DiskError::Corrupt { path: path.into(), what: said.to_owned() })
    })
}
