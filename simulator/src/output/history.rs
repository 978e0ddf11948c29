//! The history of sweeps as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::grouped;
use super::sweep::{per_second, virtual_years};
use crate::logbook::{Record, State};
use crate::sweep::Failure;

/// The failures shown of each build.
const FAILURES_SHOWN: usize = 20;

/// One sweep of the history with the failures that were kept of it.
type Entry = (u64, Record, Vec<Failure>);

/// The sweeps of one build together.
struct OfBuild<'e> {
    label: String,
    entries: Vec<&'e Entry>,
}

impl<'e> OfBuild<'e> {
    fn sum(&self, of: impl Fn(&Record) -> u64) -> u64 {
        self.entries.iter().map(|(_, record, _)| of(record)).sum()
    }

    fn runs(&self) -> u64 {
        self.sum(|record| record.swept.runs)
    }

    fn failures(&self) -> u64 {
        self.sum(|record| record.swept.failures)
    }

    fn wall_us(&self) -> u64 {
        self.sum(|record| record.swept.wall_us)
    }

    fn virtual_ms(&self) -> u64 {
        self.sum(|record| record.swept.virtual_ms)
    }

    fn failed(&self) -> impl Iterator<Item = &'e Failure> {
        self.entries.iter().flat_map(|(_, _, failed)| failed)
    }
}

/// By build; the one whose newest sweep is the oldest comes first.
fn by_build(entries: &[Entry]) -> Vec<OfBuild<'_>> {
    let mut builds: BTreeMap<String, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        builds.entry(entry.1.build.label()).or_default().push(entry);
    }
    let mut builds: Vec<_> = builds.into_iter().map(|(label, entries)| OfBuild { label, entries }).collect();
    builds.sort_by_key(|build| build.entries.iter().map(|(number, ..)| *number).max());
    builds
}

/// A line for each build, and below it the failures with the commands that give them again.
#[must_use]
pub fn history_table(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "No sweep is kept yet.\n".into();
    }
    let builds = by_build(entries);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    table.set_header(["BUILD", "LAST", "SWEEPS", "SEEDS", "FAILED", "SEEDS/S", "VIRTUAL YEARS"]);
    for build in &builds {
        let last = build.entries.iter().map(|(_, record, _)| record.entered_s).max().unwrap_or(0);
        let unfinished =
            build.entries.iter().filter(|(_, record, _)| record.state != State::Complete).count();
        let sweeps = match unfinished {
            0 => build.entries.len().to_string(),
            some => format!("{} ({some} unfinished)", build.entries.len()),
        };
        table.add_row([
            build.label.clone(),
            date(last),
            sweeps,
            grouped(build.runs()),
            grouped(build.failures()),
            per_second(build.runs(), build.wall_us()),
            virtual_years(build.virtual_ms()),
        ]);
    }
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = String::new();
    for line in table.lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for build in builds.iter().filter(|build| build.failures() > 0) {
        let _ = writeln!(text, "\nfailed with {}:", build.label);
        let mut shown = 0;
        for failure in build.failed().take(FAILURES_SHOWN) {
            let _ = writeln!(text, "  {}\n      {}", failure.reproduce, failure.message);
            shown += 1;
        }
        let more = build.failures() - shown;
        if more > 0 {
            let _ = writeln!(text, "  and {} more", grouped(more));
        }
    }
    text
}

/// An object for each build, with its sweeps and the failures that were kept of them.
#[must_use]
pub fn history_json(entries: &[Entry]) -> Value {
    let builds = by_build(entries);
    let each = builds.iter().map(|build| {
        let sweeps: Vec<Value> = build.entries.iter().map(|entry| sweep(entry)).collect();
        json!({
            "build": build.label,
            "seeds": build.runs(),
            "failures": build.failures(),
            "wall_ms": build.wall_us() / 1_000,
            "virtual_ms": build.virtual_ms(),
            "seeds_per_1000_s": rate(build.runs(), build.wall_us()),
            "sweeps": sweeps,
        })
    });
    Value::Array(each.collect())
}

/// Seeds in a thousand seconds: a pace without fractions.
fn rate(runs: u64, wall_us: u64) -> u64 {
    u64::try_from(u128::from(runs) * 1_000_000_000 / u128::from(wall_us.max(1))).unwrap_or(u64::MAX)
}

fn sweep((number, record, failed): &Entry) -> Value {
    json!({
        "number": number,
        "began": date(record.began_s),
        "state": record.state,
        "commit": record.build.name,
        "dirty": record.build.dirty,
        "profile": record.build.profile,
        "binary": record.build.binary,
        "scenarios": record.scenarios,
        "seeds": record.key.seeds,
        "shard": record.key.shard,
        "planned": record.planned,
        "runs": record.swept.runs,
        "failures": record.swept.failures,
        "failed": failed,
        "virtual_ms": record.swept.virtual_ms,
        "wall_ms": record.swept.wall_us / 1_000,
    })
}

/// A moment in UTC.
fn date(unix_s: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix_s)).to_string()
}
