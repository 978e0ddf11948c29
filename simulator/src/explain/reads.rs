//! Answers that cannot be explained: which node gave them, from which state, and what had happened by then.

use std::collections::BTreeSet;

use super::account::Account;
use super::story::{Story, num};
use super::{Narrator, faults, panics};
use crate::trace::file::Accusation;
use crate::trace::{Entry, Kind};

#[derive(Debug)]
pub(super) struct Reads;

impl Narrator for Reads {
    fn properties(&self) -> &'static [&'static str] {
        &["linearizability", "real-time-order", "reads-match-revisions"]
    }

    fn tell(&self, story: &Story<'_>, accused: &Accusation, account: &mut Account) {
        let first = accused.subjects.operations.first();
        let Some(operation) = first.and_then(|id| asked(story, *id)) else { return };
        say_operation(story, account, &operation);
        let known = say_standing(story, account, &operation);
        say_overtaken(story, account, &operation, known);
    }
}

/// A client's operation, as far as the log tells.
#[derive(Clone, Copy, Debug)]
struct Operation {
    began: usize,
    ended: Option<usize>,
    /// Where the node answered that the client has its answer from.
    answered: Option<usize>,
}

fn asked(story: &Story<'_>, id: u64) -> Option<Operation> {
    let all = 0..story.entries.len();
    let of = move |entry: &Entry, kind| entry.kind == kind && num(entry, "operation") == id;
    let began = story.first(all.clone(), |entry| of(entry, Kind::OperationBegan))?;
    let ended = story.first(began..all.end, |entry| of(entry, Kind::OperationEnded));
    let tickets: Vec<u64> = story
        .all(began..ended.unwrap_or(all.end), |entry| of(entry, Kind::Asked))
        .map(|place| num(&story.entries[place], "ticket"))
        .collect();
    let answered = story.last(began..ended.unwrap_or(all.end), |entry| {
        entry.kind == Kind::Answered && tickets.contains(&num(entry, "ticket"))
    });
    Some(Operation { began, ended, answered })
}

/// What the client asks, in words.
pub(super) fn question(story: &Story<'_>, began: usize) -> String {
    let entry = &story.entries[began];
    let (client, what) = (num(entry, "client"), entry.text("what").unwrap_or_default());
    match (entry.text("name").filter(|name| !name.is_empty()), num(entry, "generation")) {
        (None, _) => format!("client {client} asks for {what}"),
        (Some(name), 0) => format!("client {client} asks to {what} {name}"),
        (Some(name), generation) => {
            format!("client {client} asks to {what} {name} if it is at g{generation}")
        }
    }
}

fn say_operation(story: &Story<'_>, account: &mut Account, operation: &Operation) {
    let known = match num(&story.entries[operation.began], "floor") {
        0 => String::new(),
        floor => format!("; by then some client has been told of entry {floor}"),
    };
    account.core(operation.began, format!("{}{known}", question(story, operation.began)));
    if let Some(ended) = operation.ended {
        let client = num(&story.entries[ended], "client");
        account.core(ended, format!("client {client} is told {}", answer(story, ended)));
    }
}

/// What an operation's end says, in words.
fn answer(story: &Story<'_>, ended: usize) -> String {
    let entry = &story.entries[ended];
    let generation = match (num(entry, "vm"), num(entry, "generation")) {
        (_, 0) => String::new(),
        (0, generation) => format!(", g{generation}"),
        (vm, generation) => format!(", vm{vm} at g{generation}"),
    };
    let as_of = match num(entry, "revision") {
        0 => String::new(),
        revision => format!(", as of entry {revision}"),
    };
    let what = match entry.text("answer").as_deref() {
        Some("none") => "nothing: whether it took effect stays unknown".into(),
        Some(word) => format!("\"{word}\""),
        None => "?".into(),
    };
    format!("{what}{generation}{as_of}")
}

