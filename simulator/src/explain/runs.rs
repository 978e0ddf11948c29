//! Runs of VMs and the leases they stand on: a VM that runs twice, or beyond its lease.

use super::account::{Account, Weight};
use super::story::{Story, num};
use super::wording::{span, time};
use super::{Narrator, faults, placements};
use crate::trace::file::Accusation;
use crate::trace::{Entry, Kind};

#[derive(Debug)]
pub(super) struct Runs;

impl Narrator for Runs {
    fn properties(&self) -> &'static [&'static str] {
        &["single-run", "leases", "capacity"]
    }

    fn tell(&self, story: &Story<'_>, accused: &Accusation, account: &mut Account) {
        let end = story.end_of(accused.at);
        let hosts: Vec<u16> = accused.subjects.nodes.iter().filter_map(|node| story.host_of(*node)).collect();
        let runs = concerned(story, &hosts, accused.subjects.vm, end);
        if let ("capacity", &[node], Some(index)) =
            (&*accused.property, &*accused.subjects.nodes, accused.subjects.index)
        {
            // More is decided than the host has, whether it runs or not.
            return placements::say_crowd(story, account, node, index, end);
        }
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return };
        for run in &runs {
            say_assignment(story, account, run);
            say_start(story, account, run);
        }
        let twice = runs.len() > 1;
        let until = if twice { last.started } else { end };
        for host in &hosts {
            let since = runs.iter().filter(|run| run.host == *host).map(|run| run.started).min();
            say_giving_up(story, account, *host, since.unwrap_or(first.started)..end);
        }
        say_lease(story, account, first, until);
        say_deadline(story, account, first, until);
        say_orders(story, account, first, until);
        if twice {
            // Whichever of them it was that came alive under an assignment of before.
            runs.iter().for_each(|run| say_later_assignments(story, account, run));
        }
        say_waking(story, account, &hosts, first.started..end);
        say_end(story, account, first, end);
    }
}

/// A run, from its start to its end, if that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) host: u16,
    pub(super) vm: u64,
    epoch: u64,
    pub(super) started: usize,
    ended: Option<usize>,
}

/// The runs that the violation is about, in the order of their starts: those alive at the end, else the newest.
pub(super) fn concerned(story: &Story<'_>, hosts: &[u16], vm: Option<u64>, end: usize) -> Vec<Run> {
    let starts = story.all(0..end, |entry| {
        entry.kind == Kind::RunStarted
            && hosts.contains(&entry.host)
            && vm.is_none_or(|vm| num(entry, "vm") == vm)
    });
    let runs: Vec<Run> = starts.map(|started| run_of(story, started, end)).collect();
    let alive: Vec<Run> = runs
        .iter()
        .filter(|run| run.ended.is_none_or(|ended| story.at(ended) >= story.at(end.saturating_sub(1))))
        .copied()
        .collect();
    if alive.is_empty() { runs.last().copied().into_iter().collect() } else { alive }
}

fn run_of(story: &Story<'_>, started: usize, end: usize) -> Run {
    let entry = &story.entries[started];
    let (host, vm, epoch) = (entry.host, num(entry, "vm"), num(entry, "epoch"));
    let ended = story.first(started..end, |entry| {
        entry.host == host
            && entry.kind == Kind::RunEnded
            && (num(entry, "vm"), num(entry, "epoch")) == (vm, epoch)
    });
    Run { host, vm, epoch, started, ended }
}

pub(super) fn assigns(entry: &Entry, vm: u64) -> bool {
    entry.kind == Kind::Decided
        && num(entry, "vm") == vm
        && num(entry, "node") > 0
        && (entry.is("what", "assign") || entry.is("what", "start"))
}

/// The entry that a run's assignment comes from.
pub(super) fn assignment(story: &Story<'_>, run: &Run) -> Option<usize> {
    story.last(0..run.started, |entry| assigns(entry, run.vm) && num(entry, "epoch") == run.epoch)
}

pub(super) fn say_assignment(story: &Story<'_>, account: &mut Account, run: &Run) {
    let Some(place) = assignment(story, run) else { return };
    let entry = &story.entries[place];
    account.core(
        place,
        format!(
            "entry {} assigns {} to n{} under e{}",
            num(entry, "index"),
            story.vm(run.vm),
            num(entry, "node"),
            run.epoch
        ),
    );
}

pub(super) fn say_start(story: &Story<'_>, account: &mut Account, run: &Run) {
    let entry = &story.entries[run.started];
    let node = story.node_on(run.host, run.started);
    account.core(
        run.started,
        format!(
            "{} comes alive on n{node} under e{}, to be killed at {} unless its lease is renewed",
            story.vm(run.vm),
            run.epoch,
            time(num(entry, "deadline_ns"))
        ),
    );
}

