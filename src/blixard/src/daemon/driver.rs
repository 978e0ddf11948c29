//! Drives the turn loop: takes what comes in, sleeps until the node's deadline, gives answers back.

use std::collections::BTreeMap;
use std::time::Duration;

use blixard_node::OpenError;
use blixard_node::effects::Event;
use blixard_node::ids::Ticket;
use blixard_node::input::Input;
use blixard_node::request::Reply;
use blixard_runtime::turn::TURN_INPUTS_MAX;
use blixard_runtime::{Clock, Disk, Fatal, Hypervisor, Network, Runtime, Turn};
use tokio::sync::oneshot;

use super::events;
use super::handle::{Ask, Mailbox};

/// How long a write that is still under way is left alone. A disk has no way to ring.
const DISK_POLL: Duration = Duration::from_micros(200);

/// The longest sleep: the runtime's timers do not count suspend, the node's clock does.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// Why a turn loop ended without a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to, and has handed over.
    Retired,
    /// The cluster refuses the node.
    Refused {
        /// Why.
        reason: String,
    },
    /// Nobody can reach it any more.
    Abandoned,
}

/// A runtime with its callers.
pub(super) struct Driver<C, N, D, H> {
    runtime: Runtime<C, N, D, H>,
    mailbox: Mailbox,
    waiting: BTreeMap<Ticket, oneshot::Sender<Reply>>,
    next_ticket: u64,
}

impl<C: Clock, N: Network, D: Disk, H: Hypervisor> Driver<C, N, D, H> {
    pub(super) fn new(runtime: Runtime<C, N, D, H>, mailbox: Mailbox) -> Self {
        Self { runtime, mailbox, waiting: BTreeMap::new(), next_ticket: 0 }
    }

    /// Runs until the node retires, is refused, is outgrown, or its disk fails.
    pub(super) async fn run(mut self) -> Result<End, Fatal> {
        loop {
            self.take_waiting();
            match self.runtime.turn()? {
                Turn::Idle => {
                    if !self.wait().await {
                        return Ok(End::Abandoned);
                    }
                }
                Turn::Writing => tokio::time::sleep(DISK_POLL).await,
                Turn::Done => {
                    if let Some(end) = self.release() {
                        return end;
                    }
                    // The loop may never be idle; others on this thread get their turn too.
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Takes what has come in, as far as one turn can use it. Hypervisor completions go first, then messages: both
    /// keep leases alive, which a flood of requests must not end.
    fn take_waiting(&mut self) {
        let room = |driver: &Self| driver.runtime.inbox_len() < TURN_INPUTS_MAX;
        while room(self) {
            let Ok(input) = self.mailbox.hypervisor.try_recv() else { break };
            self.runtime.push(input);
        }
        if self.mailbox.retire.try_recv().is_ok() {
            self.runtime.push(Input::Retire);
        }
        if let Ok(members) = self.mailbox.found.try_recv() {
            self.runtime.push(Input::Found { members });
        }
        // Half the room, so that requests get through a flood of messages.
        while self.runtime.inbox_len() < TURN_INPUTS_MAX / 2 {
            let Ok(message) = self.mailbox.messages.try_recv() else { break };
            self.runtime.push(Input::Deliver(Box::new(message)));
        }
        while room(self) {
            let Ok(ask) = self.mailbox.asks.try_recv() else { break };
            self.ask(ask);
        }
    }

    fn ask(&mut self, ask: Ask) {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.waiting.insert(ticket, ask.reply);
        self.runtime.push(Input::Request { ticket, request: Box::new(ask.request) });
    }

    /// Sleeps until something comes in or the node wants to be woken. False when nothing can come in any more.
    async fn wait(&mut self) -> bool {
        let now = self.runtime.clock().now().boot;
        let sleep = match self.runtime.deadline() {
            Some(deadline) => Duration::from_nanos(deadline.since(now).as_nanos()).min(SLEEP_MAX),
            None => SLEEP_MAX,
        };
        tokio::select! {
            biased;
            input = self.mailbox.hypervisor.recv() => match input {
                Some(input) => self.runtime.push(input),
                None => return false,
            },
            message = self.mailbox.messages.recv() => match message {
                Some(message) => self.runtime.push(Input::Deliver(Box::new(message))),
                None => return false,
            },
            ask = self.mailbox.asks.recv() => match ask {
                Some(ask) => self.ask(ask),
                None => return false,
            },
            Some(members) = self.mailbox.found.recv() => self.runtime.push(Input::Found { members }),
            Some(()) = self.mailbox.retire.recv() => self.runtime.push(Input::Retire),
            () = tokio::time::sleep(sleep) => {}
        }
        true
    }

    /// Gives the turn's answers back and logs its events.
    fn release(&mut self) -> Option<Result<End, Fatal>> {
        for (ticket, reply) in self.runtime.take_replies() {
            if let Some(waiting) = self.waiting.remove(&ticket) {
                // Fails when the client has gone.
                let _ = waiting.send(reply);
            }
        }
        let mut end = None;
        for event in self.runtime.take_events() {
            events::log(&event);
            match event {
                Event::Retired => end = Some(Ok(End::Retired)),
                Event::Refused { reason } => end = Some(Ok(End::Refused { reason })),
                // As if its disk had told so when it opened.
                Event::Outgrown { cluster, own } => {
                    end = Some(Err(OpenError::BelowLevel { cluster, own }.into()));
                }
                _ => {}
            }
        }
        end
    }
}
