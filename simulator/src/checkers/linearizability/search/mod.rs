//! The search over configurations, from both ends of what has been reached.

mod chains;
mod schedule;
mod sets;

use std::collections::BTreeMap;

use super::{Illegal, Limits, Mark, Model, Timed, Verdict};
use chains::Placed;
use schedule::Event;
pub(super) use schedule::Schedule;
use sets::{Entered, Slots, Used};

/// A way through the history so far.
#[derive(Clone)]
struct Configuration<S, const N: usize> {
    /// Open operations that have taken effect.
    placed: Slots<N>,
    /// Operations without an answer that have taken effect.
    used: Used,
    state: S,
}

/// What is tried next with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// The open operations that fit as things are.
    Direct,
    /// Those that fit only after others, without answers, have taken effect.
    Chained,
}

/// Configurations waiting at one event: first those with the fewest operations without an answer used up.
type Waiting<S, const N: usize> = BTreeMap<(u64, Stage), Vec<Configuration<S, N>>>;

/// So many configurations are taken from one end of the history, then as many from the other.
const TURN: usize = 256;

struct Search<'a, M: Model, const N: usize> {
    model: &'a M,
    history: &'a [Timed<M::Op>],
    schedule: &'a Schedule,
    limits: Limits,
    /// The next event to pass.
    event: usize,
    /// The configuration that is looked at.
    placed: Slots<N>,
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
    /// The least that an operation tells which is called at this event or later and returns before the horizon, and where that one returns.
    ceilings: Vec<Option<(Mark, u32)>>,
    /// Events after this one count for nothing.
    horizon: usize,
    /// The configurations to look at, by the return that each cannot pass.
    waiting: BTreeMap<usize, Waiting<M::State, N>>,
    entered: Entered<(u32, Slots<N>, M::State)>,
    /// How many configurations were entered.
    configurations: usize,
    /// The last return that was reached, with states it was not passed in.
    deepest: (usize, Vec<M::State>),
    /// Whether marks have spared a way.
    foreseen: bool,
}

/// A return that no way leads past.
struct DeadEnd {
    event: usize,
    illegal: Illegal,
    /// Whether answers that came later have spared the search a way.
    foreseen: bool,
    /// The return of the one of those that may be what stands in the way.
    suspect: usize,
}

/// For each event the least mark of an operation called there or later, that returns before the horizon.
fn ceilings<M: Model>(
    model: &M,
    history: &[Timed<M::Op>],
    schedule: &Schedule,
    horizon: usize,
) -> Vec<Option<(Mark, u32)>> {
    let mut least: Option<(Mark, u32)> = None;
    let mut ceilings = vec![None; horizon];
    for (at, event) in schedule.events[..horizon].iter().enumerate().rev() {
        if let Event::Call(op) = *event {
            let end = schedule.end[op as usize];
            let mark = model.mark(&history[op as usize].op).filter(|_| (end as usize) + 1 < horizon);
            least = mark.map(|mark| (mark, end)).into_iter().chain(least).min();
        }
        ceilings[at] = least;
    }
    ceilings
}

/// The search needs more memory than it may have.
struct OutOfBounds;

/// What marks show of later answers spares the search most of its ways, but would put a dead end before the return of the operation that
/// nothing explains. So they are taken into account up to a horizon, and the first at which there is no way is looked for.
pub(super) fn run<M: Model, const N: usize>(
    model: &M,
    history: &[Timed<M::Op>],
    schedule: &Schedule,
    limits: Limits,
) -> Verdict {
    let up_to = |horizon| Search::<M, N>::new(model, history, schedule, limits, horizon).run();
    first_illegal(schedule.events.len(), up_to).unwrap_or_else(|OutOfBounds| {
        let max = limits.configurations_max;
        Verdict::Undecided { reason: format!("more than {max} configurations had to be remembered") }
    })
}

