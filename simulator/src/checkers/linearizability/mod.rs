//! Linearizability: every operation seems to take effect at one instant between its invocation and its return
//! (Herlihy and Wing, 1990).
//!
//! The search is Wing and Gong's with Lowe's just-in-time order and memoization ("Testing for linearizability", 2017): an
//! operation is placed only when some return cannot be passed without it, and no configuration is entered twice. A
//! configuration is the place in the history, the set of open operations already placed, and the object's state; operations that have
//! returned need no bit any more, so the sets stay as small as the concurrency.
//!
//! Operations whose outcome is not known stay open for ever, and a search that tries every subset of them does not end. Here one takes effect only right
//! before an answer that is not explained without it; alike ones are counted, not told apart; and a
//! configuration is left alone when there is one with no more of them used up, because whatever follows from it follows from that one. So that the smaller
//! one comes first, the search goes on from the shallowest configurations in turn with the deepest. And what later answers tell of how far
//! the object had come ([`Model::mark`]) rules out the ways on which it has gone too far.
//!
//! Histories of independent objects are checked apart (Horn and Kroening, "P-compositionality").

mod search;
pub mod vm;

use std::fmt;
use std::hash::Hash;

/// How far an object has come, in something that never goes back: the higher the further.
pub type Mark = (u64, u64);

/// A sequential object.
pub trait Model {
    /// What the object is.
    type State: Clone + Eq + Hash + fmt::Debug;
    /// What is done with it, together with what was answered, if an answer came.
    type Op: Eq + Hash + fmt::Debug;

    /// The object before the history.
    fn initial(&self) -> Self::State;

    /// The object after `op`, or none when `op` cannot be answered so in `state`. An operation whose answer is not
    /// known has the effect it would have with the right answer, and none when every right answer leaves
    /// the object as it is.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;

    /// Whether `op` does nothing to the object, in any state. (A step may still tell more about a state that was not
    /// fully known; what fits that one must have fitted before.) Such operations are placed as soon as they fit, which spares the search most of its choices.
    fn only_looks(&self, op: &Self::Op) -> bool;

    /// Whether `op` leads from every state to the same one, so that nothing before it matters to it.
    fn forgets(&self, op: &Self::Op) -> bool {
        let _ = op;
        false
    }

    /// Whether `less`, where it has an effect, has the one that `more` would have: then nothing is lost by using it up first. Both have
    /// no answer.
    fn is_weaker(&self, less: &Self::Op, more: &Self::Op) -> bool {
        let _ = (less, more);
        false
    }

    /// How far the object had come, at most, when `op` took effect; none when the answer does not tell.
    fn mark(&self, op: &Self::Op) -> Option<Mark> {
        let _ = op;
        None
    }

    /// Whether the object has come further than `mark` in `state`, and so in all that follow: then nothing that tells `mark` fits any more.
    fn is_past(&self, state: &Self::State, mark: Mark) -> bool {
        let _ = (state, mark);
        false
    }

    /// Whether a state in which `op` fits can still be made of `state` by operations whose outcomes are not known, or only by a way that
    /// was there before `state`, too. True when in doubt: it spares the search chains of such operations that lead nowhere.
    fn in_reach(&self, state: &Self::State, op: &Self::Op, unanswered: &Unanswered<'_, Self::Op>) -> bool {
        let _ = (state, op, unanswered);
        true
    }
}

/// The operations whose outcomes are not known.
#[derive(Clone, Copy, Debug)]
pub struct Unanswered<'a, O> {
    /// One of each kind of which some have been called and have not taken effect.
    pub kinds: &'a [&'a O],
    /// How many have been called and have not taken effect.
    pub left: u64,
}

/// An operation in time. Any clock will do as long as it orders invocations and returns; one that returns at
/// the instant another is invoked counts as concurrent with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed<O> {
    /// The operation.
    pub op: O,
    /// When it was invoked.
    pub invoked: u64,
    /// When it returned; never, when its outcome is not known: then it may take effect at any time after its
    /// invocation, or not at all.
    pub returned: Option<u64>,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains everything.
    Linearizable,
    /// There is none.
    Illegal(Illegal),
    /// The search was given up.
    Undecided {
        /// Why.
        reason: String,
    },
}

/// Where a history stops being linearizable: it is linearizable up to, and not with, the return of `operation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Illegal {
    /// The operation that cannot be placed, as an index into the history.
    pub operation: usize,
    /// How many operations had returned before, all of them placed.
    pub passed: usize,
    /// The operations open at that return, itself not among them, those that never return last.
    pub open: Vec<usize>,
    /// States the object can be in there, at most [`Illegal::STATES_MAX`] of them.
    pub states: Vec<String>,
}

impl Illegal {
    /// The most states named.
    pub const STATES_MAX: usize = 8;
}

/// Bounds of a search. Past them the verdict is [`Verdict::Undecided`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Configurations remembered for one object; each costs its state, 32 to 288 bytes by how many operations are open at once, and 8 bytes
    /// for each kind of operation that has taken effect in it without an answer.
    pub configurations_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { configurations_max: 4_000_000 }
    }
}

/// The most operations of one object that may be open at once, those that never return left out.
pub const OPEN_MAX: usize = 1_024;

/// Checks one object's history, in any order.
pub fn check<M: Model>(model: &M, history: &[Timed<M::Op>], limits: Limits) -> Verdict {
    let schedule = search::Schedule::new(history);
    match schedule.slots() {
        0..=64 => search::run::<M, 1>(model, history, &schedule, limits),
        65..=256 => search::run::<M, 4>(model, history, &schedule, limits),
        257..=OPEN_MAX => search::run::<M, { OPEN_MAX / 64 }>(model, history, &schedule, limits),
        open => {
            let reason =
                format!("{open} operations on one object are open at once, at most {OPEN_MAX} are checked");
            Verdict::Undecided { reason }
        }
    }
}

/// Checks histories of independent objects, one after the other, up to the first that is not linearizable. An undecided
/// one is told only when none is illegal.
///
/// # Errors
/// The key of the first object that is not linearizable, or else of the first that could not be decided, with its verdict.
pub fn check_all<'a, K, M: Model>(
    model: &M,
    histories: impl IntoIterator<Item = (K, &'a [Timed<M::Op>])>,
    limits: Limits,
) -> Result<(), (K, Verdict)>
where
    M::Op: 'a,
{
    let mut undecided = None;
    for (key, history) in histories {
        match check(model, history, limits) {
            Verdict::Linearizable => {}
            verdict @ Verdict::Illegal(_) => return Err((key, verdict)),
            verdict @ Verdict::Undecided { .. } => undecided = undecided.or(Some((key, verdict))),
        }
    }
    undecided.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
