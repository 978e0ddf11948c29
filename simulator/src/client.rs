//! One simulated client: one operation at a time, with timeouts and retries.

use std::collections::BTreeMap;

use blixard_node::error::RequestError;
use blixard_node::ids::{ClientId, Generation, NodeId, RequestId, Revision, Ticket};
use blixard_node::request::{Consistency, Read, Reply, Request, Response, Write};
use blixard_node::rng::Rng;
use blixard_node::spec::VmName;
use blixard_node::time::{Duration, Time};

use crate::history::{Moment, Operation, Outcome, revision_of};
use crate::scenario::Spread;

/// How a client behaves when the answer does not come or is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// The wait before the next attempt.
    pub backoff: Spread,
    /// The client gives up when an operation has taken this long.
    pub give_up_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(3),
            backoff: Spread::millis(20, 500),
            give_up_after: Duration::from_secs(15),
        }
    }
}

/// A request on its way to a node; the answer is wanted under the same ticket.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The node asked.
    pub to: NodeId,
    /// Names the attempt, unique in the run.
    pub ticket: Ticket,
    /// The operation that the attempt is part of: the order of its invocation.
    pub operation: u64,
    /// The client, from 0.
    pub client: usize,
    /// The how-manieth attempt it is, from 1.
    pub attempt: u32,
    /// The highest revision that any client had been told of before the operation.
    pub floor: Revision,
    /// The question.
    pub request: Request,
}

/// Two final answers to one request that are not the same.
#[derive(Clone, Debug, PartialEq)]
pub struct TwoAnswers {
    /// The request.
    pub id: RequestId,
    /// The answer that came first.
    pub first: Reply,
    /// The other.
    pub second: Reply,
}

#[derive(Debug)]
pub(crate) struct Client {
    number: usize,
    /// When it does something; what it does has streams of its own.
    rng: Rng,
    session: ClientId,
    sequence: u64,
    born: Revision,
    /// The highest revision this client has been told of.
    known: Revision,
    /// Generations it has been told of, to be given with some writes.
    generations: BTreeMap<VmName, Generation>,
    work: Work,
    /// The last write and its final answer: a late answer to another attempt must be the same.
    last_write: Option<(RequestId, Reply)>,
    /// The attempts of `last_write`'s operation end here.
    last_write_tickets: (Ticket, Ticket),
}

#[derive(Debug)]
enum Work {
    /// Thinks until then.
    Idle { until: Time },
    /// Waits for an answer, or to try again.
    Busy(Box<Busy>),
    /// Does nothing any more.
    Retired,
}

#[derive(Debug)]
struct Busy {
    /// What this operation draws from, from its request to its last retry.
    rng: Rng,
    request: Request,
    invoked: Moment,
    floor: Revision,
    give_up: Time,
    attempts: u32,
    /// Some attempt may have taken effect.
    maybe: bool,
    first_ticket: Ticket,
    last_ticket: Ticket,
    state: Attempt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Waiting { until: Time },
    Backoff { until: Time },
}

/// What the clients share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) patience: Patience,
    pub(crate) next_ticket: u64,
    pub(crate) order: u64,
    /// The highest revision any client has been told of.
    pub(crate) floor: Revision,
}

impl Shared {
    pub(crate) fn moment(&mut self, at: Time) -> Moment {
        self.order += 1;
        Moment { at, order: self.order }
    }
}

/// What a step of a client led to.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) call: Option<Call>,
    pub(crate) finished: Option<Operation>,
    pub(crate) contradiction: Option<Box<TwoAnswers>>,
}

impl Client {
    pub(crate) fn new(number: usize, mut rng: Rng, first_at: Time) -> Self {
        let session = ClientId(rng.u64());
        Self {
            number,
            rng,
            session,
            sequence: 0,
            born: Revision(0),
            known: Revision(0),
            generations: BTreeMap::new(),
            work: Work::Idle { until: first_at },
            last_write: None,
            last_write_tickets: (Ticket(0), Ticket(0)),
        }
    }

    pub(crate) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    pub(crate) fn generation_of(&self, name: &VmName) -> Option<Generation> {
        self.generations.get(name).copied()
    }

