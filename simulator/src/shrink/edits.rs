//! Ways to make a scenario simpler. Each strictly takes something away, so that a search comes to an end.

use blixard_node::time::{Duration, Time};

use super::Goal;
use super::leaps;
use super::search::Place;
use crate::scenario::{
    Buggify, Clock, Cluster, CrashPoint, Disk, Fault, FaultKind, Hypervisor, Network, Process, Run, Scenario,
    Spread, When, Workload,
};

/// One kind of simplification.
#[derive(Debug)]
pub(super) enum Pass {
    /// Items of a list are taken out in ever smaller pieces.
    List { len: fn(&Scenario) -> usize, without: fn(&mut Scenario, std::ops::Range<usize>) },
    /// Numbered edits, with the fewest and the most seeds that each is tried with: none when there is no such number, `Some(None)` when there is nothing to be had there.
    Edits { seeds: (u64, u64), edit: fn(&Scenario, Goal, Time, usize) -> Option<Option<Scenario>> },
}

/// How many seeds an edit is worth that takes a whole list away.
const SEEDS_OF_A_LIST: u64 = 16;

/// In the order in which they are tried: what saves most time for those that follow comes first.
pub(super) const PASSES: [Pass; 17] = [
    Pass::Edits { seeds: (1, 4), edit: cut },
    Pass::Edits { seeds: (4, 8), edit: leaps::operations_alike },
    Pass::List {
        len: |scenario| scenario.operations.len(),
        without: |scenario, range| drop(scenario.operations.drain(range)),
    },
    Pass::Edits { seeds: (4, 8), edit: leaps::faults_alike },
    Pass::List {
        len: |scenario| scenario.faults.len(),
        without: |scenario, range| drop(scenario.faults.drain(range)),
    },
    Pass::Edits { seeds: (4, 16), edit: spans },
    Pass::Edits { seeds: (4, 16), edit: sections },
    Pass::Edits { seeds: (8, 16), edit: hosts },
    Pass::Edits { seeds: (4, 16), edit: names },
    Pass::Edits { seeds: (4, 8), edit: leaps::operations_thinned },
    Pass::Edits { seeds: (4, 8), edit: leaps::faults_thinned },
    Pass::Edits { seeds: (4, 8), edit: leaps::operations_few },
    Pass::Edits { seeds: (1, 16), edit: leaps::operations_later },
    Pass::Edits { seeds: (1, 16), edit: keys },
    Pass::Edits { seeds: (1, 16), edit: blows },
    Pass::Edits { seeds: (1, 8), edit: leaps::faults_few },
    Pass::Edits { seeds: (1, 16), edit: rounded },
];

impl Pass {
    pub(super) fn first(&self, scenario: &Scenario) -> Place {
        match self {
            Self::List { len, .. } => Place { size: len(scenario), at: 0 },
            Self::Edits { .. } => Place { size: 1, at: 0 },
        }
    }

    pub(super) fn next(&self, scenario: &Scenario, place: Place) -> Place {
        match self {
            Self::List { len, .. } if place.at + place.size >= len(scenario) => {
                Place { size: place.size / 2, at: 0 }
            }
            _ => Place { at: place.at + place.size, ..place },
        }
    }

    pub(super) fn is_over(&self, scenario: &Scenario, place: Place) -> bool {
        match self {
            Self::List { len, .. } => place.size == 0 || len(scenario) == 0,
            Self::Edits { .. } => false,
        }
    }

    /// How many seeds the edit at `place` is tried with, when small steps are worth `patience`: what takes much away saves much time, and
    /// seldom leaves the rest as it was.
    pub(super) fn seeds(&self, scenario: &Scenario, place: Place, patience: u64) -> u64 {
        match self {
            Self::List { len, .. } => {
                patience.max(SEEDS_OF_A_LIST * place.size as u64 / (len(scenario) as u64).max(1))
            }
            Self::Edits { seeds: (least, most), .. } => patience.clamp(*least, *most),
        }
    }

    /// The scenario with the edit at `place`; none when there is none any more, `Some(None)` when this one changes nothing.
    pub(super) fn edit(
        &self,
        scenario: &Scenario,
        goal: Goal,
        fails_at: Time,
        place: Place,
    ) -> Option<Option<Scenario>> {
        match self {
            Self::List { len, without } => {
                let from = place.at;
                let to = (from + place.size).min(len(scenario));
                if from >= to {
                    return Some(None);
                }
                let mut edited = scenario.clone();
                without(&mut edited, from..to);
                if edited.operations.is_empty() {
                    edited.workload.operations_per_second = 0;
                }
                Some(Some(edited))
            }
            Self::Edits { edit, .. } => Some(edit(scenario, goal, fails_at, place.at)?.filter(is_sensible)),
        }
    }
}

