//! A VM on a host that must not take it: where it was before, what was decided about the host, and what has a claim on it.

use super::Narrator;
use super::account::Account;
use super::runs::assigns;
use super::story::{Story, num};
use crate::trace::file::Accusation;
use crate::trace::{Entry, Kind};

/// The most earlier assignments, and decisions about the host, that are told.
const EARLIER_MAX: usize = 3;

#[derive(Debug)]
pub(super) struct Placements;

impl Narrator for Placements {
    fn properties(&self) -> &'static [&'static str] {
        &["placement"]
    }

    fn tell(&self, story: &Story<'_>, accused: &Accusation, account: &mut Account) {
        let (&[node], Some(vm)) = (&*accused.subjects.nodes, accused.subjects.vm) else { return };
        let end = story.end_of(accused.at);
        let here = |entry: &Entry| assigns(entry, vm) && num(entry, "node") == node;
        let Some(place) = story.last(0..end, here) else { return };
        let before = say_earlier(story, account, vm, place);
        let host = say_host(story, account, node, place);
        let other = say_claim(story, account, accused, node, place);
        if !(before || host || other) {
            let created = |entry: &Entry| entry.kind == Kind::Decided && num(entry, "index") == vm;
            if let Some(created) = story.first(0..place, created) {
                account.link(created, format!("entry {vm}: create {}", story.vm(vm)));
            }
        }
        say_assignment(story, account, vm, place);
    }
}

fn say_assignment(story: &Story<'_>, account: &mut Account, vm: u64, place: usize) {
    let entry = &story.entries[place];
    let (index, node, epoch) = (num(entry, "index"), num(entry, "node"), num(entry, "epoch"));
    account.core(place, format!("entry {index} assigns {} to n{node} under e{epoch}", story.vm(vm)));
}

/// Where the VM was before, and when it lived there; whether there is anything to tell.
fn say_earlier(story: &Story<'_>, account: &mut Account, vm: u64, end: usize) -> bool {
    let earlier: Vec<usize> = story.all(0..end, |entry| assigns(entry, vm)).rev().take(EARLIER_MAX).collect();
    for place in &earlier {
        say_assignment(story, account, vm, *place);
    }
    let lives =
        |entry: &Entry| matches!(entry.kind, Kind::RunStarted | Kind::RunEnded) && num(entry, "vm") == vm;
    let from = earlier.last().copied().unwrap_or(end);
    for place in story.all(from..end, lives) {
        let node = story.node_at(place);
        let what = if story.entries[place].kind == Kind::RunStarted { "comes alive" } else { "is dead" };
        account.colour(place, format!("{} {what} on n{node}", story.vm(vm)));
    }
    !earlier.is_empty()
}

/// What was decided about the host; whether there is anything to tell.
fn say_host(story: &Story<'_>, account: &mut Account, node: u64, end: usize) -> bool {
    let about = |entry: &Entry| is_about_host(entry, node) && !entry.is("what", "add-host");
    let decided: Vec<usize> = story.all(0..end, about).rev().take(EARLIER_MAX).collect();
    for place in &decided {
        let entry = &story.entries[*place];
        let (index, what) = (num(entry, "index"), entry.text("what").unwrap_or_default());
        account.core(*place, format!("entry {index}: {what} n{node}"));
    }
    !decided.is_empty()
}

/// Whether an entry decides something about a host itself.
pub(super) fn is_about_host(entry: &Entry, node: u64) -> bool {
    const DECISIONS: [&str; 7] =
        ["cordon", "uncordon", "remove-host", "add-host", "drop-host", "lose-host", "regain-host"];
    entry.kind == Kind::Decided
        && num(entry, "node") == node
        && DECISIONS.iter().any(|word| entry.is("what", word))
}

/// A host that is given more than it has, at the entry `index`: what was given to it before, and was not given to another since.
pub(super) fn say_crowd(story: &Story<'_>, account: &mut Account, node: u64, index: u64, end: usize) {
    let given = |entry: &Entry| {
        entry.kind == Kind::Decided && num(entry, "node") == node && assigns(entry, num(entry, "vm"))
    };
    for place in story.all(0..end, given) {
        let (vm, at) = (num(&story.entries[place], "vm"), num(&story.entries[place], "index"));
        let newest = story.last(0..end, |entry| assigns(entry, vm)) == Some(place);
        if newest && at <= index {
            say_assignment(story, account, vm, place);
        }
    }
}

/// The other VM that has what this one needs, where the checker names one; whether there is anything to tell.
fn say_claim(story: &Story<'_>, account: &mut Account, accused: &Accusation, node: u64, end: usize) -> bool {
    let named = accused.message.split_once(", where VM ").and_then(|(_, rest)| rest.split_once(' '));
    let Some(other) = named.and_then(|(name, _)| story.vm_named(name)) else { return false };
    let there = |entry: &Entry| assigns(entry, other) && num(entry, "node") == node;
    let Some(place) = story.last(0..end, there) else { return false };
    say_assignment(story, account, other, place);
    true
}
