//! The way in to the turn loop.

use std::sync::Arc;

use blixard_node::error::RequestError;
use blixard_node::ids::NodeId;
use blixard_node::input::Input;
use blixard_node::message::Message;
use blixard_node::request::{Reply, Request};
use tokio::sync::{mpsc, oneshot};

use crate::hypervisor::Sink;

/// The most messages and requests that wait for the turn loop. A message beyond it waits in its connection, a request
/// is refused.
pub const MAIL_MAX: usize = 4_096;

/// A client's request with the way back.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) request: Request,
    pub(super) reply: oneshot::Sender<Reply>,
}

/// Everything that comes in to a node's turn loop.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) messages: mpsc::Receiver<Message>,
    pub(super) asks: mpsc::Receiver<Ask>,
    /// Unbounded, because the hypervisor's threads must not wait and nothing of theirs may be lost; what the node
    /// has under way with the hypervisor bounds it.
    pub(super) hypervisor: mpsc::UnboundedReceiver<Input>,
    pub(super) found: mpsc::Receiver<Vec<(NodeId, String)>>,
    pub(super) retire: mpsc::Receiver<()>,
}

/// The senders of a [`Mailbox`].
#[derive(Clone, Debug)]
pub struct NodeHandle {
    messages: mpsc::Sender<Message>,
    asks: mpsc::Sender<Ask>,
    hypervisor: mpsc::UnboundedSender<Input>,
    found: mpsc::Sender<Vec<(NodeId, String)>>,
    retire: mpsc::Sender<()>,
}

impl NodeHandle {
    pub(super) fn new() -> (Self, Mailbox) {
        let (messages, messages_in) = mpsc::channel(MAIL_MAX);
        let (asks, asks_in) = mpsc::channel(MAIL_MAX);
        let (hypervisor, hypervisor_in) = mpsc::unbounded_channel();
        let (found, found_in) = mpsc::channel(1);
        let (retire, retire_in) = mpsc::channel(1);
        let mailbox = Mailbox {
            messages: messages_in,
            asks: asks_in,
            hypervisor: hypervisor_in,
            found: found_in,
            retire: retire_in,
        };
        (Self { messages, asks, hypervisor, found, retire }, mailbox)
    }

    /// Asks the node and waits for its answer, which comes within the node's own time limits.
    ///
    /// # Errors
    /// The node's, or that it is overloaded or gone.
    pub async fn ask(&self, request: Request) -> Reply {
        let (reply, answer) = oneshot::channel();
        match self.asks.try_send(Ask { request, reply }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                let what = "this member's queue of requests".into();
                return Err(RequestError::Overloaded { what, max: MAIL_MAX as u64 });
            }
            // Never taken, so it certainly had no effect.
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(RequestError::NoLeader),
        }
        answer.await.unwrap_or_else(|_| {
            Err(RequestError::Unknown { reason: "the asked member is shutting down".into() })
        })
    }

    /// Hands a peer's message in, waiting while the node is behind. False when the node has ended.
    pub async fn deliver(&self, message: Message) -> bool {
        self.messages.send(message).await.is_ok()
    }

    /// Tells the node of members that discovery has found.
    pub fn found(&self, members: Vec<(NodeId, String)>) {
        // Full means that it has not looked at the last round's yet: the next one comes.
        let _ = self.found.try_send(members);
    }

    /// Asks the node to hand leadership over and end.
    pub fn retire(&self) {
        // Full means that it was asked already.
        let _ = self.retire.try_send(());
    }

    /// Where hypervisors put completions and events.
    pub(super) fn sink(&self) -> Sink {
        let hypervisor = self.hypervisor.clone();
        Arc::new(move |input| {
            // Fails only when the node has ended: the next one asks the hypervisor what runs.
            let _ = hypervisor.send(input);
        })
    }
}
