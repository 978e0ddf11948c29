//! Hosts that get another version of the program, by a fault or because theirs is too old for the cluster.

use blixard_node::effects::Event as NodeEvent;
use blixard_node::level::Level;
use blixard_node::time::Duration;

use super::World;
use super::faults::Struck;
use super::setup::before;
use crate::scenario::Fault;
use crate::strikes::Dice;

impl World<'_> {
    /// Puts another version on a host, and has its process end in good order; whatever ends it first, the next one is of that version.
    pub(super) fn upgrade(&mut self, fault: &mut Fault, lasts: Duration, dice: &mut Dice) -> Struck {
        let back = dice.how.ratio(1, 4);
        let fits = |host: usize| (self.hosts[host].level == Level::NEWEST) == back;
        let host = self.target_that(fits, fault.among, fault.node, &mut dice.whom)?;
        fault.node = Some(host as u64 + 1);
        let level = &mut self.hosts[host].level;
        *level = if back { before(*level) } else { Level(level.0 + 1) };
        if self.hosts[host].is_up() {
            self.retire(host, lasts);
        }
        Some((1 << host, None))
    }

    /// A process that spoke `own` was too old for its cluster, which is as it should be if that is true. The operator gives the host a newer
    /// version, unless it was given one while the process still ran.
    pub(super) fn outgrown(&mut self, number: usize, own: Level, cluster: Level) {
        let (now, host) = (self.true_time(), &mut self.hosts[number]);
        self.checkers.on_outgrown(now, host.node, own, cluster);
        host.level = cluster.max(host.level);
        let after = self.scenario.process.restart.draw(&mut self.hosts[number].process_rng);
        self.start_after(number, after);
    }
}

/// What the process spoke and what the cluster speaks, when that is why it gave up.
pub(super) fn levels_apart(event: &NodeEvent) -> Option<(Level, Level)> {
    match *event {
        NodeEvent::Outgrown { cluster, own } => Some((own, cluster)),
        _ => None,
    }
}
