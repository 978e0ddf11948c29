//! Why a run violated what it violated.

use std::path::{Path, PathBuf};

use blixard_sim::explain;
use blixard_sim::output::{self, exit};
use blixard_sim::report;
use blixard_sim::trace::file::{Recording, read};
use clap::Args;

use super::files;
use super::listen::lines;
use super::overrides::{Overrides, seed};
use super::print;
use super::subject::SubjectArgs;

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A trace file, as --trace writes it; without one, --seed and --scenario are run.
    #[arg(conflicts_with_all = ["seed", "scenario"])]
    trace: Option<PathBuf>,
    /// Write a picture of the run in the trace file to this file; docs/report.md describes it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "scenario"])]
    report: Option<PathBuf>,
    /// The seed to run.
    #[arg(long, requires = "scenario", value_parser = seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// A scenario file, the name of one in scenarios/, or "swarm" for one drawn from the seed.
    #[arg(long, requires = "seed")]
    scenario: Option<String>,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    subject: SubjectArgs,
}

/// Tells the chain of causes. The exit code: that of the outcome when a seed is run, 0 when a file is read.
pub(crate) fn explain(args: &ExplainArgs) -> Result<u8, String> {
    if let Some(file) = &args.trace {
        let recording = read(file).map_err(|error| error.to_string())?;
        let explanation = explain::explain(&recording);
        if let Some(picture) = &args.report {
            draw(picture, &recording, explanation.as_ref())?;
        }
        match explanation {
            Some(explanation) => print::text(output::explanation(&explanation)),
            None => {
                print::line(format_args!("nothing to explain: the run ended with {}", recording.end.outcome));
            }
        }
        return Ok(exit::HELD);
    }
    let (Some(seed), Some(name)) = (args.seed, &args.scenario) else {
        return Err("give a trace file, or --seed and --scenario; --help tells more".into());
    };
    let (_, scenario, _) = args.overrides.named(name, seed)?;
    let (report, explained) = explain::run(&args.subject.subject(), &scenario, seed);
    match explained {
        Ok(None) => {
            print::line(format_args!("nothing to explain: the run ended with {}", report.outcome.word()));
        }
        explained => print::text(output::explained(&explained)),
    }
    Ok(output::exit_code(report.outcome))
}

fn draw(
    path: &Path,
    recording: &Recording,
    explanation: Option<&explain::Explanation>,
) -> Result<(), String> {
    let above = report::Header {
        // A trace file does not say what its scenario is about.
        description: String::new(),
        reproduce: recording.header.reproduce.clone(),
        explanation: explanation.cloned().map(lines).unwrap_or_default(),
    };
    files::write(path, &report::html_of_recording(&above, recording))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}