/// The lease that a run lives on at some place, and whom it came from.
fn say_lease(story: &Story<'_>, account: &mut Account, run: &Run, place: usize) {
    let node = story.node_on(run.host, place);
    let lease = story.last(0..place, |entry| {
        entry.host == run.host && entry.kind == Kind::Lease && num(entry, "until_ns") > 0
    });
    let Some(told) = lease.filter(|told| story.at(*told) + 60_000_000_000 > story.at(run.started)) else {
        return;
    };
    let until = num(&story.entries[told], "until_ns");
    match story.grant_of(run.host, told) {
        Some(grant) if story.at(told) - story.at(grant) < 1_000_000_000 => {
            let by = num(&story.entries[grant], "by");
            let sent = story.sent(grant).unwrap_or(grant);
            account.core(
                grant,
                format!(
                    "n{node} is granted a lease until {} by n{by}{}",
                    time(until),
                    delay(story, sent, grant)
                ),
            );
            say_grantor(story, account, by, sent);
        }
        _ => {
            account.core(
                told,
                format!("n{node}, which believes to lead, grants itself a lease until {}", time(until)),
            );
            say_grantor(story, account, node, told);
        }
    }
}

/// How long a message took, when that is worth a word.
fn delay(story: &Story<'_>, sent: usize, arrived: usize) -> String {
    match story.at(arrived) - story.at(sent) {
        late @ 1_000_000_000.. => format!("; that was {} on its way", span(late)),
        _ => String::new(),
    }
}

/// By what right a lease was granted at some place.
fn say_grantor(story: &Story<'_>, account: &mut Account, by: u64, place: usize) {
    let leaders = story.leaders_at(place);
    let own = leaders.iter().find(|(leader, ..)| *leader == by);
    let its = own.map_or(0, |(_, term, _)| *term);
    if let Some((_, term, since)) = own {
        account.colour(*since, format!("n{by} leads term {term}"));
    }
    let newer = leaders.iter().filter(|(_, term, _)| *term > its).max_by_key(|(_, term, _)| *term);
    if let Some((leader, term, since)) = newer {
        account.core(*since, format!("n{leader} leads term {term}, and n{by} does not know it"));
        if let (Some(one), Some(other)) = (story.host_of(by), story.host_of(*leader)) {
            faults::say_cuts(story, account, (one, other), *since..place);
        }
    }
}

/// A deadline that passes while the VM lives.
fn say_deadline(story: &Story<'_>, account: &mut Account, run: &Run, place: usize) {
    let raised = story.last(0..place, |entry| entry.host == run.host && entry.kind == Kind::DeadlineRaised);
    let Some(raised) = raised else { return };
    let until = num(&story.entries[raised], "until_ns");
    let node = story.node_on(run.host, place);
    account.link(raised, format!("n{node} tells its hypervisor to let its VMs live until {}", time(until)));
    let passed = story.end_of(until);
    let asleep = story.last(run.started..passed.min(place), |entry| {
        entry.host == run.host && matches!(entry.kind, Kind::Frozen | Kind::Thawed)
    });
    let asleep = asleep.is_some_and(|asleep| story.entries[asleep].kind == Kind::Frozen);
    if passed < place && run.ended.is_none_or(|ended| ended > passed) && !asleep {
        account.core(passed, format!("that deadline passes, and {} lives on on n{node}", story.vm(run.vm)));
    }
}

/// What else was decided about the VM since it was assigned.
fn say_orders(story: &Story<'_>, account: &mut Account, run: &Run, place: usize) {
    let ordered = story.all(run.started..place, |entry| {
        entry.kind == Kind::Decided
            && num(entry, "vm") == run.vm
            && (entry.is("what", "stop") || entry.is("what", "delete"))
    });
    for place in ordered.take(2).collect::<Vec<_>>() {
        let entry = &story.entries[place];
        if story.refusal(num(entry, "request")).is_none() {
            let (index, what) = (num(entry, "index"), entry.text("what").unwrap_or_default());
            account.colour(place, format!("entry {index}: {what} {}", story.vm(run.vm)));
        }
    }
}

/// Hosts that slept and went on.
fn say_waking(story: &Story<'_>, account: &mut Account, hosts: &[u16], range: std::ops::Range<usize>) {
    let thawed = story.all(range, |entry| entry.kind == Kind::Thawed && hosts.contains(&entry.host));
    if let Some(place) = thawed.last() {
        account.link(place, format!("the host of n{} wakes", story.node_at(place)));
    }
}

