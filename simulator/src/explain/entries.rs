//! What became of a log entry: who held it, whose disk had kept it, who lost it, and who came to lead without it.

use std::collections::BTreeMap;

use super::account::{Account, Weight};
use super::story::{Story, Write, num};
use super::wording::nodes;
use super::{Narrator, elections, faults, panics};
use crate::trace::file::Accusation;
use crate::trace::{Entry, Kind};

#[derive(Debug)]
pub(super) struct Entries;

impl Narrator for Entries {
    fn properties(&self) -> &'static [&'static str] {
        &["leader-completeness", "durability", "log-matching", "state-machine-safety", "state-hash"]
    }

    fn tell(&self, story: &Story<'_>, accused: &Accusation, account: &mut Account) {
        let subjects = &accused.subjects;
        let Some(index) = subjects.index else { return };
        let end = story.end_of(accused.at);
        let copies = copies(story, index, end);
        say_origin(story, account, index, end);
        for operation in &subjects.operations {
            say_answer(story, account, *operation, index, &copies);
        }
        say_application(story, account, index, &copies, end);
        say_losses(story, account, index, &copies, end);
        match (&*accused.property, subjects.term) {
            ("leader-completeness", Some(term)) => {
                if let Some(leader) = subjects.nodes.last() {
                    say_election(story, account, *leader, term, index, &copies);
                }
            }
            ("log-matching", Some(term)) => say_leaders(story, account, term, end),
            ("state-hash" | "state-machine-safety", _) => {
                subjects.nodes.iter().for_each(|node| say_state(story, account, *node, end));
            }
            _ => {}
        }
        say_replacement(story, account, index, &copies, end);
    }
}

/// The writes that held an entry, by host, oldest first.
type Copies = BTreeMap<u16, Vec<Write>>;

fn copies(story: &Story<'_>, index: u64, end: usize) -> Copies {
    let mut copies = Copies::new();
    for host in 1..=64 {
        let holds =
            |write: &&Write| write.entries.is_some_and(|(first, last)| (first..=last).contains(&index));
        let writes: Vec<Write> = story.writes_on(host, 0..end).filter(holds).copied().collect();
        if !writes.is_empty() {
            copies.insert(host, writes);
        }
    }
    copies
}

/// What an entry says.
fn content(story: &Story<'_>, index: u64) -> Option<String> {
    let place = story
        .first(0..story.entries.len(), |entry| entry.kind == Kind::Decided && num(entry, "index") == index)?;
    let entry = &story.entries[place];
    let name = entry.text("name").filter(|name| !name.is_empty());
    let what = entry.text("what")?;
    Some(match name {
        Some(name) => format!("{what} {name}"),
        None => what,
    })
}

fn say_origin(story: &Story<'_>, account: &mut Account, index: u64, end: usize) {
    let ended = |entry: &Entry| {
        entry.kind == Kind::OperationEnded && num(entry, "revision") == index && entry.is("answer", "written")
    };
    if let Some(place) = story.first(0..end, ended) {
        let client = num(&story.entries[place], "client");
        let what = content(story, index).map(|what| format!(" ({what})")).unwrap_or_default();
        account
            .link(place, format!("client {client} is told that its write is done, at entry {index}{what}"));
    }
}

/// The answer that an operation got: from whom, and what was on disks then.
fn say_answer(story: &Story<'_>, account: &mut Account, operation: u64, index: u64, copies: &Copies) {
    let asked = story.all(0..story.entries.len(), |entry| {
        entry.kind == Kind::Asked && num(entry, "operation") == operation
    });
    for ticket in asked.map(|place| num(&story.entries[place], "ticket")).collect::<Vec<_>>() {
        let answered = story.first(0..story.entries.len(), |entry| {
            entry.kind == Kind::Answered && num(entry, "ticket") == ticket && entry.is("outcome", "ok")
        });
        let Some(answered) = answered else { continue };
        let place = story.source_of(answered);
        let (node, asked) = (story.node_at(place), story.node_at(answered));
        let for_whom = if node == asked { String::new() } else { format!(" to n{asked}, which was asked,") };
        account.core(
            place,
            format!(
                "n{node} answers{for_whom} as of entry {index}; {}",
                standing(story, index, copies, place)
            ),
        );
        if let Some(write) = story.left_before(place) {
            let what = faults::held(write);
            account.core(write.began, format!("only now n{node} begins the write of that turn ({what}): what it answered did not wait for that"));
        }
    }
}

/// Where an entry is durable at some place.
fn standing(story: &Story<'_>, index: u64, copies: &Copies, place: usize) -> String {
    let node = |host: &u16| story.node_on(*host, place);
    let durable =
        |writes: &Vec<Write>| writes.iter().any(|write| write.durable.is_some_and(|at| at <= place));
    let begun = |writes: &Vec<Write>| writes.iter().any(|write| write.began <= place);
    let on: Vec<u64> =
        copies.iter().filter(|(_, writes)| durable(writes)).map(|(host, _)| node(host)).collect();
    let under_way: Vec<u64> = copies
        .iter()
        .filter(|(_, writes)| begun(writes) && !durable(writes))
        .map(|(host, _)| node(host))
        .collect();
    let mut text = match on.is_empty() {
        true => format!("entry {index} is durable nowhere yet"),
        false => format!("the disks of {} have said that it is durable", nodes(on)),
    };
    if !under_way.is_empty() {
        text.push_str(&format!(", on {} its write is under way", nodes(under_way)));
    }
    text
}

