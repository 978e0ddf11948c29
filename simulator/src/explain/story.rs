//! The log with what is asked of it again and again: who lives where, what a write held, who believed to lead.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::trace::{Entry, Kind};

/// A log to be looked into. Places are those of entries, from 0.
#[derive(Debug)]
pub(super) struct Story<'r> {
    pub(super) entries: &'r [Entry],
    /// Where each node came to be at home: place, host, node.
    homes: Vec<(usize, u16, u64)>,
    /// The names of VMs, by id.
    names: BTreeMap<u64, String>,
    writes: BTreeMap<u64, Write>,
}

/// A write, as the log tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Write {
    /// Where it began.
    pub(super) began: usize,
    pub(super) host: u16,
    /// Term and vote.
    pub(super) vote: Option<(u64, u64)>,
    /// The first and the last entry.
    pub(super) entries: Option<(u64, u64)>,
    pub(super) snapshot: Option<u64>,
    /// Where the disk said that it is durable.
    pub(super) durable: Option<usize>,
}

/// How a process that was there before came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rebirth {
    /// Where it ended.
    pub(super) ended: usize,
    /// Where it told what it found on its disk.
    pub(super) found: usize,
}

pub(super) fn num(entry: &Entry, label: &str) -> u64 {
    entry.get(label).unwrap_or(0)
}

impl<'r> Story<'r> {
    pub(super) fn of(entries: &'r [Entry]) -> Self {
        let mut story = Self { entries, homes: Vec::new(), names: BTreeMap::new(), writes: BTreeMap::new() };
        for (place, entry) in entries.iter().enumerate() {
            story.index(place, entry);
        }
        story
    }

    fn index(&mut self, place: usize, entry: &Entry) {
        let write = num(entry, "write");
        match entry.kind {
            Kind::Home => self.homes.push((place, entry.host, num(entry, "node"))),
            Kind::Decided if !entry.is("what", "report") => {
                if let (vm @ 1.., Some(name)) = (num(entry, "vm"), entry.text("name")) {
                    self.names.insert(vm, name);
                }
            }
            Kind::WriteBegan => {
                let began = Write { began: place, host: entry.host, ..Write::default() };
                self.writes.insert(write, began);
            }
            Kind::WriteState | Kind::WriteEntries | Kind::WriteSnapshot | Kind::WriteDurable => {
                let Some(write) = self.writes.get_mut(&write) else { return };
                match entry.kind {
                    Kind::WriteState => write.vote = Some((num(entry, "term"), num(entry, "vote"))),
                    Kind::WriteEntries => write.entries = Some((num(entry, "first"), num(entry, "last"))),
                    Kind::WriteSnapshot => write.snapshot = Some(num(entry, "index")),
                    _ => write.durable = Some(place),
                }
            }
            _ => {}
        }
    }

    pub(super) fn at(&self, place: usize) -> u64 {
        self.entries[place].at
    }

    /// The end of what had happened by `at`.
    pub(super) fn end_of(&self, at: u64) -> usize {
        self.entries.partition_point(|entry| entry.at <= at)
    }

