//! The liveness phase: everything is healed, and then every node must answer.

use blixard_node::time::Duration;

use super::Spec;
use super::world::World;
use crate::scenario::{Chance, Outcome};

/// How often the answers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl<S: Spec> World<'_, S> {
    /// Heals everything and waits until true time `end` for all to be answered. How the run ended, with the proof if nothing can be
    /// concluded.
    pub(super) fn recover(&mut self, end: u64) -> (Outcome, Option<String>) {
        self.heal();
        self.begin_probes();
        loop {
            let next = (self.now.get() + LOOK_EVERY.0).min(end);
            self.run_until(next);
            let missing = self.clients.unanswered();
            if self.failed() || missing.is_empty() || self.now.get() >= end {
                return self.conclude(&missing);
            }
        }
    }

    fn heal(&mut self) {
        for slot in 0..self.active.len() {
            self.end_fault(slot);
        }
        self.links.heal();
        self.scenario.disk.stall = Chance::NEVER;
        for host in 0..self.hosts.len() {
            self.hosts[host].recovery_crashes = 0;
            self.hosts[host].armed = None;
            if self.hosts[host].process.is_none() {
                self.start_after(host, Duration::from_millis(1));
            }
        }
    }

    /// A violation of safety weighs more than an answer that is missing.
    fn conclude(&mut self, missing: &[String]) -> (Outcome, Option<String>) {
        let undecided = if self.failed() { None } else { self.judge().err() };
        if self.failed() {
            return (Outcome::Safety, None);
        }
        if !missing.is_empty() {
            let span = self.scenario.run.liveness;
            let missing = missing.join(", ");
            self.fail(
                "liveness",
                format!("not answered within {span} of everything being healed: {missing}"),
            );
            return (Outcome::Liveness, None);
        }
        let outcome = if undecided.is_some() { Outcome::Inconclusive } else { Outcome::Held };
        (outcome, undecided)
    }
}
