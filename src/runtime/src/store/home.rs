//! Where a store's file lives, and how it comes to be there.

use redb::StorageBackend;

use crate::backend::DiskError;

/// The folder of one store, as far as a store needs one. The order of the calls is the store's own, so the simulator
/// puts the same order of operations to the test that runs on real files.
pub trait Home {
    /// An open file.
    type File: StorageBackend;

    /// How errors name the store.
    fn path(&self) -> String;

    /// Opens the store's file and locks it; none if there is no such file.
    ///
    /// # Errors
    /// When it is locked by another, or cannot be opened.
    fn open(&mut self) -> Result<Option<Self::File>, DiskError>;

    /// Opens an empty file under the temporary name and locks it. A file that a crash left there is emptied.
    ///
    /// # Errors
    /// When it is locked by another, or cannot be made.
    fn create_temporary(&mut self) -> Result<Self::File, DiskError>;

    /// Gives the temporary file, whose content is synced and which stays open, the store's name, and makes that durable.
    ///
    /// # Errors
    /// When the renaming or the sync of the folder fails.
    fn publish(&mut self) -> Result<(), DiskError>;
}
