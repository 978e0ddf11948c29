//! The Raft log as raft-rs reads it: entries since the last snapshot, and some before it, in memory.

use raft::eraftpb;
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::ids::NodeId;
use crate::stored::{EntryKind, HardState, LogEntry, Membership, Snapshot};

/// The log with the newest snapshot. The disk is written from it and read only when the node opens.
#[derive(Debug, Default)]
pub(crate) struct Log {
    hard_state: HardState,
    /// Entries from `first()` on.
    entries: Vec<eraftpb::Entry>,
    /// The entry before the first: what is below is gone.
    cut_index: u64,
    cut_term: u64,
    snapshot: Option<Snapshot>,
    membership: Membership,
}

impl Log {
    /// The log as the disk holds it.
    ///
    /// # Errors
    /// What does not fit together.
    pub(crate) fn open(
        hard_state: HardState,
        snapshot: Option<Snapshot>,
        entries: Vec<LogEntry>,
    ) -> Result<Self, String> {
        let (cut_index, cut_term) =
            snapshot.as_ref().map_or((0, 0), |snapshot| (snapshot.index, snapshot.term));
        let membership = snapshot.as_ref().map(|snapshot| snapshot.membership.clone()).unwrap_or_default();
        let entries: Vec<_> = entries.into_iter().filter(|entry| entry.index > cut_index).collect();
        for (place, entry) in entries.iter().enumerate() {
            let want = cut_index + 1 + place as u64;
            if entry.index != want {
                return Err(format!("log entry {want} is missing (found {})", entry.index));
            }
        }
        let entries = entries.into_iter().map(to_raft).collect();
        let mut log = Self { hard_state, entries, cut_index, cut_term, snapshot, membership };
        log.hard_state.commit = hard_state.commit.clamp(cut_index, log.last());
        Ok(log)
    }

    pub(crate) fn first(&self) -> u64 {
        self.cut_index + 1
    }

    pub(crate) fn last(&self) -> u64 {
        self.cut_index + self.entries.len() as u64
    }

