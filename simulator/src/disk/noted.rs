//! What a batch holds and what an opening found, in a few numbers: for the log of a run.

use blixard_node::stored::{HardState, Stored, WriteBatch};

/// What a batch holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Term, vote and commit index.
    pub hard_state: Option<HardState>,
    /// The first and the last entry's index, and the last one's term.
    pub entries: Option<[u64; 3]>,
    /// The snapshot's index and term.
    pub snapshot: Option<[u64; 2]>,
    /// The revision of the agent's newest assignment set.
    pub set: Option<u64>,
}

impl Held {
    pub(super) fn in_batch(batch: &WriteBatch) -> Self {
        let entries = batch.append.first().zip(batch.append.last());
        Self {
            hard_state: batch.hard_state,
            entries: entries.map(|(first, last)| [first.index, last.index, last.term]),
            snapshot: batch.snapshot.as_ref().map(|snapshot| [snapshot.index, snapshot.term]),
            set: batch.agent.as_ref().map(|agent| agent.set_revision.0),
        }
    }

    /// What an opening found: everything that there was.
    pub(super) fn on_disk(stored: &Stored) -> Self {
        let entries = stored.entries.first().zip(stored.entries.last());
        Self {
            hard_state: Some(stored.hard_state),
            entries: entries.map(|(first, last)| [first.index, last.index, last.term]),
            snapshot: stored.snapshot.as_ref().map(|snapshot| [snapshot.index, snapshot.term]),
            set: Some(stored.agent.set_revision.0),
        }
    }
}
