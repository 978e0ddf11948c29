//! What happens in the world.

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
    /// A host that is no member yet looks for members.
    Look { host: u16, life: u32 },
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
