//! The leader at work: clients' requests, heartbeats, joins, and what it does of its own accord.

use std::sync::Arc;

use raft::eraftpb::ConfChangeType;

use super::Controller;
use super::leases;
use super::members::{self, Candidate};
use super::office::{Proposal, Purpose, Round, TIDY_EVERY};
use crate::codec;
use crate::command::{Action, Command, HostSpec, Place, Placement};
use crate::context::{Asker, Context};
use crate::effects::Event;
use crate::error::RequestError;
use crate::ids::{Incarnation, NodeId, RequestId, Revision};
use crate::level::Level;
use crate::message::{Body, Heartbeat};
use crate::probes::Probe;
use crate::request::{Read, Reply, Request, Response, VmView, Write};
use crate::spec::{Wanted, validate_labels};
use crate::state::Vm;
use crate::state::apply::fingerprint;
use crate::state::scheduler::Promised;
use crate::state::sessions::{Answer, Lookup};
use crate::time::Time;

/// How often a decision that no longer fits is taken anew for one request.
const TRIES_MAX: u32 = 5;
/// VMs assigned by one command at most.
const MOVES_MAX: usize = 64;
/// A learner this close behind the leader counts as caught up.
const LAG_MAX: u64 = 64;

/// A remembered or new answer as a client sees it.
pub(super) fn reply(answer: Answer) -> Reply {
    answer.map(|(revision, generation)| Response::Written { revision, generation })
}

impl Controller {
    /// A client's request, here at the leader.
    pub(crate) fn request(&mut self, asker: Asker, request: Request, ctx: &mut Context<'_>) {
        let max = ctx.me.config.limits.requests_max;
        let Some(office) = &mut self.office else { return ctx.answer(asker, Err(RequestError::NoLeader)) };
        if office.proposals.len() + office.reads.len() >= max {
            let what = "the leader's queue of requests".into();
            return ctx.answer(asker, Err(RequestError::Overloaded { what, max: max as u64 }));
        }
        match request {
            Request::Write { id, write } => self.write(asker, id, Arc::new(write), 0, ctx),
            Request::Read { read, .. } => {
                if planted!(ReadIndexSkipped) {
                    let reply = self.read(&read, ctx);
                    return ctx.answer(asker, reply);
                }
                office.reads.waiting.push((asker, read));
            }
            Request::TransferLeader { to } => {
                let reply = self.hand_over(to, ctx);
                ctx.answer(asker, reply);
            }
        }
    }

    fn write(&mut self, asker: Asker, id: RequestId, write: Arc<Write>, tries: u32, ctx: &mut Context<'_>) {
        let Some(state) = &self.state else { return ctx.answer(asker, Err(RequestError::NoLeader)) };
        match state.sessions.lookup(id, fingerprint(&write)) {
            Lookup::New => {}
            Lookup::Answered(answer) => {
                ctx.hit(Probe::RetryAnswered);
                return ctx.answer(asker, reply(answer));
            }
            Lookup::Refused(error) => {
                ctx.hit(Probe::RetryRefused);
                return ctx.answer(asker, Err(error));
            }
        }
        if write.level() > state.level {
            ctx.hit(Probe::RequestBelowLevel);
            return ctx.answer(asker, Err(state.below_level(&write)));
        }
        if let Err(reason) = write.validate() {
            return ctx.answer(asker, Err(RequestError::BadSpec { reason }));
        }
        let place = self.place(&write);
        let action = Action::Client { id, write: Write::clone(&write), place };
        if planted!(AnsweredWhenProposed) {
            let (revision, at) = (Revision(self.consensus.last_index() + 1), ctx.now.wall);
            let foreseen = state.clone().apply(revision, &Command { at, action: action.clone() });
            foreseen.answer.into_iter().for_each(|answer| ctx.answer(asker, reply(answer)));
        }
        if !self.propose(action, Purpose::Client { asker, id, write, tries }, ctx) {
            ctx.hit(Probe::ProposalDropped);
            let what = "the log's pipe of uncommitted commands".into();
            let max = ctx.me.config.raft.uncommitted_bytes_max;
            ctx.answer(asker, Err(RequestError::Overloaded { what, max }));
        }
    }

