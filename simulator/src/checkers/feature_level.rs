//! Feature levels: the cluster's level never falls; it is never above what a member announces; no process carries out, or is granted a lease
//! by, a cluster whose level is above its own; and in the end the level is what all members speak.

use std::collections::BTreeMap;

use blixard_node::ids::{NodeId, Revision};
use blixard_node::level::Level;

use super::Breach;
use super::view::NodeView;

const PROPERTY: &str = "feature-level";

#[derive(Debug, Default)]
pub(super) struct FeatureLevel {
    /// By level: the lowest revision at which a state was seen at it, and whose that was.
    reached: BTreeMap<Level, (Revision, NodeId)>,
    /// What the cluster had reached when the present process of a node opened.
    at_opening: BTreeMap<NodeId, Level>,
    /// The highest level for which a process gave up, and whose it was.
    claimed: Option<(Level, NodeId)>,
}

impl FeatureLevel {
    /// The highest level that any state was seen at.
    fn reached(&self) -> Option<Level> {
        self.reached.last_key_value().map(|(level, _)| *level)
    }

    /// A process of `node` has opened.
    pub(super) fn opened(&mut self, node: &impl NodeView) -> Result<(), Breach> {
        match self.reached() {
            Some(level) => self.at_opening.insert(node.id(), level),
            None => self.at_opening.remove(&node.id()),
        };
        self.take_state(node)
    }

    /// A turn of `node` is over; `moved` when it has another state than before.
    pub(super) fn turned(&mut self, node: &impl NodeView, moved: bool) -> Result<(), Breach> {
        if moved {
            self.take_state(node)?;
        }
        // A lease counts from a heartbeat of this very process, and whoever granted it had carried out all that was committed before.
        let (id, own) = (node.id(), node.level());
        match self.at_opening.get(&id) {
            Some(level) if own < *level && node.has_lease() => {
                let message = format!(
                    "{id} speaks level {own} and was granted a lease, after the cluster had reached level {level}"
                );
                Err(Breach::new(PROPERTY, message).nodes([id]))
            }
            _ => Ok(()),
        }
    }

    /// A process of `node`, which speaks `own`, gave up because the cluster is at `level`. It may be the first to know.
    pub(super) fn outgrown(&mut self, node: NodeId, own: Level, level: Level) -> Result<(), Breach> {
        if level <= own {
            let message = format!("{node} speaks level {own} and gave up because the cluster is at {level}");
            return Err(Breach::new(PROPERTY, message).nodes([node]));
        }
        self.claimed = self.claimed.max(Some((level, node)));
        Ok(())
    }

    fn take_state(&mut self, node: &impl NodeView) -> Result<(), Breach> {
        let Some(state) = node.state() else { return Ok(()) };
        let (id, revision, level) = (node.id(), state.revision, state.level);
        let breach = |message: String, others: Option<NodeId>| {
            let nodes = others.into_iter().chain([id]);
            Err(Breach::new(PROPERTY, message).nodes(nodes).index(revision.0))
        };
        if level > node.level() {
            let own = node.level();
            let message =
                format!("{id} speaks level {own} and goes on at {revision}, where the cluster is at {level}");
            return breach(message, None);
        }
        let below = state.hosts.iter().find(|(_, host)| host.spec.level() < level);
        if let Some((host, told)) = below {
            let announced = told.spec.level();
            let message = format!(
                "at {revision} the cluster is at level {level}, and {host} has announced {announced}"
            );
            return breach(message, Some(*host));
        }
        let above =
            self.reached.range(level..).find(|(higher, (since, _))| **higher > level && *since <= revision);
        if let Some((higher, (since, first))) = above {
            let message =
                format!("{first} was at level {higher} at {since}, and {id} is at {level} at {revision}");
            return breach(message, Some(*first));
        }
        let first = self.reached.entry(level).or_insert((revision, id));
        if revision < first.0 {
            *first = (revision, id);
        }
        Ok(())
    }

