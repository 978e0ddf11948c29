//! What one host does: tells the leader that it lives and what it runs, keeps its lease, and brings what runs in line with
//! what is assigned to it.
//!
//! The agent runs a VM only against an assignment it has from a quorum-confirmed acknowledgement, and only until the
//! lease that came with it ends. The hypervisor holds the same deadline, so a VM ends even if the agent does not.

mod reconcile;
mod vm;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::context::Context;
use crate::effects::Event;
use crate::hypervisor::{HypervisorRequest, Run, VmReport};
use crate::ids::{NodeId, OpId, Revision, VmId};
use crate::message::{Assignment, Body, Heartbeat, HeartbeatAck, Nonce};
use crate::probes::Probe;
use crate::stored::AgentRecord;
use crate::time::{Duration, Time};
use vm::{Local, Op, Stand};

/// Heartbeats an acknowledgement is waited for, at most.
const OUTSTANDING_MAX: usize = 32;
/// How often the hypervisor is asked what it runs, whatever it reported.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// Questions to the hypervisor what it runs that are waited for, at most.
const LISTS_MAX: usize = 16;
/// How soon after a heartbeat another one may follow.
const HEARTBEAT_GAP: Duration = Duration::from_millis(20);
/// The same when the leader has something new: somebody waits for a VM to start or stop.
const NUDGED_GAP: Duration = Duration::from_millis(2);
/// Heartbeats sent within one lease: so many may be lost in a row before it ends.
const HEARTBEATS_PER_LEASE: u64 = 8;
/// How often a heartbeat is sent before the lease's length is known.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// So often in a row an agent that is sent elsewhere goes there at once; members that do not know better would keep it busy.
const REDIRECTS_MAX: u32 = 3;
/// A leader that has not answered for this long is looked for elsewhere.
const SILENCE_MAX: Duration = Duration::from_millis(2_500);

/// See the module.
#[derive(Debug)]
pub(crate) struct Agent {
    record: AgentRecord,
    /// The set at work is of this process and its lease has not ended since it came.
    has_set: bool,
    lease_end: Option<Time>,
    /// The lease has ended and no set has come since: whatever runs has to die.
    expired: bool,
    sequence: u64,
    /// The newest heartbeat answered.
    acknowledged: u64,
    outstanding: VecDeque<(u64, Time)>,
    heartbeat_at: Time,
    heartbeat_every: Duration,
    heartbeat_sent: Option<Time>,
    urgent: bool,
    nudged: bool,
    leader: Option<NodeId>,
    /// Whose last acknowledgement told no level: a leader that knows none.
    knows_no_levels: Option<NodeId>,
    /// When a leader was last heard.
    heard: Time,
    /// Members asked since a leader was last heard.
    tried: BTreeSet<NodeId>,
    /// How often in a row it was sent elsewhere.
    redirects: u32,
    vms: BTreeMap<VmId, Local>,
    ops: BTreeMap<OpId, Op>,
    next_op: u64,
    /// What an earlier process left running is known.
    listed: bool,
    list_at: Time,
}

impl Agent {
    pub(crate) fn open(record: AgentRecord, process: u64, now: Time) -> Self {
        Self {
            record,
            has_set: false,
            lease_end: None,
            expired: false,
            sequence: 0,
            acknowledged: 0,
            outstanding: VecDeque::new(),
            heartbeat_at: now,
            heartbeat_every: HEARTBEAT_EVERY,
            heartbeat_sent: None,
            urgent: true,
            nudged: false,
            leader: None,
            knows_no_levels: None,
            heard: now,
            tried: BTreeSet::new(),
            redirects: 0,
            vms: BTreeMap::new(),
            ops: BTreeMap::new(),
            next_op: process & !0xffff_ffff,
            listed: false,
            list_at: now,
        }
    }

    /// Members to ask when no leader is known.
    pub(crate) fn members(&self) -> &[(NodeId, String)] {
        &self.record.members
    }

    /// The leader that acknowledged it lately.
    pub(crate) fn leader(&self, now: Time) -> Option<NodeId> {
        self.leader.filter(|_| self.redirects == 0 && now.since(self.heard) <= SILENCE_MAX)
    }

