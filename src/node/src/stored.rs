//! What a node keeps on its disk: what it reads when it opens and what it writes in each turn.

use bytes::Bytes;

use crate::ids::{ClusterId, Incarnation, NodeId, Revision};

/// Who owns this disk. Written once, when the disk is first used; `cluster` is filled in when the node has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster, or [`ClusterId`] 0 before the node has joined one.
    pub cluster: ClusterId,
    /// The member.
    pub node: NodeId,
    /// This disk's life.
    pub incarnation: Incarnation,
}

/// Raft's hard state. A vote is never forgotten within its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HardState {
    /// The newest term seen.
    pub term: u64,
    /// Whom this node voted for in it; 0 is nobody.
    pub vote: u64,
    /// A lower bound of the commit index.
    pub commit: u64,
}

/// What a log entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An encoded command, or nothing (a new leader's first entry).
    Command,
    /// An encoded raft `ConfChangeV2`.
    Membership,
}

/// One entry of the Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place; the log has no gaps.
    pub index: u64,
    /// The term of the leader that appended it.
    pub term: u64,
    /// What `data` is.
    pub kind: EntryKind,
    /// The content.
    pub data: Bytes,
}

/// The voters and learners as of a log index.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Membership {
    /// Voters (the incoming half during a joint change).
    pub voters: Vec<NodeId>,
    /// The outgoing half during a joint change, else empty.
    pub voters_outgoing: Vec<NodeId>,
    /// Learners.
    pub learners: Vec<NodeId>,
    /// Voters that become learners when the joint change ends.
    pub learners_next: Vec<NodeId>,
}

/// The cluster state as of a log index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry it covers.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The members as of that entry.
    pub membership: Membership,
    /// The encoded state.
    pub data: Bytes,
}

/// What the agent must not forget.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AgentRecord {
    /// The revision of the newest assignment set taken; older sets are refused.
    pub set_revision: Revision,
    /// Members to ask for the leader after a restart, with their addresses.
    pub members: Vec<(NodeId, String)>,
}

/// Everything on the disk, as read when the node opens.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Stored {
    /// None on a fresh disk.
    pub identity: Option<Identity>,
    /// Zero on a disk that never held a replica.
    pub hard_state: HardState,
    /// The newest snapshot, if this node ever held a replica.
    pub snapshot: Option<Snapshot>,
    /// The entries after the snapshot (or some before it, which are ignored), ascending, without gaps.
    pub entries: Vec<LogEntry>,
    /// Default on a disk that never ran an agent.
    pub agent: AgentRecord,
}

/// What one turn writes, all or nothing, in the order of the fields.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct WriteBatch {
    /// Replaces the identity.
    pub identity: Option<Identity>,
    /// Replaces the snapshot and drops every entry up to its index. An entry beyond it stays only if
    /// `append` does not replace it and `snapshot_resets_log` is false.
    pub snapshot: Option<Snapshot>,
    /// With `snapshot`: drop the whole log first (the snapshot came from a leader and the log does not match it).
    pub snapshot_resets_log: bool,
    /// Entries to append, ascending, without gaps. An entry on the disk with an index at or above the first of these is dropped first.
    pub append: Vec<LogEntry>,
    /// Replaces the hard state.
    pub hard_state: Option<HardState>,
    /// Replaces the agent's record.
    pub agent: Option<AgentRecord>,
}

impl WriteBatch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.identity.is_none()
            && self.snapshot.is_none()
            && self.append.is_empty()
            && self.hard_state.is_none()
            && self.agent.is_none()
    }

    /// Adds the entries that a later step of the same turn appends, dropping those they replace.
    pub fn append_entries(&mut self, entries: impl IntoIterator<Item = LogEntry>) {
        for entry in entries {
            while self.append.last().is_some_and(|last| last.index >= entry.index) {
                self.append.pop();
            }
            self.append.push(entry);
        }
    }
}

impl Stored {
    /// Applies a batch to this image, as every `Disk` must. The reference the conformance suite compares with.
    pub fn apply(&mut self, batch: &WriteBatch) {
        if let Some(identity) = batch.identity {
            self.identity = Some(identity);
        }
        if let Some(snapshot) = &batch.snapshot {
            if batch.snapshot_resets_log {
                self.entries.clear();
            }
            self.entries.retain(|entry| entry.index > snapshot.index);
            self.snapshot = Some(snapshot.clone());
        }
        if let Some(first) = batch.append.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(batch.append.iter().cloned());
        }
        if let Some(hard_state) = batch.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(agent) = &batch.agent {
            self.agent = agent.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> LogEntry {
        LogEntry { index, term, kind: EntryKind::Command, data: Bytes::new() }
    }

    fn snapshot(index: u64) -> Snapshot {
        Snapshot { index, term: 1, membership: Membership::default(), data: Bytes::new() }
    }

    fn indices(entries: &[LogEntry]) -> Vec<(u64, u64)> {
        entries.iter().map(|entry| (entry.index, entry.term)).collect()
    }

    #[test]
    fn a_batch_with_any_one_part_is_not_empty() {
        let identity = Identity { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(1) };
        let parts = [
            WriteBatch { identity: Some(identity), ..WriteBatch::default() },
            WriteBatch { snapshot: Some(snapshot(1)), ..WriteBatch::default() },
            WriteBatch { append: vec![entry(1, 1)], ..WriteBatch::default() },
            WriteBatch { hard_state: Some(HardState::default()), ..WriteBatch::default() },
            WriteBatch { agent: Some(AgentRecord::default()), ..WriteBatch::default() },
        ];
        assert!(WriteBatch::default().is_empty());
        for part in parts {
            assert!(!part.is_empty(), "{part:?}");
        }
    }

    #[test]
    fn a_later_step_replaces_what_an_earlier_one_of_the_turn_appended() {
        let mut batch = WriteBatch::default();
        batch.append_entries([entry(5, 1), entry(6, 1), entry(7, 1)]);
        assert_eq!(indices(&batch.append), [(5, 1), (6, 1), (7, 1)]);
        batch.append_entries([entry(6, 2)]);
        assert_eq!(indices(&batch.append), [(5, 1), (6, 2)]);
        batch.append_entries([entry(3, 3), entry(4, 3)]);
        assert_eq!(indices(&batch.append), [(3, 3), (4, 3)]);
    }

    #[test]
    fn what_is_appended_replaces_all_from_its_first_index_on() {
        let mut disk =
            Stored { entries: (1..=5).map(|index| entry(index, 1)).collect(), ..Stored::default() };
        disk.apply(&WriteBatch { append: vec![entry(4, 2)], ..WriteBatch::default() });
        assert_eq!(indices(&disk.entries), [(1, 1), (2, 1), (3, 1), (4, 2)]);
    }

    #[test]
    fn a_snapshot_drops_what_it_covers_or_the_whole_log() {
        for (snapshot_resets_log, left) in [(false, vec![(4, 1), (5, 1)]), (true, vec![])] {
            let mut disk =
                Stored { entries: (1..=5).map(|index| entry(index, 1)).collect(), ..Stored::default() };
            let snapshot = Some(snapshot(3));
            let batch = WriteBatch { snapshot, snapshot_resets_log, ..WriteBatch::default() };
            disk.apply(&batch);
            assert_eq!((indices(&disk.entries), &disk.snapshot), (left, &batch.snapshot));
        }
    }
}
