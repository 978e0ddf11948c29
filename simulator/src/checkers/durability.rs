//! Durability: at the end, every core node stands at a state that holds all that was ever acknowledged. Where an
//! acknowledged write took effect is known from its first application, and [`super::applied`] finds anything that
//! takes its place; so it is enough that no node ends below, and that each ends on the one history.

use blixard_node::ids::{RequestId, Revision};
use blixard_node::request::{Request, Response};

use super::Breach;
use super::applied::StateHashes;
use super::view::NodeView;
use crate::history::{Operation, Outcome};

#[derive(Debug, Default)]
pub(super) struct Durability {
    newest: Option<(Revision, RequestId)>,
    count: u64,
}

impl Durability {
    pub(super) fn ended(&mut self, operation: &Operation) {
        if let (Request::Write { id, .. }, Outcome::Answered(Ok(Response::Written { revision, .. }))) =
            (&operation.request, &operation.outcome)
        {
            self.count += 1;
            self.newest = self.newest.max(Some((*revision, *id)));
        }
    }

    /// How many writes were acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.count
    }

    /// The end of the run, for a core node that has caught up.
    pub(super) fn holds_at(&self, node: &impl NodeView, applied: &StateHashes) -> Result<(), Breach> {
        let Some(state) = node.state() else { return Ok(()) };
        if let Some((newest, id)) = self.newest
            && state.revision < newest
        {
            let message =
                format!("{id:?} was acknowledged at {newest}, {} ends at {}", node.id(), state.revision);
            return Err(Breach::new("durability", message).nodes([node.id()]).index(newest.0));
        }
        match applied.record(state.revision) {
            Some(record) if record.state_hash != state.hash() => {
                let message = format!(
                    "{} ends at {} with hash {:016x}, the history has {:016x}",
                    node.id(),
                    state.revision,
                    state.hash(),
                    record.state_hash
                );
                return Err(Breach::new("durability", message).nodes([node.id()]).index(state.revision.0));
            }
            _ => {}
        }
        self.log_is_history(node, applied)
    }

    /// What is left of the node's log is what was carried out.
    fn log_is_history(&self, node: &impl NodeView, applied: &StateHashes) -> Result<(), Breach> {
        let Some(log) = node.log() else { return Ok(()) };
        for index in log.first_index..=log.applied {
            if let (Some(term), Some(record)) = (node.log_term(index), applied.record(Revision(index)))
                && term != record.term
            {
                let message = format!(
                    "entry {index} of {} is of term {term}, the one carried out was of term {}",
                    node.id(),
                    record.term
                );
                return Err(Breach::new("durability", message).nodes([node.id()]).index(index));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use blixard_node::ids::{ClientId, Generation};
    use blixard_node::request::Write;
    use blixard_node::spec::VmName;
    use blixard_node::time::Time;

    use super::super::replay::tests::Cluster;
    use super::*;
    use crate::history::Moment;

    fn acknowledged(revision: u64) -> Durability {
        let mut checker = Durability::default();
        checker.ended(&acknowledged_operation(revision));
        checker
    }

    fn acknowledged_operation(revision: u64) -> Operation {
        let id = RequestId { client: ClientId(1), sequence: 1, born: Revision(0) };
        let name = VmName::new("a").expect("a name");
        let (revision, generation) = (Revision(revision), Generation(1));
        let moment = Moment { at: Time(1), order: 1 };
        Operation {
            client: 0,
            request: Request::Write { id, write: Write::StopVm { name, generation: None } },
            invoked: moment,
            ended: moment,
            floor: Revision(0),
            attempts: 1,
            outcome: Outcome::Answered(Ok(Response::Written { revision, generation })),
        }
    }

    fn history(cluster: &Cluster, hash: u64, term: u64) -> StateHashes {
        let mut applied = StateHashes::default();
        applied.applied((cluster.id(), term), cluster.state.revision, term, hash).expect("the first");
        applied
    }

    #[test]
    fn a_node_that_holds_the_write_passes() {
        let cluster = Cluster::new();
        let applied = history(&cluster, cluster.state.hash(), 1);
        let checker = acknowledged(cluster.state.revision.0);
        assert_eq!(checker.acknowledged(), 1);
        assert_eq!(checker.holds_at(&cluster, &applied), Ok(()));
    }

    #[test]
    fn a_node_that_ends_before_the_write_is_found() {
        let cluster = Cluster::new();
        let applied = history(&cluster, cluster.state.hash(), 1);
        let breach = acknowledged(cluster.state.revision.0 + 1).holds_at(&cluster, &applied).unwrap_err();
        assert_eq!(breach.property, "durability");
    }

    #[test]
    fn a_node_with_another_history_is_found() {
        let cluster = Cluster::new();
        let checker = acknowledged(1);
        let other_state = history(&cluster, cluster.state.hash() ^ 1, 1);
        assert_eq!(checker.holds_at(&cluster, &other_state).unwrap_err().property, "durability");
        let other_entry = history(&cluster, cluster.state.hash(), 2);
        assert_eq!(checker.holds_at(&cluster, &other_entry).unwrap_err().property, "durability");
    }

    #[test]
    fn messages_name_the_request_and_both_ends() {
        let cluster = Cluster::new();
        let good = history(&cluster, cluster.state.hash(), 1);
        let (ends, id) = (cluster.state.revision, acknowledged(9).newest.expect("one").1);
        let early = acknowledged(9).holds_at(&cluster, &good).unwrap_err();
        assert_eq!(early.message, format!("{id:?} was acknowledged at r9, n1 ends at {ends}"));
        let hash = cluster.state.hash();
        let other = history(&cluster, hash ^ 1, 1);
        assert_eq!(
            acknowledged(1).holds_at(&cluster, &other).unwrap_err().message,
            format!("n1 ends at {ends} with hash {hash:016x}, the history has {:016x}", hash ^ 1)
        );
        let other = history(&cluster, hash, 2);
        assert_eq!(
            acknowledged(1).holds_at(&cluster, &other).unwrap_err().message,
            format!("entry {} of n1 is of term 1, the one carried out was of term 2", ends.0)
        );
    }

    #[test]
    fn only_acknowledgements_count() {
        let mut checker = Durability::default();
        let mut refused = acknowledged_operation(9);
        refused.outcome = Outcome::Refused;
        checker.ended(&refused);
        let mut unknown = acknowledged_operation(9);
        unknown.outcome = Outcome::Unknown;
        checker.ended(&unknown);
        let cluster = Cluster::new();
        let applied = history(&cluster, cluster.state.hash(), 1);
        assert_eq!((checker.acknowledged(), checker.holds_at(&cluster, &applied)), (0, Ok(())));
    }

    #[test]
    fn an_older_acknowledgement_does_not_replace_a_newer_one() {
        let mut checker = acknowledged(9);
        checker.ended(&acknowledged_operation(1));
        let cluster = Cluster::new();
        let applied = history(&cluster, cluster.state.hash(), 1);
        assert!(checker.holds_at(&cluster, &applied).is_err());
    }
}
