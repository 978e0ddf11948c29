//! Cases for proptest: drawn whole from a seed, and shrunk by the very search that `blixard-sim shrink` uses.
//!
//! ```
//! use blixard_sim::scenario::Outcome;
//! use blixard_sim::strategy::Cases;
//! use blixard_sim::subject::{Blixard, Subject as _};
//! use proptest::prelude::*;
//!
//! proptest!(ProptestConfig { cases: 1, failure_persistence: None, ..ProptestConfig::default() }, |(case in Cases::new(Blixard::default()))| {
//!     let report = Blixard::default().run(&case.scenario, case.seed, None);
//!     prop_assert!(matches!(report.outcome, Outcome::Held | Outcome::Inconclusive));
//! });
//! ```

use blixard_node::time::Time;
use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::scenario::Scenario;
use crate::shrink::{Case, Goal, Search};
use crate::subject::Subject;
use crate::swarm;

/// Scenarios drawn from seeds, for a test of `subject`.
#[derive(Clone, Copy, Debug)]
pub struct Cases<S> {
    subject: S,
    draw: fn(u64) -> Scenario,
}

impl<S: Subject> Cases<S> {
    /// Those of the swarm.
    #[must_use]
    pub fn new(subject: S) -> Self {
        Self::drawn(subject, swarm::draw)
    }

    /// Those that `draw` gives.
    #[must_use]
    pub fn drawn(subject: S, draw: fn(u64) -> Scenario) -> Self {
        Self { subject, draw }
    }
}

impl<S: Subject + Clone + std::fmt::Debug> Strategy for Cases<S> {
    type Tree = Tree<S>;
    type Value = Case;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let seed = proptest::prelude::any::<u64>().new_tree(runner)?.current();
        let shown = Case { scenario: (self.draw)(seed), seed };
        Ok(Tree { subject: self.subject.clone(), shown, search: None })
    }
}

/// A case and the search for a smaller one.
#[derive(Debug)]
pub struct Tree<S> {
    subject: S,
    /// What the test is given.
    shown: Case,
    /// Begins when the test has failed.
    search: Option<Search>,
}

impl<S: Subject> Tree<S> {
    /// When the case that is shown violates `goal`.
    fn fails_at(&self, goal: Goal) -> Option<Time> {
        goal.met(&self.subject.run(&self.shown.scenario, self.shown.seed, None))
    }

    /// The search for a smaller case than the drawn one, which failed.
    fn begin(&self) -> Option<Search> {
        let drawn = self.subject.run(&self.shown.scenario, self.shown.seed, None);
        let goal = Goal::of(&drawn)?;
        let seed = self.shown.seed;
        let explicit = Case { scenario: self.shown.scenario.explicit(seed, &drawn.schedule), seed };
        let fails_at = goal.met(&self.subject.run(&explicit.scenario, seed, None))?;
        Some(Search::new(explicit, goal, fails_at))
    }

    /// Shows what the search proposes next, or, when it is over, the smallest case that failed.
    fn show_next(&mut self) -> bool {
        let Some(search) = &mut self.search else { return false };
        let proposed = search.propose();
        let any = proposed.is_some();
        self.shown = proposed.unwrap_or_else(|| search.best().clone());
        any
    }
}

impl<S: Subject + std::fmt::Debug> ValueTree for Tree<S> {
    type Value = Case;

    fn current(&self) -> Case {
        self.shown.clone()
    }

    fn simplify(&mut self) -> bool {
        match self.search.take() {
            None => self.search = self.begin(),
            Some(mut search) => {
                match self.fails_at(search.goal()) {
                    Some(at) => search.accept(self.shown.clone(), at),
                    // It fails, but by something else.
                    None => search.reject(),
                }
                self.search = Some(search);
            }
        }
        self.show_next()
    }

    fn complicate(&mut self) -> bool {
        if let Some(search) = &mut self.search {
            search.reject();
        }
        self.show_next()
    }
}
