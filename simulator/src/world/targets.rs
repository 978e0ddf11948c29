//! Whom a fault may strike, and what the cluster would survive.

use blixard_node::ids::NodeId;
use blixard_node::rng::Rng;
use blixard_node::time::Duration;

use super::World;
use super::host::Presence;
use crate::cuts::Roles;
use crate::scenario::Among;

impl World<'_> {
    /// The hosts that take part.
    pub(super) fn present(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|host| self.hosts[*host].presence == Presence::In).collect()
    }

    /// The leader of the newest term.
    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |host: &usize| self.hosts[*host].leads;
        (0..self.hosts.len()).filter(|host| leads(host).is_some()).max_by_key(leads)
    }

    pub(super) fn is_voter(&self, host: usize) -> bool {
        let node = self.hosts[host].node;
        self.members.voters.contains(&node) || self.members.outgoing.contains(&node)
    }

    /// Who leads, votes and learns.
    pub(super) fn roles(&self) -> Roles {
        let hosts = || 0..self.hosts.len();
        let learns = |host: &usize| self.members.learners.contains(&self.hosts[*host].node);
        Roles {
            leader: self.leader(),
            voters: hosts().filter(|host| self.is_voter(*host)).collect(),
            learners: hosts().filter(learns).collect(),
        }
    }

    /// Draws a host; none when there is no such host now.
    pub(super) fn target(&self, among: Among, node: Option<u64>, rng: &mut Rng) -> Option<usize> {
        self.target_that(|_| true, among, node, rng)
    }

    /// Draws a host that `fits`; none when there is no such host now.
    pub(super) fn target_that(
        &self,
        fits: impl Fn(usize) -> bool,
        among: Among,
        node: Option<u64>,
        rng: &mut Rng,
    ) -> Option<usize> {
        if let Some(node) = node {
            let host = node as usize - 1;
            return (self.hosts[host].presence == Presence::In && fits(host)).then_some(host);
        }
        let leader = self.leader();
        let mut hosts = self.present();
        hosts.retain(|host| fits(*host));
        hosts.retain(|host| match among {
            Among::Any => true,
            Among::Voters => self.is_voter(*host),
            Among::Workers => !self.is_voter(*host),
            Among::Leader => Some(*host) == leader,
            Among::Followers => Some(*host) != leader && self.is_voter(*host),
        });
        rng.pick(&hosts).copied()
    }

    /// Whether this member's disk is still there, whatever its process does.
    pub(super) fn is_intact(&self, node: NodeId) -> bool {
        let home = self.homes.get(node.0 as usize).copied().flatten();
        home.is_some_and(|host| self.hosts[host].node == node && self.hosts[host].presence == Presence::In)
    }

    /// Whether this member's disk is there and sound for all that is known: one that has rotted may be refused when it is opened.
    fn is_sound(&self, node: NodeId) -> bool {
        let home = self.homes.get(node.0 as usize).copied().flatten();
        self.is_intact(node) && home.is_some_and(|host| !self.hosts[host].suspect)
    }

    /// Notes why a member's disk is gone for good.
    pub(super) fn note_lost(&mut self, node: NodeId, why: &'static str) {
        self.lost.entry(node).or_insert((why, self.now.get()));
    }

    /// Why this member's disk is gone, for people.
    pub(super) fn why_lost(&self, node: NodeId) -> String {
        match self.lost.get(&node) {
            Some((why, at)) => format!("{node}: {why} at {}", Duration(*at)),
            None => format!("{node}: left out of the core"),
        }
    }

    /// Whether the voters keep an intact quorum without this host (or the scenario does not care).
    pub(super) fn may_lose(&self, host: usize) -> bool {
        if !self.scenario.run.keep_quorum {
            return true;
        }
        let leaving = self.hosts[host].node;
        let views = || self.views.iter().chain([&self.members]);
        // An entry that makes it a voter may stand in a log already, and is committed later.
        if views().any(|view| view.learners.contains(&leaving)) {
            return false;
        }
        views().flat_map(|view| [&view.voters, &view.outgoing]).all(|half| {
            let intact = |without: Option<NodeId>| {
                half.iter().filter(|voter| Some(**voter) != without && self.is_sound(**voter)).count()
            };
            // An old view that has no quorum anyway is nobody's any more.
            half.is_empty() || 2 * intact(None) <= half.len() || 2 * intact(Some(leaving)) > half.len()
        })
    }
}