/// The dead end at the first horizon that has one.
fn first_illegal(
    events: usize,
    up_to: impl Fn(usize) -> Result<Option<DeadEnd>, OutOfBounds>,
) -> Result<Verdict, OutOfBounds> {
    let Some(mut found) = up_to(events)? else { return Ok(Verdict::Linearizable) };
    if !found.foreseen {
        return Ok(Verdict::Illegal(found.illegal));
    }
    // The one that is looked for lies at `least` or later, and not after `most`.
    let (mut least, mut most) = (found.event + 1, events);
    let mut horizon = least;
    while least < most {
        match up_to(horizon)? {
            Some(earlier) => {
                most = horizon;
                least = least.max(earlier.event + 1);
                found = earlier;
            }
            None => least = horizon + 1,
        }
        let guess = found.suspect + 1;
        horizon = if (least..most).contains(&guess) { guess } else { least.midpoint(most) };
    }
    Ok(Verdict::Illegal(found.illegal))
}

impl<'a, M: Model, const N: usize> Search<'a, M, N> {
    fn new(
        model: &'a M,
        history: &'a [Timed<M::Op>],
        schedule: &'a Schedule,
        limits: Limits,
        horizon: usize,
    ) -> Self {
        let kinds = &schedule.unanswered;
        Self {
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
            ceilings: ceilings(model, history, schedule, horizon),
            horizon,
            waiting: BTreeMap::new(),
            entered: Entered::new(),
            configurations: 0,
            deepest: (0, Vec::new()),
            foreseen: false,
        }
    }

    /// Where no way leads on; none when one leads to the horizon.
    fn run(mut self) -> Result<Option<DeadEnd>, OutOfBounds> {
        let start = Configuration { placed: self.placed, used: self.used.clone(), state: self.state.clone() };
        if self.put(start)? {
            return Ok(None);
        }
        for turn in 0.. {
            let deepest = (turn / TURN).is_multiple_of(2);
            let Some((event, stage, configuration)) = self.take(deepest) else { break };
            let due = self.move_to(event);
            Configuration { placed: self.placed, used: self.used, state: self.state } = configuration;
            let done = match stage {
                Stage::Direct => self.go_on(due)?,
                Stage::Chained => self.go_on_after_chains(due)?,
            };
            if done {
                return Ok(None);
            }
        }
        Ok(Some(self.dead_end()))
    }

    /// The next configuration to look at. The deepest soon lead to the end where there is a way. The shallowest, with the least used up first, are never
    /// made superfluous by one that comes later, which counts where everything must be tried. By turns, neither costs more than twice.
    fn take(&mut self, deepest: bool) -> Option<(usize, Stage, Configuration<M::State, N>)> {
        loop {
            let mut waiting = if deepest { self.waiting.last_entry() } else { self.waiting.first_entry() }?;
            let event = *waiting.key();
            let Some(mut least) = waiting.get_mut().first_entry() else {
                waiting.remove();
                continue;
            };
            let stage = least.key().1;
            let Some(configuration) = least.get_mut().pop() else {
                least.remove();
                continue;
            };
            let Configuration { placed, used, state } = &configuration;
            if self.entered.is_least(&(event as u32, *placed, state.clone()), used) {
                return Some((event, stage, configuration));
            }
        }
    }

    /// Lets a configuration wait at the return that it cannot pass, unless one like it was there with no more used up. Whether it has come to the horizon.
    fn put(&mut self, mut configuration: Configuration<M::State, N>) -> Result<bool, OutOfBounds> {
        let mut event = self.event;
        loop {
            if event == self.horizon {
                return Ok(true);
            }
            if let Event::Return(op) = self.schedule.events[event] {
                let slot = self.schedule.slot(op);
                if !configuration.placed.has(slot) {
                    break;
                }
                configuration.placed.remove(slot);
            }
            event += 1;
        }
        let place = (event as u32, configuration.placed, configuration.state.clone());
        if self.entered.enter(place, &configuration.used) {
            self.configurations += 1;
            if self.configurations > self.limits.configurations_max {
                return Err(OutOfBounds);
            }
            self.wait(event, Stage::Direct, configuration);
        }
        Ok(false)
    }

    fn wait(&mut self, event: usize, stage: Stage, configuration: Configuration<M::State, N>) {
        let key = (configuration.used.total(), stage);
        self.waiting.entry(event).or_default().entry(key).or_default().push(configuration);
    }

