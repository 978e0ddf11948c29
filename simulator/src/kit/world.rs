//! The world around the nodes, driven by one event heap from one seed.

use std::cell::Cell;
use std::rc::Rc;

use blixard_node::ids::{NodeId, Ticket};
use blixard_node::rng::Rng;
use blixard_node::time::{Duration, Time};

use super::clients::{Answer, Clients};
use super::faults::Active;
use super::process::Host;
use super::{Node, Spec};
use crate::checkers::{Subjects, Violation};
use crate::clock::{SimClock, draw_rate};
use crate::hang;
use crate::heap::Heap;
use crate::net::Links;
use crate::scenario::{Outcome, Scenario};
use crate::schedule::Schedule;
use crate::strikes::Strikes;
use crate::trace::{Kind, Sink, Trace};
use crate::world::{Counts, Phase, Report, streams};

/// The most events of a run: past this something goes round in circles.
const EVENTS_MAX: u64 = 500_000_000;

/// Something that will happen. `life` tells the process it is meant for from later ones on the same host.
#[derive(Debug)]
pub(super) enum Event<N: Node> {
    /// A message arrives.
    Deliver { host: usize, from: NodeId, id: u64, message: N::Message },
    /// A client's request reaches a host.
    Request { host: usize, ticket: Ticket, request: N::Request },
    /// A timer is due, at this time of the host's clock.
    Timer { host: usize, life: u32, timer: u64, due: Time },
    /// The sync under way is done.
    Synced { host: usize, life: u32 },
    /// A process starts.
    Start { host: usize, life: u32 },
    /// A process dies, unless an armed crash point came first.
    Die { host: usize, life: u32 },
    /// A client has something to do.
    Client { client: usize },
    /// A client hears of its request, or gives up.
    Answer { ticket: Ticket, answer: Answer<N> },
    /// A fault strikes.
    Fault { number: usize },
    /// A fault is over.
    FaultOver { slot: usize },
}

pub(super) struct World<'s, S: Spec> {
    pub(super) spec: &'s S,
    pub(super) settings: &'s <S::Node as Node>::Settings,
    pub(super) scenario: Scenario,
    pub(super) seed: u64,
    pub(super) now: Rc<Cell<u64>>,
    pub(super) heap: Heap<Event<S::Node>>,
    pub(super) hosts: Vec<Host<S::Node>>,
    /// The nodes, in the order of their hosts.
    pub(super) nodes: Vec<NodeId>,
    pub(super) links: Links,
    trace: Trace<'s>,
    pub(super) strikes: Strikes,
    /// Faults that last, by slot.
    pub(super) active: Vec<Option<Active>>,
    pub(super) clients: Clients<S::Node>,
    pub(super) phase: Phase,
    pub(super) counts: Counts,
    failure: Option<Violation>,
    /// The host whose code runs, for attributing a panic.
    pub(super) running: Option<usize>,
}

pub(super) fn run<S: Spec>(
    spec: &S,
    settings: &<S::Node as Node>::Settings,
    scenario: &Scenario,
    seed: u64,
    sink: Option<&mut dyn Sink>,
) -> Report {
    let scenario = crate::swarm::resolve(scenario, seed).into_owned();
    // A listener of a shorter life, as long as the spec is there.
    let sink = sink.map(|sink| -> &mut dyn Sink { sink });
    let mut world = World::new(spec, settings, scenario, seed, sink);
    let (outcome, proof) = match crate::panics::caught(|| world.play()) {
        Ok(ending) => ending,
        Err(panic) => {
            let who = world.running.map_or_else(|| "the world".into(), |host| world.nodes[host].to_string());
            world.fail("panic", format!("{who} panicked at {}: {}", panic.place, panic.message));
            (Outcome::Safety, None)
        }
    };
    world.report(outcome, proof)
}

impl<'s, S: Spec> World<'s, S> {
    fn new(
        spec: &'s S,
        settings: &'s <S::Node as Node>::Settings,
        scenario: Scenario,
        seed: u64,
        sink: Option<&'s mut dyn Sink>,
    ) -> Self {
        let hosts = (scenario.cluster.voters + scenario.cluster.workers) as usize;
        let now = Rc::new(Cell::new(0));
        let mut clock_rng = Rng::new(seed, streams::CLOCK);
        let mut clock = || {
            let uptime = Duration(clock_rng.below(scenario.clock.offset_max.0 + 1) + 1_000_000_000);
            let clock = SimClock::new(Rc::clone(&now), uptime);
            clock.set_rate(draw_rate(scenario.clock.drift_ppm, scenario.clock.at_bound, &mut clock_rng));
            clock
        };
        let rngs = |host: usize| {
            [streams::NODES, streams::DISKS, streams::PROCESSES]
                .map(|stream| Rng::new(seed, stream + host as u64))
        };
        Self {
            spec,
            settings,
            seed,
            heap: Heap::default(),
            hosts: (0..hosts).map(|host| Host::new(clock(), rngs(host))).collect(),
            nodes: (1..=hosts as u64).map(NodeId).collect(),
            links: Links::new(hosts, scenario.network.clone(), |link| Rng::new(seed, streams::LINKS | link)),
            trace: Trace::new(sink),
            strikes: Strikes::new(&scenario, seed),
            active: Vec::new(),
            clients: Clients::new(&scenario, seed),
            phase: Phase::WarmUp,
            counts: Counts::default(),
            failure: None,
            running: None,
            now,
            scenario,
        }
    }

