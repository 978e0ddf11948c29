//! Histories of many clients: of VM names and of registers, some answers missing, good ones and ones with a single wrong answer deep inside.

use std::collections::BTreeMap;

use blixard_node::ids::{Generation, VmId};
use blixard_node::rng::Rng;
use blixard_node::spec::Wanted;

use super::super::vm::{Seen, VmCall, VmModel, VmOp};
use super::naive::{first_unexplained, illegal_operation};
use super::*;
use crate::output::Stopwatch;

/// How a history is drawn.
#[derive(Clone, Copy, Debug)]
struct Shape {
    clients: u64,
    operations: u64,
    keys: u64,
    /// One in so many operations ends without an answer; none with 0. Half of them take effect, at any time after their invocation.
    unanswered: u64,
}

/// One operation in time: when it takes effect, if it does, with its invocation and return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Planned {
    point: u64,
    invoked: u64,
    returned: Option<u64>,
    happens: bool,
    key: u64,
}

/// Who asks when, in the order in which it takes effect. A client without an answer goes on under another name, as one does.
fn plan(shape: Shape, rng: &mut Rng) -> Vec<Planned> {
    let mut free_at = vec![0u64; shape.clients as usize];
    let mut planned = Vec::new();
    for _ in 0..shape.operations {
        let client = rng.below(shape.clients) as usize;
        let invoked = free_at[client] + rng.below(100);
        let mut point = invoked + 1 + rng.below(1_000);
        let ends = point + 1 + rng.below(1_000);
        let answered = shape.unanswered == 0 || !rng.ratio(1, shape.unanswered);
        let happens = answered || rng.ratio(1, 2);
        if !answered && rng.ratio(1, 4) {
            point += rng.below(50_000);
        }
        free_at[client] = ends + 1;
        planned.push(Planned {
            point,
            invoked,
            returned: answered.then_some(ends),
            happens,
            key: rng.below(shape.keys),
        });
    }
    planned.sort_unstable();
    planned
}

/// A VM name as it really is.
#[derive(Clone, Copy, Debug, Default)]
struct Name {
    vm: Option<(VmId, Generation, Wanted)>,
    deleting: bool,
    gone_at: u64,
}

impl Name {
    fn ask(&mut self, at: u64, call: VmCall, expected: Option<Generation>, fresh: VmId) -> Seen {
        if self.deleting && self.gone_at <= at {
            *self = Self::default();
        }
        let Some((vm, generation, wanted)) = self.vm else {
            if call != VmCall::Create {
                return Seen::Unknown;
            }
            self.vm = Some((fresh, Generation(1), Wanted::Stopped));
            return Seen::Done { vm: Some(fresh), generation: Generation(1) };
        };
        if expected.is_some_and(|expected| expected != generation) {
            return Seen::Conflict(generation);
        }
        let next = match (call, self.deleting, wanted) {
            (VmCall::Get, deleting, _) => return Seen::Vm { vm, generation, wanted, deleting },
            (VmCall::Create, false, _) => return Seen::Exists,
            (VmCall::Delete, true, _) => return Seen::Done { vm: None, generation },
            (_, true, _) => return Seen::Deleting,
            (VmCall::Update, _, Wanted::Running) => return Seen::NotStopped,
            (VmCall::Start, _, Wanted::Running) | (VmCall::Stop, _, Wanted::Stopped) => {
                return Seen::Done { vm: None, generation };
            }
            (VmCall::Start, ..) => Wanted::Running,
            (VmCall::Stop | VmCall::Update | VmCall::Delete, ..) => Wanted::Stopped,
        };
        let generation = Generation(generation.0 + 1);
        if call == VmCall::Delete {
            (self.deleting, self.gone_at) = (true, at + 500);
        }
        self.vm = Some((vm, generation, next));
        Seen::Done { vm: None, generation }
    }
}

type Histories<O> = BTreeMap<u64, Vec<Timed<O>>>;

