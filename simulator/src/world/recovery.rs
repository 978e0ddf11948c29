//! The liveness phase: a core at least a quorum large is healed, faults outside it become permanent, and the core must
//! elect, commit, converge to one state, and have every wanted VM running.

use blixard_node::Node;
use blixard_node::ids::NodeId;
use blixard_node::rng::Rng;
use blixard_node::time::Duration;

use super::host::Presence;
use super::rot::ROTTED;
use super::{Members, World, setup, streams};
use crate::scenario::Outcome;

/// How often the core is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How the liveness phase ended, with the proof if nothing can be concluded.
type Ending = (Outcome, Option<String>);

impl World<'_> {
    /// Heals a core and waits for it until true time `end`.
    pub(super) fn recover(&mut self, end: u64) -> Ending {
        let mut rng = Rng::new(self.seed, streams::RECOVERY);
        self.settle_rot();
        if self.failed() {
            return (Outcome::Safety, None);
        }
        if let Some(proof) = self.hopeless() {
            return self.without_a_quorum(proof);
        }
        let mut log_end = self.checkers.log_end();
        let believed_until = self.now.get() + self.hearing().0;
        let core = self.choose_core(&mut rng);
        self.give_up_outside(&core, &mut rng);
        self.heal(&core);
        let mut probed = false;
        // Until when it has to stay as it is, and how many runs had come alive before.
        let mut stays: Option<(u64, u64)> = None;
        let lease = self.scenario.cluster.lease_ttl + self.scenario.cluster.kill_grace;
        loop {
            let end = stays.map_or(end, |(until, _)| until.max(end));
            let next = (self.now.get() + LOOK_EVERY.0).min(end);
            self.run_until(next);
            if next <= believed_until {
                log_end = self.checkers.log_end();
            }
            if self.failed() {
                return (Outcome::Safety, None);
            }
            let (now, runs) = (self.now.get(), self.checkers.checked().runs);
            let unsettled = match (self.unsettled(&core), stays) {
                (None, Some((_, before))) if runs > before => {
                    Some(format!("{} VMs died and were started again, and nothing was wrong", runs - before))
                }
                (unsettled, _) => unsettled,
            };
            match unsettled {
                None if !probed => {
                    // Elected and quiet is not enough: it must serve.
                    probed = true;
                    self.probe();
                }
                // And what runs must live on, also when the leases it was found with are over.
                None if stays.is_none() => stays = Some((now + lease.0, runs)),
                None if stays.is_some_and(|(until, _)| now >= until) => return self.conclude(&core),
                None => {}
                Some(missing) if now >= end => return self.give_up(missing, log_end),
                Some(_) => stays = None,
            }
        }
    }

    /// No quorum is left. Faults that take care to leave one are no excuse: the node has chosen voters of whom too few were sure to stay. Unless
    /// a disk had rotted, which nobody knows before it is read: then voters may be chosen among whom it counts for more than it did.
    fn without_a_quorum(&mut self, proof: String) -> Ending {
        let Members { voters, outgoing, .. } = &self.members;
        let rotted = |voter: &NodeId| self.lost.get(voter).is_some_and(|(why, _)| *why == ROTTED);
        if !self.scenario.run.keep_quorum || voters.iter().chain(outgoing).any(rotted) {
            return (Outcome::Inconclusive, Some(proof));
        }
        self.close_histories();
        self.fail("liveness", format!("{proof}, though each fault had left one"));
        (Outcome::Liveness, None)
    }

    /// The end of a run in which all held so far.
    fn conclude(&mut self, core: &[usize]) -> Ending {
        self.close_histories();
        let now = self.true_time();
        let hosts = core.iter().filter_map(|host| self.hosts[*host].process.as_ref());
        let nodes = replicas(hosts.map(|process| process.node()).collect());
        let undecided = self.checkers.finish(now, &nodes).err();
        if self.failed() {
            return (Outcome::Safety, None);
        }
        match undecided {
            None => (Outcome::Held, None),
            Some(why) => (Outcome::Inconclusive, Some(why)),
        }
    }

    /// How long a leader may take a voter for one that is there after it was last heard: raft-rs asks itself once in an election timeout whom it
    /// has heard since it last did.
    fn hearing(&self) -> Duration {
        let cluster = &self.scenario.cluster;
        let drift = self.drift_ppm() * cluster.election_ticks * cluster.tick.0 / 1_000_000;
        Duration(2 * (cluster.election_ticks * cluster.tick.0 + drift))
    }

    /// The core did not recover. A violation of safety in the histories weighs more. A change of members that stood in a log up to `log_end`,
    /// uncommitted when the core was chosen or begun before its leader could know who was given up then, may have made others the voters: then
    /// those that were given up were too many. A change that the core has begun later is no excuse.
    fn give_up(&mut self, missing: String, log_end: u64) -> Ending {
        self.close_histories();
        let now = self.true_time();
        // Whether an undecided history holds does not matter any more.
        let _ = self.checkers.finish_histories(now);
        if self.failed() {
            return (Outcome::Safety, None);
        }
        if self.members.at <= log_end
            && let Some(proof) = self.hopeless()
        {
            let at = self.members.at;
            return (
                Outcome::Inconclusive,
                Some(format!("{proof}; they are the voters since entry {at}, of before")),
            );
        }
        self.fail("liveness", missing);
        (Outcome::Liveness, None)
    }

    fn close_histories(&mut self) {
        let mut output = std::mem::take(&mut self.scratch.output);
        self.workload.finish(self.true_time(), &mut output);
        self.take_output(output);
    }

    fn probe(&mut self) {
        let mut output = std::mem::take(&mut self.scratch.output);
        self.workload.probe(self.true_time(), &self.askable, &mut output);
        self.take_output(output);
    }

    /// The proof that no healing can help: the newest members have no intact quorum.
    fn hopeless(&self) -> Option<String> {
        for half in [&self.members.voters, &self.members.outgoing] {
            let intact: Vec<&NodeId> = half.iter().filter(|voter| self.is_intact(**voter)).collect();
            if !half.is_empty() && 2 * intact.len() <= half.len() {
                let lost: Vec<String> = half
                    .iter()
                    .filter(|voter| !intact.contains(voter))
                    .map(|voter| self.why_lost(*voter))
                    .collect();
                return Some(format!(
                    "of the voters {half:?} only {intact:?} are there with their disks ({}): no quorum can ever form again",
                    lost.join("; ")
                ));
            }
        }
        None
    }

    /// All that take part, or in half of the seeds as few as still have a quorum in everybody's view of the members.
    fn choose_core(&self, rng: &mut Rng) -> Vec<usize> {
        let mut core = self.present();
        if rng.ratio(1, 2) {
            return core;
        }
        let mut candidates = core.clone();
        rng.shuffle(&mut candidates);
        let leavers = rng.below(candidates.len() as u64 / 2 + 1) as usize;
        for leaver in candidates.into_iter().take(leavers) {
            let rest: Vec<usize> = core.iter().copied().filter(|host| *host != leaver).collect();
            let mut views = self.views.iter().chain([&self.members]);
            if views.all(|view| !self.is_quorum(&core, view) || self.is_quorum(&rest, view)) {
                core = rest;
            }
        }
        core
    }

    fn is_quorum(&self, hosts: &[usize], view: &Members) -> bool {
        [&view.voters, &view.outgoing].iter().all(|half| {
            let present =
                half.iter().filter(|voter| hosts.iter().any(|host| self.hosts[*host].node == **voter));
            half.is_empty() || 2 * present.count() > half.len()
        })
    }

    /// What is outside the core is dead from now on, or cut off for good.
    fn give_up_outside(&mut self, core: &[usize], rng: &mut Rng) {
        for outside in self.present() {
            if core.contains(&outside) {
                continue;
            }
            let dead = rng.ratio(1, 2);
            if dead {
                self.lose_power(outside);
            } else {
                let others = (0..self.hosts.len()).filter(|host| *host != outside);
                let pairs: Vec<_> = others.flat_map(|host| [(outside, host), (host, outside)]).collect();
                pairs.iter().for_each(|(from, to)| self.links.cut(*from, *to));
                self.tell_pairs(0, &pairs);
            }
            self.hosts[outside].presence = Presence::Gone;
        }
    }

    fn heal(&mut self, core: &[usize]) {
        self.end_faults();
        self.links.heal();
        self.sites.silence();
        self.operator.settle_down();
        self.refresh_askable();
        self.workload.stop();
        self.plan_clients();
        let healed = setup::healed_hypervisor(&self.scenario);
        for number in core {
            let host = &mut self.hosts[*number];
            host.hypervisor.set_faults(healed.clone());
            host.hypervisor.cancel_fates();
            host.recovery_crashes = 0;
            host.armed = None;
            if !host.is_up() {
                // Void the start that is planned, and start at once.
                host.life += 1;
                self.start_after(*number, Duration::from_millis(50));
            }
            self.go_on(*number);
        }
    }

    /// What still keeps the core from being recovered.
    fn unsettled(&self, core: &[usize]) -> Option<String> {
        if let Some(down) = core.iter().find(|host| !self.hosts[**host].is_up()) {
            return Some(format!("{} is not up", self.hosts[*down].node));
        }
        if self.workload.busy() > 0 {
            return Some(format!("{} clients still wait for an answer", self.workload.busy()));
        }
        let speaks = |host: &usize| (self.hosts[*host].node, self.hosts[*host].level);
        let up = core.iter().map(speaks).collect();
        self.checkers.converged(&replicas(self.nodes(core)), &up).err()
    }

    fn nodes(&self, core: &[usize]) -> Vec<&Node> {
        core.iter().filter_map(|host| Some(self.hosts[*host].process.as_ref()?.node())).collect()
    }
}

/// Of these nodes those that the leader's members count in: another may hold an old replica and not know yet that it is
/// none of them any more.
fn replicas(nodes: Vec<&Node>) -> Vec<&Node> {
    let leaders = nodes.iter().map(|node| (node.consensus(), *node)).filter(|(view, _)| view.is_leader);
    let Some((_, leader)) = leaders.max_by_key(|(view, _)| view.term) else { return nodes };
    let members = leader.membership();
    let halves = [&members.voters, &members.voters_outgoing, &members.learners];
    nodes.into_iter().filter(|node| halves.iter().any(|half| half.contains(&node.id()))).collect()
}