/// Whether a file may say so. An edit that resets one section may leave another with what goes beyond it.
fn is_sensible(scenario: &Scenario) -> bool {
    // The lists were sensible, and are long.
    let bare = Scenario { faults: Vec::new(), operations: Vec::new(), ..scenario.clone() };
    Scenario::parse("", &bare.to_toml()).is_ok()
}

/// The scenario with something changed.
pub(super) fn changed(scenario: &Scenario, change: impl FnOnce(&mut Scenario)) -> Option<Scenario> {
    let mut changed = scenario.clone();
    change(&mut changed);
    Some(changed)
}

fn safety_ends(scenario: &Scenario) -> u64 {
    scenario.run.warmup.0 + scenario.run.duration.0
}

/// What comes after the violation.
fn cut(scenario: &Scenario, goal: Goal, fails_at: Time, number: usize) -> Option<Option<Scenario>> {
    let run = &scenario.run;
    let unhealed =
        goal.outcome == crate::scenario::Outcome::Safety && run.liveness > Duration::from_millis(1);
    let ends = fails_at.0 + 1_000_000;
    let early = ends.saturating_sub(run.warmup.0).max(1_000_000);
    let ends_early = |scenario: &mut Scenario| {
        scenario.run.duration = Duration(scenario.run.duration.0.min(early));
        let over = scenario.run.duration;
        scenario.faults.retain(|fault| !matches!(fault.when, When::At(at) if at > over));
        scenario.operations.retain(|operation| operation.at <= over);
        if scenario.operations.is_empty() {
            scenario.workload.operations_per_second = 0;
        }
    };
    Some(match number {
        // A run that is not healed ends at once, so that the search goes on sooner.
        0 if unhealed => changed(scenario, |scenario| {
            ends_early(scenario);
            scenario.run.liveness = Duration::from_millis(1);
        }),
        1 if ends < safety_ends(scenario) => changed(scenario, ends_early),
        2 if unhealed => changed(scenario, |scenario| scenario.run.liveness = Duration::from_millis(1)),
        0..=2 => None,
        _ => return None,
    })
}

/// Whole sections at their defaults.
fn sections(scenario: &Scenario, _: Goal, _: Time, number: usize) -> Option<Option<Scenario>> {
    Some(match number {
        0 => changed(scenario, |scenario| scenario.hypervisor = Hypervisor::default()),
        1 => changed(scenario, |scenario| scenario.disk = Disk::default()),
        2 => changed(scenario, |scenario| scenario.network = Network::default()),
        3 => changed(scenario, |scenario| scenario.clock = Clock::default()),
        4 => changed(scenario, |scenario| scenario.process = Process::default()),
        5 => changed(scenario, |scenario| {
            let Cluster { voters, workers, spares, .. } = scenario.cluster;
            scenario.cluster = Cluster { voters, workers, spares, ..Cluster::default() };
        }),
        6 => changed(scenario, |scenario| {
            let Workload { clients, vms, operations_per_second, .. } = scenario.workload;
            scenario.workload = Workload { clients, vms, operations_per_second, ..Workload::default() };
        }),
        7 => changed(scenario, |scenario| scenario.buggify = Buggify::default()),
        _ => return None,
    })
}

/// Fewer hosts. What a host did that is gone does another, or nobody.
fn hosts(scenario: &Scenario, _: Goal, _: Time, number: usize) -> Option<Option<Scenario>> {
    let Cluster { voters, workers, spares, .. } = scenario.cluster;
    let fewer = |voters: u64, workers: u64, spares: u64, hand_over: bool| {
        changed(scenario, |scenario| resize(scenario, voters, workers, spares, hand_over))
    };
    let hand_over = number.is_multiple_of(2);
    Some(match number / 2 {
        0 => fewer(1, 0, 0, hand_over),
        1 => fewer(voters.min(3), 0, 0, hand_over),
        2 if workers + spares > 0 => fewer(voters, 0, 0, hand_over),
        3 if voters > 1 => fewer(voters - 2, workers, spares, hand_over),
        4 if spares > 0 => fewer(voters, workers, spares - 1, hand_over),
        5 if workers > 0 => fewer(voters, workers - 1, spares, hand_over),
        // One worker and no other.
        6 if workers > 1 => fewer(voters, 1, 0, hand_over),
        2..=6 => None,
        _ => return None,
    })
}