    /// Whether the level is what the members speak, as the leader has it; `speak` says what the processes of the core do. A leader that knows no
    /// levels raises none, and hears of none.
    pub(super) fn settled(
        &self,
        leader: &impl NodeView,
        speak: &BTreeMap<NodeId, Level>,
    ) -> Result<(), String> {
        let (Some(state), own) = (leader.state(), leader.level()) else { return Ok(()) };
        let announced = state.hosts.values().map(|host| host.spec.level()).min().unwrap_or(state.level);
        if let Some((claimed, by)) = self.claimed.filter(|(claimed, _)| *claimed > state.level) {
            let level = state.level;
            return Err(format!(
                "{by} gave up because the cluster was at level {claimed}, and it is at {level}"
            ));
        }
        if own >= announced && state.level != announced {
            return Err(format!(
                "all members announce level {announced}, and the cluster is at {}",
                state.level
            ));
        }
        for (node, host) in state.hosts.iter().filter(|_| own >= Level::RAISED) {
            let told = host.spec.level();
            if let Some(speaks) = speak.get(node).filter(|speaks| **speaks != told) {
                return Err(format!("{node} speaks level {speaks}, and the cluster has it at {told}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use blixard_node::command::{Action, HostSpec};
    use blixard_node::ids::Incarnation;
    use blixard_node::spec::Resources;

    use super::super::replay::tests::Cluster;
    use super::*;

    const OLD: Level = Level::FIRST;
    const NEW: Level = Level(2);

    /// A cluster whose first host, at the second level, has been joined by another.
    fn joined_by(level: Level) -> Cluster {
        let mut cluster = Cluster::new();
        announce(&mut cluster, 1, NEW);
        announce(&mut cluster, 2, level);
        cluster
    }

    fn announce(cluster: &mut Cluster, node: u64, level: Level) {
        let capacity = Resources { vcpus: 4, memory_mib: 1_000 };
        let host = HostSpec { address: "here".into(), capacity, labels: [].into() }.announcing(level);
        cluster.run(Action::AddHost { node: NodeId(node), incarnation: Incarnation(1), host });
    }

    fn raised() -> Cluster {
        let mut cluster = joined_by(NEW);
        cluster.run(Action::RaiseLevel { to: NEW });
        assert_eq!(cluster.state.level, NEW, "all have announced it");
        cluster
    }

    fn breach(result: Result<(), Breach>) -> String {
        let breach = result.expect_err("it must not be so");
        assert_eq!(breach.property, PROPERTY);
        breach.message
    }

    #[test]
    fn a_level_that_rises_when_all_have_announced_it_passes() {
        let mut checker = FeatureLevel::default();
        let mut cluster = joined_by(OLD);
        assert_eq!(checker.opened(&cluster), Ok(()));
        announce(&mut cluster, 2, NEW);
        cluster.run(Action::RaiseLevel { to: NEW });
        assert_eq!(checker.turned(&cluster, true), Ok(()));
        assert_eq!(checker.reached(), Some(NEW));
    }

    #[test]
    fn a_replica_that_lags_behind_passes() {
        let mut checker = FeatureLevel::default();
        assert_eq!(checker.turned(&raised(), true), Ok(()));
        let mut behind = joined_by(NEW);
        behind.id = NodeId(2);
        assert_eq!(checker.turned(&behind, true), Ok(()), "it has yet to carry out that the level rises");
    }

    #[test]
    fn a_level_that_falls_is_found() {
        let mut checker = FeatureLevel::default();
        let mut cluster = raised();
        assert_eq!(checker.turned(&cluster, true), Ok(()));
        cluster.id = NodeId(2);
        cluster.state.level = OLD;
        let wrong = breach(checker.turned(&cluster, true));
        assert_eq!(wrong, "n1 was at level 2 at r5, and n2 is at 1 at r5");
    }

    #[test]
    fn a_level_above_what_a_member_announced_is_found() {
        let mut cluster = joined_by(OLD);
        cluster.run(Action::RaiseLevel { to: NEW });
        assert_eq!(FeatureLevel::default().turned(&cluster, true), Ok(()), "it was not raised");
        cluster.state.level = NEW;
        let wrong = breach(FeatureLevel::default().turned(&cluster, true));
        assert_eq!(wrong, "at r5 the cluster is at level 2, and n2 has announced 1");
    }

    #[test]
    fn a_process_that_goes_on_below_the_level_is_found() {
        let mut cluster = raised();
        cluster.level = OLD;
        let wrong = "n1 speaks level 1 and goes on at r5, where the cluster is at 2";
        assert_eq!(breach(FeatureLevel::default().opened(&cluster)), wrong);
        assert_eq!(breach(FeatureLevel::default().turned(&cluster, true)), wrong);
    }

    #[test]
    fn a_lease_below_the_level_is_found_unless_the_process_was_there_before() {
        let mut checker = FeatureLevel::default();
        let mut worker = joined_by(NEW);
        (worker.id, worker.level, worker.lease) = (NodeId(3), OLD, true);
        assert_eq!(checker.opened(&worker), Ok(()));
        assert_eq!(checker.turned(&raised(), true), Ok(()));
        assert_eq!(checker.turned(&worker, false), Ok(()), "nobody could know");
        assert_eq!(checker.opened(&worker), Ok(()));
        let wrong = "n3 speaks level 1 and was granted a lease, after the cluster had reached level 2";
        assert_eq!(breach(checker.turned(&worker, false)), wrong);
        worker.lease = false;
        assert_eq!(checker.turned(&worker, false), Ok(()));
    }

    #[test]
    fn who_gives_up_without_need_is_found() {
        let mut checker = FeatureLevel::default();
        let wrong = "n2 speaks level 2 and gave up because the cluster is at 2";
        assert_eq!(breach(checker.outgrown(NodeId(2), NEW, NEW)), wrong);
        assert_eq!(checker.outgrown(NodeId(2), OLD, NEW), Ok(()), "it may be the first to know");
        assert_eq!(checker.settled(&raised(), &BTreeMap::new()), Ok(()));
        let wrong = "n2 gave up because the cluster was at level 2, and it is at 1";
        assert_eq!(checker.settled(&joined_by(OLD), &BTreeMap::new()), Err(wrong.into()));
    }

    #[test]
    fn what_has_settled_is_what_all_speak() {
        let settled = |leader: &Cluster, speak: &BTreeMap<NodeId, Level>| {
            FeatureLevel::default().settled(leader, speak)
        };
        let speak = |levels: [(u64, Level); 2]| levels.map(|(node, level)| (NodeId(node), level)).into();
        let both_new = speak([(1, NEW), (2, NEW)]);
        assert_eq!(settled(&raised(), &both_new), Ok(()));
        assert_eq!(settled(&joined_by(OLD), &speak([(1, NEW), (2, OLD)])), Ok(()));
        let wrong = "all members announce level 2, and the cluster is at 1";
        assert_eq!(settled(&joined_by(NEW), &both_new), Err(wrong.into()));
        let wrong = "n2 speaks level 2, and the cluster has it at 1";
        assert_eq!(settled(&joined_by(OLD), &both_new), Err(wrong.into()));
        let mut old_leader = joined_by(NEW);
        old_leader.level = OLD;
        assert_eq!(settled(&old_leader, &both_new), Ok(()), "it knows no levels");
    }
}
