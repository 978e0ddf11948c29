//! A shrunk run, run again.

use std::path::PathBuf;

use blixard_sim::explain;
use blixard_sim::output::{self, Stopwatch};
use blixard_sim::trace::file::Header;
use clap::Args;

use super::files;
use super::listen::ListenArgs;
use super::print;
use super::subject::SubjectArgs;

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The scenario, as `shrink` writes it.
    file: PathBuf,
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    listen: ListenArgs,
}

/// Runs it with the seed that stands in it, and says whether what it expects is what came of it. The exit code is that of the run.
pub(crate) fn replay(args: &ReplayArgs) -> Result<u8, String> {
    let name = args.file.display().to_string();
    let scenario = files::scenario(&args.file, "give a file that shrink has written")?;
    let Some(seed) = scenario.seed else {
        return Err(format!(
            "{name} has no `seed`: replay runs what shrink has written; give any other scenario to --scenario, with a --seed"
        ));
    };
    print::line(format_args!("seed         {seed}"));
    print::line(format_args!("scenario     {}: {}", scenario.name, scenario.description));
    let watch = Stopwatch::start();
    let again = [vec![format!("cargo sim replay {name}")], args.subject.arguments()].concat().join(" ");
    let header = Header::new(&scenario, seed, again);
    let report = args.listen.run(&args.subject.subject(), &scenario, seed, &header)?;
    let wall_us = watch.elapsed_us();
    print::text(output::summary(&report, &name, &args.subject.arguments(), wall_us));
    print::line(format_args!("replay       {}", output::compared(&scenario.expect, &report)));
    if report.violation.is_some() {
        print::text(output::explained(&explain::run(&args.subject.subject(), &scenario, seed).1));
    }
    Ok(output::exit_code(report.outcome))
}