fn resize(scenario: &mut Scenario, voters: u64, workers: u64, spares: u64, hand_over: bool) {
    let old = scenario.cluster.clone();
    let place = |host: u64| {
        // Of its kind it is the n-th; those kinds stand one behind the other.
        let (kind, nth) = match host - 1 {
            host if host < old.voters => (0, host),
            host if host < old.voters + old.workers => (1, host - old.voters),
            host => (2, host - old.voters - old.workers),
        };
        let (before, left) = [(0, voters), (voters, workers), (voters + workers, spares)][kind];
        match nth {
            nth if nth < left => Some(before + nth + 1),
            _ if hand_over && left > 0 => Some(before + nth % left + 1),
            _ if hand_over => Some(nth % (voters + workers + spares) + 1),
            _ => None,
        }
    };
    scenario.faults.retain_mut(|fault| {
        let named = fault.node.is_none_or(|node| place(node).is_some());
        fault.node = fault.node.and_then(place);
        let cuts = !fault.hosts.is_empty();
        let mut hosts = Vec::new();
        for host in fault.hosts.iter().copied().filter_map(place) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        fault.hosts = hosts;
        named && (!cuts || !fault.hosts.is_empty()) && (fault.kind != FaultKind::MemberAdd || spares > 0)
    });
    for operation in &mut scenario.operations {
        if (1..=old.voters + old.workers + old.spares).contains(&operation.node) {
            operation.node = place(operation.node).unwrap_or(1);
        }
    }
    (scenario.cluster.voters, scenario.cluster.workers, scenario.cluster.spares) = (voters, workers, spares);
    scenario.cluster.old_hosts = scenario.cluster.old_hosts.min(voters + workers + spares);
}

/// Fewer clients and VMs.
fn names(scenario: &Scenario, _: Goal, _: Time, number: usize) -> Option<Option<Scenario>> {
    let renumbered = |numbers: &mut dyn Iterator<Item = u64>| {
        let mut known: Vec<u64> = numbers.collect();
        known.sort_unstable();
        known.dedup();
        known
    };
    let place = |known: &[u64], number: u64| known.binary_search(&number).unwrap_or(0) as u64;
    Some(match number {
        0 => changed(scenario, |scenario| {
            scenario.operations.iter_mut().for_each(|operation| operation.client = 0);
            scenario.workload.clients = 1;
        }),
        1 => changed(scenario, |scenario| {
            let known = renumbered(&mut scenario.operations.iter().map(|operation| operation.client));
            for operation in &mut scenario.operations {
                operation.client = place(&known, operation.client);
            }
            scenario.workload.clients = known.len().max(1) as u64;
        }),
        2 => changed(scenario, |scenario| {
            scenario.operations.iter_mut().for_each(|operation| operation.vm = 0);
            scenario.workload.vms = 1;
        }),
        3 => changed(scenario, |scenario| {
            let known = renumbered(&mut scenario.operations.iter().map(|operation| operation.vm));
            for operation in &mut scenario.operations {
                operation.vm = place(&known, operation.vm);
            }
            scenario.workload.vms = known.len().max(1) as u64;
        }),
        _ => return None,
    })
}

/// Single keys at their defaults.
fn keys(scenario: &Scenario, _: Goal, _: Time, number: usize) -> Option<Option<Scenario>> {
    scenario.without_key(number)
}

/// Plainer faults.
fn blows(scenario: &Scenario, _: Goal, _: Time, number: usize) -> Option<Option<Scenario>> {
    const EDITS: usize = 5;
    let fault = scenario.faults.get(number / EDITS)?;
    let lasts = fault.lasts.max;
    let plain = |kind| Fault { kind, ..fault.clone() }.with_what_it_takes();
    let edited = match (number % EDITS, fault.kind) {
        (
            0,
            FaultKind::CrashLoop
            | FaultKind::CrashLeader
            | FaultKind::Retire
            | FaultKind::HostReboot
            | FaultKind::Upgrade,
        ) => Fault { point: CrashPoint::Now, ..plain(FaultKind::Crash) },
        (
            0,
            FaultKind::IsolateLeader
            | FaultKind::Bridge
            | FaultKind::OneWay
            | FaultKind::Ring
            | FaultKind::Split
            | FaultKind::Lag,
        ) => plain(FaultKind::Partition),
        (1, FaultKind::Crash) => Fault { point: CrashPoint::Now, ..fault.clone() },
        (2, _) if fault.hosts.len() > 1 => {
            Fault { hosts: fault.hosts[..fault.hosts.len() - 1].to_vec(), ..fault.clone() }
        }
        (3, _) if fault.takes("lasts") && lasts > Duration::from_millis(1) => {
            Fault { lasts: Spread::fixed(Duration(lasts.0 / 2)), ..fault.clone() }
        }
        (4, _) if fault.takes("lasts") => {
            let lasts = rounder(lasts).unwrap_or(lasts);
            Fault { lasts: Spread::fixed(lasts), ..fault.clone() }
        }
        _ => return Some(None),
    };
    Some(changed(scenario, |scenario| scenario.faults[number / EDITS] = edited))
}

