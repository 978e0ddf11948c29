//! State machine safety: what stands at a log index once it was carried out, and the state after it, are the same on
//! every node and for all time. The record made at the first application is never contradicted, so an entry that is lost
//! after it took effect is found as soon as another takes its place.

use blixard_node::ids::{NodeId, Revision};

use super::Breach;

#[derive(Debug, Default)]
pub(super) struct StateHashes {
    /// By index: its term and the state's hash after it, as first applied.
    records: Vec<Option<Record>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) term: u64,
    pub(super) state_hash: u64,
    pub(super) first: NodeId,
}

impl StateHashes {
    /// Whether this is the entry's first application.
    pub(super) fn applied(
        &mut self,
        node: NodeId,
        revision: Revision,
        term: u64,
        state_hash: u64,
    ) -> Result<bool, Breach> {
        let index = revision.0 as usize;
        if self.records.len() <= index {
            self.records.resize(index + 1, None);
        }
        let Some(record) = self.records[index] else {
            self.records[index] = Some(Record { term, state_hash, first: node });
            return Ok(true);
        };
        if record.term != term {
            let message = format!(
                "{revision} was applied by {} as an entry of term {}, by {node} as one of term {term}",
                record.first, record.term
            );
            return Err(Breach::new("state-machine-safety", message));
        }
        same_hash(record, node, revision, state_hash).map(|()| false)
    }

    pub(super) fn restored(&self, node: NodeId, revision: Revision, state_hash: u64) -> Result<(), Breach> {
        match self.record(revision) {
            Some(record) => same_hash(record, node, revision, state_hash),
            None => Ok(()),
        }
    }

    pub(super) fn record(&self, revision: Revision) -> Option<Record> {
        self.records.get(revision.0 as usize).copied().flatten()
    }

    /// The newest entry of a term before `term` that any node has carried out.
    pub(super) fn newest_before(&self, term: u64) -> Option<(Revision, Record)> {
        let older = |record: &&Option<Record>| record.is_some_and(|record| record.term < term);
        let index = self.records.iter().rposition(|record| older(&record))?;
        Some((Revision(index as u64), self.records[index]?))
    }
}

fn same_hash(record: Record, node: NodeId, revision: Revision, state_hash: u64) -> Result<(), Breach> {
    if record.state_hash == state_hash {
        return Ok(());
    }
    let message = format!(
        "after {revision} the state of {} has hash {:016x}, that of {node} has {state_hash:016x}",
        record.first, record.state_hash
    );
    Err(Breach::new("state-hash", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_states_pass() {
        let mut checker = StateHashes::default();
        assert_eq!(checker.applied(NodeId(1), Revision(3), 1, 77), Ok(true));
        assert_eq!(checker.applied(NodeId(2), Revision(3), 1, 77), Ok(false));
        assert_eq!(checker.restored(NodeId(3), Revision(3), 77), Ok(()));
        assert_eq!(checker.restored(NodeId(3), Revision(9), 5), Ok(()), "nobody applied it in sight");
        assert_eq!(checker.newest_before(2).map(|(revision, _)| revision), Some(Revision(3)));
        assert_eq!(checker.newest_before(1), None);
    }

    #[test]
    fn another_state_is_found() {
        let mut checker = StateHashes::default();
        assert_eq!(checker.applied(NodeId(1), Revision(3), 1, 77), Ok(true));
        assert_eq!(checker.applied(NodeId(2), Revision(3), 1, 78).unwrap_err().property, "state-hash");
        assert_eq!(checker.restored(NodeId(2), Revision(3), 78).unwrap_err().property, "state-hash");
    }

    #[test]
    fn another_entry_in_its_place_is_found() {
        let mut checker = StateHashes::default();
        assert_eq!(checker.applied(NodeId(1), Revision(3), 1, 77), Ok(true));
        let breach = checker.applied(NodeId(1), Revision(3), 2, 77).unwrap_err();
        assert_eq!(breach.property, "state-machine-safety");
    }
}
