//! Log matching: entries of one index and term are the same on every node, and so are all entries before them (Ongaro,
//! "Consensus", figure 3.2). By induction it is enough that such entries have the same content and follow entries of the
//! same term.
//!
//! And leader completeness: a new leader's log holds every entry that was carried out before its term.

use std::collections::BTreeMap;

use blixard_node::ids::NodeId;
use blixard_node::state::hash::hash_of;

use super::Breach;
use super::applied::StateHashes;
use super::view::{LogView, NodeView};

#[derive(Debug, Default)]
pub(super) struct LogMatching {
    /// By index: what was seen there.
    entries: Vec<Vec<Seen>>,
    /// How far each node's log was looked at.
    looked: BTreeMap<NodeId, Looked>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    term: u64,
    /// The term of the entry before it; none when that was compacted.
    before: Option<u64>,
    content: u64,
    node: NodeId,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Looked {
    last_index: u64,
    last_term: u64,
    /// Entries up to here never change any more.
    commit: u64,
}

impl LogMatching {
    /// The node opened anew: its log may be another one than it was.
    pub(super) fn opened(&mut self, node: NodeId) {
        self.looked.remove(&node);
    }

    pub(super) fn take(&mut self, node: &impl NodeView, log: &LogView) -> Result<(), Breach> {
        let last_term = node.log_term(log.last_index).unwrap_or_default();
        let looked = self.looked.get(&node.id()).copied().unwrap_or_default();
        if (looked.last_index, looked.last_term) == (log.last_index, last_term) {
            return Ok(());
        }
        let from = looked.commit.min(log.last_index).max(log.first_index.saturating_sub(1)) + 1;
        let mut before = node.log_term(from - 1);
        for index in from..=log.last_index {
            let Some(term) = node.log_term(index) else { continue };
            let content = hash_of(node.log_data(index).unwrap_or_default());
            self.compare(index, Seen { term, before, content, node: node.id() })?;
            before = Some(term);
        }
        let commit = log.commit.max(looked.commit);
        self.looked.insert(node.id(), Looked { last_index: log.last_index, last_term, commit });
        Ok(())
    }

    fn compare(&mut self, index: u64, new: Seen) -> Result<(), Breach> {
        let place = index as usize;
        if self.entries.len() <= place {
            self.entries.resize(place + 1, Vec::new());
        }
        let Some(old) = self.entries[place].iter_mut().find(|old| old.term == new.term) else {
            self.entries[place].push(new);
            return Ok(());
        };
        let fits = old.before.is_none() || new.before.is_none() || old.before == new.before;
        if fits && old.content == new.content {
            old.before = old.before.or(new.before);
            return Ok(());
        }
        let what = if fits { "has other content" } else { "follows an entry of another term" };
        let message =
            format!("entry {index} of term {} {what} on {} than on {}", new.term, new.node, old.node);
        Err(Breach::new("log-matching", message).nodes([old.node, new.node]).index(index).term(new.term))
    }
}

/// `node` has won `term`.
pub(super) fn leader_completeness(
    node: &impl NodeView,
    term: u64,
    applied: &StateHashes,
) -> Result<(), Breach> {
    let Some(log) = node.log() else { return Ok(()) };
    let Some((newest, record)) = applied.newest_before(term) else { return Ok(()) };
    let holds = newest.0 < log.first_index || node.log_term(newest.0) == Some(record.term);
    if holds {
        return Ok(());
    }
    let message = format!(
        "{} leads term {term} without {newest} of term {}, which {} had carried out; its log ends at {}",
        node.id(),
        record.term,
        record.first,
        log.last_index
    );
    Err(Breach::new("leader-completeness", message)
        .nodes([record.first, node.id()])
        .index(newest.0)
        .term(term))
}

#[cfg(test)]
mod tests {
    use blixard_node::ids::Revision;
    use blixard_node::level::Level;
    use blixard_node::state::State;

    use super::*;

    struct Fake {
        id: u64,
        first: u64,
        commit: u64,
        entries: Vec<(u64, &'static str)>,
    }

    impl NodeView for Fake {
        fn level(&self) -> Level {
            Level::NEWEST
        }
        fn has_lease(&self) -> bool {
            false
        }
        fn id(&self) -> NodeId {
            NodeId(self.id)
        }
        fn log(&self) -> Option<LogView> {
            let last_index = self.first + self.entries.len() as u64 - 1;
            let (term, applied) = (9, self.commit);
            let (commit, first_index) = (self.commit, self.first);
            Some(LogView { term, is_leader: false, commit, applied, first_index, last_index })
        }
        fn log_term(&self, index: u64) -> Option<u64> {
            self.entries.get(index.checked_sub(self.first)? as usize).map(|entry| entry.0)
        }
        fn log_data(&self, index: u64) -> Option<&[u8]> {
            self.entries.get(index.checked_sub(self.first)? as usize).map(|entry| entry.1.as_bytes())
        }
        fn state(&self) -> Option<&State> {
            None
        }
        fn replicates_to(&self, _: NodeId) -> bool {
            true
        }
    }

    fn feed(nodes: &[Fake]) -> Result<(), Breach> {
        let mut checker = LogMatching::default();
        nodes.iter().try_for_each(|node| checker.take(node, &node.log().expect("a log")))
    }

