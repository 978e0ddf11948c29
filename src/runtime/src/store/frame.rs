//! The page before redb's: what the file is, and how far its batches were acknowledged.
//!
//! ```text
//! sector 0   magic, format version, checksum            written once
//! sector 1   mark: sequence of an acknowledged batch,   written in turn with sector 2, after each commit's sync
//! sector 2   checksum
//! 4096..     redb
//! ```
//!
//! The marks exist because redb commits with one sync: when it opens after a crash and the newest commit fails its
//! checksums, it takes it for one that was never finished and goes back to the commit before. If it was finished
//! and has rotted since, then acknowledged batches would be gone without a word. A mark says that they were acknowledged.

use std::io;
use std::sync::Arc;

use redb::StorageBackend;

use crate::backend::DiskError;

/// The bytes before redb's.
pub(super) const FRAME_LEN: u64 = 4096;
/// The format written here, and the newest that is read.
pub const FORMAT: u32 = 1;

const MAGIC: [u8; 16] = *b"blixard store\r\n\x1a";
const MAGIC_OF_REDB: &[u8] = b"redb";
const SECTOR: u64 = 512;
/// A crash loses at most the marks of the two newest batches, and one bad sector a third.
const MARK_LAG_MAX: u64 = 3;

/// redb's view of a framed file: everything after the frame.
#[derive(Debug)]
pub(super) struct Framed<B>(pub(super) Arc<B>);

impl<B: StorageBackend> StorageBackend for Framed<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len()?.saturating_sub(FRAME_LEN))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset + FRAME_LEN, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len + FRAME_LEN)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset + FRAME_LEN, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}

/// Writes the frame of a new, empty file. The sync of redb's first commit covers it.
pub(super) fn create(backend: &impl StorageBackend) -> io::Result<()> {
    backend.set_len(FRAME_LEN)?;
    let mut sector = [0; SECTOR as usize];
    sector[..16].copy_from_slice(&MAGIC);
    sector[16..20].copy_from_slice(&FORMAT.to_le_bytes());
    let checksum = crc32fast::hash(&sector[..20]);
    sector[20..24].copy_from_slice(&checksum.to_le_bytes());
    backend.write(0, &sector)?;
    mark(backend, 0)
}

/// Notes, without a sync, that the batch `sequence` and all before it were acknowledged.
pub(super) fn mark(backend: &impl StorageBackend, sequence: u64) -> io::Result<()> {
    let mut sector = [0; SECTOR as usize];
    sector[..8].copy_from_slice(&sequence.to_le_bytes());
    sector[8..12].copy_from_slice(&mark_checksum(sequence).to_le_bytes());
    backend.write(SECTOR * (1 + sequence % 2), &sector)
}

fn mark_checksum(sequence: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(b"mark");
    hasher.update(&sequence.to_le_bytes());
    hasher.finalize()
}

/// Why a frame was not taken.
#[derive(Debug)]
pub(super) enum FrameError {
    Foreign(String),
    Newer(u32),
    Corrupt(String),
    Io(io::Error),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl FrameError {
    pub(super) fn at(self, path: &str) -> DiskError {
        let path = path.to_owned();
        match self {
            Self::Foreign(reason) => DiskError::Foreign { path, reason },
            Self::Newer(found) => DiskError::NewerFormat { path, found, known: FORMAT },
            Self::Corrupt(what) => DiskError::Corrupt { path, what },
            Self::Io(error) => super::error::from_io(&path, &error),
        }
    }
}

/// Checks the frame and reads the newest mark.
pub(super) fn open(backend: &impl StorageBackend) -> Result<Mark, FrameError> {
    let len = backend.len()?;
    let mut start = vec![0; len.min(FRAME_LEN) as usize];
    backend.read(0, &mut start)?;
    if start.starts_with(MAGIC_OF_REDB) {
        return Err(FrameError::Foreign("it is the redb database of another program".into()));
    }
    if !start.starts_with(&MAGIC) {
        return Err(FrameError::Foreign(match len {
            0 => "it is empty".into(),
            _ => "it does not begin as one".into(),
        }));
    }
    if len < FRAME_LEN {
        return Err(FrameError::Corrupt(format!("it ends after {len} bytes")));
    }
    let word = |at: usize| start[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
    let (format, written, computed) = (word(16), word(20), crc32fast::hash(&start[..20]));
    if written != computed {
        return Err(FrameError::Corrupt(format!(
            "the checksum over its first bytes is {computed:08x}, but {written:08x} was written with it"
        )));
    }
    if format > FORMAT {
        return Err(FrameError::Newer(format));
    }
    let marks = [SECTOR, 2 * SECTOR].map(|at| {
        let at = at as usize;
        let sequence = start[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        (word(at + 8) == mark_checksum(sequence)).then_some(sequence)
    });
    let newest = marks.into_iter().flatten().max();
    newest.map(Mark).ok_or_else(|| FrameError::Corrupt("both of its marks fail their checksums".into()))
}

/// The newest batch known to have been acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(u64);

impl Mark {
    /// Whether a store whose newest batch is `sequence` can be the one marked.
    pub(super) fn check(self, sequence: u64) -> Result<(), String> {
        if sequence < self.0 {
            return Err(format!(
                "batch {} was acknowledged, but what can still be read ends with batch {sequence}",
                self.0
            ));
        }
        if sequence - self.0 > MARK_LAG_MAX {
            return Err(format!("its marks end with batch {}, but batch {sequence} was written", self.0));
        }
        Ok(())
    }
}
