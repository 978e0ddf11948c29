//! Messages: which arrival belongs to which departure.

use std::collections::BTreeMap;

use super::super::picture::{Arrow, Fate, Kind};
use crate::trace::words::MESSAGES;

/// What travels between clients and nodes; it has tickets in place of messages' ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticketed {
    pub(super) kind: u16,
    mark: u64,
}

impl Ticketed {
    /// Names what travels among all messages.
    pub(super) fn named(self, ticket: u64) -> u64 {
        self.mark | ticket
    }
}

pub(super) const REQUEST: Ticketed = Ticketed { kind: MESSAGES.len() as u16, mark: 1 << 62 };
pub(super) const ANSWER: Ticketed = Ticketed { kind: MESSAGES.len() as u16 + 1, mark: 1 << 63 };

fn style(name: &str) -> &'static str {
    match name {
        "append" => "append",
        "append-ok" | "append-refused" => "append-reply",
        "vote" | "pre-vote" | "timeout-now" => "vote",
        "vote-granted" | "vote-refused" | "pre-vote-granted" | "pre-vote-refused" => "vote-reply",
        "raft-heartbeat" => "beat",
        "raft-heartbeat-ok" => "beat-reply",
        "snapshot" | "snapshot-chunk" | "snapshot-ack" => "snapshot",
        "forward" | "forwarded" | "not-leader" | "nudge" => "forward",
        "heartbeat" => "lease",
        "heartbeat-ack" => "lease-reply",
        "join" | "joined" | "refused" => "member",
        _ => "other",
    }
}

/// The kinds of messages: as traces number them, then requests and answers of clients.
pub(super) fn kinds() -> Vec<Kind> {
    let named = MESSAGES.iter().map(|name| Kind { name: (*name).into(), style: style(name) });
    let clients = [("request", "client"), ("answer", "client-reply")];
    named.chain(clients.map(|(name, style)| Kind { name: name.into(), style })).collect()
}

/// The place of a trace's kind of message among [`kinds`].
pub(super) fn kind_of(what: u64) -> u16 {
    what.min(MESSAGES.len() as u64 - 1) as u16
}

#[derive(Debug, Default)]
pub(super) struct Messages {
    arrows: Vec<Arrow>,
    /// The arrow of each message, by its id.
    ids: BTreeMap<u64, usize>,
}

impl Messages {
    /// A message leaves. Until more is known it is lost on its way.
    pub(super) fn left(&mut self, id: u64, kind: u16, from: u16, to: u16, (at, event): (u64, usize)) {
        self.ids.insert(id, self.arrows.len());
        self.arrows.push(Arrow { kind, from, to, at, until: at, fate: Fate::Lost, left: event, came: event });
    }

    /// It arrives, or its second copy does.
    pub(super) fn came(&mut self, id: u64, (at, event): (u64, usize)) {
        let Some(place) = self.ids.get(&id).copied() else { return };
        let arrow = &mut self.arrows[place];
        if arrow.fate == Fate::Lost {
            (arrow.until, arrow.fate, arrow.came) = (at, Fate::Arrives, event);
        } else {
            let again = Arrow { until: at, fate: Fate::Again, came: event, ..arrow.clone() };
            self.arrows.push(again);
        }
    }

    /// It is lost: on its way, or at the receiver, when that is where it is told.
    pub(super) fn lost(&mut self, id: u64, told: u16, (at, event): (u64, usize)) {
        let Some(place) = self.ids.get(&id).copied() else { return };
        let arrow = &mut self.arrows[place];
        let there = told == arrow.to && arrow.to != arrow.from;
        let fate = if there { Fate::Refused } else { Fate::Lost };
        if arrow.came == arrow.left {
            (arrow.until, arrow.fate, arrow.came) = (at, fate, event);
        } else {
            let again = Arrow { until: at, fate, came: event, ..arrow.clone() };
            self.arrows.push(again);
        }
    }

    /// All arrows in the order in which they leave.
    pub(super) fn finish(mut self) -> Vec<Arrow> {
        self.arrows.sort_by_key(|arrow| (arrow.at, arrow.left));
        self.arrows
    }
}
