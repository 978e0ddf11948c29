//! Real files. The one place of the runtime that touches the file system.
#![expect(
    clippy::disallowed_methods,
    reason = "the one place of real I/O: everything else goes through `Home`"
)]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::StorageBackend;

use super::error::from_io;
use super::home::Home;
use crate::backend::DiskError;

/// Of the owner alone: the log holds what its clients sent.
const FILE_MODE: u32 = 0o600;

/// An open and locked file.
#[derive(Debug)]
pub struct FileBackend(File);

impl StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn close(&self) -> io::Result<()> {
        self.0.unlock()
    }
}

/// The folder of a store on a real file system.
#[derive(Clone, Debug)]
pub struct FileHome {
    path: PathBuf,
}

impl FileHome {
    /// The store with the file `path`. Its folder must exist.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.into() }
    }

    fn temporary(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        name.into()
    }

    /// Opens `path` and takes its lock, which ends with the process.
    fn open_locked(&self, path: &Path, create: bool) -> Result<Option<FileBackend>, DiskError> {
        let named = self.path();
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !create => return Ok(None),
            Err(error) => return Err(from_io(&named, &error)),
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(FileBackend(file))),
            Err(TryLockError::WouldBlock) => Err(DiskError::InUse { path: named }),
            Err(TryLockError::Error(error)) => Err(from_io(&named, &error)),
        }
    }
}

impl Home for FileHome {
    type File = FileBackend;

    fn path(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&mut self) -> Result<Option<FileBackend>, DiskError> {
        self.open_locked(&self.path, false)
    }

    fn create_temporary(&mut self) -> Result<FileBackend, DiskError> {
        let temporary = self.temporary();
        let in_use = || DiskError::InUse { path: self.path() };
        let file = self.open_locked(&temporary, true)?.ok_or_else(in_use)?;
        let failed = |error: io::Error| from_io(&self.path(), &error);
        // Another process may have renamed what was opened here before it was locked here: then it is a store in use.
        let still_named = fs::metadata(&temporary).map(|named| named.ino());
        let opened = file.0.metadata().map_err(failed)?.ino();
        if still_named.ok() != Some(opened) || fs::exists(&self.path).map_err(failed)? {
            return Err(in_use());
        }
        file.0.set_len(0).map_err(failed)?;
        Ok(file)
    }

    fn publish(&mut self) -> Result<(), DiskError> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        fs::rename(self.temporary(), &self.path)
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(|error| from_io(&self.path(), &error))
    }
}
