//! A request that took effect twice: its attempts, and the entries that carry it out.

use super::Narrator;
use super::account::Account;
use super::story::{Story, num};
use super::wording::nodes;
use crate::trace::file::Accusation;
use crate::trace::{Entry, Kind};

#[derive(Debug)]
pub(super) struct Once;

impl Narrator for Once {
    fn properties(&self) -> &'static [&'static str] {
        &["exactly-once"]
    }

    fn tell(&self, story: &Story<'_>, accused: &Accusation, account: &mut Account) {
        let Some(index) = accused.subjects.index else { return };
        let all = 0..story.entries.len();
        let decided = |entry: &Entry| entry.kind == Kind::Decided && num(entry, "index") == index;
        let Some(last) = story.first(all.clone(), decided) else { return };
        let request = num(&story.entries[last], "request");
        let same = move |entry: &Entry| num(entry, "request") == request;
        for place in story.all(all.clone(), move |entry| entry.kind == Kind::Decided && same(entry)) {
            let entry = &story.entries[place];
            let (index, what) = (num(entry, "index"), entry.text("what").unwrap_or_default());
            let name = entry.text("name").unwrap_or_default();
            let leaders = story.leaders_at(place);
            let leader = leaders.iter().max_by_key(|(_, term, _)| *term);
            let under = leader.map(|(leader, term, _)| format!(", while n{leader} leads term {term}"));
            let under = under.unwrap_or_default();
            account.core(place, format!("entry {index} carries the request out: {what} {name}{under}"));
        }
        let began = |entry: &Entry| entry.kind == Kind::OperationBegan && same(entry);
        let Some(began) = story.first(all.clone(), began) else { return };
        let entry = &story.entries[began];
        let (client, operation) = (num(entry, "client"), num(entry, "operation"));
        let (what, name) = (entry.text("what").unwrap_or_default(), entry.text("name").unwrap_or_default());
        account.core(began, format!("client {client} asks to {what} {name}"));
        let asked = |entry: &Entry| entry.kind == Kind::Asked && num(entry, "operation") == operation;
        for (attempt, place) in story.all(all, asked).enumerate() {
            let to = nodes([num(&story.entries[place], "to")]);
            account.link(place, format!("attempt {} of client {client} goes to {to}", attempt + 1));
            say_forwarding(story, account, num(&story.entries[place], "ticket"));
        }
    }
}

/// Whether the leader was handed a request that was passed on to it more than once.
fn say_forwarding(story: &Story<'_>, account: &mut Account, ticket: u64) {
    let all = 0..story.entries.len();
    let came = |entry: &Entry| entry.kind == Kind::Requested && num(entry, "ticket") == ticket;
    let Some(came) = story.first(all.clone(), came) else { return };
    let host = story.entries[came].host;
    let Some(sent) = story.first(came..all.end, |entry| {
        entry.host == host && entry.kind == Kind::Sent && entry.is("what", "forward")
    }) else {
        return;
    };
    let message = num(&story.entries[sent], "message");
    let arrivals: Vec<usize> = story
        .all(sent..all.end, |entry| entry.kind == Kind::Delivered && num(entry, "message") == message)
        .collect();
    let from = story.node_at(sent);
    for place in arrivals.iter().skip(1) {
        let to = story.node_at(*place);
        account.core(*place, format!("what n{from} passes on is doubled: n{to} is handed it again"));
    }
}
