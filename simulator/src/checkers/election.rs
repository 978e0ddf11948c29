//! Election safety: at most one leader per term (Ongaro, "Consensus", figure 3.2).

use std::collections::BTreeMap;

use blixard_node::ids::NodeId;

use super::Breach;

#[derive(Debug, Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<u64, NodeId>,
}

impl ElectionSafety {
    pub(super) fn became_leader(&mut self, node: NodeId, term: u64) -> Result<(), Breach> {
        let first = *self.leaders.entry(term).or_insert(node);
        if first == node {
            return Ok(());
        }
        let breach = Breach::new("election-safety", format!("{first} and {node} both lead term {term}"));
        Err(breach.nodes([first, node]).term(term))
    }

    /// How many terms had a leader.
    pub(super) fn elections(&self) -> usize {
        self.leaders.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_leader_per_term() {
        let mut checker = ElectionSafety::default();
        assert_eq!(checker.became_leader(NodeId(1), 2), Ok(()));
        assert_eq!(checker.became_leader(NodeId(2), 3), Ok(()));
        assert_eq!(checker.became_leader(NodeId(1), 4), Ok(()));
        assert_eq!(checker.elections(), 3);
    }

    #[test]
    fn the_same_leader_may_say_so_twice() {
        let mut checker = ElectionSafety::default();
        assert_eq!(checker.became_leader(NodeId(1), 2), Ok(()));
        assert_eq!(checker.became_leader(NodeId(1), 2), Ok(()));
    }

    #[test]
    fn two_leaders_of_one_term_are_found() {
        let mut checker = ElectionSafety::default();
        assert_eq!(checker.became_leader(NodeId(1), 2), Ok(()));
        let breach = checker.became_leader(NodeId(3), 2).unwrap_err();
        assert_eq!(breach.property, "election-safety");
        assert_eq!(breach.message, "n1 and n3 both lead term 2");
    }
}
