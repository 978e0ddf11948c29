//! A host that is taken to be rid of a VM which lives there: what the agent ordered, what it was told, and what it had forgotten.

use std::ops::Range;

use super::Narrator;
use super::account::{Account, Weight};
use super::faults;
use super::panics::opening;
use super::runs::{Run, assignment, concerned, say_assignment, say_giving_up, say_start};
use super::story::{Story, num};
use super::wording::span;
use crate::trace::file::Accusation;
use crate::trace::{Entry, Kind};

#[derive(Debug)]
pub(super) struct Confirmations;

impl Narrator for Confirmations {
    fn properties(&self) -> &'static [&'static str] {
        &["confirmation"]
    }

    fn tell(&self, story: &Story<'_>, accused: &Accusation, account: &mut Account) {
        let (&[node], Some(vm)) = (&*accused.subjects.nodes, accused.subjects.vm) else { return };
        let Some(host) = story.host_of(node) else { return };
        let end = story.end_of(accused.at);
        let Some(run) = concerned(story, &[host], Some(vm), end).pop() else { return };
        say_assignment(story, account, &run);
        say_start(story, account, &run);
        say_wishes(story, account, &run, end);
        let since = assignment(story, &run).unwrap_or(run.started);
        say_orders(story, account, &run, since..end);
        say_rebirths(story, account, run.host, since..end);
        let Some(index) = accused.subjects.index else { return };
        let decided = |entry: &Entry| entry.kind == Kind::Decided && num(entry, "index") == index;
        let Some(place) = story.last(0..end, decided) else { return };
        if story.entries[place].is("what", "lose-host") {
            return say_giving_up(story, account, host, run.started..end);
        }
        let name = story.vm(vm);
        account.core(
            place,
            format!("entry {index} is carried out, n{node}'s report: {name} has stopped there; it lives on"),
        );
    }
}

/// What was asked about the VM since it came alive.
fn say_wishes(story: &Story<'_>, account: &mut Account, run: &Run, end: usize) {
    let wished = story.all(run.started..end, |entry| {
        entry.kind == Kind::Decided && num(entry, "vm") == run.vm && !entry.is("what", "report")
    });
    for place in wished {
        let entry = &story.entries[place];
        if story.refusal(num(entry, "request")).is_none() {
            let (index, what) = (num(entry, "index"), entry.text("what").unwrap_or_default());
            account.link(place, format!("entry {index}: {what} {}", story.vm(run.vm)));
        }
    }
}

/// What the agent ordered, and what it was told.
fn say_orders(story: &Story<'_>, account: &mut Account, run: &Run, range: Range<usize>) {
    let end = range.end;
    let ordered = story.all(range.clone(), |entry| {
        entry.host == run.host
            && entry.kind == Kind::Ordered
            && (entry.is("what", "list") || num(entry, "vm") == run.vm)
    });
    for place in ordered {
        let entry = &story.entries[place];
        let (node, operation) = (story.node_at(place), num(entry, "operation"));
        let heard = story.first(place..end, |other| {
            other.host == run.host
                && matches!(other.kind, Kind::Hypervisor | Kind::Ended)
                && (other.kind == Kind::Ended || num(other, "operation") == operation)
        });
        let answer = match heard.map(|heard| (heard, &story.entries[heard])) {
            Some((_, entry)) if entry.kind == Kind::Ended => ", and does not live to hear the answer".into(),
            Some((heard, entry)) => {
                let says = if entry.is("what", "failed") { "that it cannot" } else { "that it is done" };
                format!(", and is told after {} {says}", span(story.at(heard) - story.at(place)))
            }
            None => ", and has no answer".into(),
        };
        if entry.is("what", "prepare") {
            continue;
        }
        if entry.is("what", "list") {
            account.link(place, format!("n{node} asks its hypervisor what runs{answer}"));
        } else {
            let what = entry.text("what").unwrap_or_default();
            account
                .core(place, format!("n{node} orders its hypervisor to {what} {}{answer}", story.vm(run.vm)));
        }
    }
    let told = story.all(range, |entry| {
        entry.host == run.host && entry.is("what", "exited") && num(entry, "vm") == run.vm
    });
    for place in told {
        let (node, epoch) = (story.node_at(place), num(&story.entries[place], "epoch"));
        account.core(
            place,
            format!("n{node} is told that {} under e{epoch} has ended by itself", story.vm(run.vm)),
        );
    }
}

/// Processes that died meanwhile, and what they had forgotten when they came back.
fn say_rebirths(story: &Story<'_>, account: &mut Account, host: u16, range: Range<usize>) {
    let end = range.end;
    for rebirth in story.rebirths(host, range) {
        account.say(Weight::Link, rebirth.ended, faults::ending(story, rebirth.ended));
        if rebirth.found < end {
            account.say(Weight::Link, rebirth.found, opening(story, rebirth.found));
        }
    }
}
