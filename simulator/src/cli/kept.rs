//! A sweep's entry in the history. A history that cannot be kept stops no sweep: it is said once, and the sweep goes on without.

use std::collections::BTreeMap;
use std::path::PathBuf;

use blixard_sim::logbook::{Build, Key, Logbook, Record, State};
use blixard_sim::output::{Stopwatch, grouped};
use blixard_sim::sweep::{Checkpoint, FAILURES_KEPT, Failure, Sweep};
use clap::Args;

/// How often an entry is brought up to date, in milliseconds: what a killed sweep loses at most.
const ENTER_EVERY_MS: u64 = 5_000;

#[derive(Debug, Args)]
pub(crate) struct Keeping {
    /// Keep what the sweep came to in this file instead of the one below the user's state folder.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Keep nothing of it.
    #[arg(long, conflicts_with_all = ["history", "resume"])]
    no_history: bool,
    /// Go on with the newest sweep of the same scenarios, seeds, share and build that was interrupted, if there is one.
    #[arg(long)]
    resume: bool,
}

/// The entry while the sweep goes.
#[derive(Debug)]
pub(crate) struct Entry {
    logbook: Logbook,
    record: Record,
    number: u64,
    /// Failures that are not entered yet, by the numbers of their runs.
    new: BTreeMap<u64, Failure>,
    entered: Stopwatch,
}

/// Where a sweep begins, and where it is kept.
pub(crate) struct Begun {
    pub(crate) from: Checkpoint,
    /// `None` where nothing is kept.
    pub(crate) entry: Option<Entry>,
    /// What to tell.
    pub(crate) notes: Vec<String>,
}

impl Keeping {
    /// Enters the sweep, or finds the entry that it goes on with.
    pub(crate) fn begin(&self, sweep: &Sweep, subject: &str) -> Result<Begun, String> {
        let mut begun = Begun { from: Checkpoint::default(), entry: None, notes: Vec::new() };
        if self.no_history {
            return Ok(begun);
        }
        let Some(path) = self.history.clone().or_else(Logbook::default_path) else {
            let why = "neither XDG_STATE_HOME nor HOME is set";
            if self.resume {
                return Err(format!("--resume needs a history, and {why}: name a file with --history"));
            }
            begun.notes.push(format!("no history is kept: {why}"));
            return Ok(begun);
        };
        let logbook = Logbook::at(path);
        let mut record = Record::of(sweep, &Build::of_this_process(), subject);
        let earlier = if self.resume { self.earlier(&logbook, &record.key, &mut begun)? } else { None };
        let number = match earlier {
            Some((number, found)) => {
                record = found;
                Ok(number)
            }
            None => logbook.begin(&record),
        };
        match number {
            Ok(number) => {
                let (new, entered) = (BTreeMap::new(), Stopwatch::start());
                begun.entry = Some(Entry { logbook, record, number, new, entered });
            }
            Err(error) => begun.notes.push(format!("no history is kept: {error}")),
        }
        Ok(begun)
    }

    /// The sweep to go on with, and how far it is.
    fn earlier(
        &self,
        logbook: &Logbook,
        key: &Key,
        begun: &mut Begun,
    ) -> Result<Option<(u64, Record)>, String> {
        let failed = |error| format!("cannot resume: {error}");
        let Some((number, record)) = logbook.unfinished(key).map_err(failed)? else {
            begun.notes.push(nothing_to_resume(logbook, key));
            return Ok(None);
        };
        if record.is_at_work() {
            return Err(format!("cannot resume: process {} is at work on this very sweep", record.process));
        }
        let failures = logbook.failures(number).map_err(failed)?;
        begun.from = record.checkpoint(failures);
        let (done, planned) = (grouped(begun.from.swept.runs), grouped(record.planned));
        begun.notes.push(format!("resumed: {done} of {planned} runs are done"));
        Ok(Some((number, record)))
    }
}

fn nothing_to_resume(logbook: &Logbook, key: &Key) -> String {
    let records = logbook.records().unwrap_or_default();
    let same = records.iter().rev().find(|(_, record)| record.key.same_runs(key));
    let why = match same {
        None => "no such sweep is kept",
        Some((_, record)) if record.key == *key => "it was completed",
        Some(_) => "it was run by another build",
    };
    format!("nothing to resume: {why}; beginning anew")
}

impl Entry {
    /// Runs have failed.
    pub(crate) fn failed(&mut self, failures: Vec<Failure>) {
        self.new.extend(failures.into_iter().map(|failure| (failure.number, failure)));
    }

    /// Whether it is time to enter how far the sweep is.
    pub(crate) fn is_due(&self) -> bool {
        self.entered.elapsed_ms() >= ENTER_EVERY_MS
    }

    /// Enters how far the sweep is.
    pub(crate) fn enter(&mut self, at: &Checkpoint, state: State) -> Result<(), String> {
        self.entered = Stopwatch::start();
        self.record.enter(at, state);
        match self.logbook.enter(self.number, &self.record, self.new.values()) {
            Ok(()) => {
                self.new.clear();
                Ok(())
            }
            Err(error) => {
                // The next entry tries again. Those beyond the bound are counted, and only their lines are lost.
                while self.new.len() > FAILURES_KEPT {
                    self.new.pop_last();
                }
                Err(error.to_string())
            }
        }
    }
}
