//! Prints results to standard output, progress and failures to standard error.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::error::{CliError, ErrorView};
use super::view::{Change, Cluster, Delta, Event, Events, Member, PortList, Update, Vm, VmDetail, VmList};

/// How results are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// Where a command speaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    format: Format,
    color: bool,
    /// The wall clock, for ages.
    now_ms: u64,
}

/// Something that can be shown in every format.
pub(super) trait Show: Serialize {
    /// For people; ends with a newline.
    fn table(&self, output: Output) -> String;
}

impl Output {
    pub(super) fn new(format: Format, now_ms: u64) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { format, color: !no_color && io::stdout().is_terminal(), now_ms }
    }

    /// Prints a result. A closed pipe ends it without complaint.
    pub(super) fn show(self, result: &impl Show) {
        let _ = io::stdout().lock().write_all(self.render(result).as_bytes());
    }

    /// Prints results of a command over several names: one as itself, several as a list.
    pub(super) fn show_each<T: Show>(self, results: &[T]) {
        let text = match (self.format, results) {
            (_, [one]) => self.render(one),
            (Format::Table, _) => results.iter().map(|one| one.table(self)).collect(),
            (Format::Json, _) => json(&results),
            (Format::Yaml, _) => yaml(&results),
        };
        let _ = io::stdout().lock().write_all(text.as_bytes());
    }

    /// Prints results that come one after the other without an end: JSON an object a line, YAML a document each.
    pub(super) fn show_more<T: Show>(self, results: &[T]) {
        let mut out = io::stdout().lock();
        for one in results {
            let text = match self.format {
                Format::Table => one.table(self),
                Format::Json => serde_json::to_string(one).unwrap_or_default() + "\n",
                Format::Yaml => format!("---\n{}", yaml(one)),
            };
            let _ = out.write_all(text.as_bytes());
        }
        let _ = out.flush();
    }

    fn render(self, result: &impl Show) -> String {
        match self.format {
            Format::Table => result.table(self),
            Format::Json => json(result),
            Format::Yaml => yaml(result),
        }
    }

    /// Tells of something under way.
    pub(super) fn progress(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Tells of a failure.
    pub(super) fn fail(self, error: &CliError, name: Option<&str>) {
        let _ = io::stderr().lock().write_all(self.render_failure(error, name).as_bytes());
    }

    fn render_failure(self, error: &CliError, name: Option<&str>) -> String {
        match self.format {
            Format::Table => format!("error[{}]: {error}\n", error.code()),
            Format::Json => json(&ErrorView::new(error, name)),
            Format::Yaml => yaml(&ErrorView::new(error, name)),
        }
    }

    pub(super) fn new_table(self, header: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(header.iter().map(|title| self.cell(*title, None, true)));
        if self.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table
    }

    pub(super) fn cell(self, text: impl Into<String>, color: Option<Color>, bold: bool) -> Cell {
        let mut cell = Cell::new(text.into());
        if self.color {
            if let Some(color) = color {
                cell = cell.fg(color);
            }
            if bold {
                cell = cell.add_attribute(Attribute::Bold);
            }
        }
        cell
    }
}

impl Show for VmList {
    fn table(&self, output: Output) -> String {
        if self.vms.is_empty() {
            return "There are no VMs.\n".into();
        }
        let header = [
            "NAME",
            "PHASE",
            "WANTED",
            "NODE",
            "VCPUS",
            "MEMORY",
            "HYPERVISOR",
            "RESTARTS",
            "SINCE",
            "REASON",
        ];
        let mut table = output.new_table(&header);
        for vm in &self.vms {
            table.add_row(vec![
                Cell::new(&vm.name),
                output.cell(&vm.phase, phase_color(&vm.phase), false),
                Cell::new(if vm.deleting { "deleted" } else { vm.wanted }),
                Cell::new(or_dash(vm.node)),
                Cell::new(vm.spec.vcpus),
                Cell::new(memory(vm.spec.memory_mib)),
                Cell::new(&vm.spec.hypervisor),
                Cell::new(vm.restarts),
                Cell::new(age(output.now_ms.saturating_sub(vm.since_ms))),
                Cell::new(&vm.reason),
            ]);
        }
        trimmed(&table)
    }
}

