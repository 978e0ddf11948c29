//! What chance decided in a run: each strike of a fault and each operation of a client, as a scenario would name them.

use crate::scenario::{Fault, Operation, Scenario};
use crate::swarm;

/// The schedule that a run followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Every strike as a fault of its own, with whom it struck, for how long, and the stream of the rest.
    pub faults: Vec<Fault>,
    /// Every operation that a client began.
    pub operations: Vec<Operation>,
}

impl Scenario {
    /// The scenario with `schedule`, which its run with `seed` has followed, in the place of what it leaves to chance: it gives the
    /// same run, and one with less in it when something is taken out.
    #[must_use]
    pub fn explicit(&self, seed: u64, schedule: &Schedule) -> Self {
        let mut scenario = swarm::resolve(self, seed).into_owned();
        scenario.seed = Some(seed);
        scenario.run.swarm = false;
        scenario.faults.clone_from(&schedule.faults);
        scenario.operations.clone_from(&schedule.operations);
        if scenario.operations.is_empty() {
            scenario.workload.operations_per_second = 0;
        }
        scenario
    }
}
