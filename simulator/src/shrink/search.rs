//! The search for the smallest case, without running anything: it proposes, and is told.

use blixard_node::time::Time;

use super::edits::{PASSES, Pass};
use super::{Case, Goal};
use crate::scenario::Scenario;

/// How many seeds a small step is tried with, from round to round.
const PATIENCE: [u64; 4] = [1, 4, 16, 64];

/// A search. Cloning it and rejecting what it proposes tells what it will try next as long as nothing better is found.
#[derive(Clone, Debug)]
pub struct Search {
    best: Case,
    goal: Goal,
    /// When the best case violates the property.
    fails_at: Time,
    pass: usize,
    place: Place,
    /// Which of the seeds the present edit is tried with.
    attempt: u64,
    /// Index into [`PATIENCE`].
    patience: usize,
    improved: bool,
}

/// How far a pass is. Lists are taken out in pieces of `size` items, edits are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) size: usize,
    pub(super) at: usize,
}

impl Search {
    /// A search that begins with a case that violates `goal` at `fails_at`.
    #[must_use]
    pub fn new(best: Case, goal: Goal, fails_at: Time) -> Self {
        let place = PASSES[0].first(&best.scenario);
        Self { best, goal, fails_at, pass: 0, place, attempt: 0, patience: 0, improved: false }
    }

    /// The smallest case so far.
    #[must_use]
    pub fn best(&self) -> &Case {
        &self.best
    }

    /// What has to stay.
    #[must_use]
    pub fn goal(&self) -> Goal {
        self.goal
    }

    /// The next simpler case to try; none when the search is over. The same again until it is accepted or rejected.
    pub fn propose(&mut self) -> Option<Case> {
        loop {
            if self.pass == PASSES.len() && !self.next_round() {
                return None;
            }
            let pass = &PASSES[self.pass];
            if pass.is_over(&self.best.scenario, self.place) {
                self.next_pass();
                continue;
            }
            match pass.edit(&self.best.scenario, self.goal, self.fails_at, self.place) {
                None => self.next_pass(),
                Some(Some(scenario)) if scenario != self.best.scenario => {
                    let seed = self.seed();
                    return Some(Case { scenario: Scenario { seed: Some(seed), ..scenario }, seed });
                }
                // Nothing to be had here.
                Some(_) => self.next_edit(),
            }
        }
    }

    /// `case`, which was proposed, violates the same, at `fails_at`: it is the best one now. The next proposal is of what stands where the
    /// removed stood.
    pub fn accept(&mut self, case: Case, fails_at: Time) {
        self.best = case;
        self.fails_at = fails_at;
        self.improved = true;
        self.attempt = 0;
    }

    /// What was proposed does not violate the same.
    pub fn reject(&mut self) {
        self.attempt += 1;
        if self.attempt >= self.pass().seeds(&self.best.scenario, self.place, PATIENCE[self.patience]) {
            self.next_edit();
        }
    }

    fn seed(&self) -> u64 {
        match self.attempt {
            0 => self.best.seed,
            // Any will do; small ones are good to read.
            attempt => attempt - 1,
        }
    }

    fn pass(&self) -> &'static Pass {
        &PASSES[self.pass]
    }

    fn next_edit(&mut self) {
        self.attempt = 0;
        self.place = self.pass().next(&self.best.scenario, self.place);
    }

    fn next_pass(&mut self) {
        self.attempt = 0;
        self.pass += 1;
        if let Some(pass) = PASSES.get(self.pass) {
            self.place = pass.first(&self.best.scenario);
        }
    }

    /// Begins again while that helps, then with more patience; false when nothing helps any more.
    fn next_round(&mut self) -> bool {
        if !self.improved {
            if self.patience + 1 == PATIENCE.len() {
                return false;
            }
            self.patience += 1;
        }
        self.improved = false;
        self.pass = 0;
        self.place = PASSES[0].first(&self.best.scenario);
        true
    }
}
