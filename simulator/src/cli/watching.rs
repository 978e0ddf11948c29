//! What a sweep shows while it goes: a bar or lines of progress, failures, slow seeds, JSON lines; and its entry in the history.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use blixard_sim::logbook::State;
use blixard_sim::output::{self, Stopwatch, grouped};
use blixard_sim::sweep::{Checkpoint, Failure, Finished, Observer, Slow, Sweep, Swept, UnderWay};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::kept::Entry;
use super::signals::Asked;

/// A seed that has taken so long is told of, in milliseconds.
const SLOW_MS: u64 = 60_000;
/// How often progress is told where there is no terminal, in milliseconds.
const TELL_EVERY_MS: u64 = 60_000;

/// Watches one sweep.
pub(crate) struct Watching<'s> {
    sweep: &'s Sweep,
    bar: ProgressBar,
    asked: Asked,
    /// What to type to go on with the sweep when it has been stopped.
    go_on: Option<String>,
    json: bool,
    github: bool,
    /// Runs, and microseconds, of earlier processes.
    before: (u64, u64),
    /// Nobody reads what is printed any more.
    unread: AtomicBool,
    /// Failures that the entry has not heard of.
    failed: Mutex<Vec<Failure>>,
    rest: Mutex<Rest>,
}

/// What only the beat uses.
struct Rest {
    entry: Option<Entry>,
    /// That the history cannot be kept has been said.
    complained: bool,
    /// That the sweep is to end has been said.
    ending: bool,
    slow: Slow,
    told: Stopwatch,
}

impl<'s> Watching<'s> {
    pub(crate) fn new(
        sweep: &'s Sweep,
        from: &Checkpoint,
        entry: Option<Entry>,
        asked: Asked,
        go_on: Option<String>,
        json: bool,
    ) -> Self {
        let rest = Rest {
            entry,
            complained: false,
            ending: false,
            slow: Slow::new(SLOW_MS),
            told: Stopwatch::start(),
        };
        Self {
            bar: bar(sweep.len(), from.swept.runs),
            asked,
            go_on,
            json,
            github: output::is_github(),
            before: (from.swept.runs, from.swept.wall_us),
            unread: AtomicBool::new(false),
            failed: Mutex::default(),
            rest: Mutex::new(rest),
            sweep,
        }
    }

    /// Tells something on stderr, above the bar.
    pub(crate) fn tell(&self, text: &str) {
        self.bar.suspend(|| {
            // Progress that nobody reads is no reason to stop.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        });
    }

    /// The sweep has ended: takes the bar away and closes the entry.
    pub(crate) fn end(&self, at: &Checkpoint) {
        self.bar.finish_and_clear();
        let state = if at.swept.runs < self.sweep.len() { State::Stopped } else { State::Complete };
        self.enter(&mut lock(&self.rest), at, state);
        if state == State::Stopped
            && let Some(go_on) = &self.go_on
        {
            self.tell(&format!("to go on: {go_on}"));
        }
    }

    fn enter(&self, rest: &mut Rest, at: &Checkpoint, state: State) {
        let failed = std::mem::take(&mut *lock(&self.failed));
        let Some(entry) = &mut rest.entry else { return };
        entry.failed(failed);
        if let Err(error) = entry.enter(at, state)
            && !rest.complained
        {
            rest.complained = true;
            self.tell(&format!("the history is not up to date: {error}"));
        }
    }

    fn name(&self, place: usize) -> &str {
        &self.sweep.scenarios[place].0
    }
}

impl Observer for Watching<'_> {
    fn finished(&self, run: &Finished, failure: Option<&Failure>, swept: &Swept) {
        self.bar.set_position(swept.runs);
        self.bar.set_message(output::progress(swept, self.before));
        if let Some(failure) = failure {
            self.tell(&format!("failed: {}\n        {}", failure.reproduce, failure.message));
            if self.github {
                self.tell(&output::workflow_error(failure));
            }
            lock(&self.failed).push(failure.clone());
        }
        if self.json {
            let line = output::run_json(run, self.name(run.scenario));
            let written = self.bar.suspend(|| writeln!(std::io::stdout().lock(), "{line}"));
            self.unread.fetch_or(written.is_err(), Ordering::Relaxed);
        }
    }

    fn beat(&self, at: &Checkpoint, under_way: &[UnderWay]) {
        let mut rest = lock(&self.rest);
        for run in rest.slow.news(under_way) {
            let again = output::reproduce(self.name(run.place), run.seed, &[]);
            self.tell(&format!("has been running for {} s: {again}", run.for_ms / 1_000));
        }
        if self.asked.is_asked() && !rest.ending {
            rest.ending = true;
            let go_on = self.go_on.as_ref().map_or(String::new(), |go_on| format!("\nto go on: {go_on}"));
            self.tell(&format!("ends with the seeds under way; asked again, at once{go_on}"));
        }
        if rest.entry.as_ref().is_some_and(Entry::is_due) {
            self.enter(&mut rest, at, State::Running);
        }
        if self.bar.is_hidden() && rest.told.elapsed_ms() >= TELL_EVERY_MS {
            rest.told = Stopwatch::start();
            let (runs, len) = (grouped(at.swept.runs), grouped(self.sweep.len()));
            self.tell(&format!("{runs} of {len} runs, {}", output::progress(&at.swept, self.before)));
        }
    }

    fn stop(&self) -> bool {
        self.asked.is_asked() || self.unread.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bar(len: u64, done: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(len), target).with_position(done);
    if let Ok(style) = ProgressStyle::with_template("{bar:25} {pos}/{len} runs, {msg}, {eta} left") {
        bar.set_style(style);
    }
    bar
}
