//! A file for the redb store that outlives its daemons. Every write lasts: the process dies here, never the power. What
//! power failures do is for the simulator.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use blixard_runtime::DiskError;
use blixard_runtime::store::Home;
use redb::StorageBackend;

/// The content of one file.
#[derive(Clone, Debug, Default)]
pub struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl MemoryFile {
    fn with<T>(&self, act: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn span(content: &mut [u8], offset: u64, len: usize) -> io::Result<&mut [u8]> {
    let begin = usize::try_from(offset).map_err(io::Error::other)?;
    let end = begin.checked_add(len);
    end.and_then(|end| content.get_mut(begin..end)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl StorageBackend for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|content| content.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|content| {
            out.copy_from_slice(span(content, offset, out.len())?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.with(|content| content.resize(len, 0));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|content| {
            span(content, offset, data.len())?.copy_from_slice(data);
            Ok(())
        })
    }
}

/// The folder of one store.
#[derive(Clone, Debug)]
pub struct MemoryHome {
    name: String,
    files: Arc<Mutex<Files>>,
}

#[derive(Debug, Default)]
struct Files {
    store: Option<MemoryFile>,
    temporary: Option<MemoryFile>,
}

impl MemoryHome {
    /// An empty folder that errors call `name`.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, files: Arc::default() }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Files) -> T) -> T {
        act(&mut self.files.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Home for MemoryHome {
    type File = MemoryFile;

    fn path(&self) -> String {
        self.name.clone()
    }

    fn open(&mut self) -> Result<Option<MemoryFile>, DiskError> {
        Ok(self.with(|files| files.store.clone()))
    }

    fn create_temporary(&mut self) -> Result<MemoryFile, DiskError> {
        let file = MemoryFile::default();
        self.with(|files| files.temporary = Some(file.clone()));
        Ok(file)
    }

    fn publish(&mut self) -> Result<(), DiskError> {
        self.with(|files| files.store = files.temporary.take());
        Ok(())
    }
}
