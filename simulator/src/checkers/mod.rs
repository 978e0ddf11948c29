//! What must hold, one property a file. Checkers see what no node can: all nodes, all hosts and all clients, at true time.
//!
//! They are fed as things happen, and each feeding costs no more than what has changed. The first violation stays.

mod applied;
mod artifacts;
mod capacity;
mod convergence;
mod durability;
mod election;
mod feature_level;
mod leases;
pub mod linearizability;
mod log_matching;
mod placement;
mod replay;
mod revisions;
mod single_run;
mod view;
mod violation;
mod volumes;

use std::collections::BTreeMap;

use blixard_node::effects::Event;
use blixard_node::ids::NodeId;
use blixard_node::level::Level;
use blixard_node::spec::{Resources, VmName};
use blixard_node::time::{Duration, Time};

pub use view::{LogView, NodeView};
pub use violation::{Subjects, Violation};

use crate::history::Operation;
use crate::hypervisor::{Fact, Truth};
use crate::workload::TwoAnswers;
use linearizability::vm::{VmModel, VmOp, from_operation};
use linearizability::{Illegal, Limits, Timed, Verdict};
use violation::Breach;

/// The most configurations that the search for one VM name's linearization remembers.
const CONFIGURATIONS_MAX: usize = 1_000_000;

/// All checkers of one run.
#[derive(Debug)]
pub struct Checkers {
    violation: Option<Violation>,
    election: election::ElectionSafety,
    log_matching: log_matching::LogMatching,
    applied: applied::StateHashes,
    replay: replay::Replay,
    durability: durability::Durability,
    single_run: single_run::SingleRun,
    capacity: capacity::Capacity,
    leases: leases::Leases,
    volumes: volumes::Volumes,
    artifacts: artifacts::Artifacts,
    feature_level: feature_level::FeatureLevel,
    histories: BTreeMap<VmName, History>,
    compared: u64,
    /// What each node's consensus looked like at the last look.
    logs: BTreeMap<NodeId, LogView>,
}

/// How much was checked, for the summary of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Terms that had a leader.
    pub elections: u64,
    /// VMs that came alive.
    pub runs: u64,
    /// Writes acknowledged to clients.
    pub acknowledged: u64,
    /// Answers compared with the state of their revision.
    pub compared: u64,
    /// Operations in the histories of VM names.
    pub linearized: u64,
    /// Revisions whose state was not seen, so that answers as of them were not compared.
    pub unseen: u64,
}

impl Checkers {
    /// For a cluster whose hypervisors may take `kill_grace` to kill a VM.
    #[must_use]
    pub fn new(kill_grace: Duration) -> Self {
        Self {
            violation: None,
            election: election::ElectionSafety::default(),
            log_matching: log_matching::LogMatching::default(),
            applied: applied::StateHashes::default(),
            replay: replay::Replay::default(),
            durability: durability::Durability::default(),
            single_run: single_run::SingleRun::default(),
            capacity: capacity::Capacity::default(),
            leases: leases::Leases::new(kill_grace),
            volumes: volumes::Volumes::default(),
            artifacts: artifacts::Artifacts::default(),
            feature_level: feature_level::FeatureLevel::default(),
            histories: BTreeMap::new(),
            compared: 0,
            logs: BTreeMap::new(),
        }
    }

    /// The first violation.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// How much was checked so far.
    #[must_use]
    pub fn checked(&self) -> Checked {
        Checked {
            elections: self.election.elections() as u64,
            runs: self.single_run.starts(),
            acknowledged: self.durability.acknowledged(),
            compared: self.compared,
            linearized: self.histories.values().map(|history| history.ops.len() as u64).sum(),
            unseen: self.replay.unseen(),
        }
    }

    /// The end of the longest log that any node was seen with.
    #[must_use]
    pub fn log_end(&self) -> u64 {
        self.logs.values().map(|log| log.last_index).max().unwrap_or(0)
    }

    /// A host is there, with this much to offer.
    pub fn on_host(&mut self, host: NodeId, capacity: Resources) {
        self.capacity.host(host, capacity);
    }

    /// A process of `node` opened on its disk.
    pub fn on_open(&mut self, at: Time, node: &impl NodeView) {
        self.log_matching.opened(node.id());
        self.logs.remove(&node.id());
        self.look_at_log(at, node);
        self.replay.opened(node);
        let result = self.feature_level.opened(node);
        self.note(at, result);
    }

    /// A process of `node`, which speaks `own`, gave up because the cluster is at `level`, as it says.
    pub fn on_outgrown(&mut self, at: Time, node: NodeId, own: Level, level: Level) {
        let result = self.feature_level.outgrown(node, own, level);
        self.note(at, result);
    }

