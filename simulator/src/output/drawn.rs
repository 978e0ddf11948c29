//! What a seed has drawn, in a few lines for people.

use std::fmt::Write as _;

use crate::scenario::{Chance, Scenario, When};

/// The cluster, what is on of the conditions, and which faults there are: a line each.
#[must_use]
pub fn drawn(scenario: &Scenario) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    let cluster = &scenario.cluster;
    line(
        "cluster",
        format!(
            "{} voters, {} workers, {} spares; {} disks, a snapshot every {} entries, leases of {}",
            cluster.voters,
            cluster.workers,
            cluster.spares,
            cluster.storage,
            cluster.snapshot_every,
            cluster.lease_ttl
        ),
    );
    let workload = &scenario.workload;
    line(
        "workload",
        format!(
            "{} clients, {} operations a second, {} VMs, for {}",
            workload.clients, workload.operations_per_second, workload.vms, scenario.run.duration
        ),
    );
    let sections = [
        ("network", scenario.network.chances()),
        ("disk", scenario.disk.chances()),
        ("hypervisor", scenario.hypervisor.chances()),
        ("buggify", scenario.buggify.chances()),
    ];
    for (name, chances) in sections {
        let on: Vec<String> = chances
            .into_iter()
            .filter(|(_, chance)| *chance != Chance::NEVER)
            .map(|(key, chance)| format!("{key} {chance}"))
            .collect();
        line(name, listed(&on));
    }
    let faults: Vec<String> = scenario
        .faults
        .iter()
        .map(|fault| match fault.when {
            When::At(at) => format!("{} at {at}", fault.kind),
            When::Every(every) => format!("{} every {}..{}", fault.kind, every.min, every.max),
        })
        .collect();
    line("faults", listed(&faults));
    text
}

fn listed(items: &[String]) -> String {
    if items.is_empty() { "nothing".into() } else { items.join(", ") }
}
