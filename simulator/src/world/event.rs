//! The event heap, keyed by true time and then by the order of scheduling.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use blixard_node::ids::{NodeId, Ticket};
use blixard_node::message::Message;
use blixard_node::request::{Reply, Request};

/// Something that will happen. `life` tells the process it is meant for from later ones on the same host.
#[derive(Debug)]
pub(super) enum Event {
    /// A message arrives.
    Deliver { host: u16, to: NodeId, id: u64, message: Box<Message> },
    /// A process may run a turn again.
    Turn { host: u16, life: u32 },
    /// The write under way is durable.
    Written { host: u16, life: u32 },
    /// A node's deadline.
    Wake { host: u16, life: u32 },
    /// A process starts.
    Start { host: u16, life: u32 },
    /// A process dies, unless an armed crash point came first.
    Die { host: u16, life: u32 },
    /// A host's hypervisor has something due.
    Hypervisor { host: u16 },
    /// A client has something due.
    Clients,
    /// A client's request reaches a host.
    Request { host: u16, to: NodeId, ticket: Ticket, request: Box<Request> },
    /// An answer reaches a client; none when the connection broke.
    Reply { ticket: Ticket, reply: Option<Box<Reply>> },
    /// A fault strikes.
    Fault { number: u32 },
    /// A fault that was aimed at a moment of this host strikes.
    Aimed { number: u32, host: u16 },
    /// A fault is over.
    FaultOver { slot: u32 },
    /// The operator has something due.
    Operator,
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The heap gives its greatest: the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// All that will happen.
#[derive(Debug, Default)]
pub(super) struct Heap {
    heap: BinaryHeap<Scheduled>,
    sequence: u64,
    first_sequence: u64,
}

/// Where the sequence of ordinary events begins, above that of events that come first.
const ORDINARY: u64 = 1 << 63;

impl Heap {
    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.heap.push(Scheduled { at, sequence: ORDINARY | self.sequence, event });
    }

    /// As [`Self::push`], before all others at that time: for what comes from outside, so that its place does not hang on when it
    /// was decided.
    pub(super) fn push_first(&mut self, at: u64, event: Event) {
        self.first_sequence += 1;
        self.heap.push(Scheduled { at, sequence: self.first_sequence, event });
    }

    /// The next event that is due at `end` or before.
    pub(super) fn pop_until(&mut self, end: u64) -> Option<(u64, Event)> {
        if self.heap.peek()?.at > end {
            return None;
        }
        self.heap.pop().map(|scheduled| (scheduled.at, scheduled.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_keep_the_order_of_scheduling() {
        let mut heap = Heap::default();
        for (at, host) in [(5, 0), (3, 1), (5, 2), (3, 3), (9, 4)] {
            heap.push(at, Event::Hypervisor { host });
        }
        let mut order = Vec::new();
        while let Some((at, Event::Hypervisor { host })) = heap.pop_until(5) {
            order.push((at, host));
        }
        assert_eq!(order, [(3, 1), (3, 3), (5, 0), (5, 2)]);
    }
}
