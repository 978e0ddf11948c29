//! From what raft-rs has ready to effects, in the order raft-rs demands.
//!
//! The node tells raft-rs at once that everything is persisted. That is no lie to anyone else: nothing that follows
//! from it leaves the node before the turn's write is durable, but for the early appends (see [`Effects`]).
//!
//! [`Effects`]: crate::effects::Effects

use raft::eraftpb::{self, ConfChangeTransition, ConfChangeV2, EntryType, MessageType};

use super::Controller;
use super::log::{from_conf_state, from_raft, snapshot_from_raft};
use super::office::Office;
use crate::codec;
use crate::command::Action;
use crate::context::Context;
use crate::effects::Event;
use crate::ids::{NodeId, Revision};
use crate::message::Body;
use crate::probes::Probe;
use crate::stored::{HardState, Snapshot};

impl Controller {
    /// One round of a turn: everything raft-rs has ready becomes effects.
    pub(crate) fn settle(&mut self, ctx: &mut Context<'_>) {
        while ctx.me.outgrown.is_none() {
            self.begin_round(ctx);
            self.replan(ctx);
            self.tidy(ctx);
            if !self.consensus.raw().has_ready() {
                break;
            }
            self.take_ready(ctx);
        }
        self.compact(ctx);
        self.finish_round(ctx);
    }

    fn take_ready(&mut self, ctx: &mut Context<'_>) {
        let mut ready = self.consensus.raw().ready();
        if ready.snapshot().get_metadata().index > 0 {
            self.restore(snapshot_from_raft(ready.snapshot()), ctx);
        }
        self.append(ready.entries(), ctx);
        if let Some(hard_state) = ready.hs() {
            let new = HardState { term: hard_state.term, vote: hard_state.vote, commit: hard_state.commit };
            self.set_hard_state(new, ctx);
        }
        let committed = ready.take_committed_entries();
        let mut messages = ready.take_messages();
        messages.append(&mut ready.take_persisted_messages());
        self.dispatch(messages, ctx);
        let confirmed = ready.take_read_states();
        // Before the committed entries are carried out: raft-rs counts what a leader has persisted, and panics when one of them
        // has taken that leader out of the members.
        let mut light = self.consensus.raw().advance_append(ready);
        self.apply_all(committed, ctx);
        if let Some(commit) = light.commit_index() {
            self.consensus.raw().mut_store().set_commit(commit);
        }
        let (committed, messages) = (light.take_committed_entries(), light.take_messages());
        self.dispatch(messages, ctx);
        self.apply_all(committed, ctx);
        self.consensus.raw().advance_apply();
        self.consensus.pin();
        self.observe_role(ctx);
        if ctx.me.outgrown.is_some() {
            return;
        }
        for read in confirmed {
            assert!(read.index <= self.applied, "invariant: a read sees what was committed before it");
            if let Ok(context) = <[u8; 8]>::try_from(read.request_ctx.as_slice()) {
                self.end_round(u64::from_le_bytes(context), ctx);
            }
        }
    }

    fn append(&mut self, entries: &[eraftpb::Entry], ctx: &mut Context<'_>) {
        let log = self.consensus.log();
        let replaced = entries.first().map_or(u64::MAX, |first| first.index)..=log.last();
        let mut replaced = replaced.filter_map(|index| log.entry(index));
        ctx.hit_if(replaced.any(|entry| entry.entry_type != EntryType::EntryNormal), Probe::ChangeTruncated);
        let last = self.consensus.log().last();
        if self.consensus.raw().mut_store().append(entries) {
            ctx.hit(Probe::LogTruncated);
        }
        let written = |entry: &&eraftpb::Entry| !planted!(ReplacedEntriesKept) || entry.index > last;
        ctx.out.writes.append_entries(entries.iter().filter(written).map(from_raft));
    }

    /// Term and vote must be durable before anything else leaves; a commit index alone need not be written, the next leader tells it
    /// again (but see [`Self::keep_commit`]).
    fn set_hard_state(&mut self, new: HardState, ctx: &mut Context<'_>) {
        let store = self.consensus.raw().mut_store();
        let old = store.hard_state();
        store.set_hard_state(new);
        if (old.term, old.vote) == (new.term, new.vote) {
            return;
        }
        self.hold_all = true;
        if planted!(TermNotPersisted) {
            return;
        }
        let vote = if planted!(VoteNotPersisted) { 0 } else { new.vote };
        ctx.out.writes.hard_state = Some(HardState { vote, ..new });
    }