/// Who answered, and what that node believed then. The newest entry that it had carried out.
fn say_standing(story: &Story<'_>, account: &mut Account, operation: &Operation) -> Option<u64> {
    let answered = operation.answered?;
    let place = story.source_of(answered);
    let host = story.entries[place].host;
    let (node, asked) = (story.node_on(host, place), story.node_at(answered));
    let opened = story.last(0..place, |entry| entry.host == host && entry.kind == Kind::Found);
    let opened = opened.unwrap_or(0);
    if story.at(opened) + 30_000_000_000 > story.at(operation.began) {
        account.link(opened, panics::opening(story, opened));
    }
    let applied = story.last(opened..place, |entry| {
        entry.host == host && matches!(entry.kind, Kind::Applied | Kind::Restored)
    });
    // What a node has carried out may be told in the lines after the answer that already shows it.
    let shown = operation.ended.map_or(0, |ended| num(&story.entries[ended], "revision"));
    let at = applied.map_or(0, |place| num(&story.entries[place], "index")).max(shown);
    let leaders = story.leaders_at(place);
    let own = leaders.iter().find(|(leader, ..)| *leader == node);
    let believes = match own {
        Some((_, term, _)) => format!("which believes to lead term {term}"),
        None => "which leads no term".into(),
    };
    let asked = if node == asked { String::new() } else { format!(" to n{asked}") };
    account
        .core(place, format!("n{node}, {believes}, answers{asked}; it has carried out entries up to {at}"));
    if let Some((_, term, since)) = own {
        say_confirmation(story, account, (node, host, *term), (*since, operation.began), place);
    }
    let term = own.map_or(0, |(_, term, _)| *term);
    let newer = leaders.iter().filter(|(leader, newer, _)| *leader != node && *newer > term);
    if let Some((leader, term, since)) = newer.max_by_key(|(_, term, _)| *term) {
        account.core(*since, format!("n{leader} leads term {term}, and n{node} does not know it"));
        if let Some(other) = story.host_of(*leader) {
            faults::say_cuts(story, account, (host, other), *since..place);
        }
    }
    if let Some(first) = beyond(story, at, operation.began) {
        let other = story.node_at(first);
        account
            .link(first, format!("n{other} has carried out entry {}", num(&story.entries[first], "index")));
    }
    Some(at)
}

/// Whether the leader that answered had asked others if it still leads, and had committed an entry of its term.
fn say_confirmation(
    story: &Story<'_>,
    account: &mut Account,
    (node, host, term): (u64, u16, u64),
    (since, began): (usize, usize),
    place: usize,
) {
    account.link(since, format!("n{node} leads term {term}"));
    let came = story.last(began..place, |entry| {
        entry.host == host
            && (entry.kind == Kind::Requested || entry.kind == Kind::Delivered && entry.is("what", "forward"))
    });
    let heard = story.all(came.unwrap_or(began)..place, |entry| {
        entry.host == host && entry.kind == Kind::Delivered && entry.is("what", "raft-heartbeat-ok")
    });
    let heard: BTreeSet<u64> = heard.map(|place| num(&story.entries[place], "from")).collect();
    let own_term = story.first(since..place, |entry| {
        entry.host == host && entry.kind == Kind::Applied && num(entry, "term") == term
    });
    let mut lacks = Vec::new();
    if heard.is_empty() {
        lacks.push("has heard from nobody that it still leads since the question came to it".to_owned());
    }
    if own_term.is_none() {
        lacks.push(format!("has carried out no entry of term {term} yet"));
    }
    if !lacks.is_empty() {
        account.core(place, format!("n{node} {}", lacks.join(", and ")));
    }
}

/// The newest entry beyond `index` that anybody had carried out.
fn beyond(story: &Story<'_>, index: u64, place: usize) -> Option<usize> {
    let newest = story
        .all(0..place, |entry| entry.kind == Kind::Applied)
        .max_by_key(|place| (num(&story.entries[*place], "index"), std::cmp::Reverse(*place)))?;
    (num(&story.entries[newest], "index") > index).then_some(newest)
}

/// What had been acknowledged about the same VM before the operation began: beyond what it was answered from, else the newest.
fn say_overtaken(story: &Story<'_>, account: &mut Account, operation: &Operation, known: Option<u64>) {
    let Some(name) = story.entries[operation.began].text("name").filter(|name| !name.is_empty()) else {
        return;
    };
    let ends = story
        .all(0..operation.began, |entry| entry.kind == Kind::OperationEnded && entry.is("outcome", "ok"));
    let before: Vec<(usize, Operation)> = ends
        .rev()
        .filter_map(|ended| Some((ended, asked(story, num(&story.entries[ended], "operation"))?)))
        .filter(|(_, before)| story.entries[before.began].text("name").as_deref() == Some(&name))
        .take(8)
        .collect();
    let beyond = |(ended, _): &&(usize, Operation)| {
        known.is_some_and(|known| num(&story.entries[*ended], "revision") > known)
    };
    let overtaken: Vec<_> = before.iter().filter(beyond).collect();
    let told = if overtaken.is_empty() { before.iter().take(2).collect() } else { overtaken };
    for (ended, before) in told.into_iter().take(3) {
        let what = question(story, before.began);
        account.core(*ended, format!("{what}, and is told {}", answer(story, *ended)));
    }
}
