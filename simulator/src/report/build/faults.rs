//! Faults as bands over the hosts they strike.

use std::collections::BTreeMap;

use super::super::picture::{Band, Rows};
use crate::trace::{Entry, Kind};

#[derive(Debug, Default)]
pub(super) struct Faults {
    strikes: BTreeMap<u64, Strike>,
}

#[derive(Debug)]
struct Strike {
    name: String,
    /// Hosts as a bit mask whose lowest bit is host 1, as in the trace.
    hosts: u64,
    /// Whom each host does not reach.
    cuts: BTreeMap<u16, u64>,
    from: u64,
    until: u64,
    event: usize,
}

impl Faults {
    pub(super) fn take(&mut self, place: usize, entry: &Entry) {
        let number = |label: &str| entry.get(label).unwrap_or(0);
        let strike = number("strike");
        match entry.kind {
            Kind::Fault => {
                let name = entry.text("what").unwrap_or_else(|| "fault".into());
                let until = entry.at.saturating_add(number("lasts_ns"));
                let cuts = BTreeMap::new();
                let hosts = number("hosts");
                let struck = Strike { name, hosts, cuts, from: entry.at, until, event: place };
                self.strikes.insert(strike, struck);
            }
            Kind::Cut => {
                if let Some(struck) = self.strikes.get_mut(&strike) {
                    struck.cuts.insert(entry.host, number("to"));
                }
            }
            _ => {
                // One that is taken back early ends here.
                if let Some(struck) = self.strikes.get_mut(&strike) {
                    struck.until = entry.at;
                }
            }
        }
    }

    /// The bands in the order in which they begin, and how many rows they take.
    pub(super) fn finish(self, end: u64) -> (Vec<Band>, u16) {
        let mut strikes: Vec<Strike> = self.strikes.into_values().collect();
        strikes.sort_by_key(|strike| (strike.from, strike.event));
        let mut rows = Rows::default();
        let bands = strikes.into_iter().map(|strike| {
            let until = strike.until.min(end);
            // Room for a name beside the short ones.
            let row = rows.place(strike.from, until.max(strike.from + end / 40));
            let lanes = hosts(strike.hosts).collect();
            let whom = strike.whom();
            Band { name: strike.name, whom, lanes, row, from: strike.from, until, event: strike.event }
        });
        let bands = bands.collect();
        (bands, rows.len().max(1))
    }
}

impl Strike {
    /// Both sides where one is cut off from the other, else those that are struck.
    fn whom(&self) -> String {
        let inside = |host: &u16| self.hosts >> (host - 1) & 1 == 1;
        let left = self.cuts.iter().filter(|(host, _)| inside(host)).map(|(_, to)| to);
        let other = left.fold(0, |all, to| all | to) & !self.hosts;
        let back = self.cuts.keys().any(|host| !inside(host));
        match (other, back) {
            (0, _) => listed(self.hosts),
            (other, true) => format!("{} | {}", listed(self.hosts), listed(other)),
            (other, false) => format!("{} \u{219b} {}", listed(self.hosts), listed(other)),
        }
    }
}

fn hosts(mask: u64) -> impl Iterator<Item = u16> {
    (1..=64).filter(move |host| mask >> (host - 1) & 1 == 1)
}

fn listed(mask: u64) -> String {
    let each: Vec<String> = hosts(mask).map(|host| host.to_string()).collect();
    each.join(",")
}