    fn dispatch(&mut self, messages: Vec<eraftpb::Message>, ctx: &mut Context<'_>) {
        for mut message in messages {
            let to = NodeId(message.to);
            if planted!(CommitUnclamped) && message.msg_type == MessageType::MsgHeartbeat {
                message.commit = self.consensus.commit();
            }
            match message.msg_type {
                MessageType::MsgSnapshot => self.transfers.begin(message, ctx),
                MessageType::MsgAppend => {
                    let message = ctx.message(Body::Raft(Box::new(message)));
                    ctx.out.early_sends.push((to, message));
                }
                _ => ctx.send(to, Body::Raft(Box::new(message))),
            }
        }
    }

    fn apply_all(&mut self, entries: Vec<eraftpb::Entry>, ctx: &mut Context<'_>) {
        if ctx.me.outgrown.is_some() {
            return;
        }
        for entry in entries {
            assert_eq!(
                entry.index,
                self.applied + 1,
                "invariant: entries are carried out in order, each once"
            );
            match entry.entry_type {
                EntryType::EntryNormal => self.apply_command(&entry, ctx),
                _ => self.apply_membership(&entry, ctx),
            }
            if ctx.me.outgrown.is_some() {
                return;
            }
            self.applied = entry.index;
            self.applied_term = entry.term;
            if let Some(state) = &self.state {
                let (revision, state_hash) = (Revision(entry.index), state.hash());
                ctx.event(Event::Applied { revision, term: entry.term, state_hash });
            }
        }
    }

    fn apply_command(&mut self, entry: &eraftpb::Entry, ctx: &mut Context<'_>) {
        let Some(state) = &mut self.state else {
            unreachable!("invariant: entries follow a snapshot, which brings the state");
        };
        let revision = Revision(entry.index);
        let mut answer = None;
        if entry.data.is_empty() {
            state.revision = revision;
        } else {
            // Every proposal was encoded by a leader's own hand and has passed checksums on its way.
            let command = match codec::decode_command(&entry.data) {
                Ok(command) => command,
                Err(error) => panic!("the committed command {revision} is not understood: {error}"),
            };
            if ctx.is_outgrown_by(command.level()) {
                return;
            }
            let hosts_before = state.hosts.len();
            let (hash_before, floor_before) = (state.hash(), state.sessions.floor());
            let level_before = state.level;
            let applied = state.apply(revision, &command);
            answer = applied.answer;
            ctx.hit_if(state.sessions.floor() > floor_before, Probe::SessionEvicted);
            if state.level != level_before {
                ctx.hit(Probe::LevelRaised);
                ctx.event(Event::LevelRaised { level: state.level });
            }
            mark_command(
                &command.action,
                state.hash() != hash_before,
                entry.term < self.consensus.term(),
                ctx,
            );
            self.directory_changed |=
                hosts_before != state.hosts.len() || matches!(command.action, Action::AddHost { .. });
            if let Some(office) = &mut self.office {
                office.untidy = true;
                self.touched.extend(applied.touched);
                // Also when an earlier leader took it in: a host that is never heard must be given up like any other.
                if let Action::AddHost { node, .. } = command.action {
                    office.leases.lease_from(node, ctx.now.boot);
                }
            }
        }
        self.resolve_at(entry, answer, ctx);
    }

    /// Answers whoever waits for this entry, if it is the one this leader proposed.
    fn resolve_at(
        &mut self,
        entry: &eraftpb::Entry,
        answer: Option<crate::state::sessions::Answer>,
        ctx: &mut Context<'_>,
    ) {
        let Some(office) = self.office.as_mut().filter(|office| office.term == entry.term) else { return };
        let Some(proposal) = office.proposals.pop_front_if(|first| first.index == entry.index) else {
            return;
        };
        let first = answer.as_ref().and_then(|answer| answer.as_ref().ok());
        ctx.hit_if(first.is_some_and(|(revision, _)| revision.0 != entry.index), Probe::LoggedTwice);
        self.resolve(proposal.purpose, answer, ctx);
    }