    fn place(&self, write: &Write) -> Place {
        let (Write::StartVm { name, .. }, Some(state)) = (write, &self.state) else { return Place::Unneeded };
        match state.vms.get(name) {
            Some(vm) if vm.wanted == Wanted::Stopped && vm.assigned.is_none() => {
                match state.place(vm, &Promised::new()) {
                    Ok(node) => Place::On(node),
                    Err(hosts) => Place::Nowhere(hosts),
                }
            }
            _ => Place::Unneeded,
        }
    }

    /// Puts a command into the log; whether the log took it.
    fn propose(&mut self, action: Action, purpose: Purpose, ctx: &mut Context<'_>) -> bool {
        let Some(office) = &mut self.office else { return false };
        let data = codec::encode_command(&Command { at: ctx.now.wall, action });
        match self.consensus.propose(data.into()) {
            Some(index) => {
                office.proposals.push_back(Proposal { index, purpose });
                true
            }
            None => {
                ctx.hit_if(self.consensus.is_handing_over(), Probe::DroppedInHandOver);
                false
            }
        }
    }

    /// A command of this leader was carried out.
    pub(super) fn resolve(&mut self, purpose: Purpose, answer: Option<Answer>, ctx: &mut Context<'_>) {
        let now = ctx.now.boot;
        if let Purpose::Client { asker, id, write, tries } = purpose {
            return self.resolve_client(asker, id, write, tries, answer, ctx);
        }
        let Some(office) = &mut self.office else { return };
        match purpose {
            Purpose::Client { .. } => {}
            Purpose::Join { node } => self.welcome(node, ctx),
            Purpose::Announce { .. } => {}
            Purpose::Drop { node } => {
                office.dropping = false;
                office.leases.forget(node);
                ctx.hit(Probe::HostDropped);
            }
            Purpose::Lose { node } => {
                office.leases.given_up(node);
                ctx.hit(Probe::HostLost);
                ctx.event(Event::HostLost { node });
            }
            Purpose::Regain { node } => {
                office.leases.regained(node, now);
                ctx.hit(Probe::HostRegained);
            }
            Purpose::Report { node } => office.leases.reported(node),
            Purpose::Assign => {
                office.assigning = false;
            }
            Purpose::Raise => office.raising = false,
        }
    }

    fn resolve_client(
        &mut self,
        asker: Asker,
        id: RequestId,
        write: Arc<Write>,
        tries: u32,
        answer: Option<Answer>,
        ctx: &mut Context<'_>,
    ) {
        let Some(answer) = answer else {
            ctx.hit(Probe::Replanned);
            if tries < TRIES_MAX
                && let Some(office) = &mut self.office
            {
                return office.replanned.push((asker, id, write, tries + 1));
            }
            let what = "the scheduler's number of tries".into();
            return ctx.answer(asker, Err(RequestError::Overloaded { what, max: u64::from(TRIES_MAX) }));
        };
        match &answer {
            Err(RequestError::NoRoom { .. }) => ctx.hit(Probe::NoRoom),
            Err(RequestError::GenerationConflict { .. }) => ctx.hit(Probe::GenerationConflict),
            Err(RequestError::SessionExpired { .. }) => ctx.hit(Probe::SessionExpired),
            Err(RequestError::HostBusy { .. }) => ctx.hit(Probe::HostBusy),
            _ => {}
        }
        ctx.answer(asker, reply(answer));
    }

    /// Decides anew what did not fit.
    pub(super) fn replan(&mut self, ctx: &mut Context<'_>) {
        let Some(office) = &mut self.office else { return };
        for (asker, id, write, tries) in std::mem::take(&mut office.replanned) {
            self.write(asker, id, write, tries, ctx);
        }
    }

