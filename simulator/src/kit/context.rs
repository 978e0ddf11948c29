//! What a node is handed with each call.

use std::fmt;

use blixard_node::ids::{NodeId, Ticket};
use blixard_node::rng::Rng;
use blixard_node::time::{Duration, Time};

use super::Node;
use super::disk::Disk;

/// Something a node wants done outside of itself.
#[derive(Debug)]
pub(super) enum Effect<N: Node> {
    Send {
        to: NodeId,
        message: N::Message,
    },
    /// None refuses.
    Reply {
        ticket: Ticket,
        response: Option<N::Response>,
    },
    SetTimer {
        timer: u64,
        after: Duration,
    },
    CancelTimer {
        timer: u64,
    },
    Tell {
        word: String,
        numbers: [u64; 3],
    },
}

/// A node's hands and eyes during one call.
pub struct Context<'a, N: Node> {
    pub(super) me: NodeId,
    pub(super) nodes: &'a [NodeId],
    pub(super) now: Time,
    pub(super) rng: &'a mut Rng,
    pub(super) disk: &'a mut Disk<N::Stored>,
    /// What leaves at once.
    pub(super) now_out: Vec<Effect<N>>,
    /// What leaves once so many writes are durable.
    pub(super) synced_out: Vec<(u64, Effect<N>)>,
}

impl<N: Node> fmt::Debug for Context<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("me", &self.me).field("now", &self.now).finish_non_exhaustive()
    }
}

impl<N: Node> Context<'_, N> {
    /// Its id.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// All nodes, itself among them, from id 1 on.
    #[must_use]
    pub fn nodes(&self) -> &[NodeId] {
        self.nodes
    }

    /// The fewest nodes that are more than half.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    /// Its host's boot-time clock. It runs on while the process is down or stands still; how fast, and from where, is its own.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Chance.
    pub fn rng(&mut self) -> &mut Rng {
        self.rng
    }

    /// What the disk holds: the newest write, durable or not.
    #[must_use]
    pub fn disk(&self) -> &N::Stored {
        self.disk.view()
    }

    /// Writes; the disk syncs by itself. Until it has, a crash may take this write and those after it.
    pub fn write(&mut self, stored: N::Stored) {
        self.disk.write(stored);
    }

    /// Sends at once, whatever is durable. A message to oneself arrives, too, unless the process ends.
    pub fn send(&mut self, to: NodeId, message: N::Message) {
        self.now_out.push(Effect::Send { to, message });
    }

    /// Sends the same to all nodes, oneself among them, at once.
    pub fn broadcast(&mut self, message: &N::Message) {
        for to in self.nodes {
            self.now_out.push(Effect::Send { to: *to, message: message.clone() });
        }
    }

    /// Answers a client at once.
    pub fn reply(&mut self, ticket: Ticket, response: N::Response) {
        self.now_out.push(Effect::Reply { ticket, response: Some(response) });
    }

    /// Tells a client that its request had no effect and will have none.
    pub fn refuse(&mut self, ticket: Ticket) {
        self.now_out.push(Effect::Reply { ticket, response: None });
    }

    /// What is sent by this leaves when all that was written so far is durable, and never if the process ends before.
    pub fn synced(&mut self) -> Synced<'_, N> {
        Synced { writes: self.disk.written(), nodes: self.nodes, out: &mut self.synced_out }
    }

    /// Has [`Node::on_timer`] called after this long by the host's clock, in place of an earlier timer of this number.
    pub fn set_timer(&mut self, timer: u64, after: Duration) {
        self.now_out.push(Effect::SetTimer { timer, after });
    }

    /// The timer of this number is not called any more.
    pub fn cancel_timer(&mut self, timer: u64) {
        self.now_out.push(Effect::CancelTimer { timer });
    }

    /// Writes a line into the trace, and thus into reports: a word of up to 16 letters, and three numbers.
    pub fn tell(&mut self, word: &str, numbers: [u64; 3]) {
        self.now_out.push(Effect::Tell { word: word.into(), numbers });
    }
}

/// Sends what waits for the disk. See [`Context::synced`].
pub struct Synced<'a, N: Node> {
    writes: u64,
    nodes: &'a [NodeId],
    out: &'a mut Vec<(u64, Effect<N>)>,
}

impl<N: Node> fmt::Debug for Synced<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Synced").field("writes", &self.writes).finish_non_exhaustive()
    }
}

impl<N: Node> Synced<'_, N> {
    /// Sends a message.
    pub fn send(&mut self, to: NodeId, message: N::Message) {
        self.out.push((self.writes, Effect::Send { to, message }));
    }

    /// Sends the same to all nodes, oneself among them.
    pub fn broadcast(&mut self, message: &N::Message) {
        for to in self.nodes {
            self.out.push((self.writes, Effect::Send { to: *to, message: message.clone() }));
        }
    }

    /// Answers a client.
    pub fn reply(&mut self, ticket: Ticket, response: N::Response) {
        self.out.push((self.writes, Effect::Reply { ticket, response: Some(response) }));
    }
}
