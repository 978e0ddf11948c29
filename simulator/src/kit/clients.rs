//! The clients: what they ask, and what came of it. Each has one operation under way at most and sends it once.

use std::collections::{BTreeMap, VecDeque};

use blixard_node::ids::Ticket;
use blixard_node::rng::Rng;
use blixard_node::time::{Duration, Time};

use super::world::{Event, World};
use super::{Exchange, ExchangeOf, Node, Spec};
use crate::scenario::{self, Call, Scenario};
use crate::trace::words::{self, word};
use crate::trace::{Kind, text};
use crate::workload::{WorkloadConfig, draw};
use crate::world::{Phase, streams, workload_config};

/// What a client hears.
#[derive(Debug)]
pub(super) enum Answer<N: Node> {
    Response(N::Response),
    /// It had no effect and will have none.
    Refused,
    /// Nothing, for too long.
    Nothing,
}

impl<N: Node> Answer<N> {
    pub(super) fn word(&self) -> u64 {
        match self {
            Self::Response(_) => word!(REPLIES, "ok"),
            Self::Refused => word!(REPLIES, "error"),
            Self::Nothing => word!(REPLIES, "broken"),
        }
    }
}

/// One operation. Its ticket is its place among all of them, from 1.
#[derive(Debug)]
pub(super) struct Operation<N: Node> {
    client: usize,
    call: Call,
    pub(super) exchange: ExchangeOf<N>,
    /// Places in the order of all beginnings and ends.
    pub(super) invoked: u64,
    pub(super) returned: Option<u64>,
    pub(super) ended_at: Time,
    outcome: Option<&'static str>,
}

impl<N: Node> Operation<N> {
    /// It is certain that it had no effect.
    pub(super) fn is_refused(&self) -> bool {
        self.outcome == Some("refused")
    }
}

#[derive(Debug)]
struct Client {
    rng: Rng,
    /// What it has still to do, where that is not drawn.
    script: Option<VecDeque<scenario::Operation>>,
    begun: u64,
    /// When its last operation began.
    last: u64,
    under_way: Option<Ticket>,
    /// Of a client that asks one host until it is answered.
    probe: Option<Probe>,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    host: usize,
    call: Call,
}

#[derive(Debug)]
pub(super) struct Clients<N: Node> {
    config: WorkloadConfig,
    clients: Vec<Client>,
    pub(super) operations: Vec<Operation<N>>,
    /// Operations as a schedule has them.
    recorded: Vec<scenario::Operation>,
    /// Rises with each beginning and each end of an operation.
    order: u64,
}

impl<N: Node> Clients<N> {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let config = workload_config(scenario);
        let scripted = |client: usize| {
            let of = |operation: &&scenario::Operation| operation.client == client as u64;
            let mut script: Vec<_> = scenario.operations.iter().filter(of).cloned().collect();
            script.sort_by_key(|operation| operation.at);
            (!scenario.operations.is_empty()).then(|| script.into())
        };
        let client = |number: usize| Client {
            rng: Rng::new(seed, streams::CLIENTS | number as u64),
            script: scripted(number),
            begun: 0,
            last: scenario.run.warmup.0,
            under_way: None,
            probe: None,
        };
        let clients = (0..config.clients).map(client).collect();
        Self { config, clients, operations: Vec::new(), recorded: Vec::new(), order: 0 }
    }

    /// Operations by kind and outcome.
    pub(super) fn counts(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let mut counts = BTreeMap::new();
        for operation in &self.operations {
            let outcome = operation.outcome.unwrap_or("unknown");
            *counts.entry((operation.call.word(), outcome)).or_default() += 1;
        }
        counts
    }

    pub(super) fn take_recorded(&mut self) -> Vec<scenario::Operation> {
        std::mem::take(&mut self.recorded)
    }

    fn tick(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// The probes that have not been answered, in words.
    pub(super) fn unanswered(&self) -> Vec<String> {
        let probes = self.clients.iter().filter_map(|client| client.probe);
        probes.map(|Probe { host, call }| format!("{call} at n{}", host + 1)).collect()
    }
}

