//! The node: dispatch only.

use std::collections::BTreeMap;

use crate::agent::Agent;
use crate::config::NodeConfig;
use crate::context::{Asker, Context, Me};
use crate::controller::{ConsensusView, Controller, Unopened};
use crate::effects::{Effects, Event};
use crate::error::RequestError;
use crate::ids::{ClusterId, Incarnation, NodeId, Revision, Ticket};
use crate::input::Input;
use crate::join::Join;
use crate::level::Level;
use crate::message::{Body, Message};
use crate::open::OpenError;
use crate::probes::{Probe, Probes};
use crate::request::{Consistency, Reply, Request};
use crate::rng::Rng;
use crate::state::State;
use crate::stored::{Identity, Membership, Stored};
use crate::time::{Duration, Now, Time};

/// How long a node that is asked to end tries to hand leadership over.
const RETIRE_AFTER: Duration = Duration::from_secs(3);
/// How often one message may lead to another that a node sends itself within one turn.
const LOOPBACK_ROUNDS_MAX: u32 = 16;

/// One member of the cluster as a plain value.
#[derive(Debug)]
pub struct Node {
    me: Me,
    controller: Controller,
    agent: Agent,
    join: Join,
    forwards: BTreeMap<u64, Forward>,
    next_forward: u64,
    retire: Option<Time>,
    /// What the disk held has not been carried out yet.
    fresh: bool,
    now: Now,
}

/// A client's request in the leader's hands.
#[derive(Clone, Copy, Debug)]
struct Forward {
    ticket: Ticket,
    leader: NodeId,
    gives_up: Time,
}

impl Node {
    /// Opens a node on what its disk holds. `seed` feeds all its chance and must differ between processes in
    /// production.
    ///
    /// # Errors
    /// When the disk is another's or corrupt, or the configuration cannot work.
    pub fn open(config: NodeConfig, seed: u64, stored: Stored, now: Now) -> Result<Self, OpenError> {
        config.validate()?;
        let mut rng = Rng::new(seed, config.id.0);
        let process = rng.u64();
        let fresh_identity =
            Identity { cluster: ClusterId(0), node: config.id, incarnation: Incarnation(rng.u64().max(1)) };
        let identity = stored.identity.unwrap_or(fresh_identity);
        if identity.node != config.id {
            return Err(OpenError::WrongNode { stored: identity.node, configured: config.id });
        }
        let probes = met_on_disk(&stored);
        let agent = Agent::open(stored.agent.clone(), process, now.boot);
        let join = Join::new(stored.identity.is_none(), now.boot);
        let raft_rng = Rng::new(rng.u64(), 0);
        let own = config.feature_level;
        let controller =
            Controller::open(&config, stored, raft_rng, now.boot).map_err(|unopened| match unopened {
                Unopened::Corrupt(reason) => OpenError::Corrupt { reason },
                Unopened::BelowLevel(cluster) => OpenError::BelowLevel { cluster, own },
            })?;
        let me = Me { config, identity, process, probes, outgrown: None, loopback: Vec::new() };
        let forwards = BTreeMap::new();
        Ok(Self { me, controller, agent, join, forwards, next_forward: 0, retire: None, fresh: true, now })
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.me.identity.node
    }

