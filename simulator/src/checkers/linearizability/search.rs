//! The depth-first search over configurations.

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, Hash};

use blixard_node::state::hash::{StableHasher, hash_of};

use super::{Illegal, Limits, Model, Timed, Verdict};

/// A history as a sequence of events, each operation with a slot that no other open operation has.
#[derive(Debug)]
pub(super) struct Schedule {
    events: Vec<Event>,
    slot: Vec<u32>,
    slots: usize,
    /// When each operation returns, as a place among the events; those that never return come last, in the order of
    /// their calls.
    end: Vec<u32>,
    /// Equal for operations that ask and were answered the same.
    kind: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Call(u32),
    Return(u32),
}

const NONE: u32 = u32::MAX;

impl Schedule {
    pub(super) fn new<O: Eq + Hash>(history: &[Timed<O>]) -> Self {
        let mut moments = Vec::with_capacity(history.len() * 2);
        for (number, timed) in history.iter().enumerate() {
            let number = number as u32;
            moments.push((timed.invoked, false, number));
            if let Some(returned) = timed.returned {
                moments.push((returned, true, number));
            }
        }
        moments.sort_unstable();
        let mut schedule = Self {
            events: Vec::with_capacity(moments.len()),
            slot: vec![NONE; history.len()],
            slots: 0,
            end: vec![NONE; history.len()],
            kind: kinds(history),
        };
        let mut free: Vec<u32> = Vec::new();
        let mut endless = moments.len() as u32;
        for (_, is_return, number) in moments {
            let op = number as usize;
            if is_return {
                free.push(schedule.slot[op]);
                schedule.end[op] = schedule.events.len() as u32;
                schedule.events.push(Event::Return(number));
                continue;
            }
            if history[op].returned.is_none() {
                schedule.end[op] = endless;
                endless += 1;
            }
            schedule.slot[op] = free.pop().unwrap_or_else(|| {
                schedule.slots += 1;
                schedule.slots as u32 - 1
            });
            schedule.events.push(Event::Call(number));
        }
        schedule
    }

    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    fn slot(&self, op: u32) -> usize {
        self.slot[op as usize] as usize
    }
}

/// Numbers the operations so that equal ones have equal numbers.
fn kinds<O: Eq + Hash>(history: &[Timed<O>]) -> Vec<u32> {
    let mut firsts: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    let mut kinds = Vec::with_capacity(history.len());
    for (number, timed) in history.iter().enumerate() {
        let alike = firsts.entry(hash_of(&timed.op)).or_default();
        let same = alike.iter().find(|first| history[**first as usize].op == timed.op).copied();
        kinds.push(same.unwrap_or_else(|| {
            alike.push(number as u32);
            number as u32
        }));
    }
    kinds
}

/// A set of slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Slots<const N: usize>([u64; N]);

impl<const N: usize> Slots<N> {
    const EMPTY: Self = Self([0; N]);

    fn has(&self, slot: usize) -> bool {
        self.0[slot / 64] >> (slot % 64) & 1 == 1
    }

    fn add(&mut self, slot: usize) {
        self.0[slot / 64] |= 1 << (slot % 64);
    }

    fn remove(&mut self, slot: usize) {
        self.0[slot / 64] &= !(1 << (slot % 64));
    }
}

/// Configurations entered before. Only asked, never iterated, and its hasher has no random keys.
#[expect(clippy::disallowed_types, reason = "never iterated, and hashed without random keys")]
type Configurations<S, const N: usize> =
    std::collections::HashSet<(u32, Slots<N>, S), BuildHasherDefault<StableHasher>>;

/// A choice that was taken and can be taken back.
struct Frame<S, const N: usize> {
    event: usize,
    /// Which candidate was taken.
    candidate: usize,
    placed: Slots<N>,
    state: S,
}

struct Search<'a, M: Model, const N: usize> {
    model: &'a M,
    history: &'a [Timed<M::Op>],
    schedule: &'a Schedule,
    /// The next event to pass.
    event: usize,
    /// Open operations that have taken effect.
    placed: Slots<N>,
    state: M::State,
    /// The open operations, by their ends.
    open: Vec<u32>,
    frames: Vec<Frame<M::State, N>>,
    seen: Configurations<M::State, N>,
    deepest: Option<(usize, Illegal)>,
}