    /// When it wants to be woken.
    pub(crate) fn wake_at(&self) -> Option<Time> {
        match &self.work {
            Work::Idle { until } => Some(*until),
            Work::Busy(busy) => match busy.state {
                Attempt::Waiting { until } | Attempt::Backoff { until } => Some(until),
            },
            Work::Retired => None,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.work, Work::Idle { .. })
    }

    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.work, Work::Busy(_))
    }

    /// Begins no operation any more; the one under way goes on.
    pub(crate) fn retire(&mut self) {
        if self.is_idle() {
            self.work = Work::Retired;
        }
    }

    pub(crate) fn rest(&mut self, until: Time) {
        self.work = Work::Idle { until };
    }

    /// A session that begins when `known` is known.
    pub(crate) fn born_at(&mut self, known: Revision) {
        self.known = known;
        self.born = known;
    }

    /// Names a write.
    pub(crate) fn next_id(&mut self) -> RequestId {
        self.sequence += 1;
        RequestId { client: self.session, sequence: self.sequence, born: self.born }
    }

    /// Begins an operation.
    pub(crate) fn begin(
        &mut self,
        now: Time,
        shared: &mut Shared,
        request: Request,
        to: NodeId,
        rng: Rng,
    ) -> Call {
        let invoked = shared.moment(now);
        let mut busy = Busy {
            rng,
            request,
            invoked,
            floor: shared.floor,
            give_up: now + shared.patience.give_up_after,
            attempts: 0,
            maybe: false,
            first_ticket: Ticket(shared.next_ticket),
            last_ticket: Ticket(0),
            state: Attempt::Backoff { until: now },
        };
        let call = busy.send(now, shared, self.number, to);
        self.work = Work::Busy(Box::new(busy));
        call
    }

    /// Its wake time has come while it is busy: an attempt timed out, or the backoff is over.
    pub(crate) fn wake(&mut self, now: Time, shared: &mut Shared, nodes: &[NodeId]) -> Step {
        let Work::Busy(busy) = &mut self.work else { return Step::default() };
        if let Attempt::Waiting { until } = busy.state {
            if until > now {
                return Step::default();
            }
            busy.maybe = true;
            return self.back_off(now, shared);
        }
        let Some(to) = busy.rng.pick(nodes).copied() else {
            busy.state = Attempt::Backoff { until: now + shared.patience.backoff.max };
            return Step::default();
        };
        Step { call: Some(busy.send(now, shared, self.number, to)), ..Step::default() }
    }

    /// An answer to one of its attempts, or the news that the connection broke (`None`).
    pub(crate) fn answered(
        &mut self,
        now: Time,
        shared: &mut Shared,
        ticket: Ticket,
        reply: Option<Reply>,
    ) -> Step {
        let Work::Busy(busy) = &mut self.work else { return self.late(ticket, reply) };
        if ticket < busy.first_ticket {
            return self.late(ticket, reply);
        }
        let current = ticket == busy.last_ticket && matches!(busy.state, Attempt::Waiting { .. });
        match reply {
            Some(Err(RequestError::SessionExpired { floor })) => {
                let session = ClientId(busy.rng.u64());
                let step = self.finish(now, shared, Outcome::Unknown);
                self.renew_session(session, floor);
                step
            }
            Some(reply) if is_final(&reply) => self.finish(now, shared, Outcome::Answered(reply)),
            // Not the attempt it waits for: that one's own answer or timeout decides.
            _ if !current => Step::default(),
            Some(Err(error)) => {
                busy.maybe |= !error.had_no_effect();
                self.back_off(now, shared)
            }
            Some(Ok(_)) | None => {
                busy.maybe = true;
                self.back_off(now, shared)
            }
        }
    }

    /// Gives up what it is doing now.
    pub(crate) fn abandon(&mut self, now: Time, shared: &mut Shared) -> Option<Operation> {
        let Work::Busy(busy) = &self.work else { return None };
        // The attempt under way may yet take effect.
        let maybe = busy.maybe || matches!(busy.state, Attempt::Waiting { .. });
        let outcome = if maybe { Outcome::Unknown } else { Outcome::Refused };
        self.finish(now, shared, outcome).finished
    }

    fn back_off(&mut self, now: Time, shared: &mut Shared) -> Step {
        let Work::Busy(busy) = &mut self.work else { return Step::default() };
        if now >= busy.give_up {
            let outcome = if busy.maybe { Outcome::Unknown } else { Outcome::Refused };
            return self.finish(now, shared, outcome);
        }
        let wait = shared.patience.backoff.draw(&mut busy.rng);
        busy.state = Attempt::Backoff { until: now + wait };
        Step::default()
    }

    fn finish(&mut self, now: Time, shared: &mut Shared, outcome: Outcome) -> Step {
        let Work::Busy(busy) = std::mem::replace(&mut self.work, Work::Idle { until: now }) else {
            return Step::default();
        };
        let ended = shared.moment(now);
        if let Outcome::Answered(reply) = &outcome {
            self.learn(&busy.request, reply);
            shared.floor = shared.floor.max(self.known);
            if let Request::Write { id, .. } = &busy.request {
                self.last_write = Some((*id, reply.clone()));
                self.last_write_tickets = (busy.first_ticket, busy.last_ticket);
            }
        }
        let operation = Operation {
            client: self.number,
            request: busy.request,
            invoked: busy.invoked,
            ended,
            floor: busy.floor,
            attempts: busy.attempts,
            outcome,
        };
        Step { finished: Some(operation), ..Step::default() }
    }

    /// An answer to an attempt of an operation that has ended.
    fn late(&mut self, ticket: Ticket, reply: Option<Reply>) -> Step {
        let (first_ticket, last_ticket) = self.last_write_tickets;
        if let Some((id, first)) = &self.last_write
            && (first_ticket..=last_ticket).contains(&ticket)
            && let Some(second) = reply
            && is_final(&second)
            && second != *first
        {
            let contradiction = TwoAnswers { id: *id, first: first.clone(), second };
            return Step { contradiction: Some(Box::new(contradiction)), ..Step::default() };
        }
        Step::default()
    }

    fn learn(&mut self, request: &Request, reply: &Reply) {
        if let Some(revision) = revision_of(reply) {
            self.known = self.known.max(revision);
        }
        match (request, reply) {
            (Request::Write { write, .. }, Ok(Response::Written { generation, .. })) => match write {
                Write::CreateVm { name, .. }
                | Write::StartVm { name, .. }
                | Write::StopVm { name, .. }
                | Write::UpdateVm { name, .. } => {
                    self.generations.insert(name.clone(), *generation);
                }
                Write::DeleteVm { name, .. } => {
                    self.generations.remove(name);
                }
                _ => {}
            },
            (_, Ok(Response::Vm { vm, .. })) => {
                self.generations.insert(vm.name.clone(), vm.generation);
            }
            _ => {}
        }
    }

    fn renew_session(&mut self, session: ClientId, floor: Revision) {
        self.session = session;
        self.sequence = 0;
        self.known = self.known.max(floor);
        self.born = self.known;
    }
}

impl Busy {
    fn send(&mut self, now: Time, shared: &mut Shared, client: usize, to: NodeId) -> Call {
        let ticket = Ticket(shared.next_ticket);
        shared.next_ticket += 1;
        self.last_ticket = ticket;
        self.attempts += 1;
        self.state = Attempt::Waiting { until: now + shared.patience.attempt_timeout };
        let (operation, attempt, floor) = (self.invoked.order, self.attempts, self.floor);
        Call { to, ticket, operation, client, attempt, floor, request: self.request.clone() }
    }
}

/// Whether a client takes this for the answer, not for a reason to ask again.
fn is_final(reply: &Reply) -> bool {
    match reply {
        Ok(_) => true,
        Err(error) => !error.is_transient() && !matches!(error, RequestError::SessionExpired { .. }),
    }
}

/// A linearizable look at one VM.
pub(crate) fn get(name: VmName) -> Request {
    Request::Read { read: Read::GetVm { name }, consistency: Consistency::Linearizable }
}