/// Who gave the host up, and what had kept it silent.
pub(super) fn say_giving_up(
    story: &Story<'_>,
    account: &mut Account,
    host: u16,
    range: std::ops::Range<usize>,
) {
    let given_up = story.all(range.clone(), |entry| {
        entry.kind == Kind::Decided
            && entry.is("what", "lose-host")
            && story.host_of(num(entry, "node")) == Some(host)
    });
    let Some(place) = given_up.last() else {
        let until = match story.lease_of(host, range.end) {
            Some((until, _)) => story.end_of(until).clamp(range.start, range.end),
            None => range.end,
        };
        let peers = leading(story, range.clone());
        return faults::say_touching(story, account, Weight::Link, (host, &peers), range.start..until);
    };
    let entry = &story.entries[place];
    let (node, index) = (num(entry, "node"), num(entry, "index"));
    let leaders = story.leaders_at(place);
    let leader = leaders.iter().max_by_key(|(_, term, _)| *term);
    let by =
        leader.map(|(leader, term, _)| format!(", n{leader} leads term {term} by then")).unwrap_or_default();
    let lease = match story.lease_of(host, place) {
        Some((until, _)) if until > story.at(place) => {
            format!(", although the lease it works with runs until {}", time(until))
        }
        Some((until, _)) => format!("; its lease ended at {}", time(until)),
        None => "; it works with no lease".into(),
    };
    account.core(place, format!("entry {index} is carried out: n{node} is given up{lease}{by}"));
    if let Some((leader, term, since)) = leader {
        account.link(*since, format!("n{leader} leads term {term}"));
    }
    // What was decided long before it was carried out: it is then that the host was not heard.
    let written =
        story.written(index, place).filter(|write| story.at(write.began) + 1_000_000_000 < story.at(place));
    if let Some(write) = written {
        let author = story.node_on(write.host, write.began);
        account.core(write.began, format!("n{author} writes entry {index}, that n{node} is given up"));
    }
    let silent = written.map_or(place, |write| write.began);
    let granted =
        |entry: &Entry| entry.host == host && entry.kind == Kind::Lease && num(entry, "until_ns") > 0;
    let from = story.last(0..silent, granted).unwrap_or(range.start.min(silent));
    let peers = leading(story, from..silent);
    faults::say_touching(story, account, Weight::Link, (host, &peers), from..silent);
}

/// The hosts that led at some time in `range`.
fn leading(story: &Story<'_>, range: std::ops::Range<usize>) -> Vec<u16> {
    let led = story.leaders_at(range.start).into_iter().filter_map(|(node, ..)| story.host_of(node));
    let won = story.all(range, |entry| entry.kind == Kind::Leads).map(|place| story.entries[place].host);
    led.chain(won).collect()
}

/// A run under an old assignment: what was assigned since, and from which set its agent works.
fn say_later_assignments(story: &Story<'_>, account: &mut Account, run: &Run) {
    let later = story.last(0..run.started, |entry| assigns(entry, run.vm) && num(entry, "epoch") > run.epoch);
    let Some(place) = later else { return };
    let entry = &story.entries[place];
    let (index, node) = (num(entry, "index"), num(entry, "node"));
    account.core(
        place,
        format!("entry {index} assigns {} to n{node} under e{}", story.vm(run.vm), num(entry, "epoch")),
    );
    let set = story.last(0..run.started, |entry| entry.host == run.host && entry.kind == Kind::Set);
    let Some(set) = set else { return };
    let revision = num(&story.entries[set], "revision");
    let old = story.node_on(run.host, set);
    let before = story.last(0..set, |entry| entry.host == run.host && entry.kind == Kind::Set);
    let newer = before.map(|before| num(&story.entries[before], "revision")).filter(|at| *at > revision);
    let instead = match newer {
        Some(newer) => format!(", an older one than entry {newer}'s, which it had"),
        None => format!(", of before entry {index}"),
    };
    account.core(set, format!("n{old} works from the assignments as of entry {revision}{instead}"));
    let grant = story.last(0..set + 1, |entry| {
        entry.host == run.host && entry.kind == Kind::Granted && num(entry, "revision") == revision
    });
    let Some(grant) = grant else { return };
    if let Some(sent) = story.sent(grant) {
        let (by, late) = (num(&story.entries[grant], "by"), span(story.at(grant) - story.at(sent)));
        account.core(
            grant,
            format!("an answer of n{by} to n{old} arrives after {late}: it is as of entry {revision}"),
        );
    }
}

/// How the older run ended, or that it did not.
fn say_end(story: &Story<'_>, account: &mut Account, run: &Run, end: usize) {
    let Some(ended) = run.ended.filter(|ended| *ended < end) else { return };
    let entry = &story.entries[ended];
    let (local, deadline) = (num(entry, "local_ns"), num(entry, "deadline_local_ns"));
    let late = match local.checked_sub(deadline) {
        Some(late @ 1..) => format!(", {} after its deadline", span(late)),
        _ => String::new(),
    };
    let node = story.node_on(run.host, ended);
    account.core(ended, format!("{} under e{} is dead on n{node}{late}", story.vm(run.vm), run.epoch));
}
