//! What must hold, one property a file. Checkers see what no node can: all nodes, all hosts and all clients, at true time.
//!
//! They are fed as things happen, and each feeding costs no more than what has changed. The first violation stays.

mod applied;
mod capacity;
mod election;
mod leases;
pub mod linearizability;
mod single_run;
mod violation;

use blixard_node::Node;
use blixard_node::effects::Event;
use blixard_node::ids::NodeId;
use blixard_node::spec::Resources;
use blixard_node::time::{Duration, Time};

pub use violation::Violation;

use crate::history::Operation;
use crate::hypervisor::Truth;
use crate::workload::TwoAnswers;

/// All checkers of one run.
#[derive(Debug)]
pub struct Checkers {
    violation: Option<Violation>,
    election: election::ElectionSafety,
    applied: applied::StateHashes,
    single_run: single_run::SingleRun,
    capacity: capacity::Capacity,
    leases: leases::Leases,
}

impl Checkers {
    /// For a cluster whose hypervisors may take `kill_grace` to kill a VM.
    #[must_use]
    pub fn new(kill_grace: Duration) -> Self {
        Self {
            violation: None,
            election: election::ElectionSafety::default(),
            applied: applied::StateHashes::default(),
            single_run: single_run::SingleRun::default(),
            capacity: capacity::Capacity::default(),
            leases: leases::Leases::new(kill_grace),
        }
    }

    /// The first violation.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// A host is there, with this much to offer.
    pub fn on_host(&mut self, host: NodeId, capacity: Resources) {
        self.capacity.host(host, capacity);
    }

    /// A process of `node` opened on its disk.
    pub fn on_open(&mut self, at: Time, node: &Node) {
        let _ = (at, node);
    }

    /// A turn of `node` has released its lanes. To be called before anybody is handed what the turn sent.
    pub fn on_turn(&mut self, at: Time, node: &Node, events: &[Event]) {
        for event in events {
            let result = match event {
                Event::BecameLeader { term } => self.election.became_leader(node.id(), *term),
                Event::Applied { revision, term, state_hash } => {
                    self.applied.applied(node.id(), *revision, *term, *state_hash).map(drop)
                }
                Event::Restored { revision, state_hash } => {
                    self.applied.restored(node.id(), *revision, *state_hash)
                }
                _ => Ok(()),
            };
            self.note(at, result);
        }
    }

    /// `node` was handed a heartbeat's acknowledgement: its lease runs until `sent + ttl` on its own clock.
    pub fn on_lease_granted(&mut self, node: NodeId, sent: Time, ttl: Duration) {
        self.leases.granted(node, sent, ttl);
    }

    /// What truly happened on hosts, in the order of true time.
    pub fn on_truth(&mut self, truths: &[Truth]) {
        for truth in truths {
            let Truth { at, host, fact } = *truth;
            let result = self.single_run.take(truth);
            self.note(at, result);
            let result = self.capacity.take(truth);
            self.note(at, result);
            let result = self.leases.take(host, &fact);
            self.note(at, result);
        }
    }

    /// Operations of clients that have ended, in the order of their ends.
    pub fn on_operations(&mut self, operations: impl IntoIterator<Item = Operation>) {
        for operation in operations {
            drop(operation);
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
            self.note(at, Err(Breach::new("bounded-queues", message)));
        }
    }

    fn note(&mut self, at: Time, result: Result<(), Breach>) {
        if let Err(breach) = result
            && self.violation.is_none()
        {
            self.violation = Some(Violation { property: breach.property, message: breach.message, at });
        }
    }
}

pub(crate) use violation::Breach;