    fn fake(id: u64, first: u64, commit: u64, entries: &[(u64, &'static str)]) -> Fake {
        Fake { id, first, commit, entries: entries.to_vec() }
    }

    #[test]
    fn logs_may_differ_in_entries_of_different_terms() {
        let one = fake(1, 1, 1, &[(1, "a"), (1, "b")]);
        let two = fake(2, 1, 1, &[(1, "a"), (2, "c"), (2, "d")]);
        let cut = fake(3, 2, 2, &[(2, "c"), (2, "d")]);
        let overwritten = fake(1, 1, 1, &[(1, "a"), (2, "c"), (2, "d")]);
        assert_eq!(feed(&[one, two, cut, overwritten]), Ok(()));
    }

    #[test]
    fn other_content_is_found() {
        let breach = feed(&[fake(1, 1, 0, &[(1, "a")]), fake(2, 1, 0, &[(1, "b")])]).unwrap_err();
        assert_eq!(breach.property, "log-matching");
        assert_eq!(breach.message, "entry 1 of term 1 has other content on n2 than on n1");
    }

    #[test]
    fn another_past_is_found() {
        let one = fake(1, 1, 0, &[(1, "a"), (3, "c")]);
        let two = fake(2, 1, 0, &[(2, "b"), (3, "c")]);
        let breach = feed(&[one, two]).unwrap_err();
        assert_eq!(breach.message, "entry 2 of term 3 follows an entry of another term on n2 than on n1");
    }

    #[test]
    fn growth_after_the_commit_is_looked_at() {
        let grown = fake(1, 1, 2, &[(1, "a"), (1, "b"), (1, "x")]);
        let nodes =
            [fake(1, 1, 2, &[(1, "a"), (1, "b")]), grown, fake(2, 1, 0, &[(1, "a"), (1, "b"), (1, "c")])];
        assert_eq!(feed(&nodes).unwrap_err().message, "entry 3 of term 1 has other content on n2 than on n1");
    }

    #[test]
    fn a_leader_must_have_what_was_carried_out() {
        let mut applied = StateHashes::default();
        for (revision, term) in [(1, 1), (2, 1), (3, 2)] {
            assert_eq!(applied.applied((NodeId(1), term), Revision(revision), term, 7), Ok(true));
        }
        let complete = fake(2, 1, 0, &[(1, "a"), (1, "b"), (2, "c")]);
        assert_eq!(leader_completeness(&complete, 3, &applied), Ok(()));
        let compacted = fake(2, 4, 4, &[(2, "d")]);
        assert_eq!(leader_completeness(&compacted, 3, &applied), Ok(()));
        let short = fake(2, 1, 0, &[(1, "a"), (1, "b")]);
        assert_eq!(leader_completeness(&short, 2, &applied), Ok(()), "entry 3 is of its own term");
        let breach = leader_completeness(&short, 3, &applied).unwrap_err();
        assert_eq!(breach.property, "leader-completeness");
        let other = fake(2, 1, 0, &[(1, "a"), (1, "b"), (1, "z")]);
        assert!(leader_completeness(&other, 3, &applied).is_err());
    }

    #[test]
    fn a_node_that_opened_anew_is_looked_at_from_the_start() {
        let mut checker = LogMatching::default();
        let take = |checker: &mut LogMatching, node: &Fake| checker.take(node, &node.log().expect("a log"));
        assert_eq!(take(&mut checker, &fake(1, 1, 2, &[(1, "a"), (1, "b")])), Ok(()));
        let other = fake(1, 1, 2, &[(1, "x"), (1, "b"), (1, "c")]);
        assert_eq!(take(&mut checker, &other), Ok(()), "what was committed is not looked at again");
        checker.opened(NodeId(1));
        let breach = take(&mut checker, &other).unwrap_err();
        assert_eq!(breach.message, "entry 1 of term 1 has other content on n1 than on n1");
    }

    #[test]
    fn what_was_compacted_is_not_compared() {
        let whole = fake(1, 1, 0, &[(1, "a"), (2, "b")]);
        let cut = fake(2, 2, 0, &[(2, "b")]);
        let from_another_past = fake(3, 1, 0, &[(2, "z"), (2, "b")]);
        assert_eq!(feed(&[cut, whole]), Ok(()), "nobody knows what the cut one had before");
        let cut = fake(2, 2, 0, &[(2, "b")]);
        let whole = fake(1, 1, 0, &[(1, "a"), (2, "b")]);
        assert!(feed(&[cut, whole, from_another_past]).is_err(), "the second one has told it");
    }

    #[test]
    fn an_incomplete_leader_is_told_with_what_it_lacks() {
        let mut applied = StateHashes::default();
        assert_eq!(applied.applied((NodeId(1), 1), Revision(1), 1, 7), Ok(true));
        let empty = Fake { id: 2, first: 1, commit: 0, entries: Vec::new() };
        let breach = leader_completeness(&empty, 2, &applied).unwrap_err();
        assert_eq!(
            breach.message,
            "n2 leads term 2 without r1 of term 1, which n1 had carried out; its log ends at 0"
        );
    }
}
