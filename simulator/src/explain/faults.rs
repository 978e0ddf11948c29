//! Faults in words, and which of them were at work on whom.

use std::collections::BTreeMap;
use std::ops::Range;

use super::account::{Account, Weight};
use super::story::{Story, num};
use super::wording::{nodes, span};
use crate::trace::{Entry, Kind};

/// A strike and, if it lasted, where it was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strike {
    pub(super) place: usize,
    pub(super) over: Option<usize>,
}

fn struck(entry: &Entry, host: u16) -> bool {
    num(entry, "hosts") >> host.saturating_sub(1) & 1 == 1
}

/// Strikes that were at work in `range`, oldest first.
pub(super) fn at_work(story: &Story<'_>, range: Range<usize>) -> Vec<Strike> {
    let is_strike = |entry: &Entry| entry.kind == Kind::Fault;
    let strikes = story.all(0..range.end, is_strike).map(|place| {
        let number = num(&story.entries[place], "strike");
        let over = story.first(place..story.entries.len(), |entry| {
            entry.kind == Kind::FaultOver && num(entry, "strike") == number
        });
        Strike { place, over }
    });
    let since = range.start.min(story.entries.len().saturating_sub(1));
    let works = |strike: &Strike| match strike.over {
        Some(over) => over >= range.start,
        // The run ended first, or it has done its work: what dies at a point of its turn dies within a second.
        None => {
            let lasts = num(&story.entries[strike.place], "lasts_ns").max(1_500_000_000);
            story.at(strike.place).saturating_add(lasts) >= story.at(since)
        }
    };
    strikes.filter(works).collect()
}

/// Whether the strike cut the way between two hosts, in either direction.
pub(super) fn cuts_between(story: &Story<'_>, strike: &Strike, one: u16, other: u16) -> bool {
    let bit = |host: u16| 1_u64 << host.saturating_sub(1);
    cut_links(story, strike)
        .any(|(from, to)| (from == one && to & bit(other) != 0) || (from == other && to & bit(one) != 0))
}

fn cut_links<'s>(story: &'s Story<'_>, strike: &Strike) -> impl Iterator<Item = (u16, u64)> + 's {
    let number = num(&story.entries[strike.place], "strike");
    let first = strike.place + 1;
    story.entries[first..]
        .iter()
        .take_while(move |entry| entry.kind == Kind::Cut && num(entry, "strike") == number)
        .map(|entry| (entry.host, num(entry, "to")))
}

/// The strike in words.
pub(super) fn words(story: &Story<'_>, strike: &Strike) -> String {
    let entry = &story.entries[strike.place];
    let kind = entry.text("what").unwrap_or_default();
    let hosts = (1..=64).filter(|host| struck(entry, *host));
    let whom = nodes(hosts.map(|host| story.node_on(host, strike.place)));
    let lasts = span(num(entry, "lasts_ns"));
    match &*kind {
        "partition" => format!("partition: {whom} and the others do not reach each other for {lasts}"),
        "one-way" => format!("one-way cut: messages from {whom} to the others are lost for {lasts}"),
        "isolate-leader" => format!("{whom}, the leader, is cut off from all others for {lasts}"),
        "bridge" => {
            format!("the network falls into two groups that only {whom} reaches both of, for {lasts}")
        }
        "ring" => format!("for {lasts} each host reaches only its two neighbours"),
        "split" => {
            format!(
                "the voters fall in two groups for {lasts}: {whom}, the leader with fewer than half of them, and the others"
            )
        }
        "lag" => format!("for {lasts} what {whom} tells the others arrives late, in order"),
        "clog" => format!("the links of {whom} are slow for {lasts}"),
        "crash" | "crash-leader" | "crash-loop" | "crash-all" => {
            format!("{kind}: {whom} is to die, and to start again after {lasts}")
        }
        "pause" => format!("the process of {whom} stands still for {lasts}; its VMs run on"),
        "suspend" => format!("the host of {whom} sleeps for {lasts}"),
        "clock-jump" => format!("the wall clock of {whom} jumps"),
        "drift" => "every clock draws a new rate".into(),
        "host-reboot" => format!("the host of {whom} loses power, and comes back after {lasts}"),
        "host-dead" => format!("the host of {whom} is gone for good"),
        "disk-lost" => format!("a host loses its disk; it comes back empty, as {whom}"),
        "disk-error" => format!("the next use of the disk of {whom} is to fail"),
        "disk-full" => format!("the disk of {whom} is full for {lasts}"),
        "upgrade" => {
            format!("{whom} is given another version: its process ends, and starts again after {lasts}")
        }
        "disk-stall" => format!("the disk of {whom} stalls for {lasts}"),
        _ => format!("{kind} strikes {whom} ({lasts})"),
    }
}

/// Whether the strike is one of those that kill: their work shows in how processes end.
fn kills(story: &Story<'_>, strike: &Strike) -> bool {
    let kind = story.entries[strike.place].text("what").unwrap_or_default();
    kind.starts_with("crash") || kind == "retire" || kind == "upgrade" || kind == "host-reboot"
}