    /// Whether `leader` has shown that it knows no feature levels.
    pub(crate) fn knows_no_levels(&self, leader: NodeId) -> bool {
        self.knows_no_levels == Some(leader)
    }

    /// The revision of the assignment set at work.
    pub(crate) fn set_revision(&self) -> Revision {
        self.record.set_revision
    }

    /// When its lease ends, if it has one.
    pub(crate) fn lease_end(&self) -> Option<Time> {
        self.lease_end
    }

    /// When time alone may make a difference.
    pub(crate) fn deadline(&self) -> Time {
        let mut at = self.list_at;
        at = at.min(self.next_heartbeat());
        if let Some(end) = self.lease_end {
            at = at.min(end);
        }
        for local in self.vms.values() {
            if let Some(retry) = local.retry_at() {
                at = at.min(retry);
            }
        }
        at
    }

    fn next_heartbeat(&self) -> Time {
        let gap = if self.nudged { NUDGED_GAP } else { HEARTBEAT_GAP };
        let gap = self.heartbeat_sent.map_or(Time(0), |sent| sent + gap);
        if self.urgent { gap } else { self.heartbeat_at.max(gap) }
    }

    /// Does what is due. `leader` is the one that consensus knows, if this node takes part in it.
    pub(crate) fn advance(&mut self, leader: Option<NodeId>, ctx: &mut Context<'_>) {
        let now = ctx.now.boot;
        if leader.is_some() {
            self.leader = leader;
        }
        if self.lease_end.is_some_and(|end| end <= now) {
            self.expire(ctx);
        }
        if now >= self.list_at {
            self.list(ctx);
        }
        self.reconcile(ctx);
        if now >= self.next_heartbeat() {
            self.send_heartbeat(ctx);
        }
    }

    /// The lease is over: everything dies, and nothing starts before a new set has come.
    fn expire(&mut self, ctx: &mut Context<'_>) {
        ctx.hit(Probe::LeaseExpired);
        let stands = |matches: fn(&Stand) -> bool| self.vms.values().any(|local| matches(&local.stand));
        ctx.hit_if(stands(|stand| matches!(stand, Stand::Running(_))), Probe::ExpiredWithRuns);
        ctx.hit_if(stands(|stand| matches!(stand, Stand::Starting(..))), Probe::ExpiredDuringStart);
        ctx.event(Event::LeaseExpired);
        self.lease_end = None;
        self.has_set = false;
        self.expired = true;
        for local in self.vms.values_mut() {
            local.unassign();
        }
        self.urgent = true;
    }

    fn lease_is_live(&self, now: Time) -> bool {
        self.lease_end.is_some_and(|end| now < end)
    }

    fn list(&mut self, ctx: &mut Context<'_>) {
        self.list_at = ctx.now.boot + if self.listed { LIST_EVERY } else { HEARTBEAT_EVERY };
        // An answer that takes longer than the next question still counts.
        if self.ops.values().filter(|op| **op == Op::List).count() >= LISTS_MAX {
            self.ops.retain(|_, op| *op != Op::List);
        }
        self.submit(Op::List, HypervisorRequest::List, ctx);
    }

    fn submit(&mut self, op: Op, request: HypervisorRequest, ctx: &mut Context<'_>) -> OpId {
        self.next_op += 1;
        let id = OpId(self.next_op);
        if op != Op::Extend {
            self.ops.insert(id, op);
        }
        ctx.out.hypervisor.push((id, request));
        id
    }

    fn send_heartbeat(&mut self, ctx: &mut Context<'_>) {
        let now = ctx.now.boot;
        self.heartbeat_at = now + self.heartbeat_every;
        self.heartbeat_sent = Some(now);
        self.nudged = false;
        if self.leader.is_none() || now.since(self.heard) > SILENCE_MAX {
            ctx.hit_if(self.leader.is_some(), Probe::LookedElsewhere);
            self.look_elsewhere(ctx.id(), now);
        }
        ctx.hit_if(self.redirects > REDIRECTS_MAX, Probe::SentInCircles);
        let Some(to) = self.leader else { return };
        self.sequence += 1;
        if self.outstanding.len() >= OUTSTANDING_MAX {
            self.outstanding.pop_front();
        }
        let sent = if planted!(LeaseOnWallClock) { Time(ctx.now.wall.0 * 1_000_000) } else { now };
        self.outstanding.push_back((self.sequence, sent));
        let beat = Heartbeat {
            nonce: Nonce { process: ctx.me.process, sequence: self.sequence },
            sent,
            set_revision: if self.has_set { self.record.set_revision } else { Revision(0) },
            answered: self.acknowledged,
            reports: self.reports(),
            urgent: std::mem::take(&mut self.urgent),
            level: ctx.me.config.feature_level,
        };
        ctx.send(to, Body::Heartbeat(beat));
    }

