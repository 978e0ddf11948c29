//! raft-rs, driven by handed-in time and seeded chance.
//!
//! raft-rs draws its election timeouts from ambient randomness. [`Consensus::pin`] overwrites the draw after every call
//! that could have made one, so that nothing of it is ever acted on.

use raft::eraftpb::{self, ConfChangeV2, MessageType};
use raft::{RawNode, StateRole};

use super::log::Log;
use crate::config::RaftConfig;
use crate::ids::NodeId;
use crate::rng::Rng;
use crate::time::Time;

/// One member of the Raft group (or of none, while its log is empty).
pub(crate) struct Consensus {
    raw: RawNode<Log>,
    config: RaftConfig,
    rng: Rng,
    next_tick: Time,
    /// The term and role the timeout below was drawn for.
    pinned: (u64, StateRole),
    timeout_ticks: usize,
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let raft = &self.raw.raft;
        write!(
            f,
            "Consensus {{ term: {}, role: {:?}, commit: {} }}",
            raft.term, raft.state, raft.raft_log.committed
        )
    }
}

impl Consensus {
    pub(crate) fn open(
        id: NodeId,
        config: RaftConfig,
        log: Log,
        mut rng: Rng,
        now: Time,
    ) -> Result<Self, String> {
        let election_ticks = config.election_ticks as usize;
        let raft_config = raft::Config {
            id: id.0,
            election_tick: election_ticks,
            heartbeat_tick: config.heartbeat_ticks as usize,
            applied: log.snapshot_index(),
            max_size_per_msg: config.append_bytes_max,
            max_inflight_msgs: config.inflight_max,
            max_uncommitted_size: config.uncommitted_bytes_max,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            // Followers learn the commit index with the next append or heartbeat: a quarter fewer messages.
            skip_bcast_commit: true,
            ..raft::Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&raft_config, log, &logger).map_err(|error| error.to_string())?;
        let timeout_ticks = draw(&mut rng, &config);
        let pinned = (raw.raft.term, raw.raft.state);
        let next_tick = now + config.tick;
        let mut consensus = Self { raw, config, rng, next_tick, pinned, timeout_ticks };
        consensus.pin();
        Ok(consensus)
    }

    pub(crate) fn raw(&mut self) -> &mut RawNode<Log> {
        &mut self.raw
    }

    pub(crate) fn log(&self) -> &Log {
        self.raw.store()
    }

    pub(crate) fn id(&self) -> NodeId {
        NodeId(self.raw.raft.id)
    }

    pub(crate) fn term(&self) -> u64 {
        self.raw.raft.term
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// The leader, if this node leads or has heard it lately. raft-rs goes on naming the last one it heard on a member that
    /// votes no more.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let raft = &self.raw.raft;
        let heard = self.is_leader() || raft.election_elapsed < 2 * raft.election_timeout();
        Some(raft.leader_id).filter(|id| *id != 0 && heard).map(NodeId)
    }

    pub(crate) fn commit(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.raw.raft.raft_log.last_index()
    }

    /// The election timeout at work, in ticks.
    pub(crate) fn timeout_ticks(&self) -> usize {
        self.raw.raft.randomized_election_timeout()
    }

    /// A follower's progress as its leader knows it.
    pub(crate) fn progress(&self, node: NodeId) -> Option<&raft::Progress> {
        if self.is_leader() { self.raw.raft.prs().get(node.0) } else { None }
    }

    /// Ticks as often as time has passed. Ticks missed in a long pause are made up for at most two election timeouts.
    pub(crate) fn advance_clock(&mut self, now: Time) {
        let ticks_max = self.config.election_ticks * 2;
        let behind = now.since(self.next_tick).as_nanos() / self.config.tick.as_nanos();
        if behind > ticks_max {
            self.next_tick += self.config.tick * (behind - ticks_max);
        }
        while self.next_tick <= now {
            self.raw.tick();
            self.pin();
            self.next_tick += self.config.tick;
        }
    }