    fn apply_membership(&mut self, entry: &eraftpb::Entry, ctx: &mut Context<'_>) {
        let mut change = match codec::decode_conf_change(&entry.data) {
            Ok(change) => change,
            Err(error) => {
                panic!("the committed membership change {} is not understood: {error}", entry.index)
            }
        };
        if let Some(state) = &mut self.state {
            state.revision = Revision(entry.index);
        }
        self.keep_commit(entry.index, ctx);
        if planted!(JointChangeSkipped) {
            for one in change.changes.iter().skip(1) {
                let part = ConfChangeV2 { changes: vec![one.clone()].into(), ..Default::default() };
                let _ = self.consensus.raw().apply_conf_change(&part);
            }
            change.changes.truncate(1);
            change.transition = ConfChangeTransition::Auto;
        }
        // A change that no longer fits (another one came between) changes nothing, on every replica alike.
        let Ok(conf) = self.consensus.raw().apply_conf_change(&change) else { return };
        let new = from_conf_state(&conf);
        let old = self.consensus.log().membership().clone();
        if !new.voters_outgoing.is_empty() {
            ctx.hit(Probe::JointEntered);
        }
        if new.voters.contains(&ctx.id()) && !old.voters.contains(&ctx.id()) {
            ctx.hit(Probe::Promoted);
        }
        if old.voters_outgoing.contains(&ctx.id()) && !new.voters.contains(&ctx.id()) {
            ctx.hit(Probe::Demoted);
        }
        // raft-rs refuses a snapshot on a member that the snapshot does not know of.
        self.snapshot_wanted |= new.learners.iter().any(|node| !old.learners.contains(node));
        ctx.event(Event::MembershipChanged {
            voters: new.voters.clone(),
            outgoing: new.voters_outgoing.clone(),
            learners: new.learners.clone(),
        });
        // Elected in a joint change by the voters of before, a leader may be the one that commits its own departure.
        let votes_no_more = new.voters_outgoing.is_empty() && !new.voters.contains(&ctx.id());
        self.consensus.raw().mut_store().set_membership(new);
        if votes_no_more && self.is_leader() {
            ctx.hit(Probe::CommittedOwnDeparture);
            self.consensus.step_down();
        }
        self.directory_changed = true;
        if let Some(office) = &mut self.office {
            office.untidy = true;
            office.leases.members_changed();
        }
    }

    /// A membership change that was acted on must be acted on again after a restart, before any election: a node that knew its
    /// entry but not that it is committed would vote and win by the members of before.
    fn keep_commit(&mut self, index: u64, ctx: &mut Context<'_>) {
        if planted!(MembersForgotten) {
            return;
        }
        self.hold_all = true;
        let known = self.consensus.log().hard_state();
        let written = ctx.out.writes.hard_state.unwrap_or(known);
        ctx.out.writes.hard_state =
            Some(HardState { commit: written.commit.max(known.commit).max(index), ..written });
    }

    fn restore(&mut self, snapshot: Snapshot, ctx: &mut Context<'_>) {
        // Checked before raft-rs saw the message.
        let state = match codec::decode_state(&snapshot.data) {
            Ok(state) => state,
            Err(error) => panic!("the snapshot of index {} is not understood: {error}", snapshot.index),
        };
        ctx.hit(Probe::SnapshotRestored);
        ctx.hit_if(self.state.is_some(), Probe::SnapshotReplacedState);
        ctx.hit_if(!snapshot.membership.voters_outgoing.is_empty(), Probe::SnapshotOfJoint);
        ctx.event(Event::Restored { revision: Revision(snapshot.index), state_hash: state.hash() });
        self.applied = snapshot.index;
        self.applied_term = snapshot.term;
        self.state = Some(state);
        self.directory_changed = true;
        self.hold_all = true;
        ctx.out.writes.append.clear();
        ctx.out.writes.snapshot = Some(snapshot.clone());
        ctx.out.writes.snapshot_resets_log = true;
        self.consensus.raw().mut_store().restore(snapshot);
    }

    /// Writes a snapshot when enough was carried out since the last, or a newcomer needs one.
    fn compact(&mut self, ctx: &mut Context<'_>) {
        let (every, keep) = (ctx.me.config.raft.snapshot_every, ctx.me.config.raft.keep_entries);
        let since = self.applied - self.consensus.log().snapshot_index().min(self.applied);
        let wanted = std::mem::take(&mut self.snapshot_wanted) && since > 0;
        if (since < every && !wanted) || ctx.out.writes.snapshot.is_some() {
            return;
        }
        let Some(state) = &self.state else { return };
        let membership = self.consensus.log().membership().clone();
        if !membership.voters_outgoing.is_empty() {
            ctx.hit(Probe::SnapshotInJoint);
        }
        let data = codec::encode_state(state);
        let snapshot = Snapshot { index: self.applied, term: self.applied_term, membership, data };
        #[cfg(feature = "planted")]
        let snapshot = self.mislabelled(snapshot);
        ctx.hit(Probe::Compacted);
        ctx.event(Event::Compacted { revision: Revision(self.applied) });
        ctx.out.writes.snapshot = Some(snapshot.clone());
        if planted!(EntriesLostBesideSnapshot) {
            ctx.out.writes.append.clear();
        }
        self.consensus.raw().mut_store().compact(snapshot, keep);
    }