    /// Its disk's identity and cluster; the cluster is 0 until it has joined one.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.me.identity
    }

    /// Its part in consensus.
    #[must_use]
    pub fn consensus(&self) -> ConsensusView {
        self.controller.view()
    }

    /// The replicated state, if it holds a replica.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        self.controller.state()
    }

    /// The members of the Raft group, as of the last entry it carried out.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.controller.membership()
    }

    /// The term of the log entry at `index`, if it is in memory.
    #[must_use]
    pub fn log_term(&self, index: u64) -> Option<u64> {
        self.controller.log_term(index)
    }

    /// The content of the log entry at `index`, if it is in memory.
    #[must_use]
    pub fn log_data(&self, index: u64) -> Option<&[u8]> {
        self.controller.log_data(index)
    }

    /// The revision of its state, 0 without one: a bound from below on the cluster's, for [`crate::ids::RequestId::born`].
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.controller.revision().unwrap_or_default()
    }

    /// The newest feature level that it speaks.
    #[must_use]
    pub fn level(&self) -> Level {
        self.me.config.feature_level
    }

    /// When its agent's lease ends, if it has one.
    #[must_use]
    pub fn lease_end(&self) -> Option<Time> {
        self.agent.lease_end()
    }

    /// The revision of the assignment set its agent works from.
    #[must_use]
    pub fn set_revision(&self) -> Revision {
        self.agent.set_revision()
    }

    /// The rare states it has reached.
    #[must_use]
    pub fn probes(&self) -> Probes {
        self.me.probes
    }

    /// Whether it has been taken in as a member since it opened.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.join.is_done()
    }

    /// When it wants [`Input::Wake`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.me.outgrown.is_some() {
            return None;
        }
        if self.fresh {
            return Some(self.now.boot);
        }
        let forwards = self.forwards.values().map(|forward| forward.gives_up).min();
        let mut at = self.join.deadline();
        if self.join.is_member(&self.me) {
            at = [at, Some(self.agent.deadline()), self.controller.deadline()].into_iter().flatten().min();
        }
        [at, forwards, self.retire].into_iter().flatten().min()
    }

    /// Takes one input.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Effects) {
        self.now = Now { boot: self.now.boot.max(now.boot), wall: now.wall };
        if self.me.outgrown.is_some() {
            return;
        }
        let ctx = &mut Context { now: self.now, me: &mut self.me, out };
        self.controller.advance_clock(ctx);
        match input {
            Input::Deliver(message) => self.deliver(*message, out),
            Input::Request { ticket, request } => self.request(ticket, *request, out),
            Input::HypervisorDone { op, result } => self.agent.completed(op, result, ctx),
            Input::HypervisorEvent { run, event } => self.agent.happened(run, &event, ctx),
            Input::Found { members } if !self.join.is_member(ctx.me) => self.join.hear_of(members, ctx),
            Input::Found { .. } | Input::Wake => {}
            Input::Retire => self.retire = Some(self.now.boot + RETIRE_AFTER),
        }
    }

    /// Ends a turn: gathers what the turn's inputs led to, one batch for all of them.
    pub fn settle(&mut self, now: Now, out: &mut Effects) {
        self.now = Now { boot: self.now.boot.max(now.boot), wall: now.wall };
        self.fresh = false;
        self.expire_forwards(out);
        let ctx = &mut Context { now: self.now, me: &mut self.me, out };
        self.controller.advance_clock(ctx);
        self.join.advance(ctx, self.agent.members());
        for _ in 0..LOOPBACK_ROUNDS_MAX {
            if self.me.outgrown.is_some() {
                break;
            }
            let ctx = &mut Context { now: self.now, me: &mut self.me, out };
            self.controller.settle(ctx);
            if self.join.is_member(ctx.me) {
                self.agent.advance(self.controller.leader(), ctx);
            }
            let messages = std::mem::take(&mut self.me.loopback);
            if messages.is_empty() {
                break;
            }
            for message in messages {
                self.deliver(message, out);
            }
        }
        if let Some(cluster) = self.me.outgrown {
            return self.fall_silent(cluster, out);
        }
        self.retire(out);
        self.controller.end_turn(&mut Context { now: self.now, me: &mut self.me, out });
    }

    /// The cluster says what this process does not understand: the turn that found out, and all later ones, come to nothing, as if it had
    /// died before. Its end is the caller's to bring about.
    fn fall_silent(&mut self, cluster: Level, out: &mut Effects) {
        *out = Effects::default();
        out.events.push(Event::Outgrown { cluster, own: self.level() });
    }

    /// Asserts the invariants of this one node.
    pub fn check(&self) {
        self.controller.check();
        self.agent.check();
        assert!(self.forwards.len() <= self.me.config.limits.forwards_max, "invariant: forwards are bounded");
        assert!(self.me.loopback.len() <= 64, "invariant: a turn leaves few messages to itself");
    }

    fn deliver(&mut self, message: Message, out: &mut Effects) {
        let ctx = &mut Context { now: self.now, me: &mut self.me, out };
        let Message { cluster, from, incarnation, body } = message;
        // A program of that level cannot read it.
        if body.level() > ctx.level() {
            return;
        }
        if let Body::Join(spec) = body {
            return self.asked_to_join(cluster, from, incarnation, *spec, out);
        }
        if !self.join.is_member(ctx.me) {
            if let Body::Joined { members } = &body {
                self.agent.learn_members(members.clone(), ctx);
            }
            return self.join.answered(cluster, from, body, ctx);
        }
        if cluster != ctx.me.identity.cluster {
            return self.join.answered(cluster, from, body, ctx);
        }
        if !is_served(&self.controller, from, incarnation, ctx) {
            return;
        }
        match body {
            Body::Raft(message) => self.controller.raft(from, *message, ctx),
            Body::SnapshotChunk(chunk) => self.controller.snapshot_piece(from, chunk, ctx),
            Body::SnapshotAck { index, term, offset } => {
                self.controller.snapshot_confirmed(from, (index, term, offset), ctx);
            }
            Body::Forward { ticket, request } => self.forwarded_here(from, ticket, *request, out),
            Body::Forwarded { ticket, reply } => self.forward_answered(ticket, *reply, out),
            Body::Heartbeat(beat) if self.controller.is_leader() => {
                self.controller.heartbeat(from, &beat, ctx);
            }
            Body::Heartbeat(_) => self.point_to_leader(from, out),
            Body::HeartbeatAck(ack) => self.agent.acknowledged(from, *ack, ctx),
            Body::NotLeader { leader, members } => {
                self.agent.hear_of_members(members, ctx);
                self.agent.not_leader(from, leader, ctx.now.boot);
                self.join.answered(cluster, from, Body::NotLeader { leader, members: Vec::new() }, ctx);
            }
            Body::Nudge => self.agent.nudged(),
            body @ (Body::Joined { .. } | Body::Refused { .. }) => {
                if let Body::Joined { members } = &body {
                    self.agent.hear_of_members(members.clone(), ctx);
                }
                self.join.answered(cluster, from, body, ctx);
            }
            Body::Join(_) => unreachable!("taken above"),
        }
    }

    fn asked_to_join(
        &mut self,
        cluster: ClusterId,
        from: NodeId,
        incarnation: Incarnation,
        spec: crate::command::HostSpec,
        out: &mut Effects,
    ) {
        let ctx = &mut Context { now: self.now, me: &mut self.me, out };
        if !self.join.is_member(ctx.me) {
            return;
        }
        if cluster != ClusterId(0) && cluster != ctx.me.identity.cluster {
            let reason = format!("this is cluster {:x}, not {:x}", ctx.me.identity.cluster.0, cluster.0);
            return ctx.send(from, Body::Refused { reason, below: None });
        }
        if self.controller.is_leader() {
            self.controller.join(from, incarnation, spec, ctx);
        } else {
            self.point_to_leader(from, out);
        }
    }

    fn point_to_leader(&mut self, from: NodeId, out: &mut Effects) {
        let leader = self.other_leader();
        let ctx = &mut Context { now: self.now, me: &mut self.me, out };
        let members = match self.controller.state() {
            Some(state) => state.directory(self.controller.voters()),
            None => self.agent.members().to_vec(),
        };
        ctx.send(from, Body::NotLeader { leader, members });
    }

    fn request(&mut self, ticket: Ticket, request: Request, out: &mut Effects) {
        let leader = self.other_leader();
        let ctx = &mut Context { now: self.now, me: &mut self.me, out };
        if request.level() > ctx.level() {
            let (own, held_back_by) = (ctx.level(), vec![ctx.id()]);
            return refuse_below_level(&request, own, held_back_by, Asker::Local(ticket), ctx);
        }
        if let Request::Read { read, consistency: Consistency::Stale } = &request
            && self.controller.is_replica()
        {
            let reply = self.controller.read(read, ctx);
            return ctx.answer(Asker::Local(ticket), reply);
        }
        if self.controller.is_leader() {
            return self.controller.request(Asker::Local(ticket), request, ctx);
        }
        let Some(leader) = leader else {
            ctx.hit(Probe::NoLeaderKnown);
            return ctx.answer(Asker::Local(ticket), Err(RequestError::NoLeader));
        };
        if request.level() > Level::FIRST && self.agent.knows_no_levels(leader) {
            // It could not read it, and would not answer.
            let held_back_by = vec![leader];
            return refuse_below_level(&request, Level::FIRST, held_back_by, Asker::Local(ticket), ctx);
        }
        let max = ctx.me.config.limits.forwards_max;
        if self.forwards.len() >= max {
            let what = "the queue of requests passed on to the leader".into();
            let error = RequestError::Overloaded { what, max: max as u64 };
            return ctx.answer(Asker::Local(ticket), Err(error));
        }
        // The process is part of the name, so that an answer to an earlier process is not taken for this one's.
        self.next_forward += 1;
        let name = (ctx.me.process << 32) | (self.next_forward & 0xffff_ffff);
        let gives_up = self.now.boot + ctx.me.config.limits.forward_timeout;
        self.forwards.insert(name, Forward { ticket, leader, gives_up });
        ctx.send(leader, Body::Forward { ticket: name, request: Box::new(request) });
    }

    fn forwarded_here(&mut self, from: NodeId, ticket: u64, request: Request, out: &mut Effects) {
        let ctx = &mut Context { now: self.now, me: &mut self.me, out };
        let asker = Asker::Member { node: from, ticket };
        if self.controller.is_leader() {
            self.controller.request(asker, request, ctx);
        } else {
            ctx.hit(Probe::ForwardMissed);
            ctx.answer(asker, Err(RequestError::NoLeader));
        }
    }

    fn forward_answered(&mut self, name: u64, reply: Reply, out: &mut Effects) {
        match self.forwards.remove(&name) {
            Some(forward) => out.replies.push((forward.ticket, reply)),
            None => self.me.probes.hit(Probe::ForwardAnsweredLate),
        }
    }

    /// Answers for a leader that was too slow, or is none any more.
    fn expire_forwards(&mut self, out: &mut Effects) {
        if self.forwards.is_empty() {
            return;
        }
        let (now, leader) = (self.now.boot, self.leader());
        let deposed = |forward: &Forward| leader.is_some_and(|leader| leader != forward.leader);
        let probes = &mut self.me.probes;
        self.forwards.retain(|_, forward| {
            let late = forward.gives_up <= now;
            if !late && !deposed(forward) {
                return true;
            }
            let reason = if late { "the leader did not answer in time" } else { "the leader changed" };
            probes.hit(if late { Probe::ForwardTimedOut } else { Probe::ForwardOvertaken });
            let error = RequestError::Unknown { reason: reason.into() };
            out.replies.push((forward.ticket, Err(error)));
            false
        });
    }

    fn other_leader(&self) -> Option<NodeId> {
        self.leader().filter(|leader| *leader != self.me.identity.node)
    }

    /// The leader, as consensus or the agent's last acknowledgement has it.
    fn leader(&self) -> Option<NodeId> {
        self.controller.leader().or(self.agent.leader(self.now.boot))
    }

    /// Hands leadership over, then says that the process may end.
    fn retire(&mut self, out: &mut Effects) {
        let Some(gives_up) = self.retire else { return };
        let ctx = &mut Context { now: self.now, me: &mut self.me, out };
        let alone = self.controller.voters().iter().all(|voter| *voter == ctx.id());
        if !self.controller.is_leader() || alone || gives_up <= self.now.boot {
            self.retire = None;
            ctx.event(Event::Retired);
            return;
        }
        if !self.controller.is_handing_over() {
            let _ = self.controller.hand_over(None, ctx);
            self.controller.settle(ctx);
        }
    }
}

