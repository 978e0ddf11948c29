//! What a search for a smaller case came to, and a replay of one.

use std::fmt::Write as _;

use super::grouped;
use crate::scenario::Expect;
use crate::shrink::Shrunk;
use crate::world::Report;

/// What was found, and the line that runs it.
#[must_use]
pub fn shrunk_summary(shrunk: &Shrunk, wall_ms: u64, replay: &str) -> String {
    let (before, after) = (shrunk.before, shrunk.size);
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<12} {value}");
    };
    if let Some(violation) = &shrunk.report.violation {
        line("violation", violation.to_string());
    }
    line("faults", format!("{} of {}", after.faults, before.faults));
    line("operations", format!("{} of {}", after.operations, grouped(before.operations as u64)));
    line("hosts", format!("{} of {}", after.hosts, before.hosts));
    line("span", format!("{} of {}", seconds(after.span_ms), seconds(before.span_ms)));
    line("conditions", format!("{} of {} keys beside their defaults", after.keys, before.keys));
    line("runs", grouped(shrunk.runs));
    line("wall", seconds(wall_ms));
    if shrunk.cut_short {
        line("cut short", "the time was over; a longer --time may find a smaller one".into());
    }
    line("trace", format!("{:016x}", shrunk.report.trace_hash));
    line("replay", replay.into());
    text
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1_000, ms % 1_000)
}

/// How a run compares with what its scenario has on record.
#[must_use]
pub fn compared(expect: &Expect, report: &Report) -> String {
    let property = report.violation.as_ref().map_or("", |violation| violation.property);
    let trace = format!("{:016x}", report.trace_hash);
    if (report.outcome, property) != (expect.outcome, expect.property.as_str()) {
        let recorded = [expect.outcome.word(), expect.property.as_str()].join(" ");
        return format!("not as recorded: {} was", recorded.trim());
    }
    match expect.trace.as_str() {
        "" => "as recorded; no trace is".into(),
        recorded if recorded == trace => "as recorded, event by event".into(),
        recorded => format!(
            "the same violation by another way: the trace of record is {recorded}; the code is not the same"
        ),
    }
}
