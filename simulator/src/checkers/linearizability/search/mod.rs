//! The depth-first search over configurations.

mod chains;
mod schedule;
mod sets;

use super::{Illegal, Limits, Model, Timed, Verdict};
use chains::Placed;
use schedule::Event;
pub(super) use schedule::Schedule;
use sets::{Entered, Slots, Used};

/// What can still be tried at a place of the history.
struct Moves<S> {
    /// The next open operation to place as things are.
    direct: usize,
    /// Then: operations that fit only after others, without answers, have taken effect.
    chained: Option<std::vec::IntoIter<Placed<S>>>,
}

impl<S> Moves<S> {
    const ALL: Self = Self { direct: 0, chained: None };
}

/// A choice that was taken and can be taken back.
struct Frame<S, const N: usize> {
    event: usize,
    moves: Moves<S>,
    placed: Slots<N>,
    used: Used,
    state: S,
}

struct Search<'a, M: Model, const N: usize> {
    model: &'a M,
    history: &'a [Timed<M::Op>],
    schedule: &'a Schedule,
    limits: Limits,
    /// The next event to pass.
    event: usize,
    /// Open operations that have taken effect.
    placed: Slots<N>,
    /// Operations without an answer that have taken effect.
    used: Used,
    state: M::State,
    /// The open operations that return, by their returns.
    open: Vec<u32>,
    /// How many operations of each kind have been called that never return.
    offered: Vec<u32>,
    /// How many those are.
    called: u64,
    /// One operation of each such kind.
    unanswered: Vec<&'a M::Op>,
    frames: Vec<Frame<M::State, N>>,
    entered: Entered<(u32, Slots<N>, M::State)>,
    /// How many configurations were entered.
    configurations: usize,
    deepest: Option<(usize, Illegal)>,
}

/// The search needs more memory than it may have.
struct OutOfBounds;

pub(super) fn run<M: Model, const N: usize>(
    model: &M,
    history: &[Timed<M::Op>],
    schedule: &Schedule,
    limits: Limits,
) -> Verdict {
    let kinds = &schedule.unanswered;
    let search = Search::<M, N> {
        model,
        history,
        schedule,
        limits,
        event: 0,
        placed: Slots::EMPTY,
        used: Used::none(),
        state: model.initial(),
        open: Vec::with_capacity(schedule.slots()),
        offered: vec![0; kinds.len()],
        called: 0,
        unanswered: kinds.iter().map(|alike| &history[alike[0] as usize].op).collect(),
        frames: Vec::new(),
        entered: Entered::new(),
        configurations: 0,
        deepest: None,
    };
    search.run().unwrap_or_else(|OutOfBounds| {
        let max = limits.configurations_max;
        Verdict::Undecided { reason: format!("more than {max} configurations had to be remembered") }
    })
}