pub(super) fn run<M: Model, const N: usize>(
    model: &M,
    history: &[Timed<M::Op>],
    schedule: &Schedule,
    limits: Limits,
) -> Verdict {
    let mut search = Search::<M, N> {
        model,
        history,
        schedule,
        event: 0,
        placed: Slots::EMPTY,
        state: model.initial(),
        open: Vec::with_capacity(schedule.slots),
        frames: Vec::new(),
        seen: Configurations::default(),
        deepest: None,
    };
    let mut candidate = 0;
    loop {
        let Some(due) = search.advance() else { return Verdict::Linearizable };
        if search.choose(due, candidate) {
            candidate = 0;
            if search.seen.len() > limits.configurations_max {
                let max = limits.configurations_max;
                let reason = format!("more than {max} configurations had to be remembered");
                return Verdict::Undecided { reason };
            }
            continue;
        }
        search.note_dead_end(due);
        match search.take_back() {
            Some(next) => candidate = next,
            None => {
                let (_, illegal) = search.deepest.expect("a dead end was noted");
                return Verdict::Illegal(illegal);
            }
        }
    }
}

impl<M: Model, const N: usize> Search<'_, M, N> {
    /// Passes events up to a return whose operation has not been placed; none when all are passed.
    fn advance(&mut self) -> Option<u32> {
        while let Some(event) = self.schedule.events.get(self.event) {
            match *event {
                Event::Call(op) => self.begin(op),
                Event::Return(op) => {
                    let slot = self.schedule.slot(op);
                    if !self.placed.has(slot) {
                        return Some(op);
                    }
                    self.placed.remove(slot);
                    self.end(op);
                }
            }
            self.event += 1;
        }
        None
    }

    fn begin(&mut self, op: u32) {
        let end = &self.schedule.end;
        let at = self.open.partition_point(|other| end[*other as usize] < end[op as usize]);
        self.open.insert(at, op);
    }

    fn end(&mut self, op: u32) {
        self.open.retain(|other| *other != op);
    }

    /// Places an operation so that `due` can return, directly or later: the first that fits, from open operation
    /// number `from` on. Number 0 is `due` itself.
    fn choose(&mut self, due: u32, from: usize) -> bool {
        if from == 0 && self.place_looks(due) {
            return true;
        }
        for candidate in from..self.open.len() {
            let op = self.open[candidate];
            if !self.may_place(candidate) {
                continue;
            }
            let timed = &self.history[op as usize];
            let Some(next) = self.model.step(&self.state, &timed.op) else { continue };
            if next == self.state && timed.returned.is_none() {
                continue;
            }
            let mut placed = self.placed;
            placed.add(self.schedule.slot(op));
            if !self.seen.insert((self.event as u32, placed, next.clone())) {
                continue;
            }
            let state = std::mem::replace(&mut self.state, next);
            self.frames.push(Frame { event: self.event, candidate, placed: self.placed, state });
            self.placed = placed;
            return true;
        }
        false
    }

    /// Places every open look that fits the state as it is: no order does better by putting it off. Whether `due` is
    /// among them. (A write that changes nothing here is not placed so: put off, it may have an effect.)
    fn place_looks(&mut self, due: u32) -> bool {
        for op in &self.open {
            let slot = self.schedule.slot(*op);
            let timed = &self.history[*op as usize];
            if self.placed.has(slot) || timed.returned.is_none() || !self.model.only_looks(&timed.op) {
                continue;
            }
            if self.model.step(&self.state, &timed.op).is_some_and(|next| next == self.state) {
                self.placed.add(slot);
            }
        }
        self.placed.has(self.schedule.slot(due))
    }

    /// Of operations that are the same, the one that ends first goes first: exchanged, they would explain as much.
    fn may_place(&self, candidate: usize) -> bool {
        let op = self.open[candidate];
        let kind = self.schedule.kind[op as usize];
        let waits = |other: &u32| {
            self.schedule.kind[*other as usize] == kind && !self.placed.has(self.schedule.slot(*other))
        };
        !self.placed.has(self.schedule.slot(op)) && !self.open[..candidate].iter().any(waits)
    }

    /// Takes the last choice back; which candidate is next there, or none when nothing is left to take back.
    fn take_back(&mut self) -> Option<usize> {
        let frame = self.frames.pop()?;
        while self.event > frame.event {
            self.event -= 1;
            match self.schedule.events[self.event] {
                Event::Call(op) => self.end(op),
                Event::Return(op) => self.begin(op),
            }
        }
        self.placed = frame.placed;
        self.state = frame.state;
        Some(frame.candidate + 1)
    }

    fn note_dead_end(&mut self, due: u32) {
        let state = format!("{:?}", self.state);
        match &mut self.deepest {
            Some((event, _)) if *event > self.event => {}
            Some((event, illegal)) if *event == self.event => {
                if illegal.states.len() < Illegal::STATES_MAX && !illegal.states.contains(&state) {
                    illegal.states.push(state);
                }
            }
            _ => {
                let before = &self.schedule.events[..self.event];
                let passed = before.iter().filter(|event| matches!(event, Event::Return(_))).count();
                let open = self.open.iter().filter(|op| **op != due);
                let open = open.map(|op| *op as usize).collect();
                let illegal = Illegal { operation: due as usize, passed, open, states: vec![state] };
                self.deepest = Some((self.event, illegal));
            }
        }
    }
}
