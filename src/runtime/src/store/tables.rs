//! What stands in which table of redb.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name of the record | the record |
//! | `log` | index | the entry's record |
//! | `snapshot` | number of the piece | a piece of the snapshot's record, at most [`PIECE_LEN_MAX`] bytes |

use blixard_node::codec::{self, StoreHead};
use blixard_node::stored::{HardState, LogEntry, Snapshot, Stored, WriteBatch};
use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::error::StoreError;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const SNAPSHOT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("snapshot");

const HEAD: &str = "head";
const IDENTITY: &str = "identity";
const HARD_STATE: &str = "hard_state";
const AGENT: &str = "agent";

/// A large value takes a power of two of pages that lie side by side; pieces keep that small.
const PIECE_LEN_MAX: usize = 240 << 10;

/// Fills a new database with tables that hold nothing.
pub(super) fn create(db: &Database) -> Result<(), StoreError> {
    let txn = db.begin_write()?;
    txn.open_table(LOG)?;
    txn.open_table(SNAPSHOT)?;
    txn.open_table(META)?.insert(HEAD, &*codec::encode_head(&StoreHead::default()))?;
    txn.commit()?;
    Ok(())
}

/// Writes what `batch` says into `txn`, and the head that goes with it.
pub(super) fn write(
    txn: &WriteTransaction,
    head: &StoreHead,
    batch: &WriteBatch,
    hard_state: Option<HardState>,
) -> Result<StoreHead, StoreError> {
    let mut head = StoreHead { sequence: head.sequence + 1, ..*head };
    if batch.snapshot.is_some() || !batch.append.is_empty() {
        write_log(txn, &mut head, batch)?;
    }
    if let Some(snapshot) = &batch.snapshot {
        write_snapshot(txn, &mut head, snapshot)?;
    }
    let mut meta = txn.open_table(META)?;
    if let Some(identity) = &batch.identity {
        meta.insert(IDENTITY, &*codec::encode_identity(identity))?;
        head.identity = true;
    }
    if let Some(hard_state) = &hard_state {
        meta.insert(HARD_STATE, &*codec::encode_hard_state(hard_state))?;
        head.hard_state = true;
    }
    if let Some(agent) = &batch.agent {
        meta.insert(AGENT, &*codec::encode_agent(agent))?;
        head.agent = true;
    }
    meta.insert(HEAD, &*codec::encode_head(&head))?;
    Ok(head)
}

pub(super) fn write_log(
    txn: &WriteTransaction,
    head: &mut StoreHead,
    batch: &WriteBatch,
) -> Result<(), StoreError> {
    let mut log = txn.open_table(LOG)?;
    if let (Some(snapshot), Some((first, last))) = (&batch.snapshot, head.log) {
        if batch.snapshot_resets_log || last <= snapshot.index {
            log.retain(|_, _| false)?;
            head.log = None;
        } else if first <= snapshot.index {
            log.retain_in(first..=snapshot.index, |_, _| false)?;
            head.log = Some((snapshot.index + 1, last));
        }
    }
    let (Some(first_new), Some(last_new)) = (batch.append.first(), batch.append.last()) else {
        return Ok(());
    };
    if let Some((_, last)) = head.log
        && first_new.index <= last
    {
        log.retain_in(first_new.index..=last, |_, _| false)?;
    }
    for entry in &batch.append {
        log.insert(entry.index, &*codec::encode_entry(entry))?;
    }
    let first = head.log.map_or(first_new.index, |(first, _)| first.min(first_new.index));
    head.log = Some((first, last_new.index));
    Ok(())
}

fn write_snapshot(
    txn: &WriteTransaction,
    head: &mut StoreHead,
    snapshot: &Snapshot,
) -> Result<(), StoreError> {
    let mut pieces = txn.open_table(SNAPSHOT)?;
    let record = codec::encode_snapshot(snapshot);
    let mut count = 0;
    for piece in record.chunks(PIECE_LEN_MAX) {
        pieces.insert(count, piece)?;
        count += 1;
    }
    if count < head.snapshot_pieces {
        pieces.retain_in(count..head.snapshot_pieces, |_, _| false)?;
    }
    head.snapshot_pieces = count;
    Ok(())
}

