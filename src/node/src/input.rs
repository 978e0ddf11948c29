//! What can happen to a node. Closed: everything the node learns of the world comes in through here.

use crate::hypervisor::{Done, HypervisorError, Run, VmEvent};
use crate::ids::{NodeId, OpId, Ticket};
use crate::message::Message;
use crate::request::Request;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A message came in. It may be late, doubled or out of order.
    Deliver(Box<Message>),
    /// A client asks; the answer goes out under the same ticket.
    Request {
        /// Names the reply channel.
        ticket: Ticket,
        /// The question.
        request: Box<Request>,
    },
    /// A hypervisor operation ended, minutes later maybe, or twice.
    HypervisorDone {
        /// Which.
        op: OpId,
        /// How.
        result: Result<Done, HypervisorError>,
    },
    /// A VM did something unasked.
    HypervisorEvent {
        /// Which run.
        run: Run,
        /// What.
        event: VmEvent,
    },
    /// Members that were found by looking for them, and where. Only a node that waits to be taken in listens: members tell each other.
    Found {
        /// Them.
        members: Vec<(NodeId, String)>,
    },
    /// The node's deadline has passed.
    Wake,
    /// The operator wants this process to end: hand leadership over if there is any.
    Retire,
}
