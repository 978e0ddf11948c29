//! A scenario as a file: what [`Scenario::parse`] reads back as the very same. Keys that stand at their defaults are left out.

use super::value::Value as _;
use super::{
    Clock, Cluster, Disk, Expect, Fault, Hypervisor, Network, Operation, Part, Process, Run, Scenario, Swarm,
    When, Workload, fault,
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
        let kept = |part: Part| move |key: &str| self.swarm.kept.contains(&(part, key.to_owned()));
        let sections = [
            (Cluster::TABLE, self.cluster.lines(kept(Part::Cluster))),
            (Run::TABLE, self.run.lines(kept(Part::Run))),
            (Workload::TABLE, self.workload.lines(kept(Part::Workload))),
            (Network::TABLE, self.network.lines(kept(Part::Network))),
            (Disk::TABLE, self.disk.lines(kept(Part::Disk))),
            (Clock::TABLE, self.clock.lines(kept(Part::Clock))),
            (Process::TABLE, self.process.lines(kept(Part::Process))),
            (Hypervisor::TABLE, self.hypervisor.lines(kept(Part::Hypervisor))),
            (Expect::TABLE, self.expect.lines(|_| false)),
            (Swarm::TABLE, self.swarm.lines()),
        ];
        for (table, lines) in sections.into_iter().filter(|(_, lines)| !lines.is_empty()) {
            text += &format!("\n[{table}]\n{}\n", lines.join("\n"));
        }
        for fault in &self.faults {
            text += &format!("\n[[fault]]\n{}\n", fault.lines().join("\n"));
        }
        for operation in &self.operations {
            text += &format!("\n[[operation]]\n{}\n", operation.lines().join("\n"));
        }
        text
    }
}

impl Fault {
    fn lines(&self) -> Vec<String> {
        let when = match self.when {
            When::At(at) => format!("at = {}", at.show()),
            When::Every(every) => format!("every = {}", every.show()),
        };
        let mut lines = vec![format!("kind = {}", self.kind.show()), when];
        lines.extend(fault::keys_of(self.kind).iter().filter_map(|key| {
            let value = match *key {
                "lasts" => self.lasts.show(),
                "among" => self.among.show(),
                "node" => self.node?.show(),
                "point" => self.point.show(),
                "times" => self.times.show(),
                "hosts" if self.hosts.is_empty() => return None,
                "hosts" => self.hosts.show(),
                _ => self.by.show(),
            };
            Some(format!("{key} = {value}"))
        }));
        lines.extend(self.draws.map(|draws| format!("draws = {draws}")));
        if let Some(aim) = self.aim {
            lines.push(format!("aim = {}", aim.show()));
            lines.push(format!("within = {}", self.within.show()));
        }
        lines
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
