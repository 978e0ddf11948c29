//! A healed core that did not recover: who is there, whom they follow, and how far each has come.

use std::collections::BTreeSet;

use super::Narrator;
use super::account::Account;
use super::panics::{opening, role_words};
use super::placements::is_about_host;
use super::story::{Story, num};
use super::{faults, volumes};
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
        if story.leaders_at(end).is_empty()
            && let Some(leads) = story.last(0..end, |entry| entry.kind == Kind::Leads)
        {
            let (node, term) = (story.node_at(leads), num(&story.entries[leads], "term"));
            account.core(leads, format!("n{node} wins term {term}; nobody is elected after that"));
        }
        let (nodes, vms) = mentioned(&accused.message);
        nodes.iter().for_each(|node| say_member(story, account, *node, end));
        for vm in vms.into_iter().filter_map(|name| story.vm_named(&name)) {
            volumes::say_life(story, account, vm, end);
        }
        let hosts: BTreeSet<u16> = story.entries[..end].iter().map(|entry| entry.host).collect();
        for host in hosts.into_iter().filter(|host| *host > 0) {
            say_state(story, account, host, end);
        }
    }
}

/// The nodes and VMs that a message speaks of: `n6`, `vm-15`.
fn mentioned(message: &str) -> (BTreeSet<u64>, BTreeSet<String>) {
    let words = message.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-'));
    let (mut nodes, mut vms) = (BTreeSet::new(), BTreeSet::new());
    for word in words {
        match word.strip_prefix('n').map(str::parse) {
            Some(Ok(node)) => {
                nodes.insert(node);
            }
            _ if word.contains('-') && word.ends_with(|letter: char| letter.is_ascii_digit()) => {
                vms.insert(word.to_owned());
            }
            _ => {}
        }
    }
    (nodes, vms)
}

/// How a member stands with the cluster: what was decided about it, and whether it is heard and answered.
fn say_member(story: &Story<'_>, account: &mut Account, node: u64, end: usize) {
    let Some(host) = story.host_of(node) else { return };
    let decided = story.last(0..end, |entry| is_about_host(entry, node));
    if let Some(place) = decided {
        let entry = &story.entries[place];
        let (index, what) = (num(entry, "index"), entry.text("what").unwrap_or_default());
        account.core(place, format!("entry {index}: {what} n{node}, the newest about it"));
    }
    let here = move |entry: &Entry| entry.host == host;
    let opened = story.last(0..end, |entry| here(entry) && entry.kind == Kind::Found);
    if let Some(opened) = opened {
        account.link(opened, opening(story, opened));
    }
    let told = story.last(0..end, |entry| here(entry) && entry.kind == Kind::Told);
    if let Some(told) = told {
        account.link(told, told_words(story, told));
    }
    let since = opened.unwrap_or(0);
    let spoke = story.last(since..end, |entry| {
        here(entry) && entry.kind == Kind::Sent && (entry.is("what", "heartbeat") || entry.is("what", "join"))
    });
    match spoke {
        Some(place) => {
            let entry = &story.entries[place];
            let (what, to) = (entry.text("what").unwrap_or_default(), num(entry, "to"));
            account.core(place, format!("the last {what} of n{node} goes to n{to}"));
        }
        None => {
            account.core(since, format!("n{node} asks nobody for a lease, and nobody to join, after that"));
        }
    }
    let heard = story.last(since..end, |entry| {
        here(entry)
            && entry.kind == Kind::Delivered
            && ["heartbeat-ack", "not-leader", "joined", "refused"].iter().any(|word| entry.is("what", word))
    });
    if let Some(place) = heard {
        let entry = &story.entries[place];
        let (what, from) = (entry.text("what").unwrap_or_default(), num(entry, "from"));
        account.core(place, format!("the last answer to that reaches n{node} from n{from}: {what}"));
    }
}

/// What a node told, in words.
fn told_words(story: &Story<'_>, told: usize) -> String {
    let (entry, node) = (&story.entries[told], story.node_at(told));
    match entry.text("what").as_deref() {
        Some("host-lost") => format!("n{node} gives n{} up", num(entry, "detail")),
        Some("joined") => format!("n{node} is taken in"),
        Some("lease-expired") => format!("the lease of n{node} runs out"),
        what => format!("n{node} tells: {}", what.unwrap_or_default()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_vms_are_found_in_messages() {
        let (nodes, vms) =
            mentioned("VM vm-15: is still being deleted on n1 under e1: stopping at g3 of g3 ()");
        assert_eq!((nodes, vms), (BTreeSet::from([1]), BTreeSet::from(["vm-15".to_owned()])));
        assert_eq!(mentioned("n6 is up, but still counts as lost").0, BTreeSet::from([6]));
        assert_eq!(mentioned("no one leads"), (BTreeSet::new(), BTreeSet::new()));
    }
}
