//! Clients: their operations from begin to end with the moment each took effect, and the requests and answers on their way.

use std::collections::BTreeMap;

use super::super::picture::Bar;
use super::bars::{BarKind, Bars};
use super::messages::{ANSWER, REQUEST};
use super::{Builder, WORLD};
use crate::trace::{Entry, Kind};

/// Colours of operations, by their number in the page.
mod tint {
    pub(super) const OK: u64 = 0;
    pub(super) const RUNNING: u64 = 4;
}

/// What is known of an operation that took effect by an entry of the log, or saw the state at one.
#[derive(Debug, Default)]
pub(super) struct Operations {
    /// When an index was first carried out anywhere.
    applied: BTreeMap<u64, u64>,
    /// When a request's entry was first carried out.
    requests: BTreeMap<u64, u64>,
    open: BTreeMap<u64, Open>,
    /// The lane of each attempt that is under way.
    tickets: BTreeMap<u64, u16>,
    done: Vec<(Open, Option<Close>)>,
}

#[derive(Debug)]
struct Open {
    lane: u16,
    at: u64,
    event: usize,
    request: u64,
    label: String,
}

#[derive(Debug)]
struct Close {
    at: u64,
    event: usize,
    tint: u64,
    revision: u64,
}

impl Operations {
    /// The first node carries out an entry.
    pub(super) fn decided(&mut self, entry: &Entry) {
        if let Some(index) = entry.get("index") {
            self.applied.entry(index).or_insert(entry.at);
        }
        if let Some(request) = entry.get("request").filter(|request| *request != 0) {
            self.requests.entry(request).or_insert(entry.at);
        }
    }

    /// Makes a bar of each. A write's point is where its entry was first carried out; a read's where the revision it saw was, or where it
    /// began if that was earlier. A read has no point if that revision came only after its end, or never.
    pub(super) fn close(&mut self, bars: &mut Bars) {
        let mut done = std::mem::take(&mut self.done);
        done.extend(std::mem::take(&mut self.open).into_values().map(|open| (open, None)));
        for (open, close) in done {
            let point = if open.request != 0 {
                self.requests.get(&open.request).copied()
            } else {
                let seen = close.as_ref().filter(|close| close.tint == tint::OK && close.revision > 0);
                let at = seen.and_then(|close| self.applied.get(&close.revision)).copied();
                at.map(|at| at.max(open.at)).filter(|at| close.as_ref().is_none_or(|close| *at <= close.at))
            };
            bars.add(Bar {
                kind: BarKind::Operation as u16,
                lane: open.lane,
                row: 0,
                from: open.at,
                until: close.as_ref().map_or(u64::MAX, |close| close.at),
                tint: close.as_ref().map_or(tint::RUNNING, |close| close.tint),
                point: point.filter(|at| *at >= open.at),
                began: open.event,
                ended: close.map(|close| close.event),
                label: open.label,
            });
        }
    }
}

impl Builder {
    /// Takes what clients and those who answer them do; the lane it happens on.
    pub(super) fn on_client(&mut self, place: usize, entry: &Entry) -> u16 {
        let number = |label: &str| entry.get(label).unwrap_or(0);
        let (when, ticket) = ((entry.at, place), number("ticket"));
        match entry.kind {
            Kind::OperationBegan => self.on_began(place, entry),
            Kind::OperationEnded => self.on_operation_ended(place, entry),
            Kind::Asked => {
                let lane = self.operations.open.get(&number("operation")).map_or(WORLD, |open| open.lane);
                self.operations.tickets.insert(ticket, lane);
                if let Some(to) = self.home(number("to")) {
                    self.messages.left(REQUEST.named(ticket), REQUEST.kind, lane, to, when);
                }
                lane
            }
            Kind::Requested => {
                self.messages.came(REQUEST.named(ticket), when);
                entry.host
            }
            Kind::Answered => {
                let to = self.operations.tickets.get(&ticket).copied().unwrap_or(WORLD);
                self.messages.left(ANSWER.named(ticket), ANSWER.kind, entry.host, to, when);
                entry.host
            }
            _ => {
                self.messages.came(ANSWER.named(ticket), when);
                self.operations.tickets.get(&ticket).copied().unwrap_or(WORLD)
            }
        }
    }

    fn on_began(&mut self, place: usize, entry: &Entry) -> u16 {
        let number = |label: &str| entry.get(label).unwrap_or(0);
        let lanes = self.lanes.len() as u64 - 1;
        let lane = (u64::from(self.clients) + number("client")).min(lanes) as u16;
        let [what, name] = ["what", "name"].map(|label| entry.text(label).unwrap_or_default());
        let label = format!("{what} {name}").trim().to_owned();
        let open = Open { lane, at: entry.at, event: place, request: number("request"), label };
        self.operations.open.insert(number("operation"), open);
        lane
    }

    fn on_operation_ended(&mut self, place: usize, entry: &Entry) -> u16 {
        let number = |label: &str| entry.get(label).unwrap_or(0);
        let Some(open) = self.operations.open.remove(&number("operation")) else { return WORLD };
        let lane = open.lane;
        let close =
            Close { at: entry.at, event: place, tint: number("outcome"), revision: number("revision") };
        self.operations.done.push((open, Some(close)));
        lane
    }
}
