//! The world: hosts, links and clients in true time, driven by one event heap from one seed.

mod aim;
mod event;
mod faults;
mod host;
mod marks;
mod operator;
mod process;
mod recovery;
mod report;
mod rot;
mod setup;
mod targets;
mod telling;
mod traffic;
mod upgrades;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use blixard_node::effects::Event as NodeEvent;
use blixard_node::ids::{ClusterId, NodeId, Ticket};
use blixard_node::input::Input;
use blixard_node::request::Reply;
use blixard_node::rng::Rng;
use blixard_node::time::Time;

use crate::buggify::Sites;
use crate::checkers::{Checkers, Subjects, Violation};
use crate::hang;
use crate::heap::Heap;
use crate::hypervisor::Truth;
use crate::net::Links;
use crate::scenario::{Outcome, Scenario};
use crate::swarm;
use crate::trace::{Kind, Sink, Trace};
use crate::workload::{self, Workload};

use event::Event;
use host::Host;

pub use crate::sabotage::{Lie, Sabotage};
pub use report::{Counts, Report};
pub(crate) use setup::workload_config;

/// The most events of a run: past this something goes round in circles.
const EVENTS_MAX: u64 = 2_000_000_000;

/// The streams of the seed. Each consumer of chance has its own, so that one fault more or less leaves the others alone. What has
/// many of them numbers them within the lower 56 bits.
pub(crate) mod streams {
    pub(crate) const CLOCK: u64 = 3;
    pub(crate) const OPERATOR: u64 = 5;
    pub(crate) const RECOVERY: u64 = 6;
    pub(crate) const SWARM: u64 = 7;
    pub(crate) const CLUSTER: u64 = 8;
    pub(crate) const HYPERVISORS: u64 = 0x100;
    pub(crate) const HYPERVISORS_ODD: u64 = 0x180;
    pub(crate) const NODES: u64 = 0x200;
    /// When each fault of the scenario strikes, and for how long.
    pub(crate) const FAULTS: u64 = 1 << 56;
    /// Whom a strike strikes.
    pub(crate) const STRIKES: u64 = 2 << 56;
    /// What it does there.
    pub(crate) const BLOWS: u64 = 3 << 56;
    pub(crate) const LINKS: u64 = 4 << 56;
    pub(crate) const DISKS: u64 = 5 << 56;
    pub(crate) const PROCESSES: u64 = 6 << 56;
    /// When a client does something.
    pub(crate) const CLIENTS: u64 = 7 << 56;
    /// What it does.
    pub(crate) const OPERATIONS: u64 = 8 << 56;
    pub(crate) const PROBERS: u64 = 9 << 56;

    pub(super) const BUGGIFY: u64 = 10 << 56;

