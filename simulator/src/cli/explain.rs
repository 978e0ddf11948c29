//! Why a run violated what it violated.

use std::path::PathBuf;

use blixard_sim::explain;
use blixard_sim::output::{self, exit};
use blixard_sim::trace::file::read;
use clap::Args;

use super::overrides::Overrides;
use super::subject::SubjectArgs;

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A trace file, as --trace writes it; without one, --seed and --scenario are run.
    #[arg(conflicts_with_all = ["seed", "scenario"], required_unless_present = "seed")]
    trace: Option<PathBuf>,
    /// The seed to run.
    #[arg(long, requires = "scenario")]
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
        match explain::explain(&recording) {
            Some(explanation) => print!("{}", output::explanation(&explanation)),
            None => println!("nothing to explain: the run ended with {}", recording.end.outcome),
        }
        return Ok(exit::HELD);
    }
    let (Some(seed), Some(name)) = (args.seed, &args.scenario) else {
        return Err("give a trace file, or --seed and --scenario; --help tells more".into());
    };
    let (_, scenario, _) = args.overrides.named(name, seed)?;
    let (report, explanation) = explain::run(&args.subject.subject(), &scenario, seed);
    match explanation {
        Some(explanation) => print!("{}", output::explanation(&explanation)),
        None => println!("nothing to explain: the run ended with {}", report.outcome.word()),
    }
    Ok(output::exit_code(report.outcome))
}