impl<S: Spec> World<'_, S> {
    pub(super) fn begin_clients(&mut self) {
        for client in 0..self.clients.clients.len() {
            self.rest(client);
        }
    }

    /// Asks every host for a look and the first for a change, until they answer.
    pub(super) fn begin_probes(&mut self) {
        let looks = (0..self.hosts.len()).map(|host| Probe { host, call: Call::Get });
        let probes: Vec<Probe> = looks.chain([Probe { host: 0, call: Call::Update }]).collect();
        for (number, probe) in probes.into_iter().enumerate() {
            let rng = Rng::new(self.seed, streams::PROBERS | number as u64);
            let client = self.clients.clients.len();
            let (script, under_way, last) = (None, None, self.now.get());
            self.clients.clients.push(Client { rng, script, begun: 0, last, under_way, probe: Some(probe) });
            self.heap.push_first(self.now.get(), Event::Client { client });
        }
    }

    /// Plans the client's next operation.
    fn rest(&mut self, number: usize) {
        let Clients { config, clients, .. } = &mut self.clients;
        let client = &mut clients[number];
        let now = self.now.get();
        let at = match (client.probe, &client.script) {
            (Some(_), _) => now + self.scenario.workload.backoff.draw(&mut client.rng).0,
            (None, None) => client.last + draw::think(config, &mut client.rng).0,
            (None, Some(script)) => match script.front() {
                Some(next) => self.scenario.run.warmup.0 + next.at.0,
                None => return,
            },
        };
        self.heap.push_first(at.max(now), Event::Client { client: number });
    }

    pub(super) fn on_client(&mut self, number: usize) {
        let probe = self.clients.clients[number].probe;
        if self.phase == Phase::Safety || probe.is_some() {
            let (host, call, request) = match probe {
                Some(Probe { host, call }) => {
                    let rng = &mut self.clients.clients[number].rng;
                    (host, call, self.spec.request(call, 0, rng))
                }
                None => self.next_operation(number),
            };
            self.invoke(number, host, call, request);
        }
    }

    fn next_operation(&mut self, number: usize) -> (usize, Call, <S::Node as Node>::Request) {
        let Clients { config, clients, recorded, .. } = &mut self.clients;
        let client = &mut clients[number];
        let scripted = client.script.as_mut().and_then(VecDeque::pop_front);
        let nth = streams::nth(number as u64, client.begun);
        let draws = scripted.as_ref().map_or(nth, |known| known.draws);
        client.begun += 1;
        let mut rng = Rng::new(self.seed, streams::OPERATIONS | draws);
        // Everything is drawn, also what the script says: so the rest of the stream stays where it is.
        let drawn = rng.below(self.nodes.len() as u64) as usize;
        let (call, key) = draw::call(config, config.names as usize, &mut rng);
        let (host, call, key) = match scripted {
            None => (drawn, call, key as u64),
            Some(known) => {
                let named = self.nodes.iter().position(|node| node.0 == known.node);
                (named.unwrap_or(drawn), known.call, known.vm)
            }
        };
        let at = Duration(self.now.get() - self.scenario.run.warmup.0);
        let (client, node) = (number as u64, self.nodes[host].0);
        recorded.push(scenario::Operation { at, client, node, call, vm: key, draws });
        (host, call, self.spec.request(call, key, &mut rng))
    }

    fn invoke(&mut self, client: usize, host: usize, call: Call, request: <S::Node as Node>::Request) {
        let invoked = self.clients.tick();
        let ticket = Ticket(self.clients.operations.len() as u64 + 1);
        self.clients.operations.push(Operation {
            client,
            call,
            exchange: Exchange { request: request.clone(), response: None },
            invoked,
            returned: None,
            ended_at: Time(0),
            outcome: None,
        });
        let asker = &mut self.clients.clients[client];
        asker.under_way = Some(ticket);
        asker.last = self.now.get();
        let [first, second] = text::pack("");
        let what = words::place(words::OPERATIONS, call.word());
        self.log(Kind::OperationBegan, None, [ticket.0, client as u64, what, first, second, 0, 0, 0]);
        self.tell(None, &request, ticket.0);
        self.ask(host, ticket, request);
        self.push(self.scenario.workload.timeout, Event::Answer { ticket, answer: Answer::Nothing });
    }

    pub(super) fn on_answer(&mut self, ticket: Ticket, answer: Answer<S::Node>) {
        let Some(operation) = self.clients.operations.get(ticket.0 as usize - 1) else { return };
        let number = operation.client;
        if self.clients.clients[number].under_way != Some(ticket) {
            return;
        }
        self.log(Kind::Replied, None, [ticket.0, answer.word()]);
        let order = self.clients.tick();
        let operation = &mut self.clients.operations[ticket.0 as usize - 1];
        operation.ended_at = Time(self.now.get());
        let (name, word) = match answer {
            Answer::Response(response) => {
                operation.exchange.response = Some(response);
                operation.returned = Some(order);
                ("ok", word!(OUTCOMES, "ok"))
            }
            Answer::Refused => ("refused", word!(OUTCOMES, "refused")),
            Answer::Nothing => ("unknown", word!(OUTCOMES, "unknown")),
        };
        operation.outcome = Some(name);
        let answered = operation.returned.is_some();
        let none = word!(ANSWERS, "none");
        self.log(Kind::OperationEnded, None, [ticket.0, number as u64, word, 1, 0, 0, 0, none]);
        let client = &mut self.clients.clients[number];
        client.under_way = None;
        if answered && client.probe.take().is_some() {
            return;
        }
        self.rest(number);
    }
}