    /// The places in `range` of lines that fit.
    pub(super) fn all<'s>(
        &'s self,
        range: Range<usize>,
        fits: impl Fn(&Entry) -> bool + 's,
    ) -> impl DoubleEndedIterator<Item = usize> + 's {
        let range = range.start.min(self.entries.len())..range.end.min(self.entries.len());
        range.filter(move |place| fits(&self.entries[*place]))
    }

    pub(super) fn first(&self, range: Range<usize>, fits: impl Fn(&Entry) -> bool) -> Option<usize> {
        self.all(range, fits).next()
    }

    pub(super) fn last(&self, range: Range<usize>, fits: impl Fn(&Entry) -> bool) -> Option<usize> {
        self.all(range, fits).next_back()
    }

    // Who is who.

    /// The host that a node is, or was, at home on.
    pub(super) fn host_of(&self, node: u64) -> Option<u16> {
        self.homes.iter().find(|(_, _, id)| *id == node).map(|(_, host, _)| *host)
    }

    /// The node at home on a host at some place; 0 when there is none.
    pub(super) fn node_on(&self, host: u16, place: usize) -> u64 {
        let there = |(from, at, _): &&(usize, u16, u64)| *at == host && *from <= place;
        self.homes.iter().rev().find(there).map_or(0, |(_, _, node)| *node)
    }

    /// The node that a line is about.
    pub(super) fn node_at(&self, place: usize) -> u64 {
        self.node_on(self.entries[place].host, place)
    }

    /// The VM in words.
    pub(super) fn vm(&self, vm: u64) -> String {
        match self.names.get(&vm) {
            Some(name) => format!("{name} (vm{vm})"),
            None => format!("vm{vm}"),
        }
    }

    /// The newest VM of a name.
    pub(super) fn vm_named(&self, name: &str) -> Option<u64> {
        self.names.iter().rev().find(|(_, other)| *other == name).map(|(vm, _)| *vm)
    }

    // Disks and processes.

    pub(super) fn write(&self, number: u64) -> Option<&Write> {
        self.writes.get(&number)
    }

    /// The writes of a host that began in `range`.
    pub(super) fn writes_on(
        &self,
        host: u16,
        range: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = &Write> {
        self.writes.values().filter(move |write| write.host == host && range.contains(&write.began))
    }

    /// The first write that holds an entry.
    pub(super) fn written(&self, index: u64, end: usize) -> Option<&Write> {
        let holds =
            |write: &&Write| write.entries.is_some_and(|(first, last)| (first..=last).contains(&index));
        self.writes.values().filter(holds).find(|write| write.began < end)
    }

    /// How often a process on a host ended in `range` and opened again, also after it. A host that loses power while nothing runs
    /// on it ends nothing.
    pub(super) fn rebirths(&self, host: u16, range: Range<usize>) -> Vec<Rebirth> {
        let here = move |entry: &Entry, kind| entry.host == host && entry.kind == kind;
        let mut rebirths: Vec<Rebirth> = Vec::new();
        for ended in self.all(range, move |entry| here(entry, Kind::Ended)) {
            let Some(found) = self.first(ended..self.entries.len(), |entry| here(entry, Kind::Found)) else {
                break;
            };
            if rebirths.last().is_none_or(|last| last.found != found) {
                rebirths.push(Rebirth { ended, found });
            }
        }
        rebirths
    }

    /// Where the message of a `delivered` or `granted` line was sent.
    pub(super) fn sent(&self, place: usize) -> Option<usize> {
        let message = num(&self.entries[place], "message");
        self.last(0..place, |entry| entry.kind == Kind::Sent && num(entry, "message") == message)
    }

    /// The write whose end a message should have waited for, but did not. Only a leader's append messages may leave before
    /// the write of their turn is durable.
    pub(super) fn left_before(&self, sent: usize) -> Option<&Write> {
        let entry = &self.entries[sent];
        let here = move |other: &Entry, kind| other.host == entry.host && other.kind == kind;
        let turned = self.first(sent..self.entries.len(), |other| here(other, Kind::Turned))?;
        if entry.is("what", "append") || num(&self.entries[turned], "writes") == 0 {
            return None;
        }
        let began = self.first(turned..self.entries.len(), |other| here(other, Kind::WriteBegan))?;
        self.write(num(&self.entries[began], "write"))
    }

    // Requests.

    /// The error that a client's request was answered with, if it was.
    pub(super) fn refusal(&self, request: u64) -> Option<String> {
        let all = 0..self.entries.len();
        let began = |entry: &Entry| entry.kind == Kind::OperationBegan && num(entry, "request") == request;
        let began = self.first(all.clone(), began).filter(|_| request > 0)?;
        let operation = num(&self.entries[began], "operation");
        let ended = self.first(began..all.end, |entry| {
            entry.kind == Kind::OperationEnded && num(entry, "operation") == operation
        })?;
        let entry = &self.entries[ended];
        entry.text("answer").filter(|_| entry.is("outcome", "error"))
    }

    /// Where an answer truly came from: sent by the leader, when it was asked on behalf of another.
    pub(super) fn source_of(&self, answered: usize) -> usize {
        let entry = &self.entries[answered];
        let delivered = self.last(0..answered, |other| {
            other.host == entry.host && other.kind == Kind::Delivered && other.is("what", "forwarded")
        });
        let fits = |place: &usize| {
            let other = &self.entries[*place];
            other.at == entry.at && num(other, "count") == num(entry, "revision")
        };
        delivered.filter(fits).and_then(|delivered| self.sent(delivered)).unwrap_or(answered)
    }

    // Beliefs.

    /// Who believed to lead at some place, with the terms, and since when.
    pub(super) fn leaders_at(&self, place: usize) -> Vec<(u64, u64, usize)> {
        let mut leaders: BTreeMap<u16, (u64, usize)> = BTreeMap::new();
        for (at, entry) in self.entries[..place].iter().enumerate() {
            match entry.kind {
                Kind::Leads => {
                    leaders.insert(entry.host, (num(entry, "term"), at));
                }
                Kind::LeadsNoMore | Kind::Ended => {
                    leaders.remove(&entry.host);
                }
                _ => {}
            }
        }
        let named = |(host, (term, since)): (u16, (u64, usize))| (self.node_on(host, place), term, since);
        leaders.into_iter().map(named).collect()
    }

    /// The end of the lease that a host's agent had at some place, with the place where it was told.
    pub(super) fn lease_of(&self, host: u16, place: usize) -> Option<(u64, usize)> {
        let told = self.last(0..place, |entry| {
            entry.host == host && matches!(entry.kind, Kind::Lease | Kind::Ended | Kind::Rebooted)
        })?;
        let until = num(&self.entries[told], "until_ns");
        (self.entries[told].kind == Kind::Lease && until > 0).then_some((until, told))
    }

    /// The grant that the lease at `lease` came from, if it was a message.
    pub(super) fn grant_of(&self, host: u16, lease: usize) -> Option<usize> {
        let until = num(&self.entries[lease], "until_local_ns");
        self.last(0..lease, |entry| {
            entry.host == host && entry.kind == Kind::Granted && num(entry, "until_local_ns") >= until
        })
    }
}
