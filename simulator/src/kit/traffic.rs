//! What travels: messages between nodes, requests of clients and their answers.

use blixard_node::ids::{NodeId, Ticket};
use blixard_node::time::Duration;

use super::clients::Answer;
use super::context::Effect;
use super::world::{Event, World};
use super::{Node, Spec};
use crate::net::Fate;
use crate::trace::words::word;
use crate::trace::{Kind, text};

/// The most events that wait for a process that stands still; messages on top of them are lost, as from a full socket.
const HELD_MAX: usize = 4_096;

/// A node's message to itself takes so long.
const LOOPBACK: Duration = Duration::from_micros(5);

const MESSAGE: u64 = word!(MESSAGES, "subject");

impl<S: Spec> World<'_, S> {
    pub(super) fn carry_out(&mut self, host: usize, effects: Vec<Effect<S::Node>>) {
        for effect in effects {
            match effect {
                Effect::Send { to, message } => self.send(host, to, message),
                Effect::Reply { ticket, response } => self.reply(host, ticket, response),
                Effect::SetTimer { timer, after } => self.set_timer(host, timer, after),
                Effect::CancelTimer { timer } => {
                    if let Some(process) = &mut self.hosts[host].process {
                        process.timers.remove(&timer);
                    }
                }
                Effect::Tell { word, numbers: [a, b, c] } => {
                    let [first, second] = text::pack(&word);
                    self.log(Kind::Subject, Some(host), [first, second, a, b, c]);
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: NodeId, message: <S::Node as Node>::Message) {
        self.counts.sent += 1;
        let id = self.counts.sent;
        self.tell(Some(from), &message, id);
        self.log(Kind::Sent, Some(from), [id, to.0, MESSAGE, 0, 0, 0, 0]);
        let Some(host) = self.nodes.iter().position(|node| *node == to) else {
            return self.lose(from, id, to, word!(LOST, "no-address"));
        };
        let sender = self.nodes[from];
        match if host == from { Fate::Arrives(LOOPBACK) } else { self.links.draw(from, host) } {
            Fate::Lost => self.lose(from, id, to, word!(LOST, "chance")),
            Fate::Cut => self.lose(from, id, to, word!(LOST, "cut")),
            Fate::Arrives(after) => self.push(after, Event::Deliver { host, from: sender, id, message }),
            Fate::Twice(first, second) => {
                self.counts.doubled += 1;
                let again = message.clone();
                self.push(first, Event::Deliver { host, from: sender, id, message });
                self.push(second, Event::Deliver { host, from: sender, id, message: again });
            }
        }
    }

    fn lose(&mut self, at: usize, id: u64, to: NodeId, why: u64) {
        self.counts.lost += 1;
        self.log(Kind::Lost, Some(at), [id, to.0, MESSAGE, why]);
    }

    pub(super) fn on_deliver(
        &mut self,
        host: usize,
        from: NodeId,
        id: u64,
        message: <S::Node as Node>::Message,
    ) {
        let (to, paused) = (self.nodes[host], self.hosts[host].paused > 0);
        let Some(process) = &mut self.hosts[host].process else {
            return self.lose(host, id, to, word!(LOST, "nobody"));
        };
        if paused {
            if process.held.len() >= HELD_MAX {
                return self.lose(host, id, to, word!(LOST, "full"));
            }
            return process.held.push(Event::Deliver { host, from, id, message });
        }
        self.counts.delivered += 1;
        self.log(Kind::Delivered, Some(host), [id, from.0, MESSAGE, 0, 0, 0, 0]);
        self.turn(host, |node, cx| node.on_message(from, message, cx));
    }

    fn set_timer(&mut self, number: usize, timer: u64, after: Duration) {
        let host = &mut self.hosts[number];
        let (due, life) = (host.local_now() + after, host.life);
        let at = host.clock.true_at(due);
        if let Some(process) = &mut host.process {
            process.timers.insert(timer, due);
            self.heap.push(at.0.max(self.now.get()), Event::Timer { host: number, life, timer, due });
        }
    }

    // Clients.

    /// Puts a request on its way.
    pub(super) fn ask(&mut self, host: usize, ticket: Ticket, request: <S::Node as Node>::Request) {
        let what = word!(REQUESTS, "write");
        self.log(Kind::Asked, None, [ticket.0, self.nodes[host].0, what, ticket.0]);
        if let Some(after) = self.links.draw_client(host) {
            self.push(after, Event::Request { host, ticket, request });
        }
    }

    pub(super) fn on_request(&mut self, host: usize, ticket: Ticket, request: <S::Node as Node>::Request) {
        let paused = self.hosts[host].paused > 0;
        let Some(process) = &mut self.hosts[host].process else {
            // The connection is refused, and the client learns so.
            return self.answer(host, ticket, Answer::Refused);
        };
        if paused {
            if process.held.len() < HELD_MAX {
                process.held.push(Event::Request { host, ticket, request });
            }
            return;
        }
        self.log(Kind::Requested, Some(host), [ticket.0]);
        self.turn(host, |node, cx| node.on_request(ticket, request, cx));
    }

    fn reply(&mut self, host: usize, ticket: Ticket, response: Option<<S::Node as Node>::Response>) {
        let answer = response.map_or(Answer::Refused, Answer::Response);
        if let Answer::Response(response) = &answer {
            self.tell(Some(host), response, ticket.0);
        }
        self.log(Kind::Answered, Some(host), [ticket.0, answer.word(), 0]);
        self.answer(host, ticket, answer);
    }

    fn answer(&mut self, from: usize, ticket: Ticket, answer: Answer<S::Node>) {
        if let Some(after) = self.links.draw_client(from) {
            self.push(after, Event::Answer { ticket, answer });
        }
    }
}