    /// An agent's heartbeat, here at the leader.
    pub(crate) fn heartbeat(&mut self, from: NodeId, beat: &Heartbeat, ctx: &mut Context<'_>) {
        let (Some(office), Some(state)) = (&mut self.office, &self.state) else { return };
        let Some(host) = state.hosts.get(&from) else { return ctx.hit(Probe::HeartbeatOfStranger) };
        if state.is_too_old(beat.level) {
            return leases::tell_level(from, (beat.nonce, beat.sent), state.level, ctx);
        }
        if !office.leases.heard(from, beat, state, ctx.now.boot) {
            return ctx.hit(Probe::HeartbeatOutOfOrder);
        }
        if host.lost {
            if office.leases.hears(from, ctx)
                && office.leases.begin_regain(from)
                && !self.propose(Action::RegainHost { node: from }, Purpose::Regain { node: from }, ctx)
            {
                self.unpropose(&Purpose::Regain { node: from }, ctx);
            }
            return;
        }
        if planted!(LeaseWithoutQuorum) {
            let voters = &self.consensus.log().membership().voters;
            for beat in office.leases.take_pending() {
                office.leases.grant(beat, state, voters, ctx);
            }
        }
        let outdated = host.spec.level() != beat.level && ctx.level() >= Level::RAISED;
        let announces = outdated.then(|| (host.incarnation, host.spec.clone().announcing(beat.level)));
        let reports = office.leases.news(from, &beat.reports, state);
        if let Some((incarnation, host)) = announces
            && !self.is_joining(from)
        {
            ctx.hit(Probe::AnnouncedAnew);
            let action = Action::AddHost { node: from, incarnation, host };
            self.propose(action, Purpose::Announce { node: from }, ctx);
        }
        if !reports.is_empty()
            && !self.propose(Action::Report { node: from, reports }, Purpose::Report { node: from }, ctx)
        {
            self.unpropose(&Purpose::Report { node: from }, ctx);
        }
    }

    /// The log did not take it: it may be proposed again later.
    fn unpropose(&mut self, purpose: &Purpose, ctx: &mut Context<'_>) {
        ctx.hit(Probe::ProposalDropped);
        let Some(office) = &mut self.office else { return };
        match purpose {
            Purpose::Regain { node } => office.leases.regain_dropped(*node),
            Purpose::Report { node } => office.leases.reported(*node),
            Purpose::Lose { node } => office.leases.spare(*node),
            Purpose::Assign => office.assigning = false,
            Purpose::Drop { .. } => office.dropping = false,
            Purpose::Raise => office.raising = false,
            Purpose::Client { .. } | Purpose::Join { .. } | Purpose::Announce { .. } => {}
        }
    }

    /// A node asks to become a member, here at the leader.
    pub(crate) fn join(
        &mut self,
        from: NodeId,
        incarnation: Incarnation,
        spec: HostSpec,
        ctx: &mut Context<'_>,
    ) {
        let Some(state) = &self.state else { return };
        if let Err(reason) = validate_labels(&spec.labels) {
            return ctx.send(from, Body::Refused { reason, below: None });
        }
        let known = state.hosts.get(&from);
        let foreign = known.is_some_and(|host| host.incarnation != incarnation);
        if foreign || state.removed.contains(&from) {
            ctx.hit(Probe::IdentityRefused);
            let reason = RequestError::IdTaken { node: from }.to_string();
            return ctx.send(from, Body::Refused { reason, below: None });
        }
        let (speaks, cluster) = (spec.level(), state.level);
        if state.is_too_old(speaks) {
            ctx.hit(Probe::JoinBelowLevel);
            let reason = format!(
                "the cluster is at feature level {cluster}, and {from} speaks {speaks}: start it with a newer version"
            );
            return ctx.send(from, Body::Refused { reason, below: Some(cluster) });
        }
        // With less to offer than its VMs have it keeps what it offered.
        let known = known.map(|host| {
            let capacity = if spec.capacity.holds(host.used) { spec.capacity } else { host.spec.capacity };
            host.spec == HostSpec { capacity, ..spec.clone() }
        });
        if known == Some(true) {
            return self.welcome(from, ctx);
        }
        if self.is_joining(from) {
            return ctx.hit(Probe::JoinRepeated);
        }
        let action = Action::AddHost { node: from, incarnation, host: spec };
        self.propose(action, Purpose::Join { node: from }, ctx);
    }

