//! A healed core that did not recover: who is there, whom they follow, and how far each has come.

use std::collections::BTreeSet;

use super::Narrator;
use super::account::Account;
use super::faults;
use super::panics::role_words;
use super::story::{Story, num};
use crate::trace::file::Accusation;
use crate::trace::{Entry, Kind};

#[derive(Debug)]
pub(super) struct Liveness;

impl Narrator for Liveness {
    fn properties(&self) -> &'static [&'static str] {
        &["liveness"]
    }

    fn tell(&self, story: &Story<'_>, accused: &Accusation, account: &mut Account) {
        let end = story.end_of(accused.at);
        let healed = |entry: &Entry| entry.kind == Kind::Phase && entry.is("what", "liveness");
        let Some(healed) = story.first(0..end, healed) else { return };
        account.core(healed, "faults end; what is outside the core is dead or cut off for good");
        if let Some(leads) = story.last(0..end, |entry| entry.kind == Kind::Leads) {
            let (node, term) = (story.node_at(leads), num(&story.entries[leads], "term"));
            account.core(leads, format!("n{node} wins term {term}; nobody is elected after that"));
        }
        let hosts: BTreeSet<u16> = story.entries[..end].iter().map(|entry| entry.host).collect();
        for host in hosts.into_iter().filter(|host| *host > 0) {
            say_state(story, account, host, end);
        }
    }
}

fn say_state(story: &Story<'_>, account: &mut Account, host: u16, end: usize) {
    let here = move |entry: &Entry| entry.host == host;
    let life = story.last(0..end, |entry| here(entry) && matches!(entry.kind, Kind::Started | Kind::Ended));
    let Some(life) = life else { return };
    if story.entries[life].kind == Kind::Ended {
        return account.link(life, format!("{}, and does not come back", faults::ending(story, life)));
    }
    let Some(role) = story.last(life..end, |entry| here(entry) && entry.kind == Kind::Role) else { return };
    let known = |kind| {
        let told = story.last(life..end, |entry| here(entry) && entry.kind == kind);
        told.map_or(0, |told| num(&story.entries[told], "index"))
    };
    let (commit, applied) = (known(Kind::Committed), known(Kind::Applied).max(known(Kind::Restored)));
    let progress = match (commit, applied) {
        (0, _) => String::new(),
        (commit, applied) if applied < commit => {
            format!("; of entries up to {commit} it has carried out those up to {applied}")
        }
        (commit, _) => format!("; it has carried out all entries up to {commit}"),
    };
    account.link(role, format!("{} until the end{progress}", role_words(story, role)));
}
