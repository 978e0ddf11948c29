//! The data directory: of the owner alone, and of one daemon at a time.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What is in it is for its owner alone: it tells what clients sent, and who opens it runs VMs as the owner.
const MODE: u32 = 0o700;

/// An open and locked data directory. The lock is on the folder itself, so that no file is left behind, and ends with
/// the process, however that ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another daemon has it.
    #[error(
        "the data directory {path} is in use by another daemon; stop that one first, or give another --data-dir"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It cannot be made, opened or locked.
    #[error("cannot use the data directory {path}: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl FolderError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "BLX-NODE-005",
            Self::Io { .. } => "BLX-NODE-006",
        }
    }
}

impl DataDir {
    /// Opens the folder, makes it where needed, takes everyone else's rights to it away, and locks it.
    ///
    /// # Errors
    /// When another daemon has it, or it cannot be used.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |source| FolderError::Io { path: path.into(), source };
        DirBuilder::new().recursive(true).mode(MODE).create(path).map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        let failed = |source| FolderError::Io { path: path.clone(), source };
        let lock = File::open(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut permissions = lock.metadata().map_err(failed)?.permissions();
        if permissions.mode() & 0o777 != MODE {
            permissions.set_mode(MODE);
            lock.set_permissions(permissions).map_err(failed)?;
        }
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_private_and_has_one_daemon() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a").join("b");
        let first = DataDir::open(&path).expect("opens");
        let mode = fs::metadata(first.path()).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        assert!(matches!(DataDir::open(&path), Err(FolderError::InUse { .. })));
        drop(first);
        assert!(fs::read_dir(&path).expect("is there").next().is_none(), "no lock is left behind");
        let _second = DataDir::open(&path).expect("opens again");
    }
}
