//! A run as one JSON object.

use serde_json::{Map, Value, json};

use super::reproduce;
use crate::world::Report;

/// The object. `scenario` is how the scenario was named, `wall_ms` how long the run took the simulator.
#[must_use]
pub fn json_of(report: &Report, scenario: &str, overrides: &[String], wall_ms: u64, diverged: bool) -> Value {
    let counts = &report.counts;
    let violation = report.violation.as_ref().map(|violation| {
        json!({
            "property": violation.property,
            "message": violation.message,
            "virtual_ms": violation.at.0 / 1_000_000,
        })
    });
    let outcome = if diverged { "nondeterminism" } else { report.outcome.word() };
    let mut operations = Map::new();
    for ((kind, outcome), count) in &report.operations {
        operations.insert(format!("{kind}.{outcome}"), json!(count));
    }
    let probes: Vec<&str> = counts.probes.iter().map(|probe| probe.name()).collect();
    json!({
        "seed": report.seed,
        "scenario": report.scenario,
        "outcome": outcome,
        "violation": violation,
        "proof": report.proof,
        "trace_hash": format!("{:016x}", report.trace_hash),
        "trace_len": report.trace_len,
        "virtual_ms": report.virtual_ms,
        "wall_ms": wall_ms,
        "events": counts.events,
        "turns": counts.turns,
        "writes": counts.writes,
        "elections": counts.elections,
        "entries_applied": counts.applied_max,
        "snapshots_restored": counts.restored,
        "processes": { "started": counts.starts, "ended": counts.ends, "disk_errors": counts.disk_errors },
        "messages": {
            "sent": counts.sent,
            "delivered": counts.delivered,
            "lost": counts.lost,
            "doubled": counts.doubled,
            "encoded": counts.encoded,
        },
        "faults": counts.faults,
        "aimed": counts.aimed,
        "buggify": counts.buggify,
        "rot": { "refused": counts.rot_refused, "harmless": counts.rot_harmless },
        "hypervisor_faults": report.hypervisor,
        "operations": operations,
        "probes": probes,
        "reproduce": reproduce(scenario, report.seed, overrides),
    })
}