    pub(crate) fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.cut_index {
            return Some(self.cut_term);
        }
        let place = index.checked_sub(self.first())?;
        self.entries.get(place as usize).map(|entry| entry.term)
    }

    pub(crate) fn entry(&self, index: u64) -> Option<&eraftpb::Entry> {
        self.entries.get(index.checked_sub(self.first())? as usize)
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub(crate) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub(crate) fn set_commit(&mut self, commit: u64) {
        self.hard_state.commit = commit;
    }

    pub(crate) fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.index)
    }

    #[cfg(feature = "planted")]
    pub(crate) fn snapshot_data(&self) -> Option<&[u8]> {
        self.snapshot.as_ref().map(|snapshot| &snapshot.data[..])
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(crate) fn set_membership(&mut self, membership: Membership) {
        self.membership = membership;
    }

    /// Appends, dropping what the entries replace. Returns whether anything was replaced.
    pub(crate) fn append(&mut self, entries: &[eraftpb::Entry]) -> bool {
        let Some(first) = entries.first() else { return false };
        assert!(first.index > self.cut_index, "invariant: a compacted entry is not written again");
        assert!(first.index <= self.last() + 1, "invariant: the log has no gap");
        let replaces = first.index <= self.last();
        self.entries.truncate((first.index - self.first()) as usize);
        self.entries.extend_from_slice(entries);
        replaces
    }

    /// Takes a snapshot of the node's own state; keeps `keep` entries below it.
    pub(crate) fn compact(&mut self, snapshot: Snapshot, keep: u64) {
        let cut = snapshot.index.saturating_sub(keep).max(self.cut_index);
        if let Some(term) = self.term_of(cut) {
            self.entries.drain(..(cut - self.cut_index) as usize);
            self.cut_index = cut;
            self.cut_term = term;
        }
        self.snapshot = Some(snapshot);
    }

    /// Takes a leader's snapshot in place of the log.
    pub(crate) fn restore(&mut self, snapshot: Snapshot) {
        self.entries.clear();
        self.cut_index = snapshot.index;
        self.cut_term = snapshot.term;
        self.membership = snapshot.membership.clone();
        self.hard_state.commit = self.hard_state.commit.max(snapshot.index);
        self.snapshot = Some(snapshot);
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let mut hard_state = eraftpb::HardState::default();
        hard_state.term = self.hard_state.term;
        hard_state.vote = self.hard_state.vote;
        hard_state.commit = self.hard_state.commit;
        Ok(RaftState::new(hard_state, to_conf_state(&self.membership)))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        if low < self.first() {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let range = &self.entries[(low - self.first()) as usize..(high - self.first()) as usize];
        let max = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0u64;
        let fits = |entry: &&eraftpb::Entry| {
            let first = size == 0;
            size += entry.data.len() as u64 + ENTRY_OVERHEAD;
            first || size <= max
        };
        Ok(range.iter().take_while(fits).cloned().collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.cut_index {
            return Err(StorageError::Compacted.into());
        }
        self.term_of(index).ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<eraftpb::Snapshot> {
        match &self.snapshot {
            Some(snapshot) if snapshot.index >= request_index => Ok(snapshot_to_raft(snapshot)),
            _ => Err(StorageError::SnapshotTemporarilyUnavailable.into()),
        }
    }
}

/// Bytes of an entry besides its data, for limits.
const ENTRY_OVERHEAD: u64 = 24;

fn to_raft(entry: LogEntry) -> eraftpb::Entry {
    let entry_type = match entry.kind {
        EntryKind::Command => eraftpb::EntryType::EntryNormal,
        EntryKind::Membership => eraftpb::EntryType::EntryConfChangeV2,
    };
    let (index, term, data) = (entry.index, entry.term, entry.data);
    eraftpb::Entry { index, term, entry_type, data, ..Default::default() }
}

pub(crate) fn from_raft(entry: &eraftpb::Entry) -> LogEntry {
    let kind = match entry.entry_type {
        eraftpb::EntryType::EntryNormal => EntryKind::Command,
        _ => EntryKind::Membership,
    };
    LogEntry { index: entry.index, term: entry.term, kind, data: entry.data.clone() }
}

fn to_conf_state(membership: &Membership) -> eraftpb::ConfState {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
    eraftpb::ConfState {
        voters: ids(&membership.voters),
        voters_outgoing: ids(&membership.voters_outgoing),
        learners: ids(&membership.learners),
        learners_next: ids(&membership.learners_next),
        ..Default::default()
    }
}

/// Sorted, so that replicas agree whatever order raft-rs keeps its sets in.
pub(crate) fn from_conf_state(conf: &eraftpb::ConfState) -> Membership {
    let nodes = |ids: &[u64]| {
        let mut nodes: Vec<_> = ids.iter().map(|id| NodeId(*id)).collect();
        nodes.sort_unstable();
        nodes
    };
    Membership {
        voters: nodes(&conf.voters),
        voters_outgoing: nodes(&conf.voters_outgoing),
        learners: nodes(&conf.learners),
        learners_next: nodes(&conf.learners_next),
    }
}

fn snapshot_to_raft(snapshot: &Snapshot) -> eraftpb::Snapshot {
    let mut raft = eraftpb::Snapshot { data: snapshot.data.clone(), ..Default::default() };
    let metadata = raft.mut_metadata();
    metadata.index = snapshot.index;
    metadata.term = snapshot.term;
    metadata.set_conf_state(to_conf_state(&snapshot.membership));
    raft
}

pub(crate) fn snapshot_from_raft(raft: &eraftpb::Snapshot) -> Snapshot {
    let metadata = raft.get_metadata();
    Snapshot {
        index: metadata.index,
        term: metadata.term,
        membership: from_conf_state(metadata.get_conf_state()),
        data: raft.data.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two bytes of data each, which are the index.
    fn entry(index: u64, term: u64) -> LogEntry {
        let data = vec![index as u8; 2].into();
        LogEntry { index, term, kind: EntryKind::Command, data }
    }

    fn entries(terms: &[(u64, u64)]) -> Vec<eraftpb::Entry> {
        terms.iter().map(|(index, term)| to_raft(entry(*index, *term))).collect()
    }

    fn snapshot(index: u64, term: u64) -> Snapshot {
        Snapshot { index, term, membership: joint(), data: vec![7; 3].into() }
    }

    fn joint() -> Membership {
        let nodes = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect();
        Membership {
            voters: nodes(&[1, 2]),
            voters_outgoing: nodes(&[2, 3]),
            learners: nodes(&[4]),
            learners_next: nodes(&[3]),
        }
    }

    /// A snapshot of index 10 and term 2, and the entries 11 to 14 of terms 2, 2, 3, 3.
    fn log() -> Log {
        let stored = vec![entry(11, 2), entry(12, 2), entry(13, 3), entry(14, 3)];
        match Log::open(HardState { term: 3, vote: 1, commit: 12 }, Some(snapshot(10, 2)), stored) {
            Ok(log) => log,
            Err(reason) => panic!("{reason}"),
        }
    }

    fn terms(log: &Log) -> Vec<(u64, u64)> {
        (log.first()..=log.last()).filter_map(|index| Some((index, log.term_of(index)?))).collect()
    }

    fn read(log: &Log, low: u64, high: u64, max_size: Option<u64>) -> Vec<u64> {
        match log.entries(low, high, max_size, GetEntriesContext::empty(false)) {
            Ok(entries) => entries.iter().map(|entry| entry.index).collect(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn appended_entries_take_the_place_of_those_from_their_first_on() {
        let mut log = log();
        assert!(!log.append(&[]));
        assert!(!log.append(&entries(&[(15, 3)])), "nothing was there");
        assert!(log.append(&entries(&[(13, 4), (14, 4)])));
        assert_eq!(terms(&log), [(11, 2), (12, 2), (13, 4), (14, 4)]);
        assert!(log.append(&entries(&[(14, 5)])), "the last alone");
        assert_eq!(terms(&log), [(11, 2), (12, 2), (13, 4), (14, 5)]);
        assert_eq!(log.entry(14).map(|entry| (entry.term, &entry.data[..])), Some((5, &[14u8, 14][..])));
        assert_eq!((log.entry(10), log.entry(15)), (None, None));
    }

    #[test]
    fn as_many_entries_are_read_as_fit_and_the_first_always() {
        let log = log();
        let each = 2 + ENTRY_OVERHEAD;
        assert_eq!(read(&log, 11, 15, None), [11, 12, 13, 14]);
        assert_eq!(read(&log, 12, 14, None), [12, 13]);
        assert_eq!(read(&log, 11, 15, Some(3 * each)), [11, 12, 13]);
        assert_eq!(read(&log, 11, 15, Some(3 * each - 1)), [11, 12]);
        assert_eq!(read(&log, 11, 15, Some(0)), [11]);
    }

    #[test]
    fn what_is_not_there_is_not_read() {
        let log = log();
        let entries = |low, high| log.entries(low, high, None, GetEntriesContext::empty(false));
        assert_eq!(entries(10, 12), Err(StorageError::Compacted.into()));
        assert_eq!(entries(14, 16), Err(StorageError::Unavailable.into()));
        assert_eq!(log.term(9), Err(StorageError::Compacted.into()));
        assert_eq!(
            (log.term(10), log.term(14)),
            (Ok(2), Ok(3)),
            "that of the entry before the first is known"
        );
        assert_eq!(log.term(15), Err(StorageError::Unavailable.into()));
        assert_eq!((log.first_index(), log.last_index()), (Ok(11), Ok(14)));
    }

    #[test]
    fn a_snapshot_is_handed_out_unless_it_is_older_than_what_was_asked_for() {
        let log = log();
        for asked in [0, 10] {
            let handed_out = log.snapshot(asked, 2).map(|raft| snapshot_from_raft(&raft));
            assert_eq!(handed_out, Ok(snapshot(10, 2)), "with its members, also those of a joint change");
        }
        assert_eq!(log.snapshot(11, 2), Err(StorageError::SnapshotTemporarilyUnavailable.into()));
        assert_eq!(Log::default().snapshot(0, 2), Err(StorageError::SnapshotTemporarilyUnavailable.into()));
    }

    #[test]
    fn it_opens_with_the_members_of_its_snapshot() {
        let Ok(state) = log().initial_state() else { panic!("it has one") };
        assert_eq!(from_conf_state(&state.conf_state), joint());
        let RaftState { hard_state, .. } = state;
        assert_eq!((hard_state.term, hard_state.vote, hard_state.commit), (3, 1, 12));
    }

    #[test]
    fn a_cut_log_keeps_some_entries_below_its_snapshot() {
        let mut log = log();
        log.compact(snapshot(13, 3), 2);
        assert_eq!(terms(&log), [(12, 2), (13, 3), (14, 3)]);
        assert_eq!((log.term(11), log.snapshot_index()), (Ok(2), 13));
        log.compact(snapshot(14, 3), 100);
        assert_eq!(log.first(), 12, "what is gone is gone");
    }
}