fn vm_histories(seed: u64, shape: Shape) -> Histories<VmOp> {
    let mut rng = Rng::new(seed, 2);
    let planned = plan(shape, &mut rng);
    let mut names = vec![Name::default(); shape.keys as usize];
    let mut histories = Histories::new();
    for (number, Planned { point, invoked, returned, happens, key }) in planned.into_iter().enumerate() {
        let call = match rng.below(12) {
            0..=1 => VmCall::Create,
            2..=4 => VmCall::Start,
            5..=6 => VmCall::Stop,
            7 => VmCall::Delete,
            8 => VmCall::Update,
            _ => VmCall::Get,
        };
        if returned.is_none() && call == VmCall::Get {
            continue;
        }
        let name = &mut names[key as usize];
        let now = name.vm.map(|(_, generation, _)| generation).filter(|_| rng.ratio(1, 4));
        let expected = if matches!(call, VmCall::Get | VmCall::Create) { None } else { now };
        let seen = happens.then(|| name.ask(point, call, expected, VmId(1_000 + number as u64)));
        let op = VmOp { call, expected, seen: seen.filter(|_| returned.is_some()) };
        histories.entry(key).or_default().push(Timed { op, invoked, returned });
    }
    histories
}

fn register_histories(seed: u64, shape: Shape) -> Histories<RegisterOp> {
    let mut rng = Rng::new(seed, 3);
    let planned = plan(shape, &mut rng);
    let mut registers = vec![None; shape.keys as usize];
    let mut histories = Histories::new();
    for Planned { invoked, returned, happens, key, .. } in planned {
        let register: &mut Option<u8> = &mut registers[key as usize];
        let (from, to) = (rng.below(250) as u8, rng.below(250) as u8);
        let op = match rng.below(4) {
            0 | 1 if returned.is_none() => continue,
            0 | 1 => Read(*register),
            2 => Write(to),
            _ => {
                let from = register.filter(|_| rng.ratio(1, 2)).unwrap_or(from);
                Swap(from, to, returned.map(|_| *register == Some(from)))
            }
        };
        if happens && !matches!(op, Read(_)) {
            *register = Register.step(register, &op).unwrap_or(*register);
        }
        histories.entry(key).or_default().push(Timed { op, invoked, returned });
    }
    histories
}

/// Gives one look late in a history a wrong answer; which one.
fn spoil<O>(history: &mut [Timed<O>], wrong: impl Fn(&mut O) -> bool) -> usize {
    let late = history.len() * 9 / 10;
    (late..history.len()).find(|number| wrong(&mut history[*number].op)).expect("a look in the last tenth")
}

/// A generation that nobody made, by however many operations without answers.
fn no_such_generation(op: &mut VmOp) -> bool {
    match &mut op.seen {
        Some(Seen::Vm { generation, .. }) => {
            generation.0 += 1_000;
            true
        }
        _ => false,
    }
}

fn no_such_value(op: &mut RegisterOp) -> bool {
    matches!(op, Read(_)) && {
        *op = Read(Some(255));
        true
    }
}

fn check_each<M: Model>(model: &M, histories: &Histories<M::Op>) -> Result<(), (u64, Verdict)> {
    let slices = histories.iter().map(|(key, history)| (*key, history.as_slice()));
    check_all(model, slices, Limits::default())
}

/// Good histories pass; with one wrong answer, that very operation is named, with all that returned before it passed.
fn tells_good_from_bad<M: Model>(
    model: &M,
    mut histories: Histories<M::Op>,
    wrong: impl Fn(&mut M::Op) -> bool,
    what: &str,
) {
    let count: usize = histories.values().map(Vec::len).sum();
    let endless = histories.values().flatten().filter(|timed| timed.returned.is_none()).count();
    let watch = Stopwatch::start();
    assert_eq!(check_each(model, &histories), Ok(()), "{what}");
    let good_ms = watch.elapsed_ms();
    let last = *histories.keys().last().expect("a key");
    let history = histories.get_mut(&last).expect("its history");
    let spoiled = spoil(history, wrong);
    let returned = history[spoiled].returned;
    let before = history.iter().filter(|timed| timed.returned.is_some() && timed.returned < returned).count();
    let watch = Stopwatch::start();
    let Err((key, Verdict::Illegal(illegal))) = check_each(model, &histories) else {
        panic!("{what}: a wrong answer passed, or the search gave up")
    };
    let bad_ms = watch.elapsed_ms();
    assert_eq!((key, illegal.operation), (last, spoiled), "{what}: {illegal:?}");
    assert!(illegal.passed.abs_diff(before) <= 1, "{what}: {} of {before} passed", illegal.passed);
    assert!(!illegal.states.is_empty());
    println!("{what}: {count} operations, {endless} without an answer: good {good_ms} ms, bad {bad_ms} ms");
}

