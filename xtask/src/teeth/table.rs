//! What came of the hunt, as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use blixard_sim::sabotage::Bug;

use super::hunt::{Find, Searched};
use super::small::{self, Small};

/// One bug with what came of it.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) bug: &'a Bug,
    pub(super) searched: &'a [Searched],
    /// What its first find was shrunk to.
    pub(super) small: Option<&'a Small>,
}

impl Row<'_> {
    fn finds(&self) -> impl Iterator<Item = &Find> {
        self.searched.iter().filter_map(|searched| searched.found.as_ref())
    }

    /// Whether it was found in most ranges.
    pub(super) fn is_found(&self) -> bool {
        2 * self.finds().count() > self.searched.len()
    }

    /// The median of seeds needed; none when it was not found in most ranges.
    pub(super) fn median_seeds(&self) -> Option<u64> {
        let needed = |searched: &Searched| if searched.found.is_some() { searched.seeds } else { u64::MAX };
        median(self.searched.iter().map(needed)).filter(|seeds| *seeds != u64::MAX)
    }

    fn median_cpu(&self) -> u64 {
        median(self.searched.iter().map(|searched| searched.cpu)).unwrap_or(0)
    }

    fn checkers(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        self.finds().for_each(|find| *counts.entry(find.property).or_default() += 1);
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        counts.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    fn cells(&self) -> [String; COLUMNS] {
        let most: u64 = self.searched.iter().map(|searched| searched.seeds).max().unwrap_or(0);
        let found = format!("{} of {}", self.finds().count(), self.searched.len());
        let seeds = self.median_seeds().map_or_else(|| format!("> {most}"), |seeds| seeds.to_string());
        let cpu = format!("{:.1}", self.median_cpu() as f64 / 1e9);
        let small = self.small.map_or_else(String::new, |small| small::cell(small.size));
        [self.bug.name.into(), self.bug.area.name().into(), found, self.checkers(), seeds, cpu, small]
    }

    /// What is to be known beside the table, a line each.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(small) = self.small.filter(|small| small.differs) {
            remarks
                .push(format!("{}: seed {}, shrunk, does not replay as recorded", self.bug.name, small.seed));
        }
        for searched in self.searched {
            for other in &searched.others {
                let Find { seed, property, message, .. } = other;
                remarks.push(format!("{}: seed {seed} by another: {property}: {message}", self.bug.name));
            }
            for seed in &searched.unsound {
                remarks.push(format!("{}: seed {seed} fails without the bug, too", self.bug.name));
            }
        }
        remarks
    }
}

fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

const COLUMNS: usize = 7;
const HEAD: [&str; COLUMNS] = ["bug", "area", "found", "by", "seeds", "CPU s", "shrunk"];

/// For people at a terminal.
pub(super) fn text(rows: &[Row<'_>]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut out = String::new();
    for line in &lines {
        let padded: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(out, "{}", padded.join("  ").trim_end());
    }
    out
}

/// For `docs/teeth.md`.
pub(super) fn markdown(rows: &[Row<'_>]) -> String {
    let mut out = format!("| {} | what is wrong |\n|{}---|\n", HEAD.join(" | "), "---|".repeat(HEAD.len()));
    for row in rows {
        let mut cells = row.cells();
        cells[0] = format!("`{}`", cells[0]);
        let _ = writeln!(out, "| {} | {} |", cells.join(" | "), row.bug.wrong);
    }
    out
}

/// The sum of it, in a line.
pub(super) fn summary(rows: &[Row<'_>]) -> String {
    let found = rows.iter().filter(|row| row.is_found()).count();
    let seeds = median(rows.iter().map(|row| row.median_seeds().unwrap_or(u64::MAX)));
    let seeds =
        seeds.filter(|seeds| *seeds != u64::MAX).map_or_else(|| "none".into(), |seeds| seeds.to_string());
    format!("{found} of {} found, by a median of {seeds} seeds{}", rows.len(), shrunk(rows))
}

/// The medians of what the finds were shrunk to, if they were.
fn shrunk(rows: &[Row<'_>]) -> String {
    let smalls = || rows.iter().filter_map(|row| row.small);
    let middle = |of: fn(&Small) -> u64| median(smalls().map(of));
    let faults = middle(|small| small.size.faults as u64);
    let operations = middle(|small| small.size.operations as u64);
    let hosts = middle(|small| small.size.hosts);
    let (Some(faults), Some(operations), Some(hosts)) = (faults, operations, hosts) else {
        return String::new();
    };
    let over = smalls().filter(|small| !small.cut_short).count();
    format!(
        "; shrunk to medians of {faults} faults, {operations} operations and {hosts} hosts ({over} of {} searches came to their end)",
        smalls().count()
    )
}
