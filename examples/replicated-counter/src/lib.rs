//! A replicated counter, and how it is tried in the simulated world of `blixard-sim`: [`counter`] is what one would ship, this file
//! what one writes to try it. It is sound unless it is given a [`Bug`].

pub mod counter;

use blixard_sim::kit::{Call, ExchangeOf, Kit, Model, Rng, Spec};
use blixard_sim::report;
use blixard_sim::scenario::Scenario;
use blixard_sim::shrink::{self, Options, Refused, Shrunk};
use blixard_sim::subject::Subject as _;
use blixard_sim::sweep::{Seeds, Source, Sweep, Swept};

pub use counter::{Bug, Counter, Request, Response};

/// What clients do, and what they must see: each increment counts once, no later than it is answered.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

impl Model for Counting {
    type State = u64;
    type Op = ExchangeOf<Counter>;

    fn initial(&self) -> u64 {
        0
    }

    fn step(&self, total: &u64, exchange: &Self::Op) -> Option<u64> {
        match (&exchange.request, &exchange.response) {
            (Request::Increment, _) => Some(total + 1),
            (Request::Read, Some(Response::Total(seen))) if seen != total => None,
            (Request::Read, _) => Some(*total),
        }
    }

    fn only_looks(&self, exchange: &Self::Op) -> bool {
        exchange.request == Request::Read
    }
}

impl Spec for Counting {
    type Node = Counter;

    fn request(&self, call: Call, _: u64, _: &mut Rng) -> Request {
        if call == Call::Get { Request::Read } else { Request::Increment }
    }
}

/// The counter in its world.
#[must_use]
pub fn subject(bug: Bug) -> Kit<Counting, Bug> {
    Kit { spec: Counting, settings: bug }
}

/// The scenario of `counter.toml`.
///
/// # Errors
/// What is wrong with the file.
pub fn scenario() -> Result<Scenario, String> {
    let text = include_str!("../counter.toml");
    Scenario::parse("counter.toml", text).map_err(|problem| problem.to_string())
}

/// Runs the seeds up to the first that fails.
#[must_use]
pub fn sweep(bug: Bug, scenario: &Scenario, seeds: Seeds) -> Swept {
    let scenarios = vec![(scenario.name.clone(), Source::Fixed(Box::new(scenario.clone())))];
    let sweep = Sweep { scenarios, seeds, jobs: 1, failures_max: Some(1), ..Sweep::default() };
    sweep.run(&subject(bug), &|_| {})
}

/// Makes the failing run of a seed small.
///
/// # Errors
/// The seed does not fail.
pub fn shrink(bug: Bug, scenario: &Scenario, seed: u64) -> Result<Shrunk, Refused> {
    let options = Options { jobs: 1, time_max_ms: Some(60_000) };
    shrink::shrink(&subject(bug), scenario, seed, options, &mut |_| {})
}

/// The picture of a shrunk run: one HTML file.
#[must_use]
pub fn picture(bug: Bug, shrunk: &Shrunk) -> String {
    let mut entries = Vec::new();
    let report = subject(bug).run(&shrunk.case.scenario, shrunk.case.seed, Some(&mut entries));
    let description = shrunk.case.scenario.description.clone();
    report::html(&report::Header { description, ..report::Header::default() }, &entries, &report)
}