/// Says which strikes touched a host in `range`, and how its process ended there; the newest few. Cuts count when they part it from one of
/// `peers`.
pub(super) fn say_touching(
    story: &Story<'_>,
    account: &mut Account,
    weight: Weight,
    (host, peers): (u16, &[u16]),
    range: Range<usize>,
) {
    let ended = |entry: &Entry| entry.host == host && entry.kind == Kind::Ended;
    let ends: Vec<usize> = story.all(range.clone(), ended).collect();
    say_endings(story, account, weight, &ends[ends.len().saturating_sub(2)..]);
    let touching = at_work(story, range).into_iter().filter(|strike| {
        let parts = |peer: &u16| *peer != host && cuts_between(story, strike, host, *peer);
        let is_cut = cut_links(story, strike).next().is_some();
        !kills(story, strike)
            && if is_cut { peers.iter().any(parts) } else { struck(&story.entries[strike.place], host) }
    });
    for strike in touching.collect::<Vec<_>>().into_iter().rev().take(2) {
        account.say(weight, strike.place, words(story, &strike));
    }
}

/// Says which strikes cut two hosts off from each other in `range`. Whether there were any.
pub(super) fn say_cuts(
    story: &Story<'_>,
    account: &mut Account,
    (one, other): (u16, u16),
    range: Range<usize>,
) -> bool {
    let cutting = at_work(story, range).into_iter().filter(|strike| cuts_between(story, strike, one, other));
    let cutting: Vec<Strike> = cutting.collect();
    for strike in cutting.iter().rev().take(2) {
        account.link(strike.place, words(story, strike));
    }
    !cutting.is_empty()
}

/// How a process ended, in words, with the fault behind it.
pub(super) fn ending(story: &Story<'_>, place: usize) -> String {
    let entry = &story.entries[place];
    let (how, node) = (manner(story, place), num(entry, "node"));
    let under_way = match story.write(num(entry, "write")) {
        None => String::new(),
        Some(write) => format!(", with a write under way ({})", held(write)),
    };
    format!("n{node} {how}{under_way}")
}

/// Says how processes ended; those that died at once and in the same way in one line.
pub(super) fn say_endings(story: &Story<'_>, account: &mut Account, weight: Weight, places: &[usize]) {
    let mut together: BTreeMap<(u64, String), Vec<usize>> = BTreeMap::new();
    for place in places {
        together.entry((story.at(*place), manner(story, *place))).or_default().push(*place);
    }
    for ((_, how), places) in together {
        match *places {
            [] => {}
            [place] => account.say(weight, place, ending(story, place)),
            [first, ..] => {
                let whom = nodes(places.iter().map(|place| num(&story.entries[*place], "node")));
                let how =
                    how.replacen("is killed", "are killed", 1).replacen("its disk had", "their disks had", 1);
                let how = how.replacen("dies: its host loses", "die: their hosts lose", 1);
                account.say(weight, first, format!("{whom} {how}"));
            }
        }
    }
}

fn manner(story: &Story<'_>, place: usize) -> String {
    let entry = &story.entries[place];
    let how = match (entry.text("why").as_deref(), entry.text("loss").as_deref()) {
        (Some("by-itself"), Some("nothing")) => "ends in good order",
        (Some("by-itself"), _) => "ends itself after an error of its disk",
        (Some("power-lost"), _) => "dies: its host loses power",
        (_, Some("power")) => "is killed, and what its disk had not synced is gone",
        _ => "is killed",
    };
    // A strike is told after what it did at once, or up to a second before.
    let later = story.entries[place..].iter().take_while(|other| other.at == entry.at).count();
    let range = story.end_of(entry.at.saturating_sub(1_100_000_000))..place + later;
    let deadly = |strike: &usize| {
        let other = &story.entries[*strike];
        let kind = other.text("what").unwrap_or_default();
        struck(other, entry.host)
            && (kind.starts_with("crash") || kind == "retire" || kind.starts_with("disk"))
    };
    let strike = story.all(range, |other| other.kind == Kind::Fault).rfind(deadly);
    match strike.and_then(|strike| story.entries[strike].text("what")) {
        Some(kind) => format!("{how} ({kind})"),
        None => how.into(),
    }
}

/// What a write holds, in words.
pub(super) fn held(write: &super::story::Write) -> String {
    let mut parts = Vec::new();
    if let Some((term, vote)) = write.vote {
        parts.push(match vote {
            0 => format!("term {term}"),
            vote => format!("term {term}, vote for n{vote}"),
        });
    }
    match write.entries {
        Some((first, last)) if first == last => parts.push(format!("entry {first}")),
        Some((first, last)) => parts.push(format!("entries {first} to {last}")),
        None => {}
    }
    if let Some(index) = write.snapshot {
        parts.push(format!("a snapshot at {index}"));
    }
    if parts.is_empty() { "its agent's record".into() } else { parts.join("; ") }
}
