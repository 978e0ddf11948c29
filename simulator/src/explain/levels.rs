//! A feature level that is not what it must be: who spoke what from when on, who told of itself, and where the level rose.

use super::Narrator;
use super::account::Account;
use super::faults::{self, Strike};
use super::story::{Story, num};
use crate::trace::file::Accusation;
use crate::trace::{Entry, Kind};

#[derive(Debug)]
pub(super) struct Levels;

impl Narrator for Levels {
    fn properties(&self) -> &'static [&'static str] {
        &["feature-level"]
    }

    fn tell(&self, story: &Story<'_>, accused: &Accusation, account: &mut Account) {
        let end = story.end_of(accused.at);
        say_raise(story, account, end);
        for node in &accused.subjects.nodes {
            let Some(host) = story.host_of(*node) else { continue };
            say_process(story, account, (*node, host), end);
            say_state(story, account, (*node, host), end);
            say_announcement(story, account, *node, end);
        }
    }
}

fn told(entry: &Entry, what: &str) -> bool {
    entry.kind == Kind::Told && entry.is("what", what)
}

/// Where the level rose.
fn say_raise(story: &Story<'_>, account: &mut Account, end: usize) {
    let Some(place) = story.first(0..end, |entry| told(entry, "level-raised")) else { return };
    let (node, level) = (story.node_at(place), num(&story.entries[place], "detail"));
    // The entry is told right after what it has led to.
    let raise = |entry: &Entry| entry.kind == Kind::Decided && entry.is("what", "raise-level");
    let entry = story.first(place..story.entries.len(), raise);
    let entry = entry.map_or("an entry".into(), |at| format!("entry {}", num(&story.entries[at], "index")));
    account
        .core(place, format!("{entry}, first carried out by n{node}, raises the cluster's level to {level}"));
    let leaders = story.leaders_at(place);
    if let Some((leader, term, since)) = leaders.iter().max_by_key(|(_, term, _)| *term) {
        account.link(*since, format!("n{leader} leads term {term}"));
    }
}

/// What the newest process of a node speaks, and why it was started.
fn say_process(story: &Story<'_>, account: &mut Account, (node, host): (u64, u16), end: usize) {
    let started = |entry: &Entry| entry.host == host && entry.kind == Kind::Started;
    let Some(start) = story.last(0..end, started) else { return };
    let speaks =
        story.first(start..(start + 3).min(end), |entry| entry.host == host && told(entry, "speaks-level"));
    match speaks {
        Some(place) => {
            let level = num(&story.entries[place], "detail");
            account.core(place, format!("n{node} starts as an older version: it speaks level {level}"));
        }
        None => account.link(start, format!("n{node} starts as the newest version")),
    }
    let strike = |entry: &Entry| {
        entry.kind == Kind::Fault
            && entry.is("what", "upgrade")
            && num(entry, "hosts") >> host.saturating_sub(1) & 1 == 1
    };
    if let Some(place) = story.last(0..start, strike) {
        account.core(place, faults::words(story, &Strike { place, over: None }));
    }
}

/// Where its state, or its lease, came from.
fn say_state(story: &Story<'_>, account: &mut Account, (node, host): (u64, u16), end: usize) {
    let here = |kind: Kind| move |entry: &Entry| entry.host == host && entry.kind == kind;
    if let Some(place) = story.last(0..end, here(Kind::Restored)) {
        let index = num(&story.entries[place], "index");
        account
            .link(place, format!("n{node} takes over the state of entry {index} from the leader's snapshot"));
    }
    if let Some(place) = story.last(0..end, here(Kind::Found)) {
        let index = num(&story.entries[place], "snapshot");
        if index > 0 {
            account.link(place, format!("n{node} opens on its snapshot of entry {index}"));
        }
    }
    if let Some(place) = story.last(0..end, here(Kind::Granted)) {
        let by = num(&story.entries[place], "by");
        account.link(place, format!("n{by} grants n{node} a lease"));
    }
}

/// Where the cluster last heard of it what it speaks.
fn say_announcement(story: &Story<'_>, account: &mut Account, node: u64, end: usize) {
    let tells = |entry: &Entry| {
        entry.kind == Kind::Decided && entry.is("what", "add-host") && num(entry, "node") == node
    };
    if let Some(place) = story.last(0..end, tells) {
        let index = num(&story.entries[place], "index");
        account.core(place, format!("entry {index}: what n{node} tells of itself"));
    }
}