fn say_application(story: &Story<'_>, account: &mut Account, index: u64, copies: &Copies, end: usize) {
    let applied = |entry: &Entry| entry.kind == Kind::Applied && num(entry, "index") == index;
    let mut terms = BTreeMap::new();
    for place in story.all(0..end, applied) {
        let entry = &story.entries[place];
        terms.entry((num(entry, "term"), num(entry, "hash"))).or_insert(place);
    }
    for ((term, _), place) in &terms {
        let (node, what) = (story.node_at(*place), content(story, index));
        let what = what.map(|what| format!(" ({what})")).unwrap_or_default();
        account.core(
            *place,
            format!(
                "n{node} is the first to carry out entry {index} of term {term}{what}; {}",
                standing(story, index, copies, *place)
            ),
        );
    }
}

/// Who held the entry and came back without it.
fn say_losses(story: &Story<'_>, account: &mut Account, index: u64, copies: &Copies, end: usize) {
    let mut ends = Vec::new();
    for (host, writes) in copies {
        let Some(first) = writes.first() else { continue };
        for rebirth in story.rebirths(*host, first.began..end) {
            let held = writes.iter().rev().find(|write| write.began < rebirth.ended);
            let found = &story.entries[rebirth.found];
            let (last, snapshot) = (num(found, "last"), num(found, "snapshot"));
            let Some(held) = held.filter(|_| last.max(snapshot) < index) else { continue };
            let node = story.node_at(rebirth.found);
            let promised = match held.durable.filter(|durable| *durable < rebirth.ended) {
                Some(_) => format!("though its disk had said that entry {index} is durable"),
                None => format!("the write of entry {index} had not ended"),
            };
            ends.push(rebirth.ended);
            account.core(
                rebirth.found,
                format!("n{node} comes back with a log that ends at {}, {promised}", last.max(snapshot)),
            );
        }
    }
    faults::say_endings(story, account, Weight::Link, &ends);
}

/// Where a node's state comes from: a snapshot of the leader's, or its own disk.
fn say_state(story: &Story<'_>, account: &mut Account, node: u64, end: usize) {
    let Some(host) = story.host_of(node) else { return };
    // What is older than a minute has been confirmed by many entries since.
    let from =
        end.checked_sub(1).map_or(0, |last| story.end_of(story.at(last).saturating_sub(60_000_000_000)));
    let here = |entry: &Entry, kind| entry.host == host && entry.kind == kind;
    let opened = story.last(from..end, |entry| here(entry, Kind::Found));
    let restored = story.last(opened.unwrap_or(from)..end, |entry| here(entry, Kind::Restored));
    if let Some(place) = restored {
        let index = num(&story.entries[place], "index");
        account.core(
            place,
            format!("n{node} takes a snapshot at entry {index} from the leader in place of its state"),
        );
    } else if let Some(place) = opened {
        account.core(place, panics::opening(story, place));
    }
}

/// How the leader that lacks the entry came to lead.
fn say_election(
    story: &Story<'_>,
    account: &mut Account,
    leader: u64,
    term: u64,
    index: u64,
    copies: &Copies,
) {
    let Some(ballot) = elections::say_victory(story, account, leader, term) else { return };
    for (voter, cast) in ballot.cast.iter().filter(|(voter, _)| **voter != leader) {
        let Some(host) = story.host_of(*voter) else { continue };
        let held = copies.get(&host).is_some_and(|writes| writes.iter().any(|write| write.began < *cast));
        let why = match (held, log_end(story, host, *cast)) {
            (false, _) => format!("n{voter}, which never held entry {index}, votes for n{leader}"),
            (true, Some(end)) if end < index => {
                format!("n{voter}, whose log now ends at {end}, votes for n{leader}")
            }
            (true, _) => format!("n{voter}, which holds entry {index}, votes for n{leader} all the same"),
        };
        account.link(*cast, why);
    }
}

/// Where the log of a host ended at some place, as far as the writes and openings tell.
fn log_end(story: &Story<'_>, host: u16, place: usize) -> Option<u64> {
    let told = story.last(0..place, |entry| {
        entry.host == host && matches!(entry.kind, Kind::Found | Kind::WriteEntries)
    })?;
    Some(num(&story.entries[told], "last"))
}

fn say_leaders(story: &Story<'_>, account: &mut Account, term: u64, end: usize) {
    let leads = |entry: &Entry| entry.kind == Kind::Leads && num(entry, "term") == term;
    let leaders: Vec<u64> = story.all(0..end, leads).map(|place| story.node_at(place)).collect();
    match *leaders {
        [one, other, ..] if one != other => elections::two_leaders(story, account, (one, other), term),
        [one, ..] => {
            elections::say_victory(story, account, one, term);
        }
        [] => {}
    }
}

/// Where the entry was replaced by another.
fn say_replacement(story: &Story<'_>, account: &mut Account, index: u64, copies: &Copies, end: usize) {
    for (host, writes) in copies {
        let [first, .., last] = &**writes else { continue };
        let (node, place) = (story.node_on(*host, last.began), last.began);
        if place < end && first.durable.is_some() {
            let from = last.entries.map_or(index, |(first, _)| first);
            let leader = story.last(0..place, |entry| {
                entry.host == *host && entry.kind == Kind::Delivered && entry.is("what", "append")
            });
            let of = leader.map(|place| num(&story.entries[place], "from"));
            let by = of.map(|leader| format!(", as n{leader} tells it")).unwrap_or_default();
            account.link(place, format!("n{node} writes its log anew from entry {from} on{by}"));
        }
    }
}
