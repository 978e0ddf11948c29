//! What is kept of a sweep.

use serde::{Deserialize, Serialize};

use super::build::Build;
use crate::sweep::{Checkpoint, Done, Source, Sweep, Swept};

/// What makes two sweeps the same, so that one can go on where the other has stopped: the runs they have, and the program that does them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// A checksum of each scenario's content, in order; of a drawn one, which follows from the program, its name.
    pub scenarios: Vec<String>,
    /// Arguments that change what is run in them.
    pub subject: String,
    /// The seeds.
    pub seeds: String,
    /// The share of all runs.
    pub shard: String,
    /// Each seed is run twice and compared.
    pub twice: bool,
    /// The program: [`Build::binary`].
    pub binary: String,
}

impl Key {
    /// The key of a sweep by this build. `subject` is what changes the subject, as arguments.
    #[must_use]
    pub fn of(sweep: &Sweep, build: &Build, subject: &str) -> Self {
        let content = |(name, source): &(String, Source)| match source {
            Source::Fixed(scenario) => checksum(scenario.to_toml().as_bytes()),
            Source::Drawn => name.clone(),
        };
        Self {
            scenarios: sweep.scenarios.iter().map(content).collect(),
            subject: subject.to_owned(),
            seeds: sweep.seeds.to_string(),
            shard: sweep.shard.to_string(),
            twice: sweep.twice,
            binary: build.binary.clone(),
        }
    }

    /// The same runs, whatever program does them.
    #[must_use]
    pub fn same_runs(&self, other: &Self) -> bool {
        Self { binary: other.binary.clone(), ..self.clone() } == *other
    }
}

fn checksum(bytes: &[u8]) -> String {
    format!("{:08x}-{}", crc32fast::hash(bytes), bytes.len())
}

/// Whether a sweep has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was at work when this was entered. If its process is gone, it was killed.
    Running,
    /// It stopped with runs left.
    Stopped,
    /// It has done all its runs.
    Complete,
}

/// A sweep as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// What makes it the same as another.
    pub key: Key,
    /// The program, as it is called by people.
    pub build: Build,
    /// The scenarios' names.
    pub scenarios: Vec<String>,
    /// The process.
    pub process: u32,
    /// When it began, in seconds since 1970.
    pub began_s: u64,
    /// When this was entered, in seconds since 1970.
    pub entered_s: u64,
    /// Whether it has ended.
    pub state: State,
    /// How many runs it has in all.
    pub planned: u64,
    /// Which of them are done, as ranges of their numbers.
    pub done: Vec<(u64, u64)>,
    /// What they came to. The failures stand in a table of their own.
    pub swept: Swept,
}

/// A record newer than this, in seconds, whose process is there is of a sweep that goes on.
const FRESH_S: u64 = 30;

impl Record {
    /// The record of a sweep that begins.
    #[must_use]
    pub fn of(sweep: &Sweep, build: &Build, subject: &str) -> Self {
        Self {
            key: Key::of(sweep, build, subject),
            build: build.clone(),
            scenarios: sweep.scenarios.iter().map(|(name, _)| name.clone()).collect(),
            process: std::process::id(),
            began_s: now_s(),
            entered_s: now_s(),
            state: State::Running,
            planned: sweep.len(),
            done: Vec::new(),
            swept: Swept::default(),
        }
    }

    /// Brings it up to date.
    pub fn enter(&mut self, at: &Checkpoint, state: State) {
        self.process = std::process::id();
        self.entered_s = now_s();
        self.state = state;
        self.done = at.done.ranges();
        self.swept.clone_from(&at.swept);
    }

    /// How far it is; `failed` are the failures that stand in their own table.
    #[must_use]
    pub fn checkpoint(&self, failed: Vec<crate::sweep::Failure>) -> Checkpoint {
        Checkpoint { done: Done::of_ranges(&self.done), swept: Swept { failed, ..self.swept.clone() } }
    }

    /// Whether another process is at work on it.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        let fresh = now_s().saturating_sub(self.entered_s) < FRESH_S;
        let there = std::path::Path::new("/proc").join(self.process.to_string()).exists();
        self.state == State::Running && fresh && there && self.process != std::process::id()
    }
}

#[expect(clippy::disallowed_methods, reason = "tells people when a sweep was run; no run sees it")]
fn now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
