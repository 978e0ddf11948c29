//! From the entries of a trace to the picture: the one place that knows what the kinds of entries mean. Kinds it does not know are shown
//! as points with their words.

mod bars;
mod faults;
mod hosts;
mod kinds;
mod messages;
mod operations;
#[cfg(test)]
mod tests;

use crate::trace::file::End;
use crate::trace::{Entry, Kind};

use super::picture::{Event, Group, Lane, Mark, Picture};
use bars::{BarKind, Bars};
use faults::Faults;
use kinds::Kinds;
use messages::Messages;
use operations::Operations;

/// The lane of what befalls everybody.
const WORLD: u16 = 0;

/// The picture of a whole trace.
pub(super) fn picture(entries: &[Entry], end: &End) -> Picture {
    let mut builder = Builder::new(entries);
    for (place, entry) in entries.iter().enumerate() {
        builder.take(place, entry);
    }
    builder.finish(end)
}

#[derive(Debug)]
struct Builder {
    lanes: Vec<Lane>,
    /// The lane of the first client.
    clients: u16,
    /// The lane of each node id, by id.
    homes: Vec<u16>,
    event_kinds: Kinds,
    events: Vec<Event>,
    messages: Messages,
    operations: Operations,
    bars: Bars,
    faults: Faults,
    /// Terms as hosts know them, by lane.
    terms: Vec<u64>,
    /// The ends of hosts' leases, by lane; 0 when there is none.
    leases: Vec<u64>,
}

impl Builder {
    fn new(entries: &[Entry]) -> Self {
        let hosts = entries.iter().map(|entry| entry.host).max().unwrap_or(0);
        let world = [Lane { name: "faults".into(), group: Group::World, rows: 1 }];
        let host = |number: u16| Lane { name: format!("host {number}"), group: Group::Host, rows: 0 };
        let client = |number: u64| Lane { name: format!("client {number}"), group: Group::Client, rows: 1 };
        let lanes: Vec<Lane> = (world.into_iter())
            .chain((1..=hosts).map(host))
            .chain((0..clients_of(entries)).map(client))
            .collect();
        Self {
            clients: hosts + 1,
            homes: Vec::new(),
            event_kinds: Kinds::default(),
            events: Vec::with_capacity(entries.len()),
            messages: Messages::default(),
            operations: Operations::default(),
            bars: Bars::default(),
            faults: Faults::default(),
            terms: vec![0; lanes.len()],
            leases: vec![0; lanes.len()],
            lanes,
        }
    }

    fn take(&mut self, place: usize, entry: &Entry) {
        let mut lane = entry.host;
        match entry.kind {
            Kind::Phase => self.on_phase(place, entry),
            Kind::Fault | Kind::FaultOver | Kind::Cut => self.faults.take(place, entry),
            Kind::Sent | Kind::Lost | Kind::Delivered => self.on_message(place, entry),
            Kind::OperationBegan
            | Kind::Asked
            | Kind::Requested
            | Kind::Answered
            | Kind::Replied
            | Kind::OperationEnded => lane = self.on_client(place, entry),
            Kind::Decided => self.operations.decided(entry),
            _ => self.on_host(place, entry),
        }
        let kind = self.event_kinds.of_event(entry);
        let vm = entry.get("vm").unwrap_or(0);
        self.events.push(Event { at: entry.at, lane, kind, vm, text: words(entry) });
    }

    fn on_phase(&mut self, place: usize, entry: &Entry) {
        let name = entry.text("what").unwrap_or_default();
        self.bars.begin(BarKind::Phase, WORLD, 0, (entry.at, place), 0, name);
    }

    fn on_message(&mut self, place: usize, entry: &Entry) {
        let message = entry.get("message").unwrap_or(0);
        let what = entry.get("what").unwrap_or(0);
        match entry.kind {
            Kind::Sent => {
                // Who is at home nowhere gets no arrow; the loss that follows says so.
                let to = self.home(entry.get("to").unwrap_or(0)).unwrap_or(entry.host);
                self.messages.left(message, messages::kind_of(what), entry.host, to, (entry.at, place));
            }
            Kind::Lost => self.messages.lost(message, entry.host, (entry.at, place)),
            _ => self.messages.came(message, (entry.at, place)),
        }
    }

    /// The lane of a node.
    fn home(&self, node: u64) -> Option<u16> {
        let lane = usize::try_from(node).ok().and_then(|node| self.homes.get(node)).copied()?;
        (lane != WORLD).then_some(lane)
    }

    fn settle(&mut self, node: u64, lane: u16) {
        let Ok(node) = usize::try_from(node) else { return };
        if node > usize::from(u16::MAX) {
            return;
        }
        if node >= self.homes.len() {
            self.homes.resize(node + 1, WORLD);
        }
        self.homes[node] = lane;
    }

    fn finish(mut self, end: &End) -> Picture {
        let last = self.events.last().map_or(0, |event| event.at);
        let over = last.max(end.violation.as_ref().map_or(0, |violation| violation.at));
        self.end_leases(over);
        let mark = end.violation.as_ref().map(|violation| {
            let after = self.events.partition_point(|event| event.at <= violation.at);
            let lanes = violation.subjects.nodes.iter().filter_map(|node| self.home(*node)).collect();
            Mark { at: violation.at, event: after.saturating_sub(1), lanes }
        });
        self.operations.close(&mut self.bars);
        let bars = self.bars.finish(over);
        for bar in bars.iter().filter(|bar| bar.kind == BarKind::Vm as u16) {
            let lane = &mut self.lanes[usize::from(bar.lane)];
            lane.rows = lane.rows.max(bar.row + 1);
        }
        let (bands, rows) = self.faults.finish(over);
        self.lanes[usize::from(WORLD)].rows = rows;
        Picture {
            lanes: self.lanes,
            event_kinds: self.event_kinds.finish(),
            message_kinds: messages::kinds(),
            bar_kinds: bars::kinds(),
            events: self.events,
            arrows: self.messages.finish(),
            bars,
            bands,
            end: over,
            violation: mark,
        }
    }
}

/// One more than the highest number of a client.
fn clients_of(entries: &[Entry]) -> u64 {
    let began = entries.iter().filter(|entry| entry.kind == Kind::OperationBegan);
    let last = began.filter_map(|entry| entry.get("client")).max();
    last.map_or(0, |last| (last + 1).min(1_000))
}

/// The words of an entry without its time and host, which the picture shows by itself.
fn words(entry: &Entry) -> String {
    let line = entry.to_string();
    line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned()
}
