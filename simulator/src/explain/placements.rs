//! A VM on a host that must not take it: what was decided about the VM, and about the host.

use super::Narrator;
use super::account::Account;
use super::story::{Story, num};
use super::volumes::say_life;
use crate::trace::file::Accusation;
use crate::trace::{Entry, Kind};

#[derive(Debug)]
pub(super) struct Placements;

impl Narrator for Placements {
    fn properties(&self) -> &'static [&'static str] {
        &["placement"]
    }

    fn tell(&self, story: &Story<'_>, accused: &Accusation, account: &mut Account) {
        let (&[node], Some(vm)) = (&*accused.subjects.nodes, accused.subjects.vm) else { return };
        let end = story.end_of(accused.at);
        say_life(story, account, vm, end);
        let about_host = |entry: &Entry| {
            entry.kind == Kind::Decided
                && num(entry, "node") == node
                && num(entry, "vm") == 0
                && !entry.is("what", "report")
        };
        let decided = story.all(0..end, about_host).rev().take(3);
        for place in decided.collect::<Vec<_>>() {
            let entry = &story.entries[place];
            let (index, what) = (num(entry, "index"), entry.text("what").unwrap_or_default());
            account.core(place, format!("entry {index}: {what} n{node}"));
        }
        let assigned = |entry: &Entry| {
            entry.kind == Kind::Decided && num(entry, "vm") == vm && num(entry, "node") == node
        };
        if let Some(place) = story.last(0..end, assigned) {
            let entry = &story.entries[place];
            let (index, epoch, name) = (num(entry, "index"), num(entry, "epoch"), story.vm(vm));
            account.core(place, format!("entry {index} assigns {name} to n{node} under e{epoch}"));
        }
    }
}