    /// What there is to say of each VM. Nothing before the hypervisor's first list: an earlier process may have left a run alive,
    /// and a VM called stopped too early would be started elsewhere while it lives here.
    fn reports(&self) -> Vec<VmReport> {
        if !self.listed && !planted!(ReportsBeforeList) {
            return Vec::new();
        }
        self.vms.values().filter_map(Local::report).collect()
    }

    /// Takes another known member for the leader; it will answer who is. Each is asked once before any is asked again, in whatever order
    /// the members stand: every member that answers brings an order of its own.
    fn look_elsewhere(&mut self, me: NodeId, now: Time) {
        self.heard = now;
        let others = || self.record.members.iter().map(|(node, _)| *node).filter(|node| *node != me);
        let next = others().find(|node| !self.tried.contains(node)).or_else(|| {
            self.tried.clear();
            others().next()
        });
        self.tried.extend(next);
        self.leader = next.or(self.leader);
    }

    /// The member asked is not the leader, or one that leads has not heard this host.
    pub(crate) fn not_leader(&mut self, from: NodeId, leader: Option<NodeId>, now: Time) {
        if leader == Some(from) {
            return self.called(from, now);
        }
        if self.leader != Some(from) {
            return;
        }
        match leader {
            Some(leader) => {
                // Hearsay does not count as hearing the leader: two members may send an agent to and fro.
                self.leader = Some(leader);
                self.redirects += 1;
                self.urgent |= self.redirects <= REDIRECTS_MAX;
            }
            None => self.leader = None,
        }
    }

    /// A member that leads, or did when it said so, waits to hear this host. It is asked next if no other answers.
    fn called(&mut self, leader: NodeId, now: Time) {
        let silent = now.since(self.heard) > SILENCE_MAX || !self.tried.is_empty();
        if self.leader.is_none() || silent {
            self.leader = Some(leader);
            self.heard = now;
            self.urgent = true;
        }
    }

    /// Hears where members are reached, maybe long ago: what is told is added to what is known. Only a leader's word takes anything away.
    pub(crate) fn hear_of_members(&mut self, told: Vec<(NodeId, String)>, ctx: &mut Context<'_>) {
        let mut members = self.record.members.clone();
        for (node, address) in told {
            match members.iter_mut().find(|(known, _)| *known == node) {
                Some((_, known)) => *known = address,
                None => members.push((node, address)),
            }
        }
        self.learn_members(members, ctx);
    }

    /// Learns where members are reached.
    pub(crate) fn learn_members(&mut self, members: Vec<(NodeId, String)>, ctx: &mut Context<'_>) {
        if !members.is_empty() && members != self.record.members {
            self.record.members = members;
            ctx.out.writes.agent = Some(self.record.clone());
            ctx.out.directory = Some(self.record.members.clone());
        }
    }

    /// The leader has something new for this host.
    pub(crate) fn nudged(&mut self) {
        self.urgent = true;
        self.nudged = true;
    }