    /// A turn of `node` has released its lanes. To be called before anybody is handed what the turn sent or answered.
    pub fn on_turn(&mut self, at: Time, node: &impl NodeView, events: &[Event]) {
        self.look_at_log(at, node);
        for event in events {
            let result = match event {
                Event::BecameLeader { term } => self.became_leader(node, *term),
                Event::Applied { revision, term, state_hash } => {
                    let node_term = node.log().map_or(0, |log| log.term);
                    match self.applied.applied((node.id(), node_term), *revision, *term, *state_hash) {
                        Ok(false) => Ok(()),
                        Ok(true) => self.first_applied(at, node, *revision, *state_hash),
                        Err(breach) => Err(breach),
                    }
                }
                Event::Restored { revision, state_hash } => {
                    self.applied.restored(node.id(), *revision, *state_hash)
                }
                _ => Ok(()),
            };
            self.note(at, result);
        }
        let moved =
            events.iter().any(|event| matches!(event, Event::Applied { .. } | Event::Restored { .. }));
        let result = self.feature_level.turned(node, moved);
        self.note(at, result);
    }

    fn look_at_log(&mut self, at: Time, node: &impl NodeView) {
        let Some(log) = node.log() else { return };
        let before = self.logs.insert(node.id(), log);
        if before == Some(log) {
            return;
        }
        if log.is_leader && before.is_none_or(|before| !before.is_leader || before.term != log.term) {
            let result = self.election.became_leader(node.id(), log.term);
            self.note(at, result);
        }
        let result = self.log_matching.take(node, &log);
        self.note(at, result);
    }

    fn became_leader(&mut self, node: &impl NodeView, term: u64) -> Result<(), Breach> {
        self.election.became_leader(node.id(), term)?;
        log_matching::leader_completeness(node, term, &self.applied)
    }

    fn first_applied(
        &mut self,
        at: Time,
        node: &impl NodeView,
        revision: blixard_node::ids::Revision,
        state_hash: u64,
    ) -> Result<(), Breach> {
        let effect = self.replay.applied(node, revision, state_hash)?;
        if let Some((vm, deletion)) = effect.deleted {
            self.volumes.deleted(vm, deletion);
        }
        if let Some(vm) = effect.updated {
            self.artifacts.updated(vm);
        }
        if let Some(host) = effect.lost {
            self.volumes.lost(host);
            leases::given_up(host, revision, at, &self.single_run)?;
        }
        effect.freed.iter().try_for_each(|freed| single_run::freed(*freed, revision, &self.single_run))
    }

    /// `node` was handed a heartbeat's acknowledgement: its lease runs until `sent + ttl` on its own clock.
    pub fn on_lease_granted(&mut self, node: NodeId, sent: Time, ttl: Duration) {
        self.leases.granted(node, sent, ttl);
    }

    /// What truly happened on hosts, in the order of true time.
    pub fn on_truth(&mut self, truths: &[Truth]) {
        for truth in truths {
            let result = self.single_run.take(truth);
            self.note(truth.at, result);
            let result = self.leases.take(truth.host, &truth.fact);
            self.note(truth.at, result);
            let result = self.volumes.take(truth, self.replay.has_gaps());
            self.note(truth.at, result);
            let result = self.artifacts.take(truth, self.replay.unseen() > 0);
            self.note(truth.at, result);
            if matches!(truth.fact, Fact::RunStarted { .. } | Fact::RunEnded { .. }) {
                let result = self.capacity.take(truth);
                self.note(truth.at, result);
            }
        }
    }

    /// An operation of a client has ended. To be called in the order of the ends.
    pub fn on_operation(&mut self, operation: &Operation) {
        let at = operation.ended.at;
        match revisions::check(operation, &self.replay) {
            Ok(compared) => self.compared += u64::from(compared),
            Err(breach) => self.note(at, Err(breach)),
        }
        self.durability.ended(operation);
        match from_operation(operation) {
            Ok(Some((name, timed))) => self.histories.entry(name).or_default().push(operation, timed),
            Ok(None) => {}
            Err(message) => {
                let breach = Breach::new("linearizability", message);
                self.note(at, Err(breach.operations([operation.invoked.order])));
            }
        }
    }

    /// A request got two different final answers.
    pub fn on_contradiction(&mut self, at: Time, answers: &TwoAnswers) {
        let message = format!("{:?} was answered {:?} and {:?}", answers.id, answers.first, answers.second);
        self.note(at, Err(Breach::new("exactly-once", message)));
    }

    /// A queue of `node` holds `len` of at most `max`.
    pub fn on_queue(&mut self, at: Time, node: NodeId, what: &'static str, len: usize, max: usize) {
        if len > max {
            let message = format!("{node}: {what} holds {len}, its bound is {max}");
            self.note(at, Err(Breach::new("bounded-queues", message).nodes([node])));
        }
    }