    /// The tick at which something may happen; none when time changes nothing here.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let raft = &self.raw.raft;
        let ticks = if self.is_leader() {
            let to_heartbeat = raft.heartbeat_timeout().saturating_sub(raft.heartbeat_elapsed());
            let to_quorum_check = raft.election_timeout().saturating_sub(raft.election_elapsed);
            to_heartbeat.min(to_quorum_check)
        } else if raft.promotable() {
            raft.randomized_election_timeout().saturating_sub(raft.election_elapsed)
        } else {
            return None;
        };
        Some(self.next_tick + self.config.tick * (ticks.max(1) as u64 - 1))
    }

    /// Takes a peer's message, or says why it makes no sense.
    pub(crate) fn step(&mut self, from: NodeId, mut message: eraftpb::Message) -> Result<(), &'static str> {
        self.validate(from, &message)?;
        if planted!(VotesTwice) && message.msg_type == MessageType::MsgRequestVote {
            self.raw.raft.vote = 0;
        }
        if planted!(VotesForAShorterLog)
            && matches!(message.msg_type, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote)
        {
            (message.index, message.log_term) = (u64::MAX, u64::MAX);
        }
        // raft-rs returns errors for messages it has no use for any more; the sender will notice by itself.
        let _ = self.raw.step(message);
        self.pin();
        let raft = &mut self.raw.raft;
        if planted!(FollowerCommitsAll) && raft.state == StateRole::Follower {
            let last = raft.raft_log.last_index();
            raft.raft_log.commit_to(last);
        }
        if planted!(OldTermCounted) && raft.state == StateRole::Leader {
            let copied = raft.mut_prs().maximal_committed_index().0;
            raft.raft_log.commit_to(copied);
        }
        Ok(())
    }

    /// raft-rs panics on messages that no correct peer sends. They are refused here.
    fn validate(&self, from: NodeId, message: &eraftpb::Message) -> Result<(), &'static str> {
        if message.from != from.0 {
            return Err("it speaks for another member");
        }
        if message.to != self.raw.raft.id {
            return Err("it is for another member");
        }
        match message.msg_type {
            MessageType::MsgAppend => {
                let mut term = message.log_term;
                for (place, entry) in message.entries.iter().enumerate() {
                    if entry.index != message.index + 1 + place as u64 {
                        return Err("its entries have a gap");
                    }
                    if entry.term < term || entry.term > message.term {
                        return Err("its entries' terms fall or lie ahead of its own");
                    }
                    term = entry.term;
                }
                Ok(())
            }
            MessageType::MsgHeartbeat
                if message.term >= self.term() && message.commit > self.last_index() =>
            {
                Err("it commits entries this node was never sent")
            }
            MessageType::MsgHeartbeat
            | MessageType::MsgHeartbeatResponse
            | MessageType::MsgAppendResponse
            | MessageType::MsgRequestVote
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestPreVoteResponse
            | MessageType::MsgSnapshot
            | MessageType::MsgTimeoutNow => Ok(()),
            _ => Err("members do not send this kind"),
        }
    }

    /// Appends a command; its index, or none when the log takes no proposals now.
    pub(crate) fn propose(&mut self, data: Vec<u8>) -> Option<u64> {
        let taken = self.raw.propose(Vec::new(), data).is_ok();
        self.pin();
        taken.then(|| self.last_index())
    }

    /// Appends a membership change; whether the log took it.
    pub(crate) fn propose_change(&mut self, change: ConfChangeV2) -> bool {
        let taken = self.raw.propose_conf_change(Vec::new(), change).is_ok();
        self.pin();
        taken
    }

    /// Whether a membership change is in the log and not carried out.
    pub(crate) fn change_pending(&self) -> bool {
        self.raw.raft.has_pending_conf()
    }

    /// Begins to confirm leadership under the name `context`; false when raft-rs dropped the question, as it does without a
    /// word before the term's first commit.
    pub(crate) fn confirm(&mut self, context: u64) -> bool {
        let count = |raft: &raft::Raft<Log>| raft.pending_read_count() + raft.ready_read_count();
        let before = count(&self.raw.raft);
        self.raw.read_index(context.to_le_bytes().to_vec());
        self.pin();
        count(&self.raw.raft) > before
    }

    pub(crate) fn transfer_leader(&mut self, to: NodeId) {
        self.raw.transfer_leader(to.0);
        self.pin();
    }

    pub(crate) fn is_handing_over(&self) -> bool {
        self.raw.raft.lead_transferee.is_some()
    }

    /// To be called as soon as a leader votes no more: raft-rs looks for its own progress when its entries become durable, and panics
    /// when there is none.
    pub(crate) fn step_down(&mut self) {
        let term = self.term();
        self.raw.raft.become_follower(term, 0);
        self.pin();
    }

    pub(crate) fn report_snapshot(&mut self, to: NodeId, arrived: bool) {
        let status = if arrived { raft::SnapshotStatus::Finish } else { raft::SnapshotStatus::Failure };
        self.raw.report_snapshot(to.0, status);
        self.pin();
    }

    /// Puts this node's own election timeout in place of what raft-rs may have drawn.
    pub(crate) fn pin(&mut self) {
        let now = (self.raw.raft.term, self.raw.raft.state);
        if now != self.pinned {
            self.pinned = now;
            self.timeout_ticks = draw(&mut self.rng, &self.config);
        }
        self.raw.raft.set_randomized_election_timeout(self.timeout_ticks);
    }
}

