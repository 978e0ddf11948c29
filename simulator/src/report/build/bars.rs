//! What lasts: from the event that begins it to the one that ends it, or to the end of the run.

use std::collections::BTreeMap;

use super::super::picture::{Bar, Kind, Rows};

/// The kinds of bars, in the order of [`kinds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub(super) enum BarKind {
    Alive,
    Term,
    Leads,
    Frozen,
    Write,
    Lease,
    Vm,
    Operation,
    Phase,
}

/// What each is called and how it looks.
pub(super) fn kinds() -> Vec<Kind> {
    let all = [
        ("process", "alive"),
        ("term", "term"),
        ("leadership", "leads"),
        ("host asleep", "frozen"),
        ("write", "write"),
        ("lease", "lease"),
        ("VM", "vm"),
        ("operation", "operation"),
        ("phase", "phase"),
    ];
    all.map(|(name, style)| Kind { name: name.into(), style }).into()
}

/// When something happened, and the place of its event.
type When = (u64, usize);

/// Bars under way, and those that have ended.
#[derive(Debug, Default)]
pub(super) struct Bars {
    open: BTreeMap<(BarKind, u16, u64), Bar>,
    done: Vec<Bar>,
}

impl Bars {
    /// Begins a bar; one of the same kind, lane and key that is under way ends.
    pub(super) fn begin(&mut self, kind: BarKind, lane: u16, key: u64, when: When, tint: u64, label: String) {
        self.end(kind, lane, key, when);
        let bar = Bar {
            kind: kind as u16,
            lane,
            row: 0,
            from: when.0,
            until: u64::MAX,
            tint,
            point: None,
            began: when.1,
            ended: None,
            label,
        };
        self.open.insert((kind, lane, key), bar);
    }

    /// Ends the bar, if it is under way.
    pub(super) fn end(&mut self, kind: BarKind, lane: u16, key: u64, (at, event): When) {
        self.end_at(kind, lane, key, at, Some(event));
    }

    /// Ends the bar, perhaps without an event that does.
    pub(super) fn end_at(&mut self, kind: BarKind, lane: u16, key: u64, at: u64, event: Option<usize>) {
        if let Some(mut bar) = self.open.remove(&(kind, lane, key)) {
            bar.until = at;
            bar.ended = event;
            self.done.push(bar);
        }
    }

    /// Takes a bar that is whole; one that ends at the end of time ends with the run.
    pub(super) fn add(&mut self, bar: Bar) {
        self.done.push(bar);
    }

    /// All bars in the order in which they begin, VMs each in a row of its lane where it covers no other.
    pub(super) fn finish(mut self, end: u64) -> Vec<Bar> {
        self.done.extend(std::mem::take(&mut self.open).into_values());
        self.done.sort_by_key(|bar| (bar.from, bar.began));
        let mut rows: BTreeMap<u16, Rows> = BTreeMap::new();
        for bar in &mut self.done {
            bar.until = bar.until.min(end);
            if bar.kind == BarKind::Vm as u16 {
                bar.row = rows.entry(bar.lane).or_default().place(bar.from, bar.until);
            }
        }
        self.done
    }
}