    fn play(&mut self) -> (Outcome, Option<String>) {
        let warm = self.scenario.run.warmup.0;
        let end = warm + self.scenario.run.duration.0;
        self.enter(Phase::WarmUp);
        for host in 0..self.hosts.len() {
            self.log(Kind::Home, Some(host), [self.nodes[host].0]);
            self.start_after(host, Duration::from_millis(1 + host as u64));
        }
        self.run_until(warm);
        self.enter(Phase::Safety);
        self.begin_faults();
        self.begin_clients();
        self.run_until(end);
        if !self.failed() {
            // What cannot be decided now may be once the histories are whole.
            let _ = self.judge();
        }
        if self.failed() {
            return (Outcome::Safety, None);
        }
        self.enter(Phase::Liveness);
        self.recover(end + self.scenario.run.liveness.0)
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.log(Kind::Phase, None, [phase as u64]);
    }

    /// Lets everything happen that is due until `end`, or until something is violated.
    pub(super) fn run_until(&mut self, end: u64) {
        while !self.failed()
            && let Some((at, event)) = self.heap.pop_until(end)
        {
            debug_assert!(at >= self.now.get(), "time runs forward");
            self.now.set(at);
            self.counts.events += 1;
            hang::look(Time(at), self.counts.events);
            if self.counts.events > EVENTS_MAX {
                self.fail(
                    "bounded-events",
                    format!("more than {EVENTS_MAX} events: something goes round in circles"),
                );
            }
            self.dispatch(event);
        }
        if !self.failed() {
            self.now.set(end);
        }
    }

    pub(super) fn dispatch(&mut self, event: Event<S::Node>) {
        match event {
            Event::Deliver { host, from, id, message } => self.on_deliver(host, from, id, message),
            Event::Request { host, ticket, request } => self.on_request(host, ticket, request),
            Event::Timer { host, life, timer, due } => self.on_timer(host, life, timer, due),
            Event::Synced { host, life } => self.on_synced(host, life),
            Event::Start { host, life } => self.on_start(host, life),
            Event::Die { host, life } => self.on_die(host, life),
            Event::Client { client } => self.on_client(client),
            Event::Answer { ticket, answer } => self.on_answer(ticket, answer),
            Event::Fault { number } => self.on_fault(number),
            Event::FaultOver { slot } => self.end_fault(slot),
        }
    }

    pub(super) fn push(&mut self, after: Duration, event: Event<S::Node>) {
        self.heap.push(self.now.get() + after.0, event);
    }

    pub(super) fn failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(super) fn fail(&mut self, property: &'static str, message: String) {
        let nodes = self.running.map(|host| self.nodes[host].0).into_iter().collect();
        let at = Time(self.now.get());
        self.fail_with(Violation {
            property,
            message,
            at,
            subjects: Subjects { nodes, ..Subjects::default() },
        });
    }

    /// The first violation stays.
    pub(super) fn fail_with(&mut self, violation: Violation) {
        self.failure.get_or_insert(violation);
    }

    pub(super) fn log<const N: usize>(&mut self, kind: Kind, host: Option<usize>, numbers: [u64; N]) {
        self.trace.write(self.now.get(), kind, host.map_or(0, |host| host + 1), numbers);
    }

    fn report(mut self, outcome: Outcome, proof: Option<String>) -> Report {
        Report {
            seed: self.seed,
            scenario: self.scenario.name,
            outcome,
            violation: self.failure,
            proof,
            trace_hash: self.trace.hash(),
            trace_len: self.trace.count(),
            virtual_ms: self.now.get() / 1_000_000,
            operations: self.clients.counts(),
            schedule: Schedule {
                faults: self.strikes.take_struck(),
                operations: self.clients.take_recorded(),
            },
            counts: self.counts,
            ..Report::default()
        }
    }
}