/// Reads the head.
pub(super) fn read_head(db: &Database) -> Result<StoreHead, StoreError> {
    let txn = db.begin_read()?;
    let meta = txn.open_table(META)?;
    let head = meta.get(HEAD)?.ok_or_else(|| StoreError::corrupt("it has no head"))?;
    Ok(codec::decode_head(Bytes::copy_from_slice(head.value()))?)
}

/// Reads everything, and checks that all that the head speaks of is there.
pub(super) fn read(db: &Database, head: &StoreHead) -> Result<Stored, StoreError> {
    let txn = db.begin_read()?;
    let meta = txn.open_table(META)?;
    let record = |name: &'static str, expected: bool| -> Result<Option<Bytes>, StoreError> {
        let found = meta.get(name)?.map(|record| Bytes::copy_from_slice(record.value()));
        if found.is_some() != expected {
            let is = if expected { "is missing" } else { "should not be there" };
            return Err(StoreError::corrupt(format!("the record {name} {is}")));
        }
        Ok(found)
    };
    let mut stored = Stored::default();
    if let Some(identity) = record(IDENTITY, head.identity)? {
        stored.identity = Some(codec::decode_identity(identity)?);
    }
    if let Some(hard_state) = record(HARD_STATE, head.hard_state)? {
        stored.hard_state = codec::decode_hard_state(hard_state)?;
    }
    if let Some(agent) = record(AGENT, head.agent)? {
        stored.agent = codec::decode_agent(agent)?;
    }
    stored.snapshot = read_snapshot(&txn.open_table(SNAPSHOT)?, head)?;
    stored.entries = read_log(&txn.open_table(LOG)?, head)?;
    Ok(stored)
}

fn read_snapshot(
    pieces: &impl ReadableTable<u64, &'static [u8]>,
    head: &StoreHead,
) -> Result<Option<Snapshot>, StoreError> {
    let mut record = Vec::new();
    let mut count = 0;
    for piece in pieces.iter()? {
        let (number, piece) = piece?;
        if number.value() != count {
            return Err(StoreError::corrupt(format!("piece {count} of the snapshot is missing")));
        }
        record.extend_from_slice(piece.value());
        count += 1;
    }
    if count != head.snapshot_pieces {
        return Err(StoreError::corrupt(format!(
            "the snapshot has {} pieces, but {count} were found",
            head.snapshot_pieces
        )));
    }
    if count == 0 {
        return Ok(None);
    }
    Ok(Some(codec::decode_snapshot(record.into())?))
}

fn read_log(
    log: &impl ReadableTable<u64, &'static [u8]>,
    head: &StoreHead,
) -> Result<Vec<LogEntry>, StoreError> {
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut expected = head.log.map(|(first, _)| first);
    for record in log.iter()? {
        let (index, record) = record?;
        let index = index.value();
        if Some(index) != expected {
            return Err(StoreError::corrupt(match expected {
                Some(expected) => format!("log entry {expected} is missing, {index} comes next"),
                None => format!("there is a log entry {index}, but the log should be empty"),
            }));
        }
        let entry = codec::decode_entry(Bytes::copy_from_slice(record.value()))?;
        if entry.index != index {
            return Err(StoreError::corrupt(format!("log entry {} stands in place {index}", entry.index)));
        }
        expected = Some(index + 1);
        entries.push(entry);
    }
    let found = entries.last().map(|entry| entry.index);
    if found != head.log.map(|(_, last)| last) {
        return Err(StoreError::corrupt(format!(
            "the log should end with {:?}, but ends with {found:?}",
            head.log
        )));
    }
    Ok(entries)
}