    /// The leader's answer to a heartbeat.
    pub(crate) fn acknowledged(&mut self, from: NodeId, ack: HeartbeatAck, ctx: &mut Context<'_>) {
        let now = ctx.now.boot;
        // Whoever it was meant for: the level never falls.
        let outgrown = ack.level.is_some_and(|level| ctx.is_outgrown_by(level));
        if outgrown || !self.is_current(&ack, ctx) {
            return;
        }
        self.acknowledged = self.acknowledged.max(ack.nonce.sequence);
        self.redirects = 0;
        if ack.ttl == Duration::ZERO {
            ctx.hit(Probe::AskedWhetherHeard);
            // The leader waits to hear that it is heard.
            self.urgent = true;
            return;
        }
        let lease_end = if planted!(LeaseFromReceipt) { now + ack.ttl } else { ack.sent + ack.ttl };
        if lease_end <= now {
            ctx.hit(Probe::AckTooLate);
            return;
        }
        if !self.is_newest(&ack, ctx) {
            return;
        }
        self.heartbeat_every = Duration(ack.ttl.0 / HEARTBEATS_PER_LEASE);
        self.leader = Some(from);
        self.knows_no_levels = ack.level.is_none().then_some(from);
        self.heard = now;
        self.tried.clear();
        self.learn_members(ack.members, ctx);
        match ack.set {
            Some(set) => self.take_set(ack.revision, set, ctx),
            None if !self.has_set => return ctx.hit(Probe::AckWithoutSet),
            None => {}
        }
        self.lease_end = Some(self.lease_end.map_or(lease_end, |end| end.max(lease_end)));
        self.extend(ctx);
    }

    /// Only an answer to a heartbeat of this process that is still waited for counts, and none that an earlier answer overtook.
    fn is_current(&mut self, ack: &HeartbeatAck, ctx: &mut Context<'_>) -> bool {
        if planted!(StaleSetAccepted) {
            return true;
        }
        if ack.nonce.process != ctx.me.process {
            ctx.hit(Probe::AckForAnotherProcess);
            return planted!(EarlierProcessAnswered);
        }
        let sent = (ack.nonce.sequence, ack.sent);
        if ack.nonce.sequence <= self.acknowledged || !self.outstanding.contains(&sent) {
            ctx.hit(Probe::AckOutOfOrder);
            return false;
        }
        self.outstanding.retain(|(sequence, _)| *sequence > ack.nonce.sequence);
        true
    }

    /// A set from an older state than the one at work must not start what has since moved elsewhere.
    fn is_newest(&self, ack: &HeartbeatAck, ctx: &mut Context<'_>) -> bool {
        let (at, got) = (self.record.set_revision, ack.revision);
        if got < at {
            ctx.hit(Probe::StaleSetRefused);
            ctx.event(Event::StaleSetRefused { at, got });
        }
        got >= at || planted!(StaleSetAccepted)
    }

    fn take_set(&mut self, revision: Revision, set: Vec<Assignment>, ctx: &mut Context<'_>) {
        if revision != self.record.set_revision {
            self.record.set_revision = revision;
            ctx.out.writes.agent = Some(self.record.clone());
        }
        ctx.hit_if(self.expired, Probe::LeaseRegained);
        self.has_set = true;
        self.expired = false;
        let mut left: BTreeMap<VmId, Assignment> = set.into_iter().map(|one| (one.run.vm, one)).collect();
        for (vm, local) in &mut self.vms {
            match left.remove(vm) {
                Some(assignment) => {
                    let stops = |run| matches!(local.stand, Stand::Stopping(old, _) if old != run);
                    ctx.hit_if(stops(assignment.run), Probe::AssignedDuringStop);
                    local.assign(assignment, ctx.now.boot);
                }
                None => local.unassign(),
            }
        }
        for (vm, assignment) in left {
            self.vms.insert(vm, Local::new(assignment));
        }
        // The leader wants to hear of the new set's VMs soon.
        self.urgent = true;
    }

    /// Hands the lease down: the hypervisor moves the deadlines of what is assigned here, and of nothing else.
    fn extend(&mut self, ctx: &mut Context<'_>) {
        let Some(deadline) = self.lease_end.filter(|_| !planted!(LeaseNotHandedDown)) else { return };
        let runs: Vec<Run> = self.vms.values().filter_map(Local::run_to_extend).collect();
        if !runs.is_empty() {
            self.submit(Op::Extend, HypervisorRequest::Extend { runs, deadline }, ctx);
        }
    }

    pub(crate) fn check(&self) {
        assert!(self.outstanding.len() <= OUTSTANDING_MAX, "invariant: outstanding heartbeats are bounded");
        for local in self.vms.values() {
            local.check(&self.ops);
        }
        if !self.has_set {
            assert!(
                self.vms.values().all(|local| !local.is_assigned()),
                "invariant: without a set nothing is assigned"
            );
        }
    }
}
