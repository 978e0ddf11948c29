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
    /// The term that the node was in which carried it out first: it was committed in that one at the latest.
    pub(super) committed_by: u64,
    pub(super) state_hash: u64,
    pub(super) first: NodeId,
}

impl StateHashes {
    /// Whether this is the entry's first application. The node is in the term `node_term`, the entry is of the term `term`.
    pub(super) fn applied(
        &mut self,
        (node, node_term): (NodeId, u64),
        revision: Revision,
        term: u64,
        state_hash: u64,
    ) -> Result<bool, Breach> {
        let index = revision.0 as usize;
        if self.records.len() <= index {
            self.records.resize(index + 1, None);
        }
        let Some(record) = self.records[index] else {
            let committed_by = node_term.max(term);
            self.records[index] = Some(Record { term, committed_by, state_hash, first: node });
            return Ok(true);
        };
        if record.term != term {
            let message = format!(
                "{revision} was applied by {} as an entry of term {}, by {node} as one of term {term}",
                record.first, record.term
            );
            return Err(Breach::new("state-machine-safety", message)
                .nodes([record.first, node])
                .index(revision.0));
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

    /// The newest entry that any node carried out in a term before `term`. An entry of an older term may be committed only by a later
    /// leader, and a leader between the two need not have it: it may learn of its votes late (Ongaro & Ousterhout, "In Search of an
    /// Understandable Consensus Algorithm", figure 3: "committed in a given term").
    pub(super) fn newest_before(&self, term: u64) -> Option<(Revision, Record)> {
        let older = |record: &&Option<Record>| record.is_some_and(|record| record.committed_by < term);
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
    Err(Breach::new("state-hash", message).nodes([record.first, node]).index(revision.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_states_pass() {
        let mut checker = StateHashes::default();
        assert_eq!(checker.applied((NodeId(1), 1), Revision(3), 1, 77), Ok(true));
        assert_eq!(checker.applied((NodeId(2), 1), Revision(3), 1, 77), Ok(false));
        assert_eq!(checker.restored(NodeId(3), Revision(3), 77), Ok(()));
        assert_eq!(checker.restored(NodeId(3), Revision(9), 5), Ok(()), "nobody applied it in sight");
        assert_eq!(checker.newest_before(2).map(|(revision, _)| revision), Some(Revision(3)));
        assert_eq!(checker.newest_before(1), None);
    }

    #[test]
    fn an_entry_counts_from_the_term_that_committed_it() {
        let mut checker = StateHashes::default();
        assert_eq!(checker.applied((NodeId(1), 9), Revision(3), 7, 77), Ok(true));
        assert_eq!(checker.newest_before(8), None, "the leader of 8 may not have it: that of 9 committed it");
        assert_eq!(checker.newest_before(10).map(|(revision, _)| revision), Some(Revision(3)));
    }

    #[test]
    fn another_state_is_found() {
        let mut checker = StateHashes::default();
        assert_eq!(checker.applied((NodeId(1), 1), Revision(3), 1, 77), Ok(true));
        assert_eq!(checker.applied((NodeId(2), 1), Revision(3), 1, 78).unwrap_err().property, "state-hash");
        assert_eq!(checker.restored(NodeId(2), Revision(3), 78).unwrap_err().property, "state-hash");
    }

    #[test]
    fn another_entry_in_its_place_is_found() {
        let mut checker = StateHashes::default();
        assert_eq!(checker.applied((NodeId(1), 1), Revision(3), 1, 77), Ok(true));
        let breach = checker.applied((NodeId(1), 2), Revision(3), 2, 77).unwrap_err();
        assert_eq!(breach.property, "state-machine-safety");
    }

    #[test]
    fn messages_name_both_nodes_and_both_values() {
        let mut checker = StateHashes::default();
        assert_eq!(checker.applied((NodeId(1), 1), Revision(3), 1, 0x77), Ok(true));
        let other_state =
            "after r3 the state of n1 has hash 0000000000000077, that of n2 has 0000000000000078";
        assert_eq!(checker.applied((NodeId(2), 1), Revision(3), 1, 0x78).unwrap_err().message, other_state);
        assert_eq!(checker.restored(NodeId(2), Revision(3), 0x78).unwrap_err().message, other_state);
        let other_entry = "r3 was applied by n1 as an entry of term 1, by n2 as one of term 2";
        assert_eq!(checker.applied((NodeId(2), 2), Revision(3), 2, 0x77).unwrap_err().message, other_entry);
    }

    #[test]
    fn what_was_contradicted_once_stays_as_it_was_first() {
        let mut checker = StateHashes::default();
        assert_eq!(checker.applied((NodeId(1), 1), Revision(3), 1, 77), Ok(true));
        assert!(checker.applied((NodeId(2), 2), Revision(3), 2, 78).is_err());
        assert_eq!(checker.applied((NodeId(3), 2), Revision(3), 1, 77), Ok(false));
        assert_eq!(checker.record(Revision(3)).map(|record| record.first), Some(NodeId(1)));
        assert_eq!(checker.record(Revision(2)), None);
    }
}