impl Show for Vm {
    fn table(&self, output: Output) -> String {
        let mut text = format!("{}: {}", self.name, self.phase);
        if let Some(node) = self.node {
            text += &format!(" on node {node}");
        }
        text += &format!(" for {}", age(output.now_ms.saturating_sub(self.since_ms)));
        if self.deleting {
            text += ", being deleted";
        } else if self.wanted != self.phase {
            text += &format!(", wanted {}", self.wanted);
        }
        if self.restarts > 0 {
            text += &format!(", restarted {} times", self.restarts);
        }
        if !self.reason.is_empty() {
            text += &format!(": {}", self.reason);
        }
        text + "\n"
    }
}

impl Show for VmDetail {
    fn table(&self, output: Output) -> String {
        let vm = &self.0;
        let spec = &vm.spec;
        let mut text = vm.table(output);
        let mut line = |key: &str, value: &str| text += &format!("  {key:<12}{value}\n");
        if vm.node.is_none()
            && let Some(node) = vm.last_node
        {
            line("last host", &format!("node {node}"));
        }
        let vcpus = if spec.vcpus == 1 { "vCPU" } else { "vCPUs" };
        line("needs", &format!("{} {vcpus}, {}", spec.vcpus, memory(spec.memory_mib)));
        line("hypervisor", &spec.hypervisor);
        line("restart", spec.restart);
        line("failover", if spec.local_volume { "wait (it has a local volume)" } else { spec.failover });
        for (key, value) in &spec.requires {
            line("requires", &format!("{key}={value}"));
        }
        for port in &spec.ports {
            line("port", &port.to_string());
        }
        if let Some(artifact) = &vm.artifact {
            line("artifact", artifact);
        }
        if let Some(epoch) = vm.epoch {
            line("epoch", &epoch.to_string());
        }
        let behind = if vm.observed_generation < vm.generation { ", not acted on yet" } else { "" };
        line("generation", &format!("{}{behind}", vm.generation));
        text
    }
}

impl Show for Events {
    fn table(&self, output: Output) -> String {
        if self.events.is_empty() {
            return "Nothing has happened yet.\n".into();
        }
        self.events.iter().map(|event| event.table(output)).collect()
    }
}

impl Show for Event {
    /// A line as of a log: what follows may come at any time.
    fn table(&self, _: Output) -> String {
        let host = self.node.map(|node| format!(" on node {node}")).unwrap_or_default();
        let why = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        format!("{}  {}: {}{host}{why}\n", self.at, self.vm, self.phase)
    }
}

impl Show for PortList {
    fn table(&self, output: Output) -> String {
        if self.ports.is_empty() {
            return "There are no ports.\n".into();
        }
        let mut table = output.new_table(&["VM", "ADDRESS", "GUEST", "NODE", "PHASE", "REACHED"]);
        for port in &self.ports {
            let address = match port.address.as_deref() {
                Some(six) if six.contains(':') => format!("[{six}]:"),
                Some(address) => format!("{address}:"),
                None => String::new(),
            };
            let reached = match (port.node, port.host_only) {
                (None, _) => "nowhere: no host has the VM".to_owned(),
                (Some(node), true) => format!("from node {node} alone"),
                (Some(node), false) => format!("wherever node {node} is"),
            };
            table.add_row(vec![
                Cell::new(&port.vm),
                Cell::new(format!("{address}{}/{}", port.host_port, port.protocol)),
                Cell::new(port.guest_port),
                Cell::new(or_dash(port.node)),
                output.cell(&port.phase, phase_color(&port.phase), false),
                Cell::new(reached),
            ]);
        }
        trimmed(&table)
    }
}

impl Show for Change {
    fn table(&self, _: Output) -> String {
        if self.deleted {
            format!("{}: deleted\n", self.name)
        } else {
            format!("{}: taken, generation {}\n", self.name, self.generation)
        }
    }
}

impl Show for Update {
    fn table(&self, output: Output) -> String {
        let mut text = match (self.updated, self.changes.is_empty()) {
            (true, _) => format!("{}: updated, generation {}\n", self.name, self.generation),
            (false, true) => format!("{}: nothing changes\n", self.name),
            (false, false) => format!("{}: would change\n", self.name),
        };
        text.extend(self.changes.iter().map(|change| change.table(output)));
        if let Some(packages) = &self.packages {
            text += "  what is built\n";
            text.extend(packages.lines().map(|line| format!("    {line}\n")));
        }
        text
    }
}

