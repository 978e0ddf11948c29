//! What kinds of events are called and how they look.

use std::collections::BTreeMap;

use super::super::picture::Kind as Shown;
use crate::trace::{Entry, Kind};

/// The kinds of events that a trace has, in the order in which they came up. Those of another subject have names of their own.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    list: Vec<Shown>,
    places: BTreeMap<Kind, u16>,
    of_subject: BTreeMap<String, u16>,
}

impl Kinds {
    pub(super) fn of_event(&mut self, entry: &Entry) -> u16 {
        let Self { list, places, of_subject } = self;
        let mut add = |name: String| {
            list.push(Shown { name, style: style(entry.kind) });
            u16::try_from(list.len() - 1).unwrap_or(u16::MAX)
        };
        match entry.text("word").filter(|_| entry.kind == Kind::Subject) {
            Some(word) => *of_subject.entry(word.clone()).or_insert_with(|| add(word)),
            None => *places.entry(entry.kind).or_insert_with(|| add(entry.kind.word().to_owned())),
        }
    }

    pub(super) fn finish(self) -> Vec<Shown> {
        self.list
    }
}

fn style(kind: Kind) -> &'static str {
    match kind {
        Kind::Started => "start",
        Kind::OpenFailed | Kind::Ended => "end",
        Kind::Sent | Kind::Delivered => "message",
        Kind::Lost => "loss",
        Kind::Turned
        | Kind::Found
        | Kind::WriteBegan
        | Kind::WriteState
        | Kind::WriteEntries
        | Kind::WriteSnapshot
        | Kind::WriteSet
        | Kind::WriteDurable => "turn",
        Kind::WriteFailed => "failure",
        Kind::Applied => "applied",
        Kind::Committed => "committed",
        Kind::Decided => "decided",
        Kind::Restored | Kind::Compacted => "snapshot",
        Kind::Leads | Kind::LeadsNoMore => "leader",
        Kind::Home | Kind::Role | Kind::Granted | Kind::Lease | Kind::Set => "detail",
        Kind::Members | Kind::Operator => "member",
        Kind::Hypervisor | Kind::RunStarted | Kind::RunEnded | Kind::DeadlineRaised => "vm",
        Kind::Purged | Kind::Executes | Kind::Ordered => "vm",
        Kind::Buggify => "fault-detail",
        Kind::Frozen | Kind::Thawed | Kind::Rebooted => "host",
        Kind::OperationBegan | Kind::Asked | Kind::Requested | Kind::Answered => "client",
        Kind::Replied | Kind::OperationEnded => "client",
        Kind::Fault => "fault",
        Kind::FaultOver | Kind::Cut => "fault-detail",
        Kind::Phase => "phase",
        _ => "other",
    }
}
