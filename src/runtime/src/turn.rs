//! The turn: a bounded number of inputs, one durable commit, then release.
//!
//! ```text
//! inputs ──▶ step … step, settle ──▶ early sends leave
//!                                    writes begin ──▶ (durable) ──▶ sends, replies, hypervisor, events leave
//! ```
//!
//! No input is stepped while a write is under way, so everything a turn sees was durable before it began.

use std::collections::VecDeque;
use std::task::Poll;

use blixard_node::config::NodeConfig;
use blixard_node::effects::{Effects, Event};
use blixard_node::ids::Ticket;
use blixard_node::input::Input;
use blixard_node::request::Reply;
use blixard_node::time::Time;
use blixard_node::{Node, OpenError, planted};

use crate::backend::{Clock, Disk, DiskError, Hypervisor, Network};

/// The most inputs stepped in one turn.
pub const TURN_INPUTS_MAX: usize = 256;

/// Why a process must end. It opens anew from its disk; it never goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The disk failed.
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// The node cannot open on what the disk holds.
    #[error("{0}")]
    Open(#[from] OpenError),
}

/// How a call of [`Runtime::turn`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There was nothing to do.
    Idle,
    /// A write is under way; call again when the disk has finished.
    Writing,
    /// A turn was completed and its lanes released.
    Done,
}

/// A node with its backends.
#[derive(Debug)]
pub struct Runtime<C, N, D, H> {
    node: Node,
    clock: C,
    network: N,
    disk: D,
    hypervisor: H,
    inbox: VecDeque<Input>,
    effects: Effects,
    writing: bool,
    replies: Vec<(Ticket, Reply)>,
    events: Vec<Event>,
}

impl<C: Clock, N: Network, D: Disk, H: Hypervisor> Runtime<C, N, D, H> {
    /// Opens the node on its disk.
    ///
    /// # Errors
    /// When the disk cannot be read, or the node cannot open on what it holds.
    pub fn open(
        config: NodeConfig,
        seed: u64,
        clock: C,
        network: N,
        mut disk: D,
        hypervisor: H,
    ) -> Result<Self, Fatal> {
        let stored = disk.load()?;
        let node = Node::open(config, seed, stored, clock.now())?;
        Ok(Self {
            node,
            clock,
            network,
            disk,
            hypervisor,
            inbox: VecDeque::new(),
            effects: Effects::default(),
            writing: false,
            replies: Vec::new(),
            events: Vec::new(),
        })
    }

    /// The node, for looking at.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The network backend.
    pub fn network(&mut self) -> &mut N {
        &mut self.network
    }

    /// The disk backend.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    /// The hypervisor backend.
    pub fn hypervisor(&mut self) -> &mut H {
        &mut self.hypervisor
    }

    /// The clock backend.
    pub fn clock(&self) -> &C {
        &self.clock
    }

    /// Queues an input for the next turn. The caller bounds how many it queues.
    pub fn push(&mut self, input: Input) {
        self.inbox.push_back(input);
    }

    /// How many inputs wait.
    pub fn inbox_len(&self) -> usize {
        self.inbox.len()
    }

    /// Whether a write is under way.
    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// When a turn is due even if nothing comes in.
    pub fn deadline(&self) -> Option<Time> {
        self.node.deadline()
    }

    /// Answers released by completed turns since the last call.
    pub fn take_replies(&mut self) -> std::vec::Drain<'_, (Ticket, Reply)> {
        self.replies.drain(..)
    }

    /// Events of completed turns since the last call.
    pub fn take_events(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }

    /// Runs one turn, or finishes the one whose write was under way.
    ///
    /// # Errors
    /// When the disk failed: drop this runtime, nothing of the unfinished turn may be released.
    pub fn turn(&mut self) -> Result<Turn, Fatal> {
        if !self.writing {
            if !self.step_inputs() {
                return Ok(Turn::Idle);
            }
            for (to, message) in self.effects.early_sends.drain(..) {
                self.network.send(to, message);
            }
            if planted!(ReleasedBeforeCommit) {
                self.release();
            }
            if !self.effects.writes.is_empty() {
                self.disk.begin(std::mem::take(&mut self.effects.writes));
                self.writing = true;
            }
        }
        if self.writing {
            match self.disk.poll() {
                Poll::Pending => return Ok(Turn::Writing),
                Poll::Ready(result) => result?,
            }
            self.writing = false;
        }
        self.release();
        Ok(Turn::Done)
    }

    fn step_inputs(&mut self) -> bool {
        let now = self.clock.now();
        let due = self.node.deadline().is_some_and(|deadline| deadline <= now.boot);
        if self.inbox.is_empty() && !due {
            return false;
        }
        if due {
            self.node.step(now, Input::Wake, &mut self.effects);
        }
        let count = self.inbox.len().min(TURN_INPUTS_MAX);
        for input in self.inbox.drain(..count) {
            self.node.step(now, input, &mut self.effects);
        }
        self.node.settle(now, &mut self.effects);
        true
    }

    fn release(&mut self) {
        if let Some(members) = self.effects.directory.take() {
            self.network.directory(members);
        }
        for (to, message) in self.effects.sends.drain(..) {
            self.network.send(to, message);
        }
        for (op, request) in self.effects.hypervisor.drain(..) {
            self.hypervisor.submit(op, request);
        }
        self.replies.append(&mut self.effects.replies);
        self.events.append(&mut self.effects.events);
    }
}