    /// Whether something that this host tells of itself is under way in the log.
    fn is_joining(&self, host: NodeId) -> bool {
        let is_its = |proposal: &Proposal| match proposal.purpose {
            Purpose::Join { node } | Purpose::Announce { node } => node == host,
            _ => false,
        };
        self.office.as_ref().is_some_and(|office| office.proposals.iter().any(is_its))
    }

    fn welcome(&self, node: NodeId, ctx: &mut Context<'_>) {
        let Some(state) = &self.state else { return };
        if state.hosts.contains_key(&node) {
            let members = state.directory(&self.consensus.log().membership().voters);
            ctx.send(node, Body::Joined { members });
        }
    }

    /// Begins to confirm leadership for what waits for it, unless a confirmation is under way.
    pub(super) fn begin_round(&mut self, ctx: &mut Context<'_>) {
        let Some(office) = &mut self.office else { return };
        let due = office.leases.serve_at().is_some_and(|at| at <= ctx.now.boot);
        if office.reads.under_way.is_some() || (!due && office.reads.waiting.is_empty()) {
            return;
        }
        if self.applied_term != office.term {
            ctx.hit(Probe::ReadBeforeFirstCommit);
            return;
        }
        let context = office.reads.next_context();
        if !self.consensus.confirm(context) {
            office.leases.postpone(ctx.now.boot);
            return;
        }
        let reads = std::mem::take(&mut office.reads.waiting);
        let beats = office.leases.take_pending();
        office.reads.under_way = Some(Round { context, reads, beats });
    }

    /// A quorum has confirmed the round `context`, and everything committed before it began is carried out.
    pub(super) fn end_round(&mut self, context: u64, ctx: &mut Context<'_>) {
        let (Some(office), Some(state)) = (&mut self.office, &self.state) else { return };
        let Some(mut round) = office.reads.under_way.take_if(|round| round.context == context) else {
            return;
        };
        if planted!(LateReadsJoin) {
            round.reads.append(&mut office.reads.waiting);
        }
        let voters = &self.consensus.log().membership().voters;
        for beat in round.beats {
            office.leases.grant(beat, state, voters, ctx);
        }
        for (asker, read) in round.reads {
            let reply = self.read(&read, ctx);
            ctx.answer(asker, reply);
        }
    }

    /// Looks at this replica's state as it is.
    pub(crate) fn read(&self, read: &Read, ctx: &Context<'_>) -> Reply {
        let Some(state) = &self.state else { return Err(RequestError::NoLeader) };
        let revision = state.revision;
        match read {
            Read::GetVm { name } => match state.vms.get(name) {
                Some(vm) => Ok(Response::Vm { revision, vm: Box::new(self.explain(vm)) }),
                None => Err(RequestError::VmUnknown { name: name.clone() }),
            },
            Read::VmEvents { name } => match state.vms.get(name) {
                Some(vm) => {
                    Ok(Response::Events { revision, events: vm.transitions.iter().cloned().collect() })
                }
                None => Err(RequestError::VmUnknown { name: name.clone() }),
            },
            Read::ListVms => {
                let vms = state.vms.values().map(|vm| self.explain(vm)).collect();
                Ok(Response::Vms { revision, vms })
            }
            Read::ClusterStatus => Ok(Response::Cluster(Box::new(self.cluster_view(state, ctx)))),
        }
    }

    /// Says of a VM that waits for a host what each host lacks.
    fn explain(&self, vm: &Vm) -> VmView {
        let mut view = vm.view();
        if vm.wanted == Wanted::Running
            && vm.assigned.is_none()
            && let Some(state) = &self.state
            && let Err(hosts) = state.place(vm, &Promised::new())
        {
            view.reason = RequestError::NoRoom { name: vm.name.clone(), hosts }.to_string();
        }
        view
    }