/// With fewer digits: the coarsest of a few units that changes it, never to nothing.
fn rounder(span: Duration) -> Option<Duration> {
    [1_000_000_000, 100_000_000, 10_000_000, 1_000_000]
        .into_iter()
        .map(|unit| Duration(span.0 / unit * unit))
        .find(|rounded| rounded.0 > 0)
}

/// Shorter.
fn spans(scenario: &Scenario, goal: Goal, _: Time, number: usize) -> Option<Option<Scenario>> {
    let run = &scenario.run;
    let sooner = |duration: u64, warmup: u64| Run {
        duration: Duration(duration.max(1_000_000)),
        warmup: Duration(warmup.max(1_000_000)),
        ..run.clone()
    };
    let run = match number {
        0 => sooner(run.duration.0, run.warmup.0 / 4),
        1 => sooner(run.duration.0, run.warmup.0 / 2),
        2 => sooner(run.duration.0 / 2, run.warmup.0),
        3 => sooner(run.duration.0 / 8 * 7, run.warmup.0),
        4 if goal.outcome == crate::scenario::Outcome::Safety && run.liveness > Duration::from_secs(1) => {
            Run { liveness: Duration(run.liveness.0 / 2), ..run.clone() }
        }
        4 => return Some(None),
        5..=8 => return Some(sooner_all(scenario, number - 5)),
        _ => return None,
    };
    Some(changed(scenario, |scenario| scenario.run = run))
}

/// Everything comes sooner: by all or half of the time before the first strike or operation, or in shorter steps.
fn sooner_all(scenario: &Scenario, number: usize) -> Option<Scenario> {
    let strikes = scenario.faults.iter().filter_map(|fault| match fault.when {
        When::At(at) => Some(at),
        When::Every(_) => None,
    });
    let first = strikes.chain(scenario.operations.iter().map(|operation| operation.at)).min()?.0;
    let sooner = |at: u64| match number {
        0 => at.saturating_sub(first),
        1 => at.saturating_sub(first / 2),
        2 => at / 2,
        _ => at / 4 * 3,
    };
    changed(scenario, |scenario| {
        scenario.run.duration = Duration(sooner(scenario.run.duration.0).max(1_000_000));
        for fault in &mut scenario.faults {
            if let When::At(at) = &mut fault.when {
                at.0 = sooner(at.0);
            }
        }
        scenario.operations.iter_mut().for_each(|operation| operation.at.0 = sooner(operation.at.0));
    })
}

/// The moments in round numbers, all at once and one by one.
fn rounded(scenario: &Scenario, _: Goal, _: Time, number: usize) -> Option<Option<Scenario>> {
    const UNITS: [u64; 4] = [1_000_000_000, 100_000_000, 10_000_000, 1_000_000];
    let unit = UNITS[number % UNITS.len()];
    let round = |at: &mut Duration| *at = Duration(at.0 / unit * unit);
    let which = number / UNITS.len();
    let (faults, operations) = (scenario.faults.len(), scenario.operations.len());
    let strike = |fault: &mut Fault| {
        if let When::At(at) = &mut fault.when {
            round(at);
        }
    };
    Some(match which {
        0 => changed(scenario, |scenario| {
            scenario.faults.iter_mut().for_each(strike);
            scenario.operations.iter_mut().for_each(|operation| round(&mut operation.at));
        }),
        which if which <= faults => changed(scenario, |scenario| strike(&mut scenario.faults[which - 1])),
        which if which <= faults + operations => {
            changed(scenario, |scenario| round(&mut scenario.operations[which - 1 - faults].at))
        }
        _ => return None,
    })
}