impl Show for Delta {
    fn table(&self, output: Output) -> String {
        let lines = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains('\n'));
        if !lines(&self.before) && !lines(&self.after) {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "(none)".into());
            return format!("  {}: {} -> {}\n", self.field, or_none(&self.before), or_none(&self.after));
        }
        let (before, after) =
            (self.before.as_deref().unwrap_or_default(), self.after.as_deref().unwrap_or_default());
        let diff = TextDiff::from_lines(before, after);
        let mut text = format!("  {}:\n", self.field);
        for (at, group) in diff.grouped_ops(2).iter().enumerate() {
            if at > 0 {
                text += "    …\n";
            }
            for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
                let (sign, color) = match change.tag() {
                    ChangeTag::Delete => ("-", "\u{1b}[31m"),
                    ChangeTag::Insert => ("+", "\u{1b}[32m"),
                    ChangeTag::Equal => (" ", ""),
                };
                let line = format!("{sign} {}", change.value().trim_end_matches('\n'));
                let line = line.trim_end();
                text += &if output.color && !color.is_empty() {
                    format!("    {color}{line}\u{1b}[0m\n")
                } else {
                    format!("    {line}\n")
                };
            }
        }
        text
    }
}

impl Show for Cluster {
    fn table(&self, output: Output) -> String {
        let leader = self.leader.map_or("none".into(), |node| format!("node {node}"));
        let head = format!(
            "cluster {}  term {}  leader {leader}  revision {}  level {}  answered by node {}\n\n",
            self.cluster, self.term, self.revision, self.level, self.answered_by
        );
        let header = ["NODE", "ROLE", "HEALTH", "CONTACT", "LAG", "VMS", "VCPUS", "MEMORY", "ADDRESS"];
        let mut table = output.new_table(&header);
        for member in &self.members {
            let health = health(member, self.level);
            let color = if health == "healthy" { Color::Green } else { Color::Yellow };
            let color = if member.healthy { color } else { Color::Red };
            table.add_row(vec![
                Cell::new(member.node),
                Cell::new(&member.role),
                output.cell(health, Some(color), false),
                Cell::new(member.last_contact_ms.map_or("-".into(), |ms| format!("{} ago", span(ms)))),
                Cell::new(or_dash(member.lag)),
                Cell::new(member.vms),
                Cell::new(format!("{}/{}", member.vcpus_used, member.vcpus)),
                Cell::new(format!("{}/{}", memory(member.memory_mib_used), memory(member.memory_mib))),
                Cell::new(&member.address),
            ]);
        }
        head + &trimmed(&table)
    }
}

fn health(member: &Member, level: u32) -> String {
    let mut words = vec![if member.healthy { "healthy" } else { "lost" }.to_owned()];
    if member.cordoned && member.cordon_reason.is_empty() {
        words.push("cordoned".into());
    } else if member.cordoned {
        words.push(format!("cordoned ({})", member.cordon_reason));
    }
    if member.leaving {
        words.push("leaving".into());
    }
    if member.level > level {
        words.push(format!("speaks level {}", member.level));
    }
    words.join(", ")
}

fn phase_color(phase: &str) -> Option<Color> {
    match phase {
        "running" => Some(Color::Green),
        "failed" | "lost" => Some(Color::Red),
        "stopped" | "exited" => None,
        _ => Some(Color::Yellow),
    }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or("-".into(), |value| value.to_string())
}

pub(super) fn memory(mib: u64) -> String {
    if mib > 0 && mib.is_multiple_of(1024) { format!("{}GiB", mib / 1024) } else { format!("{mib}MiB") }
}

/// An age in its greatest unit.
fn age(ms: u64) -> String {
    match ms / 1_000 {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7_200 => format!("{}m", s / 60),
        s @ 7_200..172_800 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

fn span(ms: u64) -> String {
    if ms < 1_000 { format!("{ms}ms") } else { format!("{}.{}s", ms / 1_000, ms % 1_000 / 100) }
}

/// A table without the blanks before its first and after its last column.
pub(super) fn trimmed(table: &Table) -> String {
    table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned() + "\n").collect()
}

fn json(value: &impl Serialize) -> String {
    // Plain data with text keys: it cannot fail.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn yaml(value: &impl Serialize) -> String {
    serde_saphyr::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
