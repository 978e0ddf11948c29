//! A run as text for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::reproduce;
use crate::determinism::Divergence;
use crate::probes::Probe;
use crate::scenario::Outcome;
use crate::world::Report;

/// A number with its digits in groups of three.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

pub(super) fn speed(virtual_ms: u64, wall_us: u64) -> u64 {
    u64::try_from(u128::from(virtual_ms) * 1_000 / u128::from(wall_us.max(1))).unwrap_or(u64::MAX)
}

pub(super) fn counted<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let each: Vec<String> = counts.map(|(name, count)| format!("{name} {count}")).collect();
    if each.is_empty() { "none".into() } else { each.join(", ") }
}

fn operations(report: &Report) -> String {
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for ((_, outcome), count) in &report.operations {
        *outcomes.entry(outcome).or_default() += count;
    }
    counted(outcomes.into_iter())
}

/// The summary that follows the seed's line. It ends with the trace hash and the line that gives the run again.
#[must_use]
pub fn summary(report: &Report, scenario: &str, overrides: &[String], wall_us: u64) -> String {
    let counts = &report.counts;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<12} {value}");
    };
    line("outcome", verdict(report));
    let seconds = |ms: u64| format!("{}.{:03} s", ms / 1_000, ms % 1_000);
    line("virtual", seconds(report.virtual_ms));
    line("wall", seconds(wall_us / 1_000));
    line("speed", format!("{} virtual seconds a second", grouped(speed(report.virtual_ms, wall_us))));
    let (events, turns, writes) = (grouped(counts.events), grouped(counts.turns), grouped(counts.writes));
    line("events", format!("{events} ({turns} turns, {writes} writes)"));
    line("messages", format!("{} sent, {} lost", grouped(counts.sent), grouped(counts.lost)));
    line("elections", counts.elections.to_string());
    line("log", format!("{} entries, {} snapshots restored", grouped(counts.applied_max), counts.restored));
    line("processes", format!("{} started, {} ended", counts.starts, counts.ends));
    line("faults", counted(counts.faults.iter().map(|(name, count)| (*name, *count))));
    if !counts.aimed.is_empty() {
        line("aimed", counted(counts.aimed.iter().map(|(name, count)| (*name, *count))));
    }
    if !counts.buggify.is_empty() {
        line("buggify", counted(counts.buggify.iter().map(|(name, count)| (*name, *count))));
    }
    if counts.rot_refused + counts.rot_harmless > 0 {
        line("rot", format!("{} disks refused, {} sound", counts.rot_refused, counts.rot_harmless));
    }
    line("hypervisors", counted(report.hypervisor.iter().map(|(name, count)| (*name, *count))));
    line("operations", operations(report));
    let names: Vec<&str> = counts.probes.iter().map(Probe::name).collect();
    line("probes", format!("{} of {}: {}", names.len(), Probe::ALL.len(), names.join(", ")));
    line("trace", format!("{:016x}", report.trace_hash));
    line("reproduce", reproduce(scenario, report.seed, overrides));
    text
}

/// How a run ended, in a line.
pub(crate) fn verdict(report: &Report) -> String {
    let what = report.violation.as_ref().map_or_else(String::new, |violation| format!(": {violation}"));
    match report.outcome {
        Outcome::Held => "held".into(),
        Outcome::Safety => format!("SAFETY VIOLATED{what}"),
        Outcome::Liveness => format!("NOT RECOVERED{what}"),
        Outcome::Inconclusive => {
            format!("inconclusive: {}", report.proof.as_deref().unwrap_or("no reason given"))
        }
    }
}

/// Where two runs of a seed part.
#[must_use]
pub fn divergence(found: &Divergence) -> String {
    let mut text = format!("the same seed gave two runs: they part at line {}\n", found.line);
    for entry in &found.before {
        let _ = writeln!(text, "  both    {entry}");
    }
    let show =
        |entry: &Option<crate::trace::Entry>| entry.map_or("(ends here)".into(), |entry| entry.to_string());
    let _ = writeln!(text, "  first   {}", show(&found.first));
    let _ = writeln!(text, "  second  {}", show(&found.second));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0, 12, 123, 1_234, 1_234_567].map(grouped), ["0", "12", "123", "1,234", "1,234,567"]);
    }
}
