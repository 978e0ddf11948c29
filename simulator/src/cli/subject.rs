//! Flags that change what is run.

use blixard_sim::subject::Blixard;
use blixard_sim::world::Sabotage;
use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct SubjectArgs {
    /// Make something lie, to see that it is found out.
    #[arg(long, value_enum, value_name = "WHAT")]
    sabotage: Option<Lie>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lie {
    /// Disks say that a sync succeeded and keep nothing.
    DisksLie,
    /// Hypervisors let VMs live past their deadlines.
    DeadlinesIgnored,
}

impl SubjectArgs {
    pub(crate) fn subject(&self) -> Blixard {
        let mut sabotage = Sabotage::default();
        match self.sabotage {
            Some(Lie::DisksLie) => sabotage.disks_lie = true,
            Some(Lie::DeadlinesIgnored) => sabotage.deadlines_ignored = true,
            None => {}
        }
        Blixard(sabotage)
    }

    /// As arguments that give the same again.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let value = self.sabotage.and_then(|lie| lie.to_possible_value());
        value.map(|value| format!("--sabotage {}", value.get_name())).into_iter().collect()
    }
}
