//! What a VM kept on a host and was removed: what had been asked about that VM.

use super::Narrator;
use super::account::Account;
use super::story::{Story, num};
use crate::trace::file::Accusation;
use crate::trace::{Entry, Kind};

#[derive(Debug)]
pub(super) struct Volumes;

impl Narrator for Volumes {
    fn properties(&self) -> &'static [&'static str] {
        &["volumes"]
    }

    fn tell(&self, story: &Story<'_>, accused: &Accusation, account: &mut Account) {
        let Some(vm) = accused.subjects.vm else { return };
        let end = story.end_of(accused.at);
        say_life(story, account, vm, end);
        let purged = |entry: &Entry| entry.kind == Kind::Purged && num(entry, "vm") == vm;
        let Some(place) = story.last(0..end, purged) else { return };
        let node = story.node_at(place);
        account.core(place, format!("n{node} removes for good what it kept of {}", story.vm(vm)));
        let deleted = |entry: &Entry| decides(entry, vm) && entry.is("what", "delete");
        if story.first(0..place, deleted).is_none() {
            let asked = story.last(0..place, |entry| {
                let refused = || story.refusal(num(entry, "request")).is_some();
                decides(entry, vm) && !entry.is("what", "report") && !refused()
            });
            if let Some(asked) = asked {
                let entry = &story.entries[asked];
                let (what, index) = (entry.text("what").unwrap_or_default(), num(entry, "index"));
                account.core(
                    place,
                    format!("no entry deletes {}: the newest about it is {index} ({what})", story.vm(vm)),
                );
            }
        }
    }
}

fn decides(entry: &Entry, vm: u64) -> bool {
    entry.kind == Kind::Decided && num(entry, "vm") == vm
}

/// What was decided about a VM, and where it lived.
pub(super) fn say_life(story: &Story<'_>, account: &mut Account, vm: u64, end: usize) {
    let about = |entry: &Entry| match entry.kind {
        Kind::Decided => num(entry, "vm") == vm && !entry.is("what", "report"),
        Kind::RunStarted | Kind::RunEnded => num(entry, "vm") == vm,
        _ => false,
    };
    for place in story.all(0..end, about) {
        let entry = &story.entries[place];
        let (name, epoch, node) = (story.vm(vm), num(entry, "epoch"), story.node_at(place));
        match entry.kind {
            Kind::RunStarted => account.link(place, format!("{name} comes alive on n{node} under e{epoch}")),
            Kind::RunEnded => account.link(place, format!("{name} is dead on n{node}")),
            // A name that is taken, or another answer that says no: nothing happened.
            _ if story.refusal(num(entry, "request")).is_some() => {}
            _ if entry.is("what", "create") && num(entry, "index") != vm => {}
            _ => {
                let what = entry.text("what").unwrap_or_default();
                let to = match (num(entry, "node"), epoch) {
                    (0, _) => String::new(),
                    (node, 0) => format!(", on n{node}"),
                    (node, epoch) => format!(", on n{node} under e{epoch}"),
                };
                account.colour(place, format!("entry {}: {what} {name}{to}", num(entry, "index")));
            }
        }
    }
}
