//! Two leaders of one term: who voted for both, and what became of the first vote.

use std::collections::BTreeMap;

use super::account::{Account, Weight};
use super::story::{Story, num};
use super::wording::{list, nodes};
use super::{Narrator, faults};
use crate::trace::file::Accusation;
use crate::trace::{Entry, Kind};

#[derive(Debug)]
pub(super) struct Elections;

impl Narrator for Elections {
    fn properties(&self) -> &'static [&'static str] {
        &["election-safety"]
    }

    fn tell(&self, story: &Story<'_>, accused: &Accusation, account: &mut Account) {
        let (&[one, other], Some(term)) = (&*accused.subjects.nodes, accused.subjects.term) else { return };
        two_leaders(story, account, (one, other), term);
    }
}

/// The votes by which a node came to lead a term.
#[derive(Debug)]
pub(super) struct Ballot {
    pub(super) leads: usize,
    /// Where each vote was cast: sent, or for its own candidacy, where it first asked for votes.
    pub(super) cast: BTreeMap<u64, usize>,
}

/// How `node` came to lead `term`; none when it never did.
pub(super) fn ballot(story: &Story<'_>, node: u64, term: u64) -> Option<Ballot> {
    let host = story.host_of(node)?;
    let of_term = |entry: &Entry| entry.host == host && num(entry, "term") == term;
    let end = story.entries.len();
    let leads = story.first(0..end, |entry| of_term(entry) && entry.kind == Kind::Leads)?;
    let mut cast = BTreeMap::new();
    if let Some(stood) =
        story.first(0..leads, |entry| of_term(entry) && entry.kind == Kind::Sent && entry.is("what", "vote"))
    {
        cast.insert(node, stood);
    }
    let granted =
        |entry: &Entry| of_term(entry) && entry.kind == Kind::Delivered && entry.is("what", "vote-granted");
    for place in story.all(0..leads, granted) {
        let message = num(&story.entries[place], "message");
        let sent = story.last(0..place, |entry| entry.kind == Kind::Sent && num(entry, "message") == message);
        cast.entry(num(&story.entries[place], "from")).or_insert(sent.unwrap_or(place));
    }
    Some(Ballot { leads, cast })
}

/// Says how a node came to lead.
pub(super) fn say_victory(story: &Story<'_>, account: &mut Account, node: u64, term: u64) -> Option<Ballot> {
    let ballot = ballot(story, node, term)?;
    let others = ballot.cast.keys().filter(|voter| **voter != node);
    let votes = match others.clone().count() {
        0 => "by its own vote alone".into(),
        1 => format!("with the vote of {}", nodes(others.copied())),
        _ => format!("with the votes of {}", nodes(others.copied())),
    };
    account.core(ballot.leads, format!("n{node} leads term {term}, {votes}"));
    Some(ballot)
}

/// Two nodes lead one term.
pub(super) fn two_leaders(story: &Story<'_>, account: &mut Account, (one, other): (u64, u64), term: u64) {
    let victories = (say_victory(story, account, one, term), say_victory(story, account, other, term));
    let (Some(first), Some(second)) = victories else { return };
    let mut twice: Vec<(u64, [(usize, u64); 2])> = Vec::new();
    for (voter, cast) in &first.cast {
        if let Some(again) = second.cast.get(voter) {
            let mut votes = [(*cast, one), (*again, other)];
            votes.sort_unstable();
            twice.push((*voter, votes));
        }
    }
    // One that is no candidate itself shows it best.
    twice.sort_by_key(|(voter, votes)| (*voter == one || *voter == other, votes[1].0));
    let Some(((voter, votes), rest)) = twice.split_first() else {
        for (node, ballot) in [(one, &first), (other, &second)] {
            say_members(story, account, node, ballot.leads);
        }
        return;
    };
    say_double_vote(story, account, *voter, term, *votes);
    if let Some((_, [_, (again, _)])) = rest.first() {
        let others = nodes(rest.iter().map(|(voter, _)| *voter));
        account.link(*again, format!("so did {others}: first for one, then for the other"));
    }
}