    /// Does what the state calls for: gives up silent hosts, places VMs, sees to the members.
    pub(super) fn tidy(&mut self, ctx: &mut Context<'_>) {
        let now = ctx.now.boot;
        self.give_up_silent_hosts(ctx);
        let Some(office) = &mut self.office else { return };
        if !office.untidy && now < office.tidy_at {
            return;
        }
        office.untidy = false;
        office.tidy_at = now + TIDY_EVERY;
        if self.applied_term != office.term {
            return;
        }
        self.assign_unplaced(ctx);
        self.drop_leaving_hosts(ctx);
        self.raise_level(ctx);
        self.tend_members(ctx);
        self.call_silent_hosts(ctx);
    }

    /// Tells hosts that are not heard who leads and where voters are reached. One that was cut off for long may know of members only that
    /// are gone, and would look for a leader among them for ever.
    fn call_silent_hosts(&mut self, ctx: &mut Context<'_>) {
        let (Some(office), Some(state)) = (&mut self.office, &self.state) else { return };
        let me = ctx.id();
        let voters = &self.consensus.log().membership().voters;
        for node in office.leases.silent(ctx.now.boot) {
            if node != me && state.hosts.contains_key(&node) {
                ctx.hit(Probe::SilentHostCalled);
                let members = state.directory(voters).into_iter().take(voters.len()).collect();
                ctx.send(node, Body::NotLeader { leader: Some(me), members });
            }
        }
    }

    fn give_up_silent_hosts(&mut self, ctx: &mut Context<'_>) {
        let (Some(office), Some(state)) = (&mut self.office, &self.state) else { return };
        let now = ctx.now.boot;
        let expired = office.leases.expired(state, &state.settings, now);
        for node in expired {
            if let Some(office) = &mut self.office {
                office.leases.condemn(node, now);
            }
            if !self.propose(Action::LoseHost { node }, Purpose::Lose { node }, ctx) {
                self.unpropose(&Purpose::Lose { node }, ctx);
            }
        }
    }

    fn assign_unplaced(&mut self, ctx: &mut Context<'_>) {
        let (Some(office), Some(state)) = (&mut self.office, &self.state) else { return };
        if office.assigning || !state.has_unplaced() {
            return;
        }
        let moves = state.place_unplaced(MOVES_MAX);
        if moves.is_empty() {
            return ctx.hit(Probe::Unplaceable);
        }
        office.assigning = true;
        let leaves =
            |placement: &Placement| state.vms.get(&placement.name).is_some_and(|vm| vm.assigned.is_some());
        ctx.hit_if(moves.iter().any(leaves), Probe::VmMoved);
        if !self.propose(Action::Assign { moves }, Purpose::Assign, ctx) {
            self.unpropose(&Purpose::Assign, ctx);
        }
    }

    fn drop_leaving_hosts(&mut self, ctx: &mut Context<'_>) {
        let (Some(office), Some(state)) = (&mut self.office, &self.state) else { return };
        if office.dropping {
            return;
        }
        let membership = self.consensus.log().membership();
        let gone = |node: &NodeId| {
            !membership.voters.contains(node)
                && !membership.voters_outgoing.contains(node)
                && !membership.learners.contains(node)
                && !membership.learners_next.contains(node)
        };
        let leaving = state.hosts.iter().find(|(node, host)| host.leaving && host.is_empty() && gone(node));
        if let Some((node, _)) = leaving {
            let node = *node;
            office.dropping = true;
            if !self.propose(Action::DropHost { node }, Purpose::Drop { node }, ctx) {
                self.unpropose(&Purpose::Drop { node }, ctx);
            }
        }
    }

    /// Raises the level to what all members announce. While something that a host tells of itself is under way nobody knows what they will
    /// have announced when the command is carried out. All else that is under way takes hosts away at most, so it is never carried out in
    /// vain; if it could be, a member of a lower level would meet a command that it does not know.
    fn raise_level(&mut self, ctx: &mut Context<'_>) {
        let (Some(office), Some(state)) = (&mut self.office, &self.state) else { return };
        let to = state.announced_by_all().min(ctx.level());
        let tells =
            |proposal: &Proposal| matches!(proposal.purpose, Purpose::Join { .. } | Purpose::Announce { .. });
        if to <= state.level {
            let ahead = state.hosts.values().any(|host| host.spec.level() > state.level);
            return ctx.hit_if(ahead, Probe::LevelHeldBack);
        }
        if office.raising || office.proposals.iter().any(tells) {
            return;
        }
        office.raising = true;
        if !self.propose(Action::RaiseLevel { to }, Purpose::Raise, ctx) {
            self.unpropose(&Purpose::Raise, ctx);
        }
    }

