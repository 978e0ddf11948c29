//! Why a property was violated, told from the log of the run alone: from the first fault that matters to the violation, a line
//! each, in words.
//!
//! Every property has a narrator that knows what matters for it: whose votes, which write, whose lease. One that has none gets the
//! general account, which walks back through the graph of what happened before what. All that is said was read off lines of the
//! log, and each step names the line it tells of.

mod account;
mod artifacts;
mod confirmations;
mod elections;
mod entries;
mod faults;
mod general;
mod graph;
mod levels;
mod liveness;
mod once;
mod panics;
mod placements;
mod reads;
mod runs;
mod story;
mod volumes;
mod wording;

use crate::scenario::Scenario;
use crate::subject::Subject;
use crate::trace::file::{Accusation, Recording};
use crate::trace::{Entry, Sink};
use crate::world::Report;

use account::Account;
use story::Story;

/// The causal chain that led to a violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The property's stable name.
    pub property: String,
    /// What was seen.
    pub message: String,
    /// When, in true time: nanoseconds since the run began.
    pub at: u64,
    /// What led to it, in the order in which it happened.
    pub steps: Vec<Step>,
}

/// One step of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The entry it tells of, from 0. In a trace file it stands two lines further, counted from 1.
    pub entry: usize,
    /// When, in true time: nanoseconds since the run began.
    pub at: u64,
    /// What happened, in words.
    pub text: String,
}

/// The most steps of an explanation.
pub const STEPS_MAX: usize = 15;

/// Tells what led to one kind of violation.
trait Narrator {
    /// The properties it knows about.
    fn properties(&self) -> &'static [&'static str];
    /// Says what matters. Saying nothing leaves the account to the general narrator.
    fn tell(&self, story: &Story<'_>, accused: &Accusation, account: &mut Account);
}

const NARRATORS: &[&dyn Narrator] = &[
    &elections::Elections,
    &entries::Entries,
    &runs::Runs,
    &reads::Reads,
    &once::Once,
    &volumes::Volumes,
    &artifacts::Artifacts,
    &confirmations::Confirmations,
    &panics::Panics,
    &placements::Placements,
    &levels::Levels,
    &liveness::Liveness,
];

/// Explains the violation of a recorded run; none when there was none.
#[must_use]
pub fn explain(recording: &Recording) -> Option<Explanation> {
    let accused = recording.end.violation.as_ref()?;
    Some(chain(&recording.entries, accused))
}

/// Explains the violation that a report tells of, from the log of that run; none when there was none.
#[must_use]
pub fn of(report: &Report, entries: &[Entry]) -> Option<Explanation> {
    let accused = Accusation::from(report.violation.as_ref()?);
    Some(chain(entries, &accused))
}

/// The most lines of a log that is explained: it is held in memory.
pub const LINES_MAX: u64 = 20_000_000;

/// Why a violation is not explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log has {lines} lines, and no more than {LINES_MAX} are explained; shrink the run, or make it shorter with --duration"
)]
pub struct TooLong {
    /// How many lines it has.
    pub lines: u64,
}

/// Keeps a log up to a bound, and nothing of one that is longer.
struct Bounded(Vec<Entry>, u64);

impl Sink for Bounded {
    fn entry(&mut self, entry: &Entry) {
        self.1 += 1;
        match self.1 {
            0..=LINES_MAX => self.0.push(*entry),
            _ => self.0 = Vec::new(),
        }
    }
}

/// Runs the seed and explains its violation, if there is one. The same seed gives the same run, so a run that was not listened to can
/// be explained afterwards.
///
/// # Errors
/// The log is too long.
pub fn run(
    subject: &dyn Subject,
    scenario: &Scenario,
    seed: u64,
) -> (Report, Result<Option<Explanation>, TooLong>) {
    let mut bounded = Bounded(Vec::new(), 0);
    let report = subject.run(scenario, seed, Some(&mut bounded));
    let Bounded(entries, lines) = bounded;
    if lines > LINES_MAX {
        return (report, Err(TooLong { lines }));
    }
    let explanation = of(&report, &entries);
    (report, Ok(explanation))
}

fn chain(entries: &[Entry], accused: &Accusation) -> Explanation {
    let story = Story::of(entries);
    let mut account = Account::default();
    let known = |narrator: &&&dyn Narrator| narrator.properties().contains(&&*accused.property);
    if let Some(narrator) = NARRATORS.iter().find(known) {
        narrator.tell(&story, accused, &mut account);
    }
    if account.is_thin() {
        general::tell(&story, accused, &mut account);
    }
    Explanation {
        property: accused.property.clone(),
        message: accused.message.clone(),
        at: accused.at,
        steps: account.steps(entries),
    }
}
