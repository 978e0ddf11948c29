//! The control plane's part of a node: consensus, the replicated state, and the leader's office.
//!
//! A worker has a controller too, with an empty log: it takes part in nothing until a leader sends it one.

mod consensus;
mod leases;
mod log;
mod members;
mod office;
mod ready;
mod requests;
mod transfer;
mod view;

use consensus::Consensus;
use log::Log;
use office::Office;
use transfer::Transfers;

pub use view::ConsensusView;

use crate::codec;
use crate::config::NodeConfig;
use crate::context::Context;
use crate::ids::NodeId;
use crate::level::Level;
use crate::message::SnapshotChunk;
use crate::probes::Probe;
use crate::rng::Rng;
use crate::state::State;
use crate::stored::{EntryKind, LogEntry, Stored};
use crate::time::Time;

/// Why a controller does not open.
pub(crate) enum Unopened {
    /// What does not fit together.
    Corrupt(String),
    /// The cluster's level is above the process's.
    BelowLevel(Level),
}

impl From<String> for Unopened {
    fn from(reason: String) -> Self {
        Self::Corrupt(reason)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Controller {
    consensus: Consensus,
    /// None until this node holds a replica.
    state: Option<State>,
    applied: u64,
    applied_term: u64,
    office: Option<Office>,
    transfers: Transfers,
    /// In this turn the term, the vote or the members changed: no message leaves early.
    hold_all: bool,
    /// A newcomer needs a snapshot that knows of it.
    snapshot_wanted: bool,
    /// Members or their addresses changed.
    directory_changed: bool,
    /// Hosts whose assignment sets changed in this turn.
    touched: Vec<NodeId>,
}

impl Controller {
    /// Opens on what the disk holds.
    ///
    /// # Errors
    /// What does not fit together.
    pub(crate) fn open(config: &NodeConfig, stored: Stored, rng: Rng, now: Time) -> Result<Self, Unopened> {
        let state = match &stored.snapshot {
            None => None,
            Some(snapshot) => {
                let state = codec::decode_state(&snapshot.data).map_err(|error| error.to_string())?;
                if state.revision.0 != snapshot.index {
                    let (found, index) = (state.revision.0, snapshot.index);
                    return Err(
                        format!("the snapshot of index {index} holds the state of index {found}").into()
                    );
                }
                Some(state)
            }
        };
        if state.is_none() && !stored.entries.is_empty() {
            return Err("there is a log but no snapshot below it".to_owned().into());
        }
        if let Some(level) = level_on_disk(state.as_ref(), &stored)
            && level > config.feature_level
            && !planted!(BelowLevelOpens)
        {
            return Err(Unopened::BelowLevel(level));
        }
        let (applied, applied_term) = stored.snapshot.as_ref().map_or((0, 0), |s| (s.index, s.term));
        let log = Log::open(stored.hard_state, stored.snapshot, stored.entries)?;
        Ok(Self {
            consensus: Consensus::open(config.id, config.raft.clone(), log, rng, now)?,
            directory_changed: state.is_some(),
            state,
            applied,
            applied_term,
            office: None,
            transfers: Transfers::default(),
            hold_all: false,
            snapshot_wanted: false,
            touched: Vec::new(),
        })
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.consensus.is_leader()
    }

    /// Whether leadership is on its way to another voter.
    pub(crate) fn is_handing_over(&self) -> bool {
        self.consensus.is_handing_over()
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.consensus.leader()
    }

    pub(crate) fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Whether a leader keeps this node's state up to date, as far as it knows.
    pub(crate) fn is_replica(&self) -> bool {
        let me = self.consensus.id();
        let membership = self.consensus.log().membership();
        self.state.is_some() && (membership.voters.contains(&me) || membership.learners.contains(&me))
    }

    /// The voters of the configuration at work.
    pub(crate) fn voters(&self) -> &[NodeId] {
        &self.consensus.log().membership().voters
    }

    /// Lets time pass.
    pub(crate) fn advance_clock(&mut self, ctx: &mut Context<'_>) {
        self.consensus.advance_clock(ctx.now.boot);
        for to in self.transfers.wake(ctx) {
            self.consensus.report_snapshot(to, false);
        }
        self.observe_role(ctx);
    }

    /// When time alone may make a difference.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let deadlines = [self.consensus.deadline(), self.transfers.deadline(), self.office_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// A consensus message from a member.
    pub(crate) fn raft(&mut self, from: NodeId, message: raft::eraftpb::Message, ctx: &mut Context<'_>) {
        // What a correct peer never sends is dropped; the sender cannot be helped by an answer.
        let _ = self.consensus.step(from, message);
        self.observe_role(ctx);
    }

    /// A piece of a snapshot.
    pub(crate) fn snapshot_piece(&mut self, from: NodeId, chunk: SnapshotChunk, ctx: &mut Context<'_>) {
        if chunk.message.term < self.consensus.term() {
            ctx.hit(Probe::SnapshotOfOldTerm);
            // An empty answer of a higher term deposes the old leader that sent it.
            return self.raft(from, header_only(*chunk.message), ctx);
        }
        let Some(message) = self.transfers.piece(from, chunk, ctx) else { return };
        match codec::decode_state(&message.get_snapshot().data) {
            Ok(state) if ctx.is_outgrown_by(state.level) => {}
            Ok(_) => self.raft(from, message, ctx),
            Err(_) => {}
        }
    }

    /// A member has a piece of the snapshot this node sends it.
    pub(crate) fn snapshot_confirmed(&mut self, from: NodeId, at: (u64, u64, u64), ctx: &mut Context<'_>) {
        if self.transfers.confirmed(from, at, ctx) {
            self.consensus.report_snapshot(from, true);
        }
    }
}

/// The cluster's level as far as the disk tells: that of the snapshot's state, and of the entries above it that are known to be committed.
/// An entry that is not may yet be replaced.
fn level_on_disk(state: Option<&State>, stored: &Stored) -> Option<Level> {
    let below = stored.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
    let counts = |entry: &&LogEntry| below < entry.index && entry.index <= stored.hard_state.commit;
    let committed = stored.entries.iter().filter(counts);
    let commands = committed.filter(|entry| entry.kind == EntryKind::Command && !entry.data.is_empty());
    let levels = commands.filter_map(|entry| Some(codec::decode_command(&entry.data).ok()?.level()));
    state.map(|state| state.level).into_iter().chain(levels).max()
}

/// A heartbeat in the name of a stale snapshot message: raft-rs answers it with the newer term.
fn header_only(message: raft::eraftpb::Message) -> raft::eraftpb::Message {
    raft::eraftpb::Message {
        msg_type: raft::eraftpb::MessageType::MsgHeartbeat,
        from: message.from,
        to: message.to,
        term: message.term,
        ..Default::default()
    }
}
