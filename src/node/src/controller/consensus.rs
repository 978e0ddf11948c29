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
