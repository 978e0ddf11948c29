//! The operator: members removed, hosts cordoned, leadership moved, each asked for again until it is done.

use blixard_node::error::RequestError;
use blixard_node::ids::{ClientId, NodeId, RequestId, Revision, Ticket};
use blixard_node::request::{Reply, Request, Response, Write};
use blixard_node::rng::Rng;
use blixard_node::time::Duration;

use super::World;
use super::event::Event;
use super::host::{NEVER, Presence};
use crate::trace::Kind;

/// The first of the operator's tickets; the clients count from 1.
const TICKETS: u64 = 1 << 62;
/// How long it waits before it asks again.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it asks before it gives up.
const TRIES_MAX: u32 = 60;
/// Why hosts are cordoned.
const REASON: &str = "a fault";
/// A member that is busy after so many tries is powered off, so that its VMs move.
const BUSY_MAX: u32 = 2;

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Keep new VMs off a host, or let them on again.
    Cordon { node: NodeId, cordoned: bool },
    /// Remove a member; when it lives on `host` still, that becomes a spare.
    Remove { node: NodeId, host: Option<usize> },
    /// Hand leadership over.
    Transfer { to: Option<NodeId> },
}

#[derive(Debug)]
struct Task {
    ask: Ask,
    id: RequestId,
    /// Why, until the cluster's level turns out to be too low for that.
    reason: &'static str,
    ticket: Ticket,
    due: u64,
    tries: u32,
    busy: u32,
}

#[derive(Debug)]
pub(super) struct Operator {
    rng: Rng,
    tasks: Vec<Task>,
    next_ticket: u64,
    /// The highest revision it was told of.
    known: Revision,
    at: u64,
}

impl Operator {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng, tasks: Vec::new(), next_ticket: TICKETS, known: Revision(0), at: NEVER }
    }

    pub(super) fn owns(&self, ticket: Ticket) -> bool {
        ticket.0 >= TICKETS
    }

    /// Forgets what would change who is a member.
    pub(super) fn settle_down(&mut self) {
        self.tasks.retain(|task| matches!(task.ask, Ask::Cordon { cordoned: false, .. }));
    }

    fn fresh_id(&mut self) -> RequestId {
        // A session of its own for each task: nothing orders one after another.
        RequestId { client: ClientId(self.rng.u64()), sequence: 1, born: self.known }
    }
}

impl World<'_> {
    /// Begins to ask for something.
    pub(super) fn operate(&mut self, ask: Ask) {
        let now = self.now.get();
        let id = self.operator.fresh_id();
        let task = Task { ask, id, reason: REASON, ticket: Ticket(0), due: now, tries: 0, busy: 0 };
        self.operator.tasks.push(task);
        self.plan_operator();
    }

    fn plan_operator(&mut self) {
        if let Some(due) = self.operator.tasks.iter().map(|task| task.due).min()
            && due < self.operator.at
        {
            self.operator.at = due.max(self.now.get());
            self.heap.push(self.operator.at, Event::Operator);
        }
    }

    pub(super) fn on_operator(&mut self) {
        let now = self.now.get();
        if self.operator.at != now {
            return;
        }
        self.operator.at = NEVER;
        let mut asks = Vec::new();
        let operator = &mut self.operator;
        operator.tasks.retain(|task| task.tries < TRIES_MAX);
        for task in operator.tasks.iter_mut().filter(|task| task.due <= now) {
            task.due = now + PATIENCE.0;
            task.tries += 1;
            task.ticket = Ticket(operator.next_ticket);
            operator.next_ticket += 1;
            if let Some(to) = operator.rng.pick(&self.askable).copied() {
                asks.push((to, task.ticket, task.ask, (task.id, task.reason), task.tries));
            }
        }
        for (to, ticket, ask, id, tries) in asks {
            let (what, node, request) = request_of(ask, id);
            self.log(Kind::Operator, None, [what, node, u64::from(tries)]);
            self.ask(to, ticket, 0, request);
        }
        self.plan_operator();
    }

    pub(super) fn on_operator_reply(&mut self, ticket: Ticket, reply: Option<Reply>) {
        let Some(place) = self.operator.tasks.iter().position(|task| task.ticket == ticket) else { return };
        let (Some(reply), ask) = (reply, self.operator.tasks[place].ask) else { return };
        let done = match reply {
            Ok(Response::Written { revision, .. }) => {
                self.operator.known = self.operator.known.max(revision);
                true
            }
            Ok(_) => true,
            Err(RequestError::HostBusy { .. }) => {
                let id = self.operator.fresh_id();
                let task = &mut self.operator.tasks[place];
                task.busy += 1;
                // That answer stands for this request id: the next try is a new request.
                task.id = id;
                if task.busy == BUSY_MAX
                    && let Ask::Remove { node, host: Some(host) } = ask
                {
                    self.power_off(host, node);
                }
                return;
            }
            Err(RequestError::SessionExpired { floor }) => {
                self.operator.known = self.operator.known.max(floor);
                let id = self.operator.fresh_id();
                self.operator.tasks[place].id = id;
                return;
            }
            Err(RequestError::BelowLevel { .. }) => {
                let id = self.operator.fresh_id();
                let task = &mut self.operator.tasks[place];
                (task.id, task.reason) = (id, "");
                return;
            }
            Err(RequestError::HostUnknown { .. }) => true,
            Err(error) if error.is_transient() => return,
            Err(_) => false,
        };
        if let (true, Ask::Remove { node, host: Some(host) }) = (done, ask)
            && self.hosts[host].node == node
            && !self.may_lose(host)
        {
            // Removed, but it still votes: its disk is kept until the members have changed, or others are back.
            return;
        }
        self.operator.tasks.remove(place);
        let nobody = RequestId { client: ClientId(0), sequence: 0, born: Revision(0) };
        let node = request_of(ask, (nobody, "")).1;
        self.log(Kind::Operator, None, [if done { 4 } else { 5 }, node, 0]);
        if let (true, Ask::Remove { node, host: Some(host) }) = (done, ask) {
            self.make_spare(host, node);
        }
    }

    fn power_off(&mut self, host: usize, node: NodeId) {
        if self.hosts[host].node == node && self.may_lose(host) {
            self.lose_power(host);
            self.note_lost(node, "its host was powered off to remove it");
            self.hosts[host].presence = Presence::Gone;
            self.refresh_askable();
        }
    }

    fn make_spare(&mut self, host: usize, node: NodeId) {
        if self.hosts[host].node == node {
            self.note_lost(node, "it was removed");
            self.wipe(host);
            self.hosts[host].presence = Presence::Spare;
            self.refresh_askable();
        }
    }
}

fn request_of(ask: Ask, (id, reason): (RequestId, &str)) -> (u64, u64, Request) {
    match ask {
        Ask::Cordon { node, cordoned } => {
            let what = if cordoned { 0 } else { 1 };
            let reason = if cordoned { reason.to_owned() } else { String::new() };
            (what, node.0, Request::Write { id, write: Write::CordonHost { node, cordoned, reason } })
        }
        Ask::Remove { node, .. } => (2, node.0, Request::Write { id, write: Write::RemoveHost { node } }),
        Ask::Transfer { to } => (3, to.map_or(0, |to| to.0), Request::TransferLeader { to }),
    }
}
