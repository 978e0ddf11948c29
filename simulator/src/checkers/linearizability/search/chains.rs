//! Operations without an answer. One that nobody notices is as good as never, so it is placed only in a chain of such operations right before one
//! that was answered, and only where that one fits no longer, or fits otherwise, without the chain.

use std::rc::Rc;

use super::sets::{Entered, Used};
use super::{OutOfBounds, Search};
use crate::checkers::linearizability::{Model, Unanswered};

/// An open operation that can take effect next, with what it leads to.
pub(super) struct Placed<S> {
    pub(super) op: u32,
    /// The operations without an answer that have taken effect by then.
    pub(super) used: Used,
    pub(super) state: S,
}

/// A state that a chain leads to.
struct Link<S> {
    state: S,
    used: Used,
    /// The state before the chain's last operation; none before the first.
    before: Option<Rc<Link<S>>>,
}

impl<M: Model, const N: usize> Search<'_, M, N> {
    /// Every open operation after every chain that may matter to it, the one that is due first, shorter chains first.
    pub(super) fn after_chains(&mut self) -> Result<Vec<Placed<M::State>>, OutOfBounds> {
        let mut found = Vec::new();
        for candidate in 0..self.open.len() {
            if self.may_place(candidate) {
                self.lead_to(self.open[candidate], &mut found)?;
            }
        }
        Ok(found)
    }

    fn lead_to(&mut self, op: u32, found: &mut Vec<Placed<M::State>>) -> Result<(), OutOfBounds> {
        let (model, target) = (self.model, &self.history[op as usize].op);
        if model.forgets(target) {
            return Ok(());
        }
        let looks = model.only_looks(target);
        let directly = model.step(&self.state, target);
        if looks && directly.is_some() {
            return Ok(());
        }
        let start = Rc::new(Link { state: self.state.clone(), used: self.used.clone(), before: None });
        let available = |kind: &u32| start.used.count(*kind) < self.offered[*kind as usize];
        let kinds: Vec<u32> = (0..self.unanswered.len() as u32).filter(available).collect();
        let left: Vec<&M::Op> = kinds.iter().map(|kind| self.unanswered[*kind as usize]).collect();
        let mut reached = Entered::new();
        reached.enter(start.state.clone(), &start.used);
        let mut links = vec![start];
        let mut next = 0;
        while let Some(link) = links.get(next).cloned() {
            next += 1;
            for (state, used) in self.longer(&link, &kinds) {
                let unanswered = Unanswered { kinds: &left, left: self.called - used.total() };
                if self.is_too_far(&state, &self.placed) {
                    self.foreseen = true;
                    continue;
                }
                if !model.in_reach(&state, target, &unanswered) || !reached.enter(state.clone(), &used) {
                    continue;
                }
                let fits = model.step(&state, target);
                // A look moved forward in the chain to where it fits sees no less, and the rest of the chain can wait.
                let done = looks && fits.is_some();
                if let Some(after) = fits
                    && directly.as_ref() != Some(&after)
                {
                    found.push(Placed { op, used: used.clone(), state: after });
                }
                if !done {
                    links.push(Rc::new(Link { state, used, before: Some(link.clone()) }));
                }
                if links.len() + found.len() > self.limits.configurations_max {
                    return Err(OutOfBounds);
                }
            }
        }
        Ok(())
    }

    /// The chain with one operation more, whichever may make a difference.
    fn longer(&self, link: &Link<M::State>, kinds: &[u32]) -> Vec<(M::State, Used)> {
        let mut longer = Vec::new();
        for kind in kinds.iter().copied() {
            let op = self.unanswered[kind as usize];
            if (link.before.is_some() && self.model.forgets(op))
                || link.used.count(kind) >= self.offered[kind as usize]
            {
                continue;
            }
            let Some(state) = self.model.step(&link.state, op) else { continue };
            // The chain's last operation has changed nothing for this one: it can be left out.
            let alone =
                |before: &Rc<Link<M::State>>| self.model.step(&before.state, op).as_ref() == Some(&state);
            if state != link.state && !link.before.as_ref().is_some_and(alone) {
                longer.push((kind, state));
            }
        }
        let weaker = |less: u32, more: u32| {
            self.model.is_weaker(self.unanswered[less as usize], self.unanswered[more as usize])
        };
        let spared = |kind: u32, to: &M::State| {
            longer.iter().any(|(other, state)| state == to && weaker(*other, kind))
        };
        let kept = longer.iter().filter(|(kind, state)| !spared(*kind, state));
        kept.map(|(kind, state)| (state.clone(), link.used.with(*kind))).collect()
    }
}
