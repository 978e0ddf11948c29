//! What travels: messages between nodes, requests and answers of clients, news from hypervisors.

use blixard_node::codec::{decode_message, encode_message};
use blixard_node::ids::{NodeId, Ticket};
use blixard_node::input::Input;
use blixard_node::message::{Body, Message};
use blixard_node::request::{Reply, Request};
use blixard_node::time::{Duration, Time};

use super::World;
use super::event::Event;
use super::host::NEVER;
use crate::history::revision_of;
use crate::net::Fate;
use crate::probes::WorldProbe;
use crate::scenario::{Aim, Site};
use crate::trace::words::word;
use crate::trace::{Kind, of_node};

/// The most inputs that wait for one process; what comes on top is lost, as from a full socket.
pub(super) const INBOX_MAX: usize = 4_096;

/// The most news of a hypervisor that wait along with them: nothing can drop those, so they must stay few by themselves.
pub(super) const NEWS_MAX: usize = 1_024;

/// A node's message to itself takes so long.
const LOOPBACK: Duration = Duration::from_micros(5);

impl World<'_> {
    // Messages between nodes.

    /// Puts all that the process on `number` has sent on its way; how many messages that is.
    pub(super) fn flush(&mut self, number: usize) -> u64 {
        let Some(process) = &mut self.hosts[number].process else { return 0 };
        let mut outbox = process.network().take();
        let count = outbox.len() as u64;
        for (to, message) in outbox.drain(..) {
            self.send(number, to, message);
        }
        if let Some(process) = &mut self.hosts[number].process {
            process.network().give_back(outbox);
        }
        count
    }

    fn send(&mut self, from: usize, to: NodeId, message: Message) {
        self.counts.sent += 1;
        let id = self.counts.sent;
        let [kind, term, index, count, commit] = of_node::message(&message);
        self.log(Kind::Sent, Some(from), [id, to.0, kind, term, index, count, commit]);
        let reaches = |process: &mut Box<super::host::Process>| process.network().reaches(to);
        let known = to == self.hosts[from].node || self.hosts[from].process.as_mut().is_some_and(reaches);
        let home = self.homes.get(to.0 as usize).copied().flatten();
        let Some(home) = home.filter(|_| known) else {
            let why = if known { word!(LOST, "nobody") } else { word!(LOST, "no-address") };
            return self.lose(from, [id, to.0, kind, why]);
        };
        let fate = self.fate(from, home, &message);
        match fate {
            Fate::Lost => return self.lose(from, [id, to.0, kind, word!(LOST, "chance")]),
            Fate::Cut => return self.lose(from, [id, to.0, kind, word!(LOST, "cut")]),
            Fate::Arrives(_) | Fate::Twice(..) => {}
        }
        let Some(message) = self.carry(from, home, message) else { return };
        self.repeat(from, home, to, id, &message);
        let message = Box::new(message);
        match fate {
            Fate::Arrives(delay) => self.arrive(home, to, delay, id, message),
            Fate::Twice(first, second) => {
                self.counts.doubled += 1;
                self.arrive(home, to, first, id, message.clone());
                self.arrive(home, to, second, id, message);
            }
            Fate::Lost | Fate::Cut => {}
        }
    }

    /// What becomes of a message that has somewhere to go.
    fn fate(&mut self, from: usize, home: usize, message: &Message) -> Fate {
        let sites = &self.sites;
        if home == from {
            return Fate::Arrives(LOOPBACK);
        }
        let lost = match &message.body {
            Body::SnapshotChunk(_) | Body::SnapshotAck { .. } => sites.fires(Site::NetPieceLost, from),
            Body::HeartbeatAck(_) => sites.fires(Site::NetLeaseLost, from),
            _ => super::aim::is_vote(message) && sites.fires(Site::NetVoteLost, from),
        };
        let fate = self.links.draw(from, home);
        match fate {
            Fate::Arrives(_) if lost => Fate::Lost,
            Fate::Arrives(delay) if self.sites.fires(Site::NetKeptLong, from) => {
                Fate::Arrives(delay + self.sites.span(Site::NetKeptLong, from, 1_000..=120_000))
            }
            fate => fate,
        }
    }

    /// Further copies of a message, if it is one that comes again and again.
    fn repeat(&mut self, from: usize, home: usize, to: NodeId, id: u64, message: &Message) {
        if home == from || !self.sites.fires(Site::NetRepeated, from) {
            return;
        }
        for _ in 0..=self.sites.below(Site::NetRepeated, from, 5) {
            let after = self.sites.span(Site::NetRepeated, from, 0..=1_000);
            self.arrive(home, to, after, id, Box::new(message.clone()));
        }
    }

    fn arrive(&mut self, host: usize, to: NodeId, delay: Duration, id: u64, message: Box<Message>) {
        self.heap.push(self.now.get() + delay.0, Event::Deliver { host: host as u16, to, id, message });
    }

    /// A share of the messages travels as bytes. What comes out must be what went in.
    fn carry(&mut self, from: usize, to: usize, message: Message) -> Option<Message> {
        if !self.links.encodes(from, to) {
            return Some(message);
        }
        self.counts.encoded += 1;
        match decode_message(&encode_message(&message)) {
            Ok(decoded) if decoded == message => Some(decoded),
            Ok(decoded) => {
                self.fail("codec", format!("{message:?} came out of the codec as {decoded:?}"));
                None
            }
            Err(error) => {
                self.fail("codec", format!("{message:?} cannot be decoded: {error}"));
                None
            }
        }
    }

    fn lose(&mut self, at: usize, details: [u64; 4]) {
        self.counts.lost += 1;
        self.log(Kind::Lost, Some(at), details);
    }

    pub(super) fn deliver(&mut self, number: usize, to: NodeId, id: u64, message: Box<Message>) {
        let [kind, term, index, count, commit] = of_node::message(&message);
        let host = &mut self.hosts[number];
        let lives_here = host.node == to;
        let there = lives_here && host.suspended == 0;
        let Some(process) = host.process.as_mut().filter(|_| there) else {
            if !lives_here {
                self.mark(WorldProbe::MessageForTheDead);
            }
            return self.lose(number, [id, to.0, kind, word!(LOST, "nobody")]);
        };
        if process.inbox_len() >= INBOX_MAX {
            return self.lose(number, [id, to.0, kind, word!(LOST, "full")]);
        }
        process.network().learn(message.from);
        let mut granted = None;
        if let Body::HeartbeatAck(ack) = &message.body {
            // What was asked for before the host was rebooted grants nothing: its time is that of a clock that is no more.
            let host = &self.hosts[number];
            if ack.sent <= host.clock.local_at(Time(self.now.get())) {
                self.checkers.on_lease_granted(to, ack.sent, ack.ttl);
            }
            let until = ack.sent + ack.ttl;
            granted = (ack.ttl > Duration::ZERO).then_some([
                id,
                message.from.0,
                ack.sent.0,
                until.0,
                ack.revision.0,
                count,
            ]);
        }
        self.moment_of_arrival(&message, number);
        let Some(process) = self.hosts[number].process.as_mut() else { return };
        let details = [id, message.from.0, kind, term, index, count, commit];
        process.push(Input::Deliver(message));
        self.counts.delivered += 1;
        self.log(Kind::Delivered, Some(number), details);
        if let Some(granted) = granted {
            self.log(Kind::Granted, Some(number), granted);
        }
        self.kick(number);
    }

    // Clients.

    pub(super) fn plan_clients(&mut self) {
        if let Some(at) = self.workload.next_wake()
            && at.0 < self.clients_at
        {
            self.clients_at = at.0.max(self.now.get());
            self.heap.push_first(self.clients_at, Event::Clients);
        }
    }

    pub(super) fn on_clients(&mut self) {
        if self.clients_at != self.now.get() {
            return;
        }
        self.clients_at = NEVER;
        let now = self.true_time();
        let mut output = std::mem::take(&mut self.scratch.output);
        self.workload.on_wake(now, &self.askable, &mut output);
        self.take_output(output);
    }

    pub(super) fn take_output(&mut self, mut output: crate::workload::Output) {
        for mut call in output.calls.drain(..) {
            self.maybe_ask_the_gone(&mut call);
            self.tell_call(&call);
            self.ask(call.to, call.ticket, call.operation, call.request);
        }
        for operation in output.finished.iter() {
            self.tell_end(operation);
            self.checkers.on_operation(operation);
        }
        output.finished.clear();
        for answers in output.contradictions.drain(..) {
            self.checkers.on_contradiction(self.true_time(), &answers);
        }
        self.scratch.output = output;
        self.plan_clients();
    }

    /// A client may know nodes that are there no more.
    fn maybe_ask_the_gone(&mut self, call: &mut crate::workload::Call) {
        let gone = |node: &usize| !self.askable.contains(&NodeId(*node as u64));
        if self.sites.fires(Site::ClientAsksTheGone, 0) {
            let gone: Vec<usize> = (1..self.homes.len()).filter(gone).collect();
            if !gone.is_empty() {
                let place = self.sites.below(Site::ClientAsksTheGone, 0, gone.len() as u64);
                call.to = NodeId(gone[place as usize] as u64);
            }
        }
    }

    /// Puts a request on its way to a node.
    pub(super) fn ask(&mut self, to: NodeId, ticket: Ticket, operation: u64, request: Request) {
        let what = match &request {
            Request::Write { .. } => 0,
            Request::Read { .. } => 1,
            Request::TransferLeader { .. } => 2,
        };
        self.log(Kind::Asked, None, [ticket.0, to.0, what, operation]);
        let Some(host) = self.homes.get(to.0 as usize).copied().flatten() else { return };
        if let Some(delay) = self.links.draw_client(host) {
            let request = Box::new(request);
            self.heap
                .push(self.now.get() + delay.0, Event::Request { host: host as u16, to, ticket, request });
        }
    }

    pub(super) fn on_request(&mut self, number: usize, to: NodeId, ticket: Ticket, request: Box<Request>) {
        let host = &mut self.hosts[number];
        if host.suspended > 0 {
            return;
        }
        let there = host.node == to;
        let Some(process) = host.process.as_mut().filter(|_| there) else {
            // The connection is refused, and the client learns so.
            return self.reply(number, ticket, None);
        };
        if process.inbox_len() < INBOX_MAX {
            process.push(Input::Request { ticket, request });
            self.log(Kind::Requested, Some(number), [ticket.0]);
            self.kick(number);
        }
    }

    fn reply(&mut self, from: usize, ticket: Ticket, reply: Option<Box<Reply>>) {
        let cut = self.sites.fires(Site::ClientCutOff, from);
        let reply = reply.filter(|_| !cut);
        if reply.is_some() && self.sites.fires(Site::ClientAnsweredTwice, from) {
            let again = self.sites.span(Site::ClientAnsweredTwice, from, 0..=10_000);
            self.heap.push(self.now.get() + again.0, Event::Reply { ticket, reply: reply.clone() });
        }
        if let Some(delay) = self.links.draw_client(from) {
            self.heap.push(self.now.get() + delay.0, Event::Reply { ticket, reply });
        }
    }

    pub(super) fn release_replies(&mut self, number: usize) {
        let Some(process) = &mut self.hosts[number].process else { return };
        let mut replies = std::mem::take(&mut self.scratch.replies);
        replies.extend(process.take_replies());
        for (ticket, reply) in replies.drain(..) {
            let revision = revision_of(&reply).map_or(0, |revision| revision.0);
            self.log(Kind::Answered, Some(number), [ticket.0, u64::from(reply.is_err()), revision]);
            self.reply(number, ticket, Some(Box::new(reply)));
        }
        self.scratch.replies = replies;
    }

    pub(super) fn on_reply(&mut self, ticket: Ticket, reply: Option<Box<Reply>>) {
        let outcome = match reply.as_deref() {
            Some(Ok(_)) => word!(REPLIES, "ok"),
            Some(Err(_)) => word!(REPLIES, "error"),
            None => word!(REPLIES, "broken"),
        };
        self.log(Kind::Replied, None, [ticket.0, outcome]);
        if self.operator.owns(ticket) {
            return self.on_operator_reply(ticket, reply.map(|reply| *reply));
        }
        let now = self.true_time();
        let mut output = std::mem::take(&mut self.scratch.output);
        match reply {
            Some(reply) => self.workload.on_reply(now, ticket, *reply, &mut output),
            None => self.workload.on_disconnect(now, ticket, &mut output),
        }
        self.take_output(output);
    }

    // Hypervisors.

    /// Tells the checkers what truly happened on the host, and schedules what is due there next.
    pub(super) fn plan_hypervisor(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        host.hypervisor.drain_truth(&mut self.scratch.truths);
        if let Some(at) = host.hypervisor.next_event_time() {
            let at = at.0.max(self.now.get());
            if at < host.hypervisor_at {
                host.hypervisor_at = at;
                self.heap.push(at, Event::Hypervisor { host: number as u16 });
            }
        }
        if !self.scratch.truths.is_empty() {
            let truths = std::mem::take(&mut self.scratch.truths);
            self.checkers.on_truth(&truths);
            self.mark_truths(&truths);
            for truth in &truths {
                self.tell_truth(number, &truth.fact);
                if matches!(truth.fact, crate::hypervisor::Fact::RunStarted { .. }) {
                    self.moment(Aim::VmStarted, number);
                }
            }
            self.scratch.truths = truths;
            self.scratch.truths.clear();
        }
    }

    pub(super) fn on_hypervisor(&mut self, number: usize) {
        let now = self.true_time();
        let host = &mut self.hosts[number];
        if host.hypervisor_at != now.0 {
            return;
        }
        host.hypervisor_at = NEVER;
        let mut inputs = std::mem::take(&mut self.scratch.inputs);
        host.hypervisor.advance(now, &mut inputs);
        self.plan_hypervisor(number);
        let any = !inputs.is_empty();
        for input in inputs.drain(..) {
            self.log(Kind::Hypervisor, Some(number), hypervisor_details(&input));
            if let Some(process) = &mut self.hosts[number].process {
                process.push(input);
            }
        }
        self.scratch.inputs = inputs;
        if any {
            self.kick(number);
        }
    }
}

fn hypervisor_details(input: &Input) -> [u64; 4] {
    match input {
        Input::HypervisorDone { op, result } => [u64::from(result.is_err()), op.0, 0, 0],
        Input::HypervisorEvent { run, .. } => [word!(NEWS, "exited"), 0, run.vm.0, run.epoch.0],
        // A hypervisor tells nothing else.
        _ => [u64::MAX, 0, 0, 0],
    }
}
