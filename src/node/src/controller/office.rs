//! What a node has only while it leads; all of it is void when it is deposed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::leases::{Beat, Leases};
use crate::context::{Asker, Context};
use crate::error::RequestError;
use crate::ids::{NodeId, RequestId};
use crate::probes::Probe;
use crate::request::{Read, Write};
use crate::time::{Duration, Time};

/// Unfinished business is looked at again this often.
pub(crate) const TIDY_EVERY: Duration = Duration::from_millis(500);

/// The leader's office.
#[derive(Debug)]
pub(crate) struct Office {
    pub(crate) term: u64,
    pub(crate) leases: Leases,
    pub(crate) reads: Reads,
    /// In the order of their indexes.
    pub(crate) proposals: VecDeque<Proposal>,
    /// Clients' writes whose decision no longer fitted the state, to be decided anew. Not at once: that comes to light while
    /// entries are carried out, and then nothing may be appended.
    pub(crate) replanned: Vec<(Asker, RequestId, Arc<Write>, u32)>,
    /// Something changed that may call for placing VMs or changing members.
    pub(crate) untidy: bool,
    pub(crate) tidy_at: Time,
    pub(crate) assigning: bool,
    pub(crate) dropping: bool,
    pub(crate) raising: bool,
}

/// A command in the log whose outcome this leader waits for.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) index: u64,
    pub(crate) purpose: Purpose,
}

/// What a command was proposed for.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    Client { asker: Asker, id: RequestId, write: Arc<Write>, tries: u32 },
    Join { node: NodeId },
    Announce { node: NodeId },
    Drop { node: NodeId },
    Lose { node: NodeId },
    Regain { node: NodeId },
    Report { node: NodeId },
    Assign,
    Raise,
}

/// Reads and heartbeats that wait for a quorum to confirm that this node leads. One confirmation is under way at a
/// time and serves all that came in before it began.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub(crate) waiting: Vec<(Asker, Read)>,
    pub(crate) under_way: Option<Round>,
    rounds: u64,
}

/// One confirmation.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) context: u64,
    pub(crate) reads: Vec<(Asker, Read)>,
    pub(crate) beats: Vec<(NodeId, Beat)>,
}

impl Reads {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.under_way.as_ref().map_or(0, |round| round.reads.len())
    }

    /// A name for the next round, unlike that of any other round in this term.
    pub(crate) fn next_context(&mut self) -> u64 {
        self.rounds += 1;
        self.rounds
    }
}

impl Office {
    pub(crate) fn new(term: u64, now: Time) -> Self {
        Self {
            term,
            leases: Leases::new(now),
            reads: Reads::default(),
            proposals: VecDeque::new(),
            replanned: Vec::new(),
            untidy: true,
            tidy_at: now,
            assigning: false,
            dropping: false,
            raising: false,
        }
    }

    /// Tells everyone who waits that this node leads no more.
    pub(crate) fn close(self, ctx: &mut Context<'_>) {
        ctx.hit(Probe::Deposed);
        if self.leases.has_pending()
            || self.reads.under_way.as_ref().is_some_and(|round| !round.beats.is_empty())
        {
            ctx.hit(Probe::DeposedWithHeartbeats);
        }
        if self.reads.len() > 0 {
            ctx.hit(Probe::DeposedWithReads);
        }
        for (asker, ..) in self.replanned {
            ctx.answer(asker, Err(RequestError::NoLeader));
        }
        for proposal in self.proposals {
            match proposal.purpose {
                Purpose::Client { asker, .. } => {
                    ctx.hit(Probe::DeposedWithProposals);
                    let reason = "the leader lost its office before the request was committed".into();
                    ctx.answer(asker, Err(RequestError::Unknown { reason }));
                }
                Purpose::Lose { .. } => ctx.hit(Probe::DeposedWhileGivingUp),
                Purpose::Regain { .. } => ctx.hit(Probe::DeposedWhileRegaining),
                Purpose::Assign => ctx.hit(Probe::DeposedWhileAssigning),
                Purpose::Join { .. }
                | Purpose::Announce { .. }
                | Purpose::Drop { .. }
                | Purpose::Report { .. }
                | Purpose::Raise => {}
            }
        }
        let under_way = self.reads.under_way.into_iter().flat_map(|round| round.reads);
        for (asker, _) in self.reads.waiting.into_iter().chain(under_way) {
            ctx.answer(asker, Err(RequestError::NoLeader));
        }
    }
}
