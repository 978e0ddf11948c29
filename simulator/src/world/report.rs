//! What a run came to.

use std::collections::BTreeMap;

use blixard_node::time::Time;

use super::World;
use crate::checkers::{Subjects, Violation};
use crate::hang::GivenUp;
use crate::probes::Probes;
use crate::scenario::Outcome;
use crate::schedule::Schedule;

/// What happened how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events of the heap.
    pub events: u64,
    /// Turns completed.
    pub turns: u64,
    /// Writes begun.
    pub writes: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that arrived.
    pub delivered: u64,
    /// Messages lost.
    pub lost: u64,
    /// Messages that arrived twice.
    pub doubled: u64,
    /// Messages that travelled as bytes.
    pub encoded: u64,
    /// Elections won.
    pub elections: u64,
    /// Processes started.
    pub starts: u64,
    /// Processes ended.
    pub ends: u64,
    /// Processes that ended themselves after an injected disk fault.
    pub disk_errors: u64,
    /// Disks that were refused because they had rotted, and replaced.
    pub rot_refused: u64,
    /// Disks that had rotted and held nothing there when they were opened next.
    pub rot_harmless: u64,
    /// Snapshots taken from a leader.
    pub restored: u64,
    /// The highest index applied.
    pub applied_max: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Of these, those that were aimed, by the moment that they waited for.
    pub aimed: BTreeMap<&'static str, u64>,
    /// What was legal and rare, by site.
    pub buggify: BTreeMap<&'static str, u64>,
    /// Rare states that were reached.
    pub probes: Probes,
}

/// How one run ended, and what happened in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The scenario's name.
    pub scenario: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The first property violated, or what the core did not reach.
    pub violation: Option<Violation>,
    /// Why nothing could be concluded.
    pub proof: Option<String>,
    /// The hash over the whole log.
    pub trace_hash: u64,
    /// Lines in the log.
    pub trace_len: u64,
    /// True time that passed, in milliseconds.
    pub virtual_ms: u64,
    /// What happened how often.
    pub counts: Counts,
    /// Client operations by kind and outcome.
    pub operations: BTreeMap<(&'static str, &'static str), u64>,
    /// What went wrong with hypervisors, by name.
    pub hypervisor: BTreeMap<&'static str, u64>,
    /// The schedule that the run followed.
    pub schedule: Schedule,
}

impl Report {
    /// Of a run that was given up after `for_ms` by the wall clock.
    pub(crate) fn of_hang(scenario: &str, seed: u64, for_ms: u64, given_up: GivenUp) -> Self {
        let GivenUp { at, events } = given_up;
        Self {
            seed,
            scenario: scenario.to_owned(),
            outcome: Outcome::Inconclusive,
            proof: Some(format!("given up after {for_ms} ms, at {at:?} of the run and {events} events")),
            virtual_ms: at.0 / 1_000_000,
            counts: Counts { events, ..Counts::default() },
            ..Self::default()
        }
    }

    /// Of a run that panicked outside of its node, so that nothing else is known of it.
    pub(crate) fn of_panic(scenario: &str, seed: u64, message: String) -> Self {
        Self {
            seed,
            scenario: scenario.to_owned(),
            outcome: Outcome::Safety,
            violation: Some(Violation {
                property: "panic",
                message,
                at: Time(0),
                subjects: Subjects::default(),
            }),
            proof: None,
            trace_hash: 0,
            trace_len: 0,
            virtual_ms: 0,
            counts: Counts::default(),
            operations: BTreeMap::new(),
            hypervisor: BTreeMap::new(),
            schedule: Schedule::default(),
        }
    }
}

impl World<'_> {
    pub(super) fn report(mut self, outcome: Outcome, proof: Option<String>) -> Report {
        self.counts.buggify = self.sites.fired();
        let mut hypervisor: BTreeMap<&'static str, u64> = BTreeMap::new();
        for host in &self.hosts {
            if let Some(process) = &host.process {
                self.counts.probes.merge(process.node().probes());
            }
            host.hypervisor.with(|inside| {
                for (name, count) in inside.counts() {
                    *hypervisor.entry(name).or_default() += count;
                }
            });
        }
        Report {
            seed: self.seed,
            scenario: self.scenario.name.clone(),
            outcome,
            violation: self.failure,
            proof,
            trace_hash: self.trace.hash(),
            trace_len: self.trace.count(),
            virtual_ms: self.now.get() / 1_000_000,
            operations: self.workload.counts().clone(),
            schedule: Schedule {
                faults: self.plan.strikes.take_struck(),
                operations: self.workload.recorded().to_vec(),
            },
            counts: self.counts,
            hypervisor,
        }
    }
}