    /// A snapshot whose state is not that of its index.
    #[cfg(feature = "planted")]
    fn mislabelled(&self, mut snapshot: Snapshot) -> Snapshot {
        let log = self.consensus.log();
        let relabelled = |data: &[u8], index: u64| {
            let mut state = codec::decode_state(data).ok()?;
            state.revision = Revision(index);
            Some(codec::encode_state(&state))
        };
        if planted!(SnapshotIndexLow)
            && let Some(term) = log.term_of(snapshot.index - 1)
            && let Some(data) = relabelled(&snapshot.data, snapshot.index - 1)
        {
            snapshot = Snapshot { index: snapshot.index - 1, term, data, ..snapshot };
        }
        if planted!(SnapshotOfBefore)
            && let Some(data) = log.snapshot_data().and_then(|data| relabelled(data, snapshot.index))
        {
            snapshot.data = data;
        }
        snapshot
    }

    /// Takes up or closes the office when leadership came or went.
    pub(super) fn observe_role(&mut self, ctx: &mut Context<'_>) {
        let term = self.consensus.term();
        let leads = self.consensus.is_leader();
        if self.office.as_ref().is_some_and(|office| !leads || office.term != term)
            && let Some(office) = self.office.take()
        {
            let joint = !self.consensus.log().membership().voters_outgoing.is_empty();
            ctx.hit_if(joint, Probe::DeposedInJoint);
            ctx.hit_if(self.transfers.is_sending(), Probe::DeposedWithSnapshot);
            office.close(ctx);
            self.transfers.deposed();
            ctx.event(Event::LostLeadership { term });
        }
        if leads && self.office.is_none() {
            ctx.hit(Probe::Elected);
            ctx.event(Event::BecameLeader { term });
            let mut office = Office::new(term, ctx.now.boot);
            if let Some(state) = &self.state {
                office.leases.adopt_hosts(state, ctx.now.boot);
            }
            // The last entry is its own first one.
            ctx.hit_if(self.applied + 1 < self.consensus.last_index(), Probe::ElectedWithBacklog);
            let membership = self.consensus.log().membership();
            if !membership.voters_outgoing.is_empty() {
                ctx.hit(Probe::JointLeftByAnother);
                ctx.hit_if(!membership.voters.contains(&ctx.id()), Probe::ElectedOnTheWayOut);
            }
            self.office = Some(office);
        }
    }

    /// Decides, when all of a turn's rounds are over, whether appends may leave early.
    pub(crate) fn end_turn(&mut self, ctx: &mut Context<'_>) {
        let me = ctx.id();
        let membership = self.consensus.log().membership();
        let alone = |half: &[NodeId]| half.iter().all(|node| *node == me);
        ctx.hit_if(self.hold_all && !ctx.out.early_sends.is_empty(), Probe::AppendsHeld);
        if std::mem::take(&mut self.hold_all)
            || (alone(&membership.voters) && alone(&membership.voters_outgoing))
        {
            // In front, as raft-rs ordered them.
            let mut held = std::mem::take(&mut ctx.out.early_sends);
            held.append(&mut ctx.out.sends);
            ctx.out.sends = held;
        }
    }

    fn finish_round(&mut self, ctx: &mut Context<'_>) {
        let touched = std::mem::take(&mut self.touched);
        if self.office.is_some() {
            self.nudge(&touched, ctx);
        }
        if std::mem::take(&mut self.directory_changed)
            && let Some(state) = &self.state
        {
            ctx.out.directory = Some(state.directory(self.voters()));
        }
    }
}

/// Marks what a command met when it was carried out: whether it had an effect, and whether an earlier leader had proposed it.
fn mark_command(action: &Action, has_effect: bool, is_older: bool, ctx: &mut Context<'_>) {
    match action {
        Action::Assign { .. } => ctx.hit_if(!has_effect, Probe::AssignmentOvertaken),
        Action::Report { .. } => ctx.hit_if(!has_effect, Probe::ReportOvertaken),
        Action::LoseHost { .. } => ctx.hit_if(has_effect && is_older, Probe::HostLostByAnother),
        _ => {}
    }
}
