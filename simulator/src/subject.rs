//! What is put into the world: the shipped node, the node with a bug planted, or somebody else's.

use crate::scenario::Scenario;
use crate::trace::Sink;
use crate::world::{self, Report, Sabotage};

/// Something whose runs follow from a scenario and a seed alone. Sweeps, the proof of determinism, the shrinker and the pictures work on
/// any.
pub trait Subject: Sync {
    /// Runs one seed of a scenario to its end; `sink` hears of every event.
    fn run(&self, scenario: &Scenario, seed: u64, sink: Option<&mut dyn Sink>) -> Report;
}

/// Blixard's node, turn loop and store, as they ship unless something is sabotaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blixard(pub Sabotage);

impl Subject for Blixard {
    fn run(&self, scenario: &Scenario, seed: u64, sink: Option<&mut dyn Sink>) -> Report {
        world::run(scenario, seed, self.0, sink)
    }
}
