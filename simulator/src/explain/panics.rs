//! A process that panicked: how it came to be there, and what it had just been handed.

use super::Narrator;
use super::account::{Account, Weight};
use super::faults;
use super::story::{Story, num};
use super::wording::span;
use crate::trace::file::Accusation;
use crate::trace::{Entry, Kind};

#[derive(Debug)]
pub(super) struct Panics;

/// The newest inputs that are told.
const INPUTS: usize = 4;

impl Narrator for Panics {
    fn properties(&self) -> &'static [&'static str] {
        &["panic", "reopens"]
    }

    fn tell(&self, story: &Story<'_>, accused: &Accusation, account: &mut Account) {
        let Some(host) = accused.subjects.nodes.first().and_then(|node| story.host_of(*node)) else { return };
        let end = story.end_of(accused.at);
        let here = move |entry: &Entry| entry.host == host;
        let found = story.last(0..end, |entry| here(entry) && entry.kind == Kind::Found);
        let since = found.unwrap_or(0);
        if let Some(found) = found {
            account.core(found, opening(story, found));
        }
        let ended = story.last(0..since, |entry| here(entry) && entry.kind == Kind::Ended);
        if let Some(ended) = ended {
            account.link(ended, faults::ending(story, ended));
        }
        if let Some(role) = story.last(since..end, |entry| here(entry) && entry.kind == Kind::Role) {
            account.link(role, role_words(story, role));
        }
        if let Some(commit) = story.last(since..end, |entry| here(entry) && entry.kind == Kind::Committed) {
            let index = num(&story.entries[commit], "index");
            let node = story.node_at(commit);
            account.link(commit, format!("n{node} knows entries up to {index} to be committed"));
        }
        let delivered = story.all(since..end, |entry| here(entry) && entry.kind == Kind::Delivered);
        for place in delivered.rev().take(INPUTS) {
            account.link(place, delivery(story, place));
        }
        faults::say_touching(story, account, Weight::Link, (host, &[]), since..end);
    }
}

/// What a process finds on its disk, in words.
pub(super) fn opening(story: &Story<'_>, found: usize) -> String {
    let entry = &story.entries[found];
    let (term, last) = (num(entry, "term"), num(entry, "last").max(num(entry, "snapshot")));
    match (story.node_at(found), term, last) {
        (node, 0, 0) => format!("n{node} opens an empty disk"),
        (node, term, last) => format!("n{node} opens its disk: term {term}, a log that ends at {last}"),
    }
}

fn delivery(story: &Story<'_>, place: usize) -> String {
    let entry = &story.entries[place];
    let delay = story.sent(place).map(|sent| story.at(place) - story.at(sent)).unwrap_or_default();
    let (what, from, node) =
        (entry.text("what").unwrap_or_default(), num(entry, "from"), story.node_at(place));
    let raft = match num(entry, "term") {
        0 => String::new(),
        term => {
            let (index, count) = (num(entry, "index"), num(entry, "count"));
            format!(" of term {term}, index {index}, {count} entries")
        }
    };
    format!("n{node} is handed {what} from n{from}{raft}, {} after it left", span(delay))
}

/// A node's part, in words.
pub(super) fn role_words(story: &Story<'_>, place: usize) -> String {
    let entry = &story.entries[place];
    let (node, term) = (story.node_at(place), num(entry, "term"));
    match entry.text("role").as_deref() {
        Some("leader") => format!("n{node} leads term {term}"),
        Some("follower") => format!("n{node} follows n{} in term {term}", num(entry, "leader")),
        _ => format!("n{node} knows no leader in term {term}"),
    }
}