    /// Goes to a return, forwards or back; whose it is.
    fn move_to(&mut self, event: usize) -> u32 {
        while self.event < event {
            match self.schedule.events[self.event] {
                Event::Call(op) => self.begin(op),
                Event::Return(op) => self.end(op),
                Event::Offer(kind) => {
                    self.offered[kind as usize] += 1;
                    self.called += 1;
                }
            }
            self.event += 1;
        }
        while self.event > event {
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
        let Event::Return(due) = self.schedule.events[event] else {
            unreachable!("configurations wait at returns")
        };
        due
    }

    fn begin(&mut self, op: u32) {
        let end = &self.schedule.end;
        let at = self.open.partition_point(|other| end[*other as usize] < end[op as usize]);
        self.open.insert(at, op);
    }

    fn end(&mut self, op: u32) {
        self.open.retain(|other| *other != op);
    }

    /// Places each operation that fits as things are, so that the one that is due can return, directly or later. Whether that leads to the horizon.
    fn go_on(&mut self, due: u32) -> Result<bool, OutOfBounds> {
        let before = self.placed;
        if self.place_looks(due) {
            return self.put(Configuration {
                placed: self.placed,
                used: self.used.clone(),
                state: self.state.clone(),
            });
        }
        // The one that is due comes last, and is taken first.
        for candidate in (0..self.open.len()).rev() {
            let op = self.open[candidate];
            if !self.may_place(candidate) {
                continue;
            }
            if let Some(state) = self.model.step(&self.state, &self.history[op as usize].op)
                && self.place(Placed { op, used: self.used.clone(), state })?
            {
                return Ok(true);
            }
        }
        let again = Configuration { placed: before, used: self.used.clone(), state: self.state.clone() };
        self.wait(self.event, Stage::Chained, again);
        Ok(false)
    }

    fn go_on_after_chains(&mut self, due: u32) -> Result<bool, OutOfBounds> {
        self.place_looks(due);
        self.note_stop();
        for choice in self.after_chains()?.into_iter().rev() {
            if self.place(choice)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The configuration after a choice. Whether it leads to the horizon.
    fn place(&mut self, choice: Placed<M::State>) -> Result<bool, OutOfBounds> {
        let mut placed = self.placed;
        placed.add(self.schedule.slot(choice.op));
        if self.is_too_far(&choice.state, &placed) {
            self.foreseen = true;
            return Ok(false);
        }
        self.put(Configuration { placed, used: choice.used, state: choice.state })
    }

    /// Whether `state` is past what an operation tells that takes effect after those `placed`.
    fn is_too_far(&self, state: &M::State, placed: &Slots<N>) -> bool {
        let returns = |op: &u32| (self.schedule.end[*op as usize] as usize) + 1 < self.horizon;
        let left = |op: &&u32| !placed.has(self.schedule.slot(**op)) && returns(op);
        let marks =
            self.open.iter().filter(left).filter_map(|op| self.model.mark(&self.history[*op as usize].op));
        marks
            .chain(self.ceilings[self.event].map(|ceiling| ceiling.0))
            .any(|mark| self.model.is_past(state, mark))
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

    /// Notes that nothing fits as things are.
    fn note_stop(&mut self) {
        let (event, states) = &mut self.deepest;
        if *event < self.event {
            states.clear();
            *event = self.event;
        }
        if *event == self.event && states.len() < Illegal::STATES_MAX && !states.contains(&self.state) {
            states.push(self.state.clone());
        }
    }

    fn dead_end(mut self) -> DeadEnd {
        let event = self.deepest.0;
        let due = self.move_to(event);
        let before = &self.schedule.events[..event];
        let illegal = Illegal {
            operation: due as usize,
            passed: before.iter().filter(|event| matches!(event, Event::Return(_))).count(),
            open: self.open_but(due),
            states: self.deepest.1.iter().map(|state| format!("{state:?}")).collect(),
        };
        let suspect = self.ceilings[event].map_or(event, |ceiling| ceiling.1 as usize);
        DeadEnd { event, illegal, foreseen: self.foreseen, suspect }
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
