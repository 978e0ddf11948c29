//! A sweep as text for people, and as JSON objects for programs.

use std::fmt::Write as _;

use crate::probes::Probe;
use serde_json::{Value, json};

use super::text::{counted, grouped, speed};
use super::{exit, json_of};
use crate::sweep::{Ending, Finished, Sweep, Swept};

/// A year of 365.25 days, in milliseconds.
const YEAR_MS: u64 = 31_557_600_000;

/// Virtual time in years, with three digits behind the point.
#[must_use]
pub fn virtual_years(ms: u64) -> String {
    let thousandths = ms / (YEAR_MS / 1_000);
    format!("{}.{:03}", grouped(thousandths / 1_000), thousandths % 1_000)
}

/// Runs a second, with one digit behind the point.
#[must_use]
pub(super) fn per_second(runs: u64, wall_us: u64) -> String {
    let tenths = u128::from(runs) * 10_000_000 / u128::from(wall_us.max(1));
    format!("{}.{}", grouped(u64::try_from(tenths / 10).unwrap_or(u64::MAX)), tenths % 10)
}

/// How far a sweep is, in a line; `since` is how many runs and microseconds of them are of earlier processes.
#[must_use]
pub fn progress(swept: &Swept, since: (u64, u64)) -> String {
    let pace = per_second(swept.runs.saturating_sub(since.0), swept.wall_us.saturating_sub(since.1));
    let years = virtual_years(swept.virtual_ms);
    let (hit, all) = (swept.probes.len(), Probe::ALL.len());
    format!(
        "{pace} seeds/s, {years} virtual years, {} failed, probes {hit} of {all}",
        grouped(swept.failures)
    )
}

/// What a sweep came to, with the line that gives each failed run again.
#[must_use]
pub fn sweep_summary(sweep: &Sweep, swept: &Swept, wall_us: u64) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    line("runs", format!("{} of {}", grouped(swept.runs), grouped(sweep.len())));
    line("virtual", format!("{} s", grouped(swept.virtual_ms / 1_000)));
    line("wall", format!("{} s", grouped(wall_us / 1_000_000)));
    line("speed", format!("{} virtual seconds a second", grouped(speed(swept.virtual_ms, wall_us))));
    line("events", grouped(swept.events));
    line("elections", grouped(swept.elections));
    line("faults", counted(swept.faults.iter().map(|(name, count)| (name.as_str(), *count))));
    for (name, counts) in [("aimed", &swept.aimed), ("buggify", &swept.buggify)] {
        if !counts.is_empty() {
            line(name, counted(counts.iter().map(|(name, count)| (name.as_str(), *count))));
        }
    }
    let hit = Probe::ALL.iter().filter_map(|probe| Some((probe.name(), *swept.probes.get(probe)?)));
    line("probes", counted(hit));
    let missed = swept.never_hit();
    if !missed.is_empty() {
        line("never hit", names(&missed).join(", "));
    }
    if swept.inconclusive > 0 {
        line("inconclusive", grouped(swept.inconclusive));
    }
    line("failed", grouped(swept.failures));
    for failure in &swept.failed {
        let _ = writeln!(text, "  {}\n      {}", failure.reproduce, failure.message);
    }
    let more = swept.failures - swept.failed.len() as u64;
    if more > 0 {
        let _ = writeln!(text, "  and {} more", grouped(more));
    }
    text
}

fn names(probes: &[Probe]) -> Vec<&'static str> {
    probes.iter().map(|probe| probe.name()).collect()
}

/// A finished run as the line of a sweep's JSON output: the object of a single run, and what the sweep makes of it.
#[must_use]
pub fn run_json(run: &Finished, scenario: &str) -> Value {
    let mut object = json_of(&run.report, scenario, &[], run.wall_us / 1_000, run.diverged);
    if let Some(object) = object.as_object_mut() {
        if run.hung {
            object.insert("outcome".into(), Ending::Hung.word().into());
        }
        object.insert("type".into(), "run".into());
        object.insert("number".into(), run.number.into());
        object.insert("failed".into(), run.failed.into());
    }
    object
}

/// The last line of a sweep's JSON output. `before` is how many of its runs were done by earlier processes.
#[must_use]
pub fn sweep_json(sweep: &Sweep, swept: &Swept, before: u64) -> Value {
    let counts = |(name, count): (&str, u64)| (name.to_owned(), Value::from(count));
    let probes = swept.probes.iter().map(|(probe, count)| counts((probe.name(), *count)));
    let endings = swept.endings.iter().map(|(ending, count)| counts((ending.word(), *count)));
    let scenarios: Vec<Value> = sweep
        .scenarios
        .iter()
        .enumerate()
        .map(|(place, (name, _))| {
            let share = swept.shares.get(place).copied().unwrap_or_default();
            json!({
                "scenario": name,
                "runs": share.runs,
                "failures": share.failures,
                "virtual_ms": share.virtual_ms,
                "busy_ms": share.busy_us / 1_000,
            })
        })
        .collect();
    json!({
        "type": "summary",
        "seeds": sweep.seeds.to_string(),
        "shard": sweep.shard.to_string(),
        "planned": sweep.len(),
        "runs": swept.runs,
        "runs_before": before,
        "complete": swept.runs == sweep.len(),
        "failures": swept.failures,
        "failed_as": endings.collect::<serde_json::Map<_, _>>(),
        "failed": swept.failed,
        "inconclusive": swept.inconclusive,
        "virtual_ms": swept.virtual_ms,
        "wall_ms": swept.wall_us / 1_000,
        "events": swept.events,
        "elections": swept.elections,
        "faults": swept.faults,
        "aimed": swept.aimed,
        "buggify": swept.buggify,
        "probes": probes.collect::<serde_json::Map<_, _>>(),
        "never_hit": names(&swept.never_hit()),
        "scenarios": scenarios,
    })
}

/// The exit code of a sweep: that of the gravest way in which a run failed.
#[must_use]
pub fn sweep_exit_code(swept: &Swept) -> u8 {
    match swept.endings.keys().next() {
        None => exit::HELD,
        Some(Ending::Nondeterminism) => exit::NONDETERMINISM,
        // What held although a failure was expected is a failed safety check, too.
        Some(Ending::Safety | Ending::Held) => exit::SAFETY,
        Some(Ending::Liveness | Ending::Hung) => exit::LIVENESS,
        Some(Ending::Inconclusive) => exit::INCONCLUSIVE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_and_paces_are_exact() {
        assert_eq!(virtual_years(0), "0.000");
        assert_eq!(virtual_years(YEAR_MS - 1), "0.999");
        assert_eq!(virtual_years(1_234 * YEAR_MS + YEAR_MS / 2), "1,234.500");
        assert_eq!(per_second(12_345, 10_000_000), "1,234.5");
        assert_eq!(per_second(3, 0), "3,000,000.0");
    }

    #[test]
    fn the_gravest_failure_is_the_exit_code() {
        let mut swept = Swept::default();
        assert_eq!(sweep_exit_code(&swept), exit::HELD);
        for (ending, code) in [
            (Ending::Held, exit::SAFETY),
            (Ending::Inconclusive, exit::INCONCLUSIVE),
            (Ending::Hung, exit::LIVENESS),
            (Ending::Liveness, exit::LIVENESS),
            (Ending::Safety, exit::SAFETY),
            (Ending::Nondeterminism, exit::NONDETERMINISM),
        ] {
            swept.endings.insert(ending, 1);
            assert_eq!(sweep_exit_code(&swept), code);
        }
    }
}
