//! What happened before what (Lamport, "Time, Clocks, and the Ordering of Events", 1978): the order on each host, messages from
//! sent to delivered, requests and answers, and faults before what the hosts they struck did next.

use std::collections::BTreeMap;

use super::story::num;
use crate::trace::{Entry, Kind};

/// The lines that may have led to those in `from`, these among them.
pub(super) fn past(entries: &[Entry], from: &[usize]) -> Vec<bool> {
    let causes = causes(entries);
    let mut marked = vec![false; entries.len()];
    for place in from.iter().filter(|place| **place < entries.len()) {
        marked[*place] = true;
    }
    for place in (0..entries.len()).rev().filter(|place| *place < entries.len()) {
        if marked[place] {
            causes[place].iter().for_each(|cause| marked[*cause] = true);
        }
    }
    marked
}

/// The lines right before each.
#[derive(Default)]
struct Open {
    last: BTreeMap<u16, usize>,
    /// Strikes that each host has yet to do anything after.
    struck: BTreeMap<u16, Vec<usize>>,
    sent: BTreeMap<u64, usize>,
    asked: BTreeMap<u64, usize>,
    answered: BTreeMap<u64, usize>,
    began: BTreeMap<u64, usize>,
    /// The newest answer that reached each operation.
    replied: BTreeMap<u64, usize>,
    operation_of: BTreeMap<u64, u64>,
}

fn causes(entries: &[Entry]) -> Vec<Vec<usize>> {
    let mut open = Open::default();
    entries.iter().enumerate().map(|(place, entry)| open.take(place, entry)).collect()
}

impl Open {
    fn take(&mut self, place: usize, entry: &Entry) -> Vec<usize> {
        let mut causes = Vec::new();
        if entry.host > 0 && entry.kind != Kind::Cut {
            causes.extend(self.last.insert(entry.host, place));
            causes.append(self.struck.entry(entry.host).or_default());
        }
        let ticket = num(entry, "ticket");
        match entry.kind {
            Kind::Sent => {
                self.sent.insert(num(entry, "message"), place);
            }
            Kind::Delivered => causes.extend(self.sent.get(&num(entry, "message"))),
            Kind::Asked => {
                let operation = num(entry, "operation");
                causes.extend(self.began.get(&operation));
                self.asked.insert(ticket, place);
                self.operation_of.insert(ticket, operation);
            }
            Kind::Requested => causes.extend(self.asked.get(&ticket)),
            Kind::Answered => {
                self.answered.insert(ticket, place);
            }
            Kind::Replied => {
                causes.extend(self.answered.get(&ticket));
                if let Some(operation) = self.operation_of.get(&ticket) {
                    self.replied.insert(*operation, place);
                }
            }
            Kind::OperationBegan => {
                self.began.insert(num(entry, "operation"), place);
            }
            Kind::OperationEnded => {
                let operation = num(entry, "operation");
                causes.extend(self.began.get(&operation));
                causes.extend(self.replied.get(&operation));
            }
            Kind::Fault => self.strike(num(entry, "hosts"), place),
            Kind::Cut => {
                self.strike(num(entry, "to"), place);
                self.strike(1 << entry.host.saturating_sub(1), place);
            }
            _ => {}
        }
        causes
    }

    fn strike(&mut self, hosts: u64, place: usize) {
        for host in (1..=64).filter(|host| hosts >> (host - 1) & 1 == 1) {
            self.struck.entry(host).or_default().push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, host: u16, numbers: &[u64]) -> Entry {
        Entry::new(1, kind, host, numbers)
    }

    #[test]
    fn the_past_follows_messages_requests_and_faults() {
        let entries = [
            entry(Kind::Frozen, 3, &[]),                               // 0: elsewhere
            entry(Kind::OperationBegan, 0, &[7, 0, 0, 0, 0, 0, 0, 0]), // 1
            entry(Kind::Asked, 0, &[9, 1, 0, 7]),                      // 2
            entry(Kind::Requested, 1, &[9]),                           // 3
            entry(Kind::Sent, 1, &[5, 2, 0, 0, 0, 0, 0]),              // 4
            entry(Kind::Fault, 0, &[1, 0, 0b10, 0]),                   // 5: strikes host 2
            entry(Kind::Fault, 0, &[2, 0, 0b100, 0]),                  // 6: strikes host 3
            entry(Kind::Delivered, 2, &[5, 1, 0, 0, 0, 0, 0]),         // 7
            entry(Kind::Frozen, 1, &[]),                               // 8: after it was sent
        ];
        let marked = past(&entries, &[7]);
        let places: Vec<usize> = (0..entries.len()).filter(|place| marked[*place]).collect();
        assert_eq!(places, [1, 2, 3, 4, 5, 7]);
    }

    #[test]
    fn an_answer_leads_to_the_end_of_its_operation() {
        let entries = [
            entry(Kind::OperationBegan, 0, &[7, 0, 0, 0, 0, 0, 0, 0]),
            entry(Kind::Asked, 0, &[9, 1, 0, 7]),
            entry(Kind::Answered, 1, &[9, 0, 0]),
            entry(Kind::Answered, 2, &[8, 0, 0]),
            entry(Kind::Replied, 0, &[9, 0]),
            entry(Kind::OperationEnded, 0, &[7, 0, 0, 0, 0, 0, 0, 0]),
        ];
        assert_eq!(past(&entries, &[5]), [true, false, true, false, true, true]);
    }
}