/// At least one, less than two election timeouts.
fn draw(rng: &mut Rng, config: &RaftConfig) -> usize {
    rng.between(config.election_ticks, config.election_ticks * 2 - 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::log::from_raft;
    use crate::stored::{EntryKind, HardState, LogEntry, Membership, Snapshot};

    /// A member whose log begins with a snapshot of index and term 1 and goes on with one entry of each of these terms.
    fn opened(id: u64, voters: &[u64], learners: &[u64], terms: &[u64], seed: u64) -> Consensus {
        let nodes = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect();
        let membership =
            Membership { voters: nodes(voters), learners: nodes(learners), ..Membership::default() };
        let snapshot = Snapshot { index: 1, term: 1, membership, data: bytes::Bytes::new() };
        let entry = |(place, term): (usize, &u64)| {
            let (index, data) = (place as u64 + 2, bytes::Bytes::new());
            LogEntry { index, term: *term, kind: EntryKind::Command, data }
        };
        let entries = terms.iter().enumerate().map(entry).collect();
        let hard_state = HardState { term: terms.last().copied().unwrap_or(1), vote: 0, commit: 1 };
        let Ok(log) = Log::open(hard_state, Some(snapshot), entries) else { panic!("the log is sound") };
        let opened =
            Consensus::open(NodeId(id), RaftConfig::default(), log, Rng::new(seed, 0), Time::default());
        let Ok(consensus) = opened else { panic!("it opens") };
        consensus
    }

    fn voter(id: u64) -> Consensus {
        opened(id, &[1, 2, 3], &[], &[], 1)
    }

    /// Writes what it has to write; what it says then.
    fn said(consensus: &mut Consensus) -> Vec<eraftpb::Message> {
        let mut messages = Vec::new();
        while consensus.raw().has_ready() {
            let mut ready = consensus.raw().ready();
            consensus.raw().mut_store().append(ready.entries());
            messages.append(&mut ready.take_messages());
            messages.append(&mut ready.take_persisted_messages());
            let mut light = consensus.raw().advance_append(ready);
            messages.append(&mut light.take_messages());
            consensus.raw().advance_apply();
        }
        messages
    }

    fn message(kind: MessageType, from: u64, to: u64, term: u64) -> eraftpb::Message {
        eraftpb::Message { msg_type: kind, from, to, term, ..Default::default() }
    }

    fn take(consensus: &mut Consensus, message: eraftpb::Message) {
        assert_eq!(consensus.step(NodeId(message.from), message), Ok(()));
    }

    /// Member 1, elected by 2; its first entry is nobody's yet but its own.
    fn elected(mut consensus: Consensus) -> Consensus {
        let term = consensus.term() + 1;
        consensus.advance_clock(after(2 * RaftConfig::default().election_ticks));
        said(&mut consensus);
        for kind in [MessageType::MsgRequestPreVoteResponse, MessageType::MsgRequestVoteResponse] {
            take(&mut consensus, message(kind, 2, 1, term));
            said(&mut consensus);
        }
        assert!(consensus.is_leader());
        consensus
    }

    fn has_up_to(consensus: &mut Consensus, from: u64, index: u64) {
        let term = consensus.term();
        let answer = eraftpb::Message {
            index,
            ..message(MessageType::MsgAppendResponse, from, consensus.id().0, term)
        };
        take(consensus, answer);
        said(consensus);
    }

    fn after(ticks: u64) -> Time {
        Time::default() + RaftConfig::default().tick * ticks
    }

    fn entry(index: u64, term: u64) -> eraftpb::Entry {
        eraftpb::Entry { index, term, ..Default::default() }
    }

    #[test]
    fn a_timeout_is_one_to_two_of_the_configured_and_drawn_anew_with_each_term() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let mut consensus = opened(2, &[1, 2, 3], &[], &[], seed);
            let (first, raft) = (consensus.timeout_ticks(), RaftConfig::default());
            take(&mut consensus, message(MessageType::MsgHeartbeat, 1, 2, 7));
            for ticks in [first, consensus.timeout_ticks()] {
                assert!((raft.election_ticks..2 * raft.election_ticks).contains(&(ticks as u64)), "{ticks}");
            }
            seen.insert((first, consensus.timeout_ticks()));
        }
        assert!(seen.len() > 40, "{seen:?}");
        assert!(seen.iter().filter(|(first, second)| first == second).count() < 10, "{seen:?}");
    }

    #[test]
    fn a_timeout_shorter_than_the_usual_one_is_kept() {
        let config = RaftConfig { election_ticks: 8, ..RaftConfig::default() };
        let opened = Consensus::open(NodeId(1), config, Log::default(), Rng::new(1, 0), Time::default());
        let Ok(consensus) = opened else { panic!("it opens") };
        assert!((8..16).contains(&consensus.timeout_ticks()));
    }

    #[test]
    fn a_leader_is_named_until_it_was_not_heard_for_two_election_timeouts() {
        let mut learner = opened(2, &[1], &[2], &[], 1);
        assert_eq!(learner.leader(), None);
        take(&mut learner, message(MessageType::MsgHeartbeat, 1, 2, 2));
        let ticks = 2 * RaftConfig::default().election_ticks;
        learner.advance_clock(after(ticks - 1));
        assert_eq!(learner.leader(), Some(NodeId(1)));
        learner.advance_clock(after(ticks));
        assert_eq!(learner.leader(), None);
        take(&mut learner, message(MessageType::MsgHeartbeat, 1, 2, 2));
        assert_eq!(learner.leader(), Some(NodeId(1)));
        assert_eq!(elected(voter(1)).leader(), Some(NodeId(1)), "a leader knows itself");
    }

    #[test]
    fn ticks_missed_in_a_pause_are_made_up_for_two_election_timeouts_at_most() {
        let ticks = 2 * RaftConfig::default().election_ticks;
        for (pause, made_up) in [(30, 30), (ticks + 1, ticks + 1), (ticks + 2, ticks + 1), (5_000, ticks + 1)]
        {
            // A learner's count is not set back by an election.
            let mut learner = opened(2, &[1], &[2], &[], 1);
            learner.advance_clock(after(pause));
            assert_eq!(learner.raw().raft.election_elapsed as u64, made_up, "after {pause}");
            learner.advance_clock(after(pause + 1));
            assert_eq!(
                learner.raw().raft.election_elapsed as u64,
                made_up + 1,
                "in step again after {pause}"
            );
        }
    }

    #[test]
    fn what_no_correct_peer_sends_is_refused() {
        let mut consensus = elected(voter(1));
        let (term, last) = (consensus.term(), consensus.last_index());
        let append = |index, log_term, term, entries: &[(u64, u64)]| {
            let entries: Vec<_> = entries.iter().map(|(index, term)| entry(*index, *term)).collect();
            let mut append = message(MessageType::MsgAppend, 2, 1, term);
            (append.index, append.log_term, append.entries) = (index, log_term, entries.into());
            append
        };
        let commits =
            |term, commit| eraftpb::Message { commit, ..message(MessageType::MsgHeartbeat, 2, 1, term) };
        let refused = [
            (message(MessageType::MsgHeartbeat, 3, 1, term), "it speaks for another member"),
            (message(MessageType::MsgHeartbeat, 2, 3, term), "it is for another member"),
            (message(MessageType::MsgPropose, 2, 1, term), "members do not send this kind"),
            (message(MessageType::MsgHup, 2, 1, 0), "members do not send this kind"),
            (append(1, 1, 9, &[(3, 9)]), "its entries have a gap"),
            (append(1, 1, 9, &[(2, 9), (4, 9)]), "its entries have a gap"),
            (append(1, 3, 9, &[(2, 2)]), "its entries' terms fall or lie ahead of its own"),
            (append(1, 1, 9, &[(2, 5), (3, 4)]), "its entries' terms fall or lie ahead of its own"),
            (append(1, 1, 9, &[(2, 10)]), "its entries' terms fall or lie ahead of its own"),
            (commits(term, last + 1), "it commits entries this node was never sent"),
            (commits(term + 1, last + 1), "it commits entries this node was never sent"),
        ];
        for (message, why) in refused {
            assert_eq!(consensus.step(NodeId(2), message.clone()), Err(why), "{message:?}");
        }
        assert_eq!((consensus.term(), consensus.is_leader()), (term, true), "nothing of it was acted on");
        let taken =
            [commits(term - 1, last + 1), commits(term + 1, last), append(1, 1, 9, &[(2, 5), (3, 9)])];
        for message in taken {
            assert_eq!(consensus.step(NodeId(2), message.clone()), Ok(()), "{message:?}");
        }
    }

    /// Whether it gives its vote.
    fn votes(consensus: &mut Consensus, from: u64, term: u64, (index, log_term): (u64, u64)) -> bool {
        let mut request = message(MessageType::MsgRequestVote, from, consensus.id().0, term);
        (request.index, request.log_term) = (index, log_term);
        take(consensus, request);
        said(consensus).iter().any(|m| m.msg_type == MessageType::MsgRequestVoteResponse && !m.reject)
    }

    #[test]
    fn one_vote_in_a_term_and_only_for_a_log_as_long() {
        let mut consensus = opened(1, &[1, 2, 3], &[], &[2, 2], 1);
        assert!(!votes(&mut consensus, 2, 5, (2, 2)), "a shorter log");
        assert!(!votes(&mut consensus, 2, 5, (9, 1)), "an older log");
        assert!(votes(&mut consensus, 3, 5, (3, 2)));
        assert!(votes(&mut consensus, 3, 5, (3, 2)), "the same again");
        assert!(!votes(&mut consensus, 2, 5, (3, 2)), "a second one");
        assert!(votes(&mut consensus, 2, 6, (3, 2)), "in the next term");
    }

    #[test]
    fn a_follower_commits_what_the_leader_says_and_no_more() {
        let mut follower = voter(2);
        let mut append = message(MessageType::MsgAppend, 1, 2, 2);
        (append.index, append.log_term, append.commit) = (1, 1, 2);
        append.entries = vec![entry(2, 2), entry(3, 2)].into();
        take(&mut follower, append);
        said(&mut follower);
        assert_eq!((follower.last_index(), follower.commit()), (3, 2));
    }

    #[test]
    fn a_leader_counts_no_copies_of_an_earlier_terms_entry() {
        let mut leader = elected(opened(1, &[1, 2, 3], &[], &[2], 1));
        assert_eq!((leader.term(), leader.last_index()), (3, 3));
        has_up_to(&mut leader, 2, 2);
        assert_eq!(leader.commit(), 1, "a later leader may yet replace it");
        has_up_to(&mut leader, 2, 3);
        assert_eq!(leader.commit(), 3);
    }

    #[test]
    fn leadership_is_not_confirmed_before_the_terms_first_commit() {
        let mut leader = elected(voter(1));
        assert!(!leader.confirm(1));
        has_up_to(&mut leader, 2, 2);
        assert!(leader.confirm(2));
    }

    #[test]
    fn a_handover_is_under_way_until_the_other_leads() {
        let mut leader = elected(voter(1));
        has_up_to(&mut leader, 2, 2);
        assert!(!leader.is_handing_over());
        leader.transfer_leader(NodeId(2));
        assert!(leader.is_handing_over());
        let term = leader.term() + 1;
        take(&mut leader, message(MessageType::MsgHeartbeat, 2, 1, term));
        assert!(!leader.is_handing_over() && !leader.is_leader());
    }

    #[test]
    fn a_leader_that_steps_down_stays_in_its_term_and_knows_no_leader() {
        let mut leader = elected(voter(1));
        let term = leader.term();
        leader.step_down();
        assert_eq!((leader.is_leader(), leader.term(), leader.leader()), (false, term, None));
    }

    #[test]
    fn a_membership_change_is_pending_until_it_is_carried_out() {
        let mut leader = elected(voter(1));
        has_up_to(&mut leader, 2, 2);
        assert!(!leader.change_pending());
        let add = eraftpb::ConfChangeSingle {
            change_type: eraftpb::ConfChangeType::AddLearnerNode,
            node_id: 4,
            ..Default::default()
        };
        let change = ConfChangeV2 { changes: vec![add].into(), ..Default::default() };
        assert!(leader.propose_change(change));
        said(&mut leader);
        assert!(leader.change_pending());
        let entry = leader.log().entry(3).map(from_raft);
        assert_eq!(entry.map(|entry| entry.kind), Some(EntryKind::Membership));
        has_up_to(&mut leader, 2, 3);
        assert!(!leader.change_pending());
    }
}