    /// Whether the healed core has converged: a leader, one state, every VM where it is wanted, no orphan, the level that all speak. `up` are the
    /// hosts whose daemon runs and can reach the core, with what they speak. Costs a look at every VM, so ask now and then, not at every event.
    ///
    /// # Errors
    /// The first thing that is still missing.
    pub fn converged<N: NodeView>(&self, core: &[&N], up: &BTreeMap<NodeId, Level>) -> Result<(), String> {
        convergence::converged(core, &up.keys().copied().collect(), &self.single_run)?;
        if let Some(leader) = convergence::leader_of(core) {
            self.feature_level.settled(leader, up)?;
        }
        match convergence::leader_of(core).and_then(NodeView::state) {
            Some(state) if !self.replay.has_gaps() => self.volumes.removed(state),
            _ => Ok(()),
        }
    }

    /// The end of the run, when the core has converged and every client's history is closed.
    ///
    /// # Errors
    /// Why the linearizability of the clients' histories could not be decided within the memory that the search may use.
    pub fn finish<N: NodeView>(&mut self, at: Time, core: &[&N]) -> Result<(), String> {
        let leader = convergence::leader_of(core);
        for node in core.iter().filter(|node| leader.is_some_and(|leader| leader.replicates_to(node.id()))) {
            let result = self.durability.holds_at(*node, &self.applied);
            self.note(at, result);
        }
        self.finish_histories(at)
    }

    /// The end of a run whose core did not converge: what can still be said of the clients' histories.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn finish_histories(&mut self, at: Time) -> Result<(), String> {
        let limits = Limits { configurations_max: CONFIGURATIONS_MAX };
        let histories = self.histories.iter().map(|(name, history)| (name, history.ops.as_slice()));
        match linearizability::check_all(&VmModel, histories, limits) {
            Ok(()) | Err((_, Verdict::Linearizable)) => Ok(()),
            Err((name, Verdict::Undecided { reason })) => {
                Err(format!("the history of VM {name} is undecided: {reason}"))
            }
            Err((name, Verdict::Illegal(illegal))) => {
                let history = &self.histories[name];
                let open = illegal.open.iter().copied().take(History::OPEN_SHOWN);
                let breach =
                    Breach::new("linearizability", history.explain(name, &illegal)).named(name).operations(
                        [illegal.operation].into_iter().chain(open).map(|number| history.ops[number].invoked),
                    );
                self.note(at, Err(breach));
                Ok(())
            }
        }
    }

    fn note(&mut self, at: Time, result: Result<(), Breach>) {
        if let Err(breach) = result
            && self.violation.is_none()
        {
            let Breach { property, message, subjects } = breach;
            self.violation = Some(Violation { property, message, at, subjects: *subjects });
        }
    }
}

/// What clients did with one VM name.
#[derive(Debug, Default)]
struct History {
    ops: Vec<Timed<VmOp>>,
    /// By operation: its client, and when that asked and had the answer.
    asked: Vec<(usize, Time, Time)>,
}

impl History {
    /// The most open operations that a message names.
    const OPEN_SHOWN: usize = 8;

    fn push(&mut self, operation: &Operation, timed: Timed<VmOp>) {
        self.ops.push(timed);
        self.asked.push((operation.client, operation.invoked.at, operation.ended.at));
    }

    /// Where the history of `name` stops being explained.
    fn explain(&self, name: &VmName, illegal: &Illegal) -> String {
        let shown = illegal.open.iter().take(Self::OPEN_SHOWN).map(|number| self.show(*number));
        let mut open: Vec<String> = shown.collect();
        if let Some(more @ 1..) = illegal.open.len().checked_sub(Self::OPEN_SHOWN) {
            open.push(format!("and {more} more"));
        }
        format!(
            "VM {name}: {} operations can be explained, then {} cannot; the VM can be {}; under way are [{}]",
            illegal.passed,
            self.show(illegal.operation),
            illegal.states.join(" or "),
            open.join(", ")
        )
    }

    fn show(&self, number: usize) -> String {
        let VmOp { call, expected, seen } = self.ops[number].op;
        let (client, asked, told) = self.asked[number];
        let id = self.ops[number].invoked;
        let expected = expected.map(|generation| format!(" at {generation}")).unwrap_or_default();
        match seen {
            Some(seen) => {
                format!(
                    "operation {id} ({call:?}{expected} of client {client}, asked at {asked:?}, answered {seen:?} at {told:?})"
                )
            }
            None => format!(
                "operation {id} ({call:?}{expected} of client {client}, asked at {asked:?}, never answered)"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