fn all_shapes(shape: Shape, missing: &[u64], seeds: std::ops::Range<u64>) {
    for unanswered in missing.iter().copied() {
        let shape = Shape { unanswered, ..shape };
        for seed in seeds.clone() {
            let what = |kind: &str| format!("{kind}, {shape:?}, seed {seed}");
            tells_good_from_bad(&VmModel, vm_histories(seed, shape), no_such_generation, &what("VM names"));
            tells_good_from_bad(
                &Register,
                register_histories(seed, shape),
                no_such_value,
                &what("registers"),
            );
        }
    }
}

#[test]
fn copes_with_many_clients_and_missing_answers() {
    all_shapes(Shape { clients: 50, operations: 2_000, keys: 10, unanswered: 0 }, &[0, 20, 5], 0..2);
}

/// The size that is wanted; the figures in `docs/benchmarks.md` are what this prints:
/// `cargo test --release -p blixard-sim --lib -- --ignored --nocapture full_size`.
#[test]
#[ignore = "for optimized builds; the test before this one is the same in small"]
fn full_size() {
    all_shapes(Shape { clients: 50, operations: 10_000, keys: 10, unanswered: 0 }, &[0, 20], 0..3);
}

/// What is beyond what is asked for: all clients on two keys.
#[test]
#[ignore = "for optimized builds"]
fn two_keys() {
    all_shapes(Shape { clients: 20, operations: 10_000, keys: 2, unanswered: 0 }, &[0, 20, 5], 0..2);
}

/// An answer that is wrong, somewhere late in a history; where.
type Wrong = fn(&mut [Timed<VmOp>]) -> Option<usize>;

/// A look that sees what others, which had returned before, no longer saw.
fn stale(history: &mut [Timed<VmOp>]) -> Option<usize> {
    let mark =
        |timed: &Timed<VmOp>| (timed.op.call == VmCall::Get).then(|| VmModel.mark(&timed.op)).flatten();
    (history.len() * 9 / 10..history.len()).find(|number| {
        let look = history[*number];
        let before = |timed: &&Timed<VmOp>| timed.returned.is_some_and(|at| at < look.invoked);
        let seen: Vec<_> = history.iter().filter(before).filter(|timed| mark(timed).is_some()).collect();
        let newest = seen.iter().filter_map(|timed| mark(timed)).max();
        let Some(old) = seen.iter().rev().find(|timed| mark(timed) < newest) else { return false };
        let answer = old.op.seen;
        mark(&look).is_some() && {
            history[*number].op.seen = answer;
            true
        }
    })
}

/// A VM that was there already is created, as is acknowledged, and is not seen again.
fn lost(history: &mut [Timed<VmOp>]) -> Option<usize> {
    let late = history.len() * 9 / 10;
    let number = (late..history.len()).find(|number| history[*number].op.seen == Some(Seen::Exists))?;
    let newest = history[..number].iter().filter_map(|timed| VmModel.mark(&timed.op)).max()?;
    history[number].op.seen = Some(Seen::Done { vm: Some(VmId(newest.0 + 1)), generation: Generation(1) });
    Some(number)
}

/// A change that says it made another generation than it did.
fn miscounted(history: &mut [Timed<VmOp>]) -> Option<usize> {
    let late = history.len() * 9 / 10;
    let number = (late..history.len()).find(|number| {
        matches!(history[*number].op.seen, Some(Seen::Done { vm: None, generation: Generation(2..) }))
    })?;
    if let Some(Seen::Done { generation, .. }) = &mut history[number].op.seen {
        generation.0 += 2;
    }
    Some(number)
}

