//! A world for somebody else's node: any state machine that is driven by messages, timers and requests alone.
//!
//! What one writes: a [`Node`], which knows nothing of simulation; and a [`Spec`], which draws requests and judges what came of them.
//! [`Kit`] puts both into a world of hosts, links, disks and clocks and is a [`Subject`]: sweeps, the proof of determinism, the shrinker,
//! traces and reports work on it as on Blixard's own node. `docs/writing-a-backend.md` goes through an example.
//!
//! What of a scenario file counts here:
//! - `[cluster]`: `voters` and `workers` are the hosts, each with one node. Spares take no part.
//! - `[run]`, `[network]` (without `encode`), `[disk]` `latency`, `stall` and `stall_for`, `[clock]`, and `[swarm]`.
//! - `[workload]`: `clients`, `operations_per_second`, `timeout`, `backoff`, `vms` (how many keys there are), and the weights of the calls.
//!   A client sends each operation once: when no answer comes in time, its outcome is unknown.
//! - Faults: `partition`, `one-way`, `bridge`, `ring`, `isolate`, `isolate-leader`, `split`, `clog`, `lag`, `crash` at every point of a turn, `crash-leader`,
//!   `crash-loop`, `crash-all`, `host-reboot` (here the same as a crash), `pause`, `disk-stall` and `drift`. Others strike nobody. Those
//!   that are aimed at a moment strike when they are due.
//! - `[[operation]]`, as a recorded schedule has them.

mod clients;
mod context;
mod disk;
mod faults;
mod judge;
mod process;
mod recovery;
mod telling;
mod traffic;
mod world;

use std::fmt;
use std::hash::Hash;

pub use blixard_node::ids::{NodeId, Ticket};
pub use blixard_node::rng::Rng;
pub use blixard_node::time::{Duration, Time};

pub use crate::checkers::linearizability::Model;
pub use crate::scenario::Call;
pub use context::{Context, Synced};

use crate::scenario::Scenario;
use crate::subject::Subject;
use crate::trace::Sink;
use crate::world::Report;

/// A node: what happens to it comes by these calls alone, and what it does goes out by the [`Context`] that comes along.
///
/// For the same calls it must do the same. It draws chance from [`Context::rng`] and tells time by [`Context::now`].
pub trait Node: Sized {
    /// What every node is started with; the same for all.
    type Settings: Sync;
    /// What nodes send each other. Its `Debug` stands in the trace as a fingerprint.
    type Message: Clone + fmt::Debug;
    /// What clients ask.
    type Request: Clone + Eq + Hash + fmt::Debug;
    /// What clients are answered.
    type Response: Clone + Eq + Hash + fmt::Debug;
    /// What it keeps on its disk, written whole. The default is an empty disk.
    type Stored: Clone + Default;

    /// A process begins, for the first time or after a crash: of what was, [`Context::disk`] is left.
    fn start(settings: &Self::Settings, cx: &mut Context<'_, Self>) -> Self;

    /// A message arrives. It may come late, twice or never.
    fn on_message(&mut self, from: NodeId, message: Self::Message, cx: &mut Context<'_, Self>);

    /// A client asks. Answers name the ticket; there may be none.
    fn on_request(&mut self, ticket: Ticket, request: Self::Request, cx: &mut Context<'_, Self>);

    /// A timer that was set by [`Context::set_timer`] is due.
    fn on_timer(&mut self, timer: u64, cx: &mut Context<'_, Self>);

    /// Whether it leads, by its own belief: whom `isolate-leader` and `crash-leader` strike.
    fn leads(&self) -> bool {
        false
    }
}

/// A request with the answer that its client got, if it got one: what a [`Model`] judges.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Exchange<Q, A> {
    /// What was asked.
    pub request: Q,
    /// What was answered; none when the client gave up, and it may have taken effect or not, or may still.
    pub response: Option<A>,
}

/// The exchanges of a node's clients.
pub type ExchangeOf<N> = Exchange<<N as Node>::Request, <N as Node>::Response>;

/// What is asked of nodes, and what must hold. As a [`Model`] it says what answers are right: each history of clients must be linearizable.
pub trait Spec: Sync + Model<Op = ExchangeOf<<Self as Spec>::Node>> {
    /// Who is asked.
    type Node: Node;

    /// A client's next request. `call` is drawn by the weights of the scenario's `[workload]` and `key` lies below its `vms`: those two
    /// can be named in `[[operation]]` tables. The names of calls are Blixard's; each system gives them the meaning that suits. `get` and
    /// `update` also serve as probes once everything is healed, so they must be answerable then. All else comes from `rng`.
    fn request(&self, call: Call, key: u64, rng: &mut Rng) -> <Self::Node as Node>::Request;

    /// Which of several independent objects a request is about: each has a history of its own, which is checked apart. By default there
    /// is one.
    fn object(&self, request: &<Self::Node as Node>::Request) -> u64 {
        let _ = request;
        0
    }

    /// What must hold between the nodes after each event. `nodes` are those whose processes are up, in the order of their ids.
    ///
    /// # Errors
    /// What does not hold.
    fn invariant(&self, nodes: &[(NodeId, &Self::Node)]) -> Result<(), Broken> {
        let _ = nodes;
        Ok(())
    }
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its stable name: what a shrinker keeps.
    pub property: &'static str,
    /// What was seen, with the values.
    pub message: String,
}

/// A node in a world of its own.
///
/// It violates `linearizable` when clients' answers cannot be explained, `panic` when a node panics, `liveness` when not every node
/// answers a `get` and some node an `update` within `run.liveness` of everything being healed, and what [`Spec::invariant`] names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kit<S, T> {
    /// What is asked, and what must hold.
    pub spec: S,
    /// What every node is started with.
    pub settings: T,
}

impl<S: Spec> Subject for Kit<S, <S::Node as Node>::Settings> {
    fn run(&self, scenario: &Scenario, seed: u64, sink: Option<&mut dyn Sink>) -> Report {
        world::run(&self.spec, &self.settings, scenario, seed, sink)
    }
}

#[cfg(test)]
mod tests;