    fn tend_members(&mut self, ctx: &mut Context<'_>) {
        let Some(state) = &self.state else { return };
        if self.consensus.change_pending() {
            return;
        }
        let last = self.consensus.last_index();
        let candidate = |(node, host): (&NodeId, &crate::state::Host)| Candidate {
            node: *node,
            healthy: !host.lost,
            leaving: host.leaving,
            caught_up: self
                .consensus
                .progress(*node)
                .is_some_and(|p| p.matched + LAG_MAX >= last && p.matched > 0),
            heard: *node == ctx.id() || self.consensus.progress(*node).is_some_and(|p| p.recent_active),
        };
        let candidates: Vec<_> = state.hosts.iter().map(candidate).collect();
        let membership = self.consensus.log().membership();
        match members::plan(ctx.id(), membership, &candidates, state.settings.voters_max) {
            Some(members::Step::Change(change)) => {
                let has = |kind| change.changes.iter().any(|single| single.change_type == kind);
                let swaps = has(ConfChangeType::AddNode) && has(ConfChangeType::RemoveNode);
                ctx.hit_if(swaps, Probe::VotersSwapped);
                let taken = self.consensus.propose_change(change);
                ctx.hit_if(!taken, Probe::ProposalDropped);
            }
            Some(members::Step::HandOver(to)) => {
                ctx.hit(Probe::LeaderLeaves);
                self.consensus.transfer_leader(to);
            }
            None => {}
        }
    }

    /// Begins to hand leadership to `to`, or to the voter that is fit best: one that was heard since the last check of the quorum, before
    /// one that was not (just after a check that is nobody) and one that is not given up; and of equals, the one whose log is longest.
    pub(crate) fn hand_over(&mut self, to: Option<NodeId>, ctx: &mut Context<'_>) -> Reply {
        let me = ctx.id();
        let others = self.consensus.log().membership().voters.iter().filter(|node| **node != me);
        let is_kept = |node: &NodeId| {
            self.state.as_ref().and_then(|state| state.hosts.get(node)).is_some_and(|host| !host.lost)
        };
        let best = others.max_by_key(|node| {
            let (heard, matched) =
                self.consensus.progress(**node).map_or((false, 0), |p| (p.recent_active, p.matched));
            (heard, is_kept(node), matched, std::cmp::Reverse(**node))
        });
        let voters = &self.consensus.log().membership().voters;
        let to = match to {
            Some(node) if !voters.contains(&node) => return Err(RequestError::NotAVoter { node }),
            Some(node) => node,
            None => *best.ok_or(RequestError::LastVoter { node: me })?,
        };
        if to != me {
            ctx.hit(Probe::LeadershipHandedOver);
            self.consensus.transfer_leader(to);
        }
        Ok(Response::Transferring { to })
    }

    /// Asks the hosts whose sets changed for a heartbeat, to hand them the new set.
    pub(super) fn nudge(&self, touched: &[NodeId], ctx: &mut Context<'_>) {
        for node in touched {
            if self.state.as_ref().is_some_and(|state| state.hosts.get(node).is_some_and(|host| !host.lost)) {
                ctx.send(*node, Body::Nudge);
            }
        }
    }

    /// The revision of this replica's state, if it has one.
    pub(crate) fn revision(&self) -> Option<Revision> {
        self.state.as_ref().map(|state| state.revision)
    }

    /// When the office wants to be looked at.
    pub(super) fn office_deadline(&self) -> Option<Time> {
        let office = self.office.as_ref()?;
        let mut at = office.tidy_at.min(office.leases.quiet_until());
        if office.reads.under_way.is_none()
            && self.applied_term == office.term
            && let Some(serve_at) = office.leases.serve_at()
        {
            at = at.min(serve_at);
        }
        Some(at)
    }
}
