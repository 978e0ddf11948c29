//! The simulated medium as redb and the store see it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blixard_runtime::DiskError;
use blixard_runtime::store::Home;
use redb::StorageBackend;

use super::media::Media;

/// A medium with several handles. The lock is never contended: the simulator is one thread, but redb asks for `Sync`.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Media>>);

impl Shared {
    pub(super) fn new(media: Media) -> Self {
        Self(Arc::new(Mutex::new(media)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Media> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open file of a simulated medium.
#[derive(Debug)]
pub(super) struct SimBackend {
    media: Shared,
    file: usize,
}

impl StorageBackend for SimBackend {
    fn len(&self) -> io::Result<u64> {
        self.media.lock().len(self.file)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.media.lock().read(self.file, offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.media.lock().set_len(self.file, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.media.lock().sync(self.file)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.media.lock().write(self.file, offset, data)
    }
}

/// The folder of a store on a simulated medium.
#[derive(Debug)]
pub(super) struct SimHome<'a> {
    pub(super) media: Shared,
    pub(super) path: &'a str,
}

impl SimHome<'_> {
    fn failed(&self, error: &io::Error) -> DiskError {
        let path = self.path.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull => DiskError::Full { path },
            _ => DiskError::Io { path, reason: error.to_string() },
        }
    }
}

impl Home for SimHome<'_> {
    type File = SimBackend;

    fn path(&self) -> String {
        self.path.to_owned()
    }

    fn open(&mut self) -> Result<Option<SimBackend>, DiskError> {
        let file = self.media.lock().store();
        Ok(file.map(|file| SimBackend { media: self.media.clone(), file }))
    }

    fn create_temporary(&mut self) -> Result<SimBackend, DiskError> {
        let created = self.media.lock().create_temporary();
        let file = created.map_err(|error| self.failed(&error))?;
        Ok(SimBackend { media: self.media.clone(), file })
    }

    fn publish(&mut self) -> Result<(), DiskError> {
        let published = self.media.lock().publish();
        published.map_err(|error| self.failed(&error))
    }
}