/// Nothing is taken for wrong before the wrong answer was asked for, and to tell takes no more than `configurations_max` configurations for any name.
fn tells_what_is_wrong(shape: Shape, seeds: std::ops::Range<u64>, configurations_max: usize) {
    let limits = Limits { configurations_max };
    let wrongs: [(&str, Wrong); 3] = [("stale", stale), ("lost", lost), ("miscounted", miscounted)];
    for (what, wrong) in wrongs {
        let (mut found, mut times_ms) = (0, Vec::new());
        for seed in seeds.clone() {
            let mut histories = vm_histories(seed, shape);
            let (key, spoiled) = histories
                .iter_mut()
                .rev()
                .find_map(|(key, history)| Some((*key, wrong(history)?)))
                .expect("something to answer wrongly");
            let watch = Stopwatch::start();
            let slices = histories.iter().map(|(key, history)| (*key, history.as_slice()));
            let result = check_all(&VmModel, slices, limits);
            times_ms.push(watch.elapsed_ms());
            // What has no answer may explain a wrong one, or put its discovery off. An answer that is missing because another stands in its
            // place may be missed as soon as it was asked for.
            let Err((at, verdict)) = result else { continue };
            let named = illegal_operation(&verdict).expect("not linearizable");
            assert_eq!(at, key, "{what}, seed {seed}");
            assert!(
                histories[&key][named].returned > Some(histories[&key][spoiled].invoked),
                "{what}, seed {seed}: {verdict:?}"
            );
            assert!(what != "stale" || named == spoiled, "{what}, seed {seed}: {verdict:?}");
            found += 1;
        }
        let count = seeds.end - seeds.start;
        println!("{what}, {shape:?}: {found} of {count} found, in ms: {times_ms:?}");
        assert!(found > 0, "{what}: none found");
    }
}

#[test]
fn tells_what_is_wrong_beside_missing_answers() {
    tells_what_is_wrong(Shape { clients: 50, operations: 4_000, keys: 10, unanswered: 20 }, 0..4, 20_000);
}

/// As [`full_size`], with more ways to be wrong.
#[test]
#[ignore = "for optimized builds; the test before this one is the same in small"]
fn full_size_wrong() {
    tells_what_is_wrong(Shape { clients: 50, operations: 10_000, keys: 10, unanswered: 20 }, 0..20, 400_000);
}

/// Every shortcut of the search, and every hint of the model, against trying all orders.
#[test]
fn agrees_with_trying_every_order_on_vm_names() {
    let mut counts = [0; 2];
    let mut rng = Rng::new(11, 4);
    for seed in 0..6_000 {
        let shape = Shape { clients: 4, operations: rng.between(3, 8), keys: 1, unanswered: 2 };
        let Some(mut history) = vm_histories(seed, shape).remove(&0) else { continue };
        garble(&mut history, &mut rng);
        let expected = first_unexplained(&VmModel, &history);
        let found = check(&VmModel, &history, Limits::default());
        assert_eq!(illegal_operation(&found), expected, "seed {seed}: {history:#?}: {found:?}");
        counts[usize::from(expected.is_none())] += 1;
    }
    assert!(counts.iter().all(|count| *count > 500), "both verdicts are tried: {counts:?}");
}

/// Changes an answer a little.
fn garble(history: &mut [Timed<VmOp>], rng: &mut Rng) {
    let number = rng.below(history.len() as u64) as usize;
    let other = history[rng.below(history.len() as u64) as usize].op;
    let op = &mut history[number].op;
    match &mut op.seen {
        Some(Seen::Vm { generation, .. } | Seen::Done { generation, .. } | Seen::Conflict(generation)) => {
            generation.0 = (generation.0 + rng.below(3)).saturating_sub(1);
        }
        Some(seen) if op.call == other.call => *seen = other.seen.unwrap_or(*seen),
        Some(seen) => *seen = if rng.ratio(1, 2) { Seen::Unknown } else { Seen::Deleting },
        None => {}
    }
}
