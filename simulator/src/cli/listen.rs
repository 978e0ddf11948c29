//! Flags that write down what happens in a run.

use std::path::{Path, PathBuf};

use blixard_sim::explain;
use blixard_sim::report;
use blixard_sim::scenario::Scenario;
use blixard_sim::subject::Subject;
use blixard_sim::trace::file::{End, Header, Writer};
use blixard_sim::trace::{Entry, Sink};
use blixard_sim::world;
use clap::Args;

use super::{files, print};

#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Write the event log to this file, one line of JSON an event; docs/trace.md describes it.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write a picture of the run to this file: one HTML page that needs nothing beside itself; docs/report.md describes it.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Tell the event log live on stderr.
    #[arg(long)]
    verbose: bool,
}

/// Writes the log to a file, to stderr, keeps it, or all of that.
struct Listener {
    file: Option<Writer<std::io::BufWriter<std::fs::File>>>,
    /// For the picture.
    entries: Option<Vec<Entry>>,
    verbose: bool,
}

impl Sink for Listener {
    fn entry(&mut self, entry: &Entry) {
        if self.verbose {
            print::tell(entry);
        }
        if let Some(file) = &mut self.file {
            file.entry(entry);
        }
        if let Some(entries) = &mut self.entries {
            entries.push(*entry);
        }
    }
}

impl ListenArgs {
    /// A picture in this file, and nothing else.
    pub(crate) fn picture(path: &Path) -> Self {
        Self { trace: None, report: Some(path.to_owned()), verbose: false }
    }

    /// Runs the seed, and writes what was asked for.
    pub(crate) fn run(
        &self,
        subject: &dyn Subject,
        scenario: &Scenario,
        seed: u64,
        header: &Header,
    ) -> Result<world::Report, String> {
        if self.trace.is_none() && self.report.is_none() && !self.verbose {
            return Ok(subject.run(scenario, seed, None));
        }
        let cannot_write = |error| match &self.trace {
            Some(path) => format!("cannot write {}: {error}", path.display()),
            None => format!("cannot write the trace: {error}"),
        };
        let file = self.trace.as_ref().map(|path| Writer::new(files::create(path)?, header));
        let mut listener = Listener {
            file: file.transpose().map_err(cannot_write)?,
            entries: self.report.is_some().then(Vec::new),
            verbose: self.verbose,
        };
        let report = subject.run(scenario, seed, Some(&mut listener));
        if let Some(file) = listener.file {
            file.finish(&End::of(&report)).map_err(cannot_write)?;
        }
        if let (Some(path), Some(entries)) = (&self.report, listener.entries) {
            draw(path, scenario, header, &entries, &report)?;
        }
        Ok(report)
    }
}

/// Writes the picture of a run.
fn draw(
    path: &Path,
    scenario: &Scenario,
    header: &Header,
    entries: &[Entry],
    report: &world::Report,
) -> Result<(), String> {
    let above = report::Header {
        description: scenario.description.clone(),
        reproduce: header.reproduce.clone(),
        explanation: explain::of(report, entries).map(lines).unwrap_or_default(),
    };
    files::write(path, &report::html(&above, entries, report))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// An explanation as the picture shows it, each step with its event.
pub(crate) fn lines(explanation: explain::Explanation) -> Vec<report::ExplanationLine> {
    let line = |step: explain::Step| report::ExplanationLine { text: step.text, event: Some(step.entry) };
    explanation.steps.into_iter().map(line).collect()
}