fn say_double_vote(
    story: &Story<'_>,
    account: &mut Account,
    voter: u64,
    term: u64,
    [(first, one), (second, other)]: [(usize, u64); 2],
) {
    let Some(host) = story.host_of(voter) else { return };
    let whom = |candidate: u64| {
        if candidate == voter { "itself".into() } else { format!("n{candidate}") }
    };
    let kept = kept(story, host, first, (term, one));
    account.core(first, format!("n{voter} votes for {} in term {term}{kept}", whom(one)));
    // The first time it comes back without the vote is when that was lost; what follows follows from that.
    let rebirths = story.rebirths(host, first..second);
    let forgot = |found: usize| {
        let entry = &story.entries[found];
        (num(entry, "term"), num(entry, "vote")) != (term, one)
    };
    let lost = rebirths.iter().find(|rebirth| forgot(rebirth.found));
    if let Some(rebirth) = lost {
        faults::say_endings(story, account, Weight::Core, &[rebirth.ended]);
        account.core(rebirth.found, found_vote(story, rebirth.found, term));
    }
    let why = match (lost, rebirths.len()) {
        (None, 0) => ", without having restarted in between",
        (None, _) => ", although it found its vote on its disk",
        (Some(_), _) => "",
    };
    account.core(second, format!("n{voter} votes for {} too, in the same term {term}{why}", whom(other)));
}

/// What was on the disk of a vote when it was cast.
fn kept(story: &Story<'_>, host: u16, cast: usize, (term, candidate): (u64, u64)) -> String {
    let of_term = |vote: Option<(u64, u64)>| vote.filter(|(at, _)| *at == term);
    let before: Vec<_> =
        story.writes_on(host, 0..cast).filter(|write| of_term(write.vote).is_some()).collect();
    let holding = before.iter().rev().find(|write| write.vote == Some((term, candidate)));
    if let Some(write) = story.left_before(cast) {
        return format!(", before its write of that turn ({}) is durable", faults::held(write));
    }
    match (holding, before.last()) {
        (Some(write), _) => match write.durable.filter(|durable| *durable <= cast) {
            Some(_) => ": its disk has said that the vote is durable".into(),
            None => ": the write of the vote is still under way".into(),
        },
        (None, Some(write)) => match write.vote {
            Some((_, 0)) | None => format!(": its disk was given term {term}, but no vote"),
            Some((_, vote)) => format!(": its disk was given a vote for n{vote}"),
        },
        (None, None) => format!(": nothing of term {term} was given to its disk"),
    }
}

fn found_vote(story: &Story<'_>, found: usize, term: u64) -> String {
    let entry = &story.entries[found];
    let (node, at, vote) = (story.node_at(found), num(entry, "term"), num(entry, "vote"));
    let vote = match vote {
        0 => "no vote".into(),
        vote => format!("a vote for n{vote}"),
    };
    let forgot = if at < term { format!("; it knows nothing of term {term}") } else { String::new() };
    format!("n{node} comes back: its disk holds term {at} and {vote}{forgot}")
}

/// Whom a node takes for the voters.
fn say_members(story: &Story<'_>, account: &mut Account, node: u64, before: usize) {
    let Some(host) = story.host_of(node) else { return };
    let told = story.last(0..before, |entry| entry.host == host && entry.kind == Kind::Members);
    let Some(told) = told else { return };
    let entry = &story.entries[told];
    let of = |label| (0..64).filter(move |bit| num(entry, label) >> bit & 1 == 1);
    let mut halves = vec![nodes(of("voters"))];
    if num(entry, "outgoing") != 0 {
        halves.push(format!("(leaving) {}", nodes(of("outgoing"))));
    }
    account.core(told, format!("n{node} takes {} for the voters", list(halves)));
}
