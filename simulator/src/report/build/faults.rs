//! Faults as bands over the hosts they strike.

use std::collections::BTreeMap;

use super::super::picture::{Band, Rows};
use crate::trace::{Entry, Kind};

#[derive(Debug, Default)]
pub(super) struct Faults {
    bands: Vec<Band>,
    /// The band of each strike.
    strikes: BTreeMap<u64, usize>,
}

impl Faults {
    pub(super) fn take(&mut self, place: usize, entry: &Entry) {
        let strike = entry.get("strike").unwrap_or(0);
        if entry.kind == Kind::FaultOver {
            // One that is taken back early ends here.
            if let Some(band) = self.strikes.get(&strike) {
                self.bands[*band].until = entry.at;
            }
            return;
        }
        let hosts = entry.get("hosts").unwrap_or(0);
        let lanes = (1..=64).filter(|host| hosts >> (host - 1) & 1 == 1).collect();
        let until = entry.at.saturating_add(entry.get("lasts_ns").unwrap_or(0));
        let name = entry.text("what").unwrap_or_else(|| "fault".into());
        self.strikes.insert(strike, self.bands.len());
        self.bands.push(Band { name, lanes, row: 0, from: entry.at, until, event: place });
    }

    /// The bands, and how many rows they take.
    pub(super) fn finish(mut self, end: u64) -> (Vec<Band>, u16) {
        let mut rows = Rows::default();
        for band in &mut self.bands {
            band.until = band.until.min(end);
            // Room for a name beside the short ones.
            let room = end / 40;
            band.row = rows.place(band.from, band.until.max(band.from + room));
        }
        (self.bands, rows.len().max(1))
    }
}