    /// The number of something that has been given `nth` times to what is numbered `number`, both below 2²⁴ and 2³².
    pub(crate) const fn nth(number: u64, nth: u64) -> u64 {
        number << 24 | nth & 0xff_ffff
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The cluster forms.
    WarmUp,
    /// Faults and work together.
    Safety,
    /// A healed core recovers.
    Liveness,
}

/// The members as a node told them.
#[derive(Clone, Debug, Default)]
struct Members {
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
    learners: Vec<NodeId>,
    /// The index of the entry that made them so; 0 until the node has told it.
    at: u64,
}

/// One simulated world.
#[derive(Debug)]
pub struct World<'s> {
    scenario: Scenario,
    seed: u64,
    sabotage: Sabotage,
    now: Rc<Cell<u64>>,
    heap: Heap<Event>,
    hosts: Vec<Host>,
    /// The host of each node id, by id.
    homes: Vec<Option<usize>>,
    cluster: ClusterId,
    links: Links,
    sites: Sites,
    trace: Trace<'s>,
    checkers: Checkers,
    workload: Workload,
    /// True time of the clients' event that is scheduled, or the end of time.
    clients_at: u64,
    /// Whom clients ask.
    askable: Vec<NodeId>,
    operator: operator::Operator,
    plan: faults::Plan,
    /// As of the highest index that any node has told of.
    members: Members,
    /// What each node last said of the members, by host.
    views: Vec<Members>,
    /// The members whose disks are gone: why, and when.
    lost: BTreeMap<NodeId, (&'static str, u64)>,
    phase: Phase,
    clock_rng: Rng,
    counts: Counts,
    /// The newest entry that the log has told the content of.
    decided: u64,
    failure: Option<Violation>,
    /// The host whose code runs, for attributing a panic.
    running: Option<usize>,
    /// For the marks on rare states alone.
    last_runs: marks::LastRuns,
    scratch: Scratch,
}

/// Vectors that are used again and again.
#[derive(Debug, Default)]
struct Scratch {
    events: Vec<NodeEvent>,
    inputs: Vec<Input>,
    replies: Vec<(Ticket, Reply)>,
    truths: Vec<Truth>,
    output: workload::Output,
}

/// Runs one seed of a scenario to its end; what its `[swarm]` table has drawn is drawn first.
pub fn run(scenario: &Scenario, seed: u64, sabotage: Sabotage, sink: Option<&mut dyn Sink>) -> Report {
    #[cfg(feature = "planted")]
    let _planted = sabotage.planted.plant();
    let scenario = swarm::resolve(scenario, seed);
    let mut world = World::new(&scenario, seed, sabotage, sink);
    let caught = crate::panics::caught(|| world.play());
    let outcome = match caught {
        Ok(outcome) => outcome,
        Err(panic) => {
            let node =
                world.running.map_or_else(|| "the world".into(), |host| world.hosts[host].node.to_string());
            let nodes = world.running.map(|host| world.hosts[host].node.0).into_iter().collect();
            world.failure = Some(Violation {
                property: "panic",
                message: format!("{node} panicked at {}: {}", panic.place, panic.message),
                at: Time(world.now.get()),
                subjects: Subjects { nodes, ..Subjects::default() },
            });
            (Outcome::Safety, None)
        }
    };
    world.report(outcome.0, outcome.1)
}

impl World<'_> {
    fn play(&mut self) -> (Outcome, Option<String>) {
        let warm = self.scenario.run.warmup.0;
        let end = warm + self.scenario.run.duration.0;
        self.begin();
        self.enter(Phase::WarmUp);
        self.run_until(warm);
        self.enter(Phase::Safety);
        self.begin_faults();
        self.run_until(end);
        if self.failed() {
            return (Outcome::Safety, None);
        }
        self.enter(Phase::Liveness);
        self.mark_healing();
        self.recover(end + self.scenario.run.liveness.0)
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.log(Kind::Phase, None, [phase as u64]);
    }

    /// A safety property was violated.
    fn failed(&mut self) -> bool {
        if self.failure.is_none() {
            self.failure = self.checkers.violation().cloned();
        }
        self.failure.is_some()
    }

    fn fail(&mut self, property: &'static str, message: String) {
        if self.failure.is_none() {
            let subjects = Subjects::default();
            self.failure = Some(Violation { property, message, at: Time(self.now.get()), subjects });
        }
    }

    fn log<const N: usize>(&mut self, kind: Kind, host: Option<usize>, numbers: [u64; N]) {
        self.trace.write(self.now.get(), kind, host.map_or(0, |host| host + 1), numbers);
    }

    fn is_healed(&self) -> bool {
        self.phase == Phase::Liveness
    }

    fn true_time(&self) -> Time {
        Time(self.now.get())
    }

    /// Lets everything happen that is due until `end`, or until something is violated.
    fn run_until(&mut self, end: u64) {
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
            self.tell_sites();
        }
        if !self.failed() {
            self.now.set(end);
        }
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Deliver { host, to, id, message } => self.deliver(host as usize, to, id, message),
            Event::Turn { host, life } => self.on_turn_due(host as usize, life),
            Event::Written { host, life } => self.on_written(host as usize, life),
            Event::Wake { host, life } => self.on_wake(host as usize, life),
            Event::Start { host, life } => self.on_start(host as usize, life),
            Event::Die { host, life } => self.on_die(host as usize, life),
            Event::Hypervisor { host } => self.on_hypervisor(host as usize),
            Event::Clients => self.on_clients(),
            Event::Request { host, to, ticket, request } => {
                self.on_request(host as usize, to, ticket, request);
            }
            Event::Reply { ticket, reply } => self.on_reply(ticket, reply),
            Event::Fault { number } => self.on_fault(number as usize),
            Event::Aimed { number, host } => self.on_aimed(number as usize, host as usize),
            Event::FaultOver { slot } => self.end_fault(slot as usize),
            Event::Look { host, life } => self.on_look(host as usize, life),
            Event::Operator => self.on_operator(),
        }
    }
}
