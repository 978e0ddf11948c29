//! Flags that change a scenario.

use std::path::Path;

use blixard_sim::scenario::{self, Part, Scenario, Storage};
use blixard_sim::swarm;
use clap::{Args, ValueEnum};

use super::files;

/// A seed on the command line.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is no seed: write a whole number below 2^64"))
}

#[derive(Debug, Args)]
pub(crate) struct Overrides {
    /// Another disk than the scenario's.
    #[arg(long, value_enum)]
    storage: Option<StorageArg>,
    /// Another length of the safety phase than the scenario's, such as 30s.
    #[arg(long, value_name = "SPAN")]
    duration: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StorageArg {
    Modelled,
    Redb,
}

impl Overrides {
    pub(crate) fn apply(&self, scenario: &mut Scenario) -> Result<(), String> {
        match self.storage {
            Some(StorageArg::Modelled) => scenario.cluster.storage = Storage::Modelled,
            Some(StorageArg::Redb) => scenario.cluster.storage = Storage::Redb,
            None => {}
        }
        // What the user says is not drawn.
        let mut keep = |part, key: &str| {
            scenario.swarm.keys.remove(&(part, key.to_owned()));
            if scenario.swarm.parts.contains(&part) {
                scenario.swarm.kept.insert((part, key.to_owned()));
            }
        };
        if self.storage.is_some() {
            keep(Part::Cluster, "storage");
        }
        if self.duration.is_some() {
            keep(Part::Run, "duration");
        }
        if let Some(span) = &self.duration {
            scenario.run.duration = scenario::duration(span).map_err(|why| format!("--duration: {why}"))?;
        }
        Ok(())
    }

    pub(crate) fn arguments(&self) -> Vec<String> {
        let storage = self.storage.map(|storage| match storage {
            StorageArg::Modelled => "--storage modelled".to_owned(),
            StorageArg::Redb => "--storage redb".to_owned(),
        });
        let duration = self.duration.as_ref().map(|span| format!("--duration {span}"));
        storage.into_iter().chain(duration).collect()
    }

    /// The scenario that the command line names, as this seed draws it, the name that it is reproduced by, and whether it is drawn.
    pub(crate) fn named(&self, name: &str, seed: u64) -> Result<(String, Scenario, bool), String> {
        let (name, written) = if name == swarm::NAME {
            let mut whole = swarm::whole();
            self.apply(&mut whole)?;
            (name.into(), whole)
        } else {
            let path = scenario::find(name)?;
            (path.display().to_string(), self.load(&path)?)
        };
        let drawn = !written.swarm.is_empty();
        Ok((name, swarm::resolve(&written, seed).into_owned(), drawn))
    }

    pub(crate) fn load(&self, path: &Path) -> Result<Scenario, String> {
        let mut scenario = files::scenario(path, "give a scenario file")?;
        self.apply(&mut scenario)?;
        Ok(scenario)
    }
}