/// Answers a request that some node on its way could not read.
fn refuse_below_level(
    request: &Request,
    level: Level,
    held_back_by: Vec<NodeId>,
    asker: Asker,
    ctx: &mut Context<'_>,
) {
    ctx.hit(Probe::RequestBelowLevel);
    let (what, needs) = (request.newest_part().into(), request.level());
    ctx.answer(asker, Err(RequestError::BelowLevel { what, needs, level, held_back_by }));
}

/// Whether `from` is who it says: a member's incarnation never changes, and a removed member does not come back.
fn is_served(controller: &Controller, from: NodeId, incarnation: Incarnation, ctx: &mut Context<'_>) -> bool {
    let Some(state) = controller.state() else { return true };
    let (refused, known) = match state.hosts.get(&from) {
        Some(host) => (host.incarnation != incarnation, true),
        None => (state.removed.contains(&from), false),
    };
    if refused {
        ctx.hit(Probe::IdentityRefused);
        let error = if known { "belongs to another data directory" } else { "was removed from the cluster" };
        let reason = format!("node id {from} {error}; join under an id never used before");
        ctx.send(from, Body::Refused { reason, below: None });
    }
    !refused
}

/// What is rare about the content that a node opens on.
fn met_on_disk(stored: &Stored) -> Probes {
    let mut probes = Probes::default();
    if stored.entries.last().is_some_and(|last| last.index > stored.hard_state.commit) {
        probes.hit(Probe::ReopenedWithTail);
    }
    if stored.snapshot.as_ref().is_some_and(|snapshot| !snapshot.membership.voters_outgoing.is_empty()) {
        probes.hit(Probe::ReopenedInJoint);
    }
    probes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::HostSpec;

    /// Every turn of the simulator and of the tests ends with it.
    #[test]
    #[should_panic(expected = "forwards are bounded")]
    fn a_node_that_breaks_its_own_bounds_is_noticed() {
        let mut config = NodeConfig::new(NodeId(1), HostSpec::default(), Vec::new());
        config.limits.forwards_max = 1;
        let mut node = Node::open(config, 1, Stored::default(), Now::default()).expect("it opens");
        node.check();
        let forward = Forward { ticket: Ticket(1), leader: NodeId(2), gives_up: Time(1) };
        node.forwards.extend([(1, forward), (2, forward)]);
        node.check();
    }
}
