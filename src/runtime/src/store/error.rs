//! redb's errors in a node's words.

use std::io;

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};

use crate::backend::DiskError;

pub(super) fn from_io(path: &str, error: &io::Error) -> DiskError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            DiskError::Full { path }
        }
        // redb says so of a file that is not its own, though it begins with a frame that is ours; and a page
        // number that has rotted can lead past the end.
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            DiskError::Corrupt { path, what: error.to_string() }
        }
        _ => DiskError::Io { path, reason: error.to_string() },
    }
}

/// Why an operation on an open store failed.
#[derive(Debug)]
pub(super) enum StoreError {
    Redb(redb::Error),
    Corrupt(String),
}

impl StoreError {
    pub(super) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt(what.into())
    }

    pub(super) fn at(self, path: &str) -> DiskError {
        match self {
            Self::Corrupt(what) => DiskError::Corrupt { path: path.into(), what },
            Self::Redb(redb::Error::Io(error)) => from_io(path, &error),
            Self::Redb(redb::Error::DatabaseAlreadyOpen) => DiskError::InUse { path: path.into() },
            Self::Redb(
                error @ (redb::Error::Corrupted(_)
                | redb::Error::UpgradeRequired(_)
                | redb::Error::TableTypeMismatch { .. }
                | redb::Error::TableIsMultimap(_)
                | redb::Error::TableDoesNotExist(_)),
            ) => DiskError::Corrupt { path: path.into(), what: error.to_string() },
            Self::Redb(error) => DiskError::Io { path: path.into(), reason: error.to_string() },
        }
    }
}

impl From<StorageError> for StoreError {
    fn from(error: StorageError) -> Self {
        Self::Redb(error.into())
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        Self::Redb(error.into())
    }
}

impl From<TransactionError> for StoreError {
    fn from(error: TransactionError) -> Self {
        Self::Redb(error.into())
    }
}

impl From<TableError> for StoreError {
    fn from(error: TableError) -> Self {
        Self::Redb(error.into())
    }
}

impl From<CommitError> for StoreError {
    fn from(error: CommitError) -> Self {
        Self::Redb(error.into())
    }
}

impl From<blixard_node::codec::CodecError> for StoreError {
    fn from(error: blixard_node::codec::CodecError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Redb(redb::Error::Io(error))
    }
}