impl<M: Model, const N: usize> Search<'_, M, N> {
    fn run(mut self) -> Result<Verdict, OutOfBounds> {
        let mut moves = Moves::ALL;
        loop {
            let Some(due) = self.advance() else { return Ok(Verdict::Linearizable) };
            if moves.direct == 0 && self.place_looks(due) {
                continue;
            }
            if self.choose(moves)? {
                moves = Moves::ALL;
                continue;
            }
            self.note_dead_end(due);
            match self.take_back() {
                Some(next) => moves = next,
                None => {
                    let (_, illegal) = self.deepest.expect("a dead end was noted");
                    return Ok(Verdict::Illegal(illegal));
                }
            }
        }
    }

    /// Passes events up to a return whose operation has not been placed; none when all are passed.
    fn advance(&mut self) -> Option<u32> {
        while let Some(event) = self.schedule.events.get(self.event) {
            match *event {
                Event::Call(op) => self.begin(op),
                Event::Offer(kind) => {
                    self.offered[kind as usize] += 1;
                    self.called += 1;
                }
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

    /// Places an operation so that the one that is due can return, directly or later: the next of `moves` that leads to a place not
    /// entered before.
    fn choose(&mut self, mut moves: Moves<M::State>) -> Result<bool, OutOfBounds> {
        while let Some(op) = self.open.get(moves.direct).copied() {
            let candidate = moves.direct;
            moves.direct += 1;
            if !self.may_place(candidate) {
                continue;
            }
            let Some(state) = self.model.step(&self.state, &self.history[op as usize].op) else { continue };
            let placed = Placed { op, used: self.used.clone(), state };
            if let Some(placed) = self.enter(placed)? {
                self.go(placed, moves);
                return Ok(true);
            }
        }
        let mut chained = match moves.chained {
            Some(chained) => chained,
            None => self.after_chains()?.into_iter(),
        };
        while let Some(placed) = chained.next() {
            if let Some(placed) = self.enter(placed)? {
                self.go(placed, Moves { direct: moves.direct, chained: Some(chained) });
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the configuration after a choice is a new one.
    fn enter(&mut self, choice: Placed<M::State>) -> Result<Option<Placed<M::State>>, OutOfBounds> {
        let mut placed = self.placed;
        placed.add(self.schedule.slot(choice.op));
        if !self.entered.enter((self.event as u32, placed, choice.state.clone()), &choice.used) {
            return Ok(None);
        }
        self.configurations += 1;
        if self.configurations > self.limits.configurations_max { Err(OutOfBounds) } else { Ok(Some(choice)) }
    }

    fn go(&mut self, choice: Placed<M::State>, moves: Moves<M::State>) {
        let before = self.placed;
        self.placed.add(self.schedule.slot(choice.op));
        let state = std::mem::replace(&mut self.state, choice.state);
        let used = std::mem::replace(&mut self.used, choice.used);
        self.frames.push(Frame { event: self.event, moves, placed: before, used, state });
    }

    /// Places every open look that fits the state as it is: no order does better by putting it off. Whether `due` is
    /// among them. (A write that changes nothing here is not placed so: put off, it may have an effect.)
    fn place_looks(&mut self, due: u32) -> bool {
        for op in &self.open {
            let slot = self.schedule.slot(*op);
            let timed = &self.history[*op as usize];
            if self.placed.has(slot) || !self.model.only_looks(&timed.op) {
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

    /// Takes the last choice back; what else can be tried there, or none when nothing is left to take back.
    fn take_back(&mut self) -> Option<Moves<M::State>> {
        let frame = self.frames.pop()?;
        while self.event > frame.event {
            self.event -= 1;
            match self.schedule.events[self.event] {
                Event::Call(op) => self.end(op),
                Event::Return(op) => self.begin(op),
                Event::Offer(kind) => {
                    self.offered[kind as usize] -= 1;
                    self.called -= 1;
                }
            }
        }
        self.placed = frame.placed;
        self.used = frame.used;
        self.state = frame.state;
        Some(frame.moves)
    }

    fn note_dead_end(&mut self, due: u32) {
        match &mut self.deepest {
            Some((event, _)) if *event > self.event => {}
            Some((event, illegal)) if *event == self.event => {
                if illegal.states.len() < Illegal::STATES_MAX {
                    let state = format!("{:?}", self.state);
                    if !illegal.states.contains(&state) {
                        illegal.states.push(state);
                    }
                }
            }
            _ => {
                let before = &self.schedule.events[..self.event];
                let passed = before.iter().filter(|event| matches!(event, Event::Return(_))).count();
                let illegal = Illegal {
                    operation: due as usize,
                    passed,
                    open: self.open_but(due),
                    states: vec![format!("{:?}", self.state)],
                };
                self.deepest = Some((self.event, illegal));
            }
        }
    }

    /// The operations that are open, those that never return last.
    fn open_but(&self, due: u32) -> Vec<usize> {
        let returning = self.open.iter().filter(|op| **op != due);
        let kinds = self.schedule.unanswered.iter().zip(&self.offered);
        let mut endless: Vec<&u32> = kinds.flat_map(|(alike, offered)| &alike[..*offered as usize]).collect();
        endless.sort_unstable_by_key(|op| (self.history[**op as usize].invoked, **op));
        returning.chain(endless).map(|op| *op as usize).collect()
    }
}
