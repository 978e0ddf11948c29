//! A scenario as a file: what [`Scenario::parse`] reads back as the very same. Keys that stand at their defaults are left out.

use super::value::Value as _;
use super::{
    Buggify, Clock, Cluster, Disk, Expect, Fault, Hypervisor, Network, Operation, Part, Process, Run,
    Scenario, Swarm, When, Workload, fault,
};

impl Scenario {
    /// The scenario as TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = format!("name = {}\n", self.name.show());
        if !self.description.is_empty() {
            text += &format!("description = {}\n", self.description.show());
        }
        if let Some(seed) = self.seed {
            // As text: the numbers of TOML end at 2^63.
            text += &format!("seed = \"{seed}\"\n");
        }
        text += &tables(&self.sections());
        for fault in &self.faults {
            text += &format!("\n[[fault]]\n{}\n", fault.lines().join("\n"));
        }
        for operation in &self.operations {
            text += &format!("\n[[operation]]\n{}\n", operation.lines().join("\n"));
        }
        text
    }

    /// The lines of the keys that do not stand at their defaults, by table.
    fn sections(&self) -> Vec<(&'static str, Vec<String>)> {
        let kept = |part: Part| move |key: &str| self.swarm.kept.contains(&(part, key.to_owned()));
        vec![
            (Cluster::TABLE, self.cluster.lines(kept(Part::Cluster))),
            (Run::TABLE, self.run.lines(kept(Part::Run))),
            (Workload::TABLE, self.workload.lines(kept(Part::Workload))),
            (Network::TABLE, self.network.lines(kept(Part::Network))),
            (Disk::TABLE, self.disk.lines(kept(Part::Disk))),
            (Clock::TABLE, self.clock.lines(kept(Part::Clock))),
            (Process::TABLE, self.process.lines(kept(Part::Process))),
            (Hypervisor::TABLE, self.hypervisor.lines(kept(Part::Hypervisor))),
            (Buggify::TABLE, self.buggify.lines(kept(Part::Buggify))),
            (Expect::TABLE, self.expect.lines(|_| false)),
            (Swarm::TABLE, self.swarm.lines()),
        ]
    }

    /// How many keys stand at another value than their default, but for those that say how large the scenario is.
    pub(crate) fn changed_keys(&self) -> usize {
        self.sections().iter().map(|(table, lines)| conditions(table, lines).count()).sum()
    }

    /// The scenario with the `number`-th of those keys at its default: none when there are not so many, `Some(None)` when it would not be a
    /// scenario then.
    pub(crate) fn without_key(&self, number: usize) -> Option<Option<Self>> {
        let mut sections = self.sections();
        let (table, line) = sections
            .iter()
            .enumerate()
            .flat_map(|(table, (name, lines))| conditions(name, lines).map(move |line| (table, line)))
            .nth(number)?;
        sections[table].1.remove(line);
        let text = format!("name = {}\n{}", self.name.show(), tables(&sections));
        let read = Self::parse("a scenario without a key", &text).ok();
        Some(read.map(|read| Self {
            name: self.name.clone(),
            description: self.description.clone(),
            seed: self.seed,
            faults: self.faults.clone(),
            operations: self.operations.clone(),
            ..read
        }))
    }
}

fn tables(sections: &[(&str, Vec<String>)]) -> String {
    let filled = sections.iter().filter(|(_, lines)| !lines.is_empty());
    filled.map(|(table, lines)| format!("\n[{table}]\n{}\n", lines.join("\n"))).collect()
}

/// The places of the lines that say under which conditions a scenario runs, not how large it is.
fn conditions<'l>(table: &str, lines: &'l [String]) -> impl Iterator<Item = usize> + use<'l> {
    const SIZES: [&str; 6] = ["voters", "workers", "spares", "clients", "vms", "operations_per_second"];
    let counts = ![Run::TABLE, Expect::TABLE, Swarm::TABLE].contains(&table);
    let is_size = |line: &String| SIZES.iter().any(|key| line.starts_with(&format!("{key} =")));
    lines.iter().enumerate().filter(move |(_, line)| counts && !is_size(line)).map(|(place, _)| place)
}

impl Fault {
    fn lines(&self) -> Vec<String> {
        let when = match self.when {
            When::At(at) => format!("at = {}", at.show()),
            When::Every(every) => format!("every = {}", every.show()),
        };
        let mut lines = vec![format!("kind = {}", self.kind.show()), when];
        let default = Self::new(self.kind, self.when);
        lines.extend(fault::keys_of(self.kind).iter().filter_map(|key| {
            let value = self.shown(key)?;
            (default.shown(key).as_ref() != Some(&value)).then(|| format!("{key} = {value}"))
        }));
        lines.extend(self.draws.map(|draws| format!("draws = {draws}")));
        if let Some(aim) = self.aim {
            lines.push(format!("aim = {}", aim.show()));
            lines.push(format!("within = {}", self.within.show()));
        }
        lines
    }

    fn shown(&self, key: &str) -> Option<String> {
        Some(match key {
            "lasts" => self.lasts.show(),
            "among" => self.among.show(),
            "node" => self.node?.show(),
            "point" => self.point.show(),
            "times" => self.times.show(),
            "hosts" => self.hosts.show(),
            _ => self.by.show(),
        })
    }
}

impl Operation {
    fn lines(&self) -> Vec<String> {
        vec![
            format!("at = {}", self.at.show()),
            format!("client = {}", self.client),
            format!("node = {}", self.node),
            format!("call = {}", self.call.show()),
            format!("vm = {}", self.vm),
            format!("draws = {}", self.draws),
        ]
    }
}
