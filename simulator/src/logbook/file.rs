//! The file: records by number, failures by record and run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};

use super::record::{Key, Record, State};
use crate::sweep::{FAILURES_KEPT, Failure};

/// The form of the file.
const FORMAT: u64 = 1;
/// What the file is: only `format` so far.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
/// Records as JSON, by their numbers.
const SWEEPS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("sweeps");
/// Failures as JSON, by the record's number and the run's.
const FAILURES: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("failures");

/// How long to wait for another process that has the file open: entries take milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often to look.
const LOOK: Duration = Duration::from_millis(20);
/// Memory for pages of the file.
const CACHE_BYTES: usize = 1 << 20;

/// Why the history cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process holds the file.
    #[error("another process has {0} open")]
    Busy(PathBuf),
    /// The file cannot be opened, read or written.
    #[error("{path}: {why}", path = .0.display(), why = .1)]
    File(PathBuf, String),
    /// The file is of another form.
    #[error("{path} has form {form}, and this build knows form {FORMAT}: move it away, or name another file", path = .0.display(), form = .1)]
    Form(PathBuf, u64),
}

/// The history in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logbook(PathBuf);

impl Logbook {
    /// The history in this file, which is made with the first entry.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The file for histories of this user: in `$XDG_STATE_HOME`, or where that stands by default.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "says where the history stands; no run reads it")]
    pub fn default_path() -> Option<PathBuf> {
        let folder = |name| std::env::var(name).ok().map(PathBuf::from).filter(|path| path.is_absolute());
        let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
        Some(state.join("blixard-sim/history.redb"))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Enters a sweep that begins. The number of its record.
    ///
    /// # Errors
    /// The file cannot be made, opened or written, or stays locked by another process.
    pub fn begin(&self, record: &Record) -> Result<u64, LogError> {
        self.make()?;
        let database = self.open()?;
        self.written(&database, |transaction| {
            let mut sweeps = transaction.open_table(SWEEPS)?;
            let number = sweeps.last()?.map_or(1, |(number, _)| number.value() + 1);
            sweeps.insert(number, json(record).as_slice())?;
            Ok(number)
        })
    }

    /// Enters how far a sweep is, with failures that may have been entered before.
    ///
    /// # Errors
    /// As [`Logbook::begin`].
    pub fn enter<'f>(
        &self,
        number: u64,
        record: &Record,
        failures: impl IntoIterator<Item = &'f Failure>,
    ) -> Result<(), LogError> {
        let database = self.open()?;
        self.written(&database, |transaction| {
            transaction.open_table(SWEEPS)?.insert(number, json(record).as_slice())?;
            let mut table = transaction.open_table(FAILURES)?;
            for failure in failures {
                table.insert((number, failure.number), json(failure).as_slice())?;
            }
            Ok(())
        })
    }

    /// All records with their numbers, the oldest first. None when there is no file.
    ///
    /// # Errors
    /// The file cannot be opened or read, or stays locked by another process.
    pub fn records(&self) -> Result<Vec<(u64, Record)>, LogError> {
        self.read(|transaction| {
            let table = match transaction.open_table(SWEEPS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let mut records = Vec::new();
            for entry in table.iter()? {
                let (number, bytes) = entry?;
                // A record of another build that this one cannot read is left alone.
                records.extend(
                    serde_json::from_slice(bytes.value()).ok().map(|record| (number.value(), record)),
                );
            }
            Ok(records)
        })
        .map(Option::unwrap_or_default)
    }

    /// The first [`FAILURES_KEPT`] failures of a record.
    ///
    /// # Errors
    /// As [`Logbook::records`].
    pub fn failures(&self, number: u64) -> Result<Vec<Failure>, LogError> {
        self.read(|transaction| {
            let table = match transaction.open_table(FAILURES) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let mut failures = Vec::new();
            for entry in table.range((number, 0)..=(number, u64::MAX))?.take(FAILURES_KEPT) {
                failures.extend(serde_json::from_slice::<Failure>(entry?.1.value()).ok());
            }
            Ok(failures)
        })
        .map(Option::unwrap_or_default)
    }

    /// The newest sweep with this key, if it has runs left.
    ///
    /// # Errors
    /// As [`Logbook::records`].
    pub fn unfinished(&self, key: &Key) -> Result<Option<(u64, Record)>, LogError> {
        let newest = self.records()?.into_iter().rev().find(|(_, record)| record.key == *key);
        Ok(newest.filter(|(_, record)| record.state != State::Complete))
    }

    /// Makes the file, if there is none: aside first, so that it is never seen half made.
    fn make(&self) -> Result<(), LogError> {
        if self.0.exists() {
            return Ok(());
        }
        let failed = |error: std::io::Error| LogError::File(self.0.clone(), error.to_string());
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let aside = tempfile::Builder::new().prefix(".history").tempfile_in(folder).map_err(failed)?;
        self.made(aside.path())?;
        match aside.persist_noclobber(&self.0) {
            // Another process was faster: its file is as good.
            Err(persist) if persist.error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(failed(persist.error))
            }
            _ => Ok(()),
        }
    }

    fn made(&self, aside: &Path) -> Result<(), LogError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(aside);
        let database = database.map_err(|error| LogError::File(aside.to_owned(), error.to_string()))?;
        self.written(&database, |transaction| {
            transaction.open_table(ABOUT)?.insert("format", FORMAT)?;
            transaction.open_table(SWEEPS)?;
            transaction.open_table(FAILURES)?;
            Ok(())
        })
    }

    #[expect(clippy::disallowed_methods, reason = "waits for another process, outside of every run")]
    fn open(&self) -> Result<Database, LogError> {
        let mut left = PATIENCE.as_millis() / LOOK.as_millis();
        let database = loop {
            match Database::builder().set_cache_size(CACHE_BYTES).open(&self.0) {
                Err(redb::DatabaseError::DatabaseAlreadyOpen) if left > 0 => {
                    left -= 1;
                    std::thread::sleep(LOOK);
                }
                Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Err(LogError::Busy(self.0.clone())),
                opened => break opened.map_err(|error| self.failed(&error))?,
            }
        };
        match self.form(&database).map_err(|error| self.failed(&error))? {
            FORMAT => Ok(database),
            other => Err(LogError::Form(self.0.clone(), other)),
        }
    }

    fn form(&self, database: &Database) -> Result<u64, redb::Error> {
        let table = match database.begin_read()?.open_table(ABOUT) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(0),
            table => table?,
        };
        Ok(table.get("format")?.map_or(0, |form| form.value()))
    }

    fn read<T>(
        &self,
        look: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<Option<T>, LogError> {
        if !self.0.exists() {
            return Ok(None);
        }
        let database = self.open()?;
        let looked =
            database.begin_read().map_err(redb::Error::from).and_then(|transaction| look(&transaction));
        looked.map(Some).map_err(|error| self.failed(&error))
    }

    fn written<T>(
        &self,
        database: &Database,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, LogError> {
        let all = || {
            let transaction = database.begin_write()?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok::<T, redb::Error>(value)
        };
        all().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &impl ToString) -> LogError {
        LogError::File(self.0.clone(), error.to_string())
    }
}

/// Records and failures are of strings and integers alone: nothing in them fails to be JSON.
fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
