//! A VM that executes another thing than it did: what each host had built, and why it moved.

use std::ops::Range;

use super::Narrator;
use super::account::Account;
use super::story::{Story, num};
use super::volumes::say_life;
use crate::trace::file::Accusation;
use crate::trace::{Entry, Kind};

#[derive(Debug)]
pub(super) struct Artifacts;

impl Narrator for Artifacts {
    fn properties(&self) -> &'static [&'static str] {
        &["artifacts"]
    }

    fn tell(&self, story: &Story<'_>, accused: &Accusation, account: &mut Account) {
        let Some(vm) = accused.subjects.vm else { return };
        let end = story.end_of(accused.at);
        let executes = |entry: &Entry| entry.kind == Kind::Executes && num(entry, "vm") == vm;
        let mut before: Option<(u64, usize)> = None;
        for place in story.all(0..end, executes) {
            let entry = &story.entries[place];
            let (artifact, epoch, node) = (num(entry, "artifact"), num(entry, "epoch"), story.node_at(place));
            let other = match before {
                Some((old, since)) if old != artifact => match updated(story, vm, since..place) {
                    Some(index) => format!(", another one since entry {index} updated it"),
                    None => format!(", not {old:016x}, though nothing has updated it"),
                },
                _ => String::new(),
            };
            let text = format!("{} executes {artifact:016x} on n{node} under e{epoch}{other}", story.vm(vm));
            account.core(place, text);
            before = Some((artifact, place));
        }
        say_life(story, account, vm, end);
    }
}

/// The newest entry that gave the VM another spec.
fn updated(story: &Story<'_>, vm: u64, range: Range<usize>) -> Option<u64> {
    let updates =
        |entry: &Entry| entry.kind == Kind::Decided && num(entry, "vm") == vm && entry.is("what", "update");
    let mut updates = story.all(range, updates).map(|place| &story.entries[place]);
    let taken = updates.rfind(|entry| story.refusal(num(entry, "request")).is_none())?;
    Some(num(taken, "index"))
}
