//! Edits that leave only a few strikes or operations at once. What is taken out one by one reaches them as well, but by a way on which
//! every step has to fail, and in a race few do.

use blixard_node::rng::Rng;
use blixard_node::time::Time;

use super::Goal;
use super::edits::changed;
use crate::scenario::{Aim, Among, Fault, FaultKind, Operation, Scenario, Spread};

/// So many operations are few.
const OPERATIONS_FEW: usize = 5;
/// So many strikes are few.
const FAULTS_FEW: usize = 3;
/// How many windows of each width are tried, from the end: what led to the violation is seldom long ago.
const WINDOWS: usize = 12;
/// The same of strikes, each of which is also tried with every moment.
const WINDOWS_OF_FAULTS: usize = 4;

/// The operations of one VM alone, or of one client; no operation of one kind.
pub(super) fn operations_alike(
    scenario: &Scenario,
    _: Goal,
    _: Time,
    number: usize,
) -> Option<Option<Scenario>> {
    let all = &scenario.operations;
    let distinct = |of: fn(&Operation) -> u64| {
        let mut values: Vec<u64> = all.iter().map(of).collect();
        values.sort_unstable();
        values.dedup();
        values
    };
    let (vms, clients) = (distinct(|each| each.vm), distinct(|each| each.client));
    let calls = distinct(|each| each.call as u64);
    let keep = |keeps: &dyn Fn(&Operation) -> bool| {
        let kept: Vec<Operation> = all.iter().filter(|each| keeps(each)).cloned().collect();
        (!kept.is_empty() && kept.len() < all.len())
            .then(|| changed(scenario, |scenario| scenario.operations = kept))
            .flatten()
    };
    let of_vms = number.checked_sub(vms.len());
    let of_clients = of_vms.and_then(|number| number.checked_sub(clients.len()));
    Some(match (of_vms, of_clients) {
        (None, _) => keep(&|each| each.vm == vms[number]),
        (Some(number), None) => keep(&|each| each.client == clients[number]),
        (_, Some(number)) => {
            let call = *calls.get(number)?;
            keep(&|each| each.call as u64 != call)
        }
    })
}

/// A few operations that stand one behind the other.
pub(super) fn operations_few(
    scenario: &Scenario,
    _: Goal,
    _: Time,
    number: usize,
) -> Option<Option<Scenario>> {
    let all = &scenario.operations;
    let width = 1 + number / WINDOWS;
    if all.len() <= OPERATIONS_FEW || width > OPERATIONS_FEW {
        return None;
    }
    let Some(from) = (all.len() - width).checked_sub(number % WINDOWS) else { return Some(None) };
    Some(changed(scenario, |scenario| scenario.operations = all[from..from + width].to_vec()))
}

/// How long before the violation an operation is put, in milliseconds.
const BEFORE: [u64; 6] = [5, 10, 20, 50, 200, 500];

/// One operation less, and the next of its client, which waited until that was over, shortly before the violation: else it would come too early.
pub(super) fn operations_later(
    scenario: &Scenario,
    _: Goal,
    fails_at: Time,
    number: usize,
) -> Option<Option<Scenario>> {
    let (place, before) = (number / BEFORE.len(), BEFORE[number % BEFORE.len()]);
    let gone = scenario.operations.get(place)?;
    let at = fails_at.0.saturating_sub(scenario.run.warmup.0 + before * 1_000_000);
    let next = |each: &Operation| each.client == gone.client && each.at >= gone.at;
    let Some(next) = scenario.operations[place + 1..].iter().position(next) else { return Some(None) };
    Some(changed(scenario, |scenario| {
        scenario.operations[place + 1 + next].at.0 = at;
        scenario.operations.remove(place);
    }))
}

/// The strikes of one kind alone, or all but those.
pub(super) fn faults_alike(scenario: &Scenario, _: Goal, _: Time, number: usize) -> Option<Option<Scenario>> {
    let kind = *FaultKind::ALL.get(number / 2)?;
    let alone = number.is_multiple_of(2);
    let keeps = |fault: &Fault| (fault.kind == kind) == alone;
    let kept = scenario.faults.iter().filter(|fault| keeps(fault)).count();
    if kept == scenario.faults.len() || (alone && kept == 0) {
        return Some(None);
    }
    Some(changed(scenario, |scenario| scenario.faults.retain(keeps)))
}

/// A few strikes that stand one behind the other: as they are, or the last of them waiting for a moment at which it hurts.
pub(super) fn faults_few(scenario: &Scenario, _: Goal, _: Time, number: usize) -> Option<Option<Scenario>> {
    let all = &scenario.faults;
    let (number, window) = (number / WINDOWS_OF_FAULTS, number % WINDOWS_OF_FAULTS);
    let aims = 1 + Aim::ALL.len();
    let width = 1 + number / aims;
    if all.len() <= FAULTS_FEW || width > FAULTS_FEW {
        return None;
    }
    let aim = (number % aims).checked_sub(1).map(|place| Aim::ALL[place]);
    let Some(from) = (all.len() - width).checked_sub(window) else { return Some(None) };
    let mut few = all[from..from + width].to_vec();
    if let (Some(_), Some(last)) = (aim, few.last_mut()) {
        if !last.takes("among") {
            return Some(None);
        }
        *last = Fault { aim, node: None, among: Among::Any, within: Spread::millis(0, 50), ..last.clone() };
    }
    Some(changed(scenario, |scenario| scenario.faults = few))
}

/// How often a list is thinned out, each time in another way.
const THINNED: usize = 8;

/// Half of the operations, from all over the run, or three quarters.
pub(super) fn operations_thinned(
    scenario: &Scenario,
    _: Goal,
    _: Time,
    number: usize,
) -> Option<Option<Scenario>> {
    let keeps = thinned(number, scenario.operations.len())?;
    Some(changed(scenario, |scenario| retain_by_place(&mut scenario.operations, keeps)))
}

/// The same of strikes.
pub(super) fn faults_thinned(
    scenario: &Scenario,
    _: Goal,
    _: Time,
    number: usize,
) -> Option<Option<Scenario>> {
    let keeps = thinned(number, scenario.faults.len())?;
    Some(changed(scenario, |scenario| retain_by_place(&mut scenario.faults, keeps)))
}

/// Which places of a list are kept the `number`th time that it is thinned out; none when that was often enough, or little is left.
fn thinned(number: usize, len: usize) -> Option<impl Fn(usize) -> bool> {
    let of_four = if number < THINNED { 2 } else { 3 };
    let keeps = move |place: usize| Rng::new(number as u64, place as u64).below(4) < of_four;
    (number < 2 * THINNED && len > FAULTS_FEW).then_some(keeps)
}

fn retain_by_place<T>(list: &mut Vec<T>, keeps: impl Fn(usize) -> bool) {
    let mut places = 0..;
    list.retain(|_| places.next().is_some_and(&keeps));
}
