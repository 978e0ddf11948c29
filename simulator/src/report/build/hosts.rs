//! What a host goes through: processes, terms, leases, writes, VMs.

use super::bars::BarKind;
use super::{Builder, WORLD};
use crate::trace::{Entry, Kind};

impl Builder {
    pub(super) fn on_host(&mut self, place: usize, entry: &Entry) {
        let (lane, when) = (entry.host, (entry.at, place));
        let number = |label: &str| entry.get(label).unwrap_or(0);
        match entry.kind {
            Kind::Home => self.settle(number("node"), lane),
            Kind::Started => {
                self.settle(number("node"), lane);
                let life = number("life");
                self.bars.begin(BarKind::Alive, lane, 0, when, life, format!("n{} runs", number("node")));
            }
            Kind::Ended => self.on_ended(place, entry),
            Kind::Role => self.set_term(place, entry, number("term")),
            Kind::Leads => {
                let term = number("term");
                self.set_term(place, entry, term);
                self.bars.begin(BarKind::Leads, lane, 0, when, term, format!("leads term {term}"));
            }
            Kind::LeadsNoMore => self.bars.end(BarKind::Leads, lane, 0, when),
            Kind::WriteBegan => {
                let label = format!("writes {} bytes", number("bytes"));
                self.bars.begin(BarKind::Write, lane, 0, when, 0, label);
            }
            Kind::WriteDurable | Kind::WriteFailed => self.bars.end(BarKind::Write, lane, 0, when),
            Kind::Lease => self.on_lease(place, entry),
            Kind::RunStarted => {
                let (vm, epoch) = (number("vm"), number("epoch"));
                self.bars.begin(BarKind::Vm, lane, run(vm, epoch), when, vm, format!("vm{vm} e{epoch}"));
            }
            Kind::RunEnded => {
                self.bars.end(BarKind::Vm, lane, run(number("vm"), number("epoch")), when);
            }
            Kind::Frozen => self.bars.begin(BarKind::Frozen, lane, 0, when, 0, "host asleep".into()),
            Kind::Thawed | Kind::Rebooted => self.bars.end(BarKind::Frozen, lane, 0, when),
            _ => {}
        }
    }

    fn on_ended(&mut self, place: usize, entry: &Entry) {
        for kind in [BarKind::Alive, BarKind::Leads, BarKind::Write, BarKind::Term] {
            self.bars.end(kind, entry.host, 0, (entry.at, place));
        }
        self.end_lease(entry.host, entry.at, Some(place));
        self.terms[usize::from(entry.host)] = 0;
    }

    fn set_term(&mut self, place: usize, entry: &Entry, term: u64) {
        let known = &mut self.terms[usize::from(entry.host)];
        if *known != term && term > 0 {
            *known = term;
            self.bars.begin(BarKind::Term, entry.host, 0, (entry.at, place), term, format!("term {term}"));
        }
    }

    /// A lease is one bar however often it is extended; it ends when its time has come or it is given up.
    fn on_lease(&mut self, place: usize, entry: &Entry) {
        let lane = entry.host;
        let until = entry.get("until_ns").unwrap_or(0);
        let runs_until = self.leases[usize::from(lane)];
        if runs_until != 0 && runs_until < entry.at {
            self.end_lease(lane, runs_until, None);
        }
        if until <= entry.at {
            self.end_lease(lane, entry.at, Some(place));
            return;
        }
        if self.leases[usize::from(lane)] == 0 {
            self.bars.begin(BarKind::Lease, lane, 0, (entry.at, place), 0, "lease".into());
        }
        self.leases[usize::from(lane)] = until;
    }

    /// Ends the lease of a lane at `at`, or when its time had come before.
    fn end_lease(&mut self, lane: u16, at: u64, event: Option<usize>) {
        let until = std::mem::take(&mut self.leases[usize::from(lane)]);
        if until != 0 {
            self.bars.end_at(BarKind::Lease, lane, 0, at.min(until), event.filter(|_| at <= until));
        }
    }

    pub(super) fn end_leases(&mut self, at: u64) {
        for lane in WORLD..self.leases.len() as u16 {
            self.end_lease(lane, at, None);
        }
    }
}

/// Names a run of a VM among those of its host.
fn run(vm: u64, epoch: u64) -> u64 {
    vm << 20 | epoch & 0xf_ffff
}
