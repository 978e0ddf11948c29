//! One seed.

use std::path::PathBuf;

use blixard_sim::determinism;
use blixard_sim::explain;
use blixard_sim::output::{self, Stopwatch, exit};
use blixard_sim::trace::file::Header;
use clap::Args;

use super::files;
use super::listen::ListenArgs;
use super::overrides::{Overrides, seed};
use super::print;
use super::subject::SubjectArgs;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The seed: everything that happens follows from it.
    #[arg(long, required = true, value_parser = seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// A scenario file, the name of one in scenarios/, or "swarm" for one drawn from the seed.
    #[arg(long, required = true)]
    scenario: Option<String>,
    /// Write the scenario to this file, as it was run: with the same seed it gives the same run.
    #[arg(long, value_name = "FILE")]
    write_scenario: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    subject: SubjectArgs,
    /// Print one JSON object instead of the summary.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    listen: ListenArgs,
    /// Run the seed twice and compare.
    #[arg(long, conflicts_with_all = ["trace", "report", "verbose"])]
    check_determinism: bool,
}

/// Runs the seed and shows what it came to. The exit code.
pub(crate) fn run(args: &Run) -> Result<u8, String> {
    let (Some(seed), Some(name)) = (args.seed, &args.scenario) else {
        return Err("give --seed and --scenario, or the command sweep; --help tells more".into());
    };
    let (name, scenario, drawn) = args.overrides.named(name, seed)?;
    if let Some(file) = &args.write_scenario {
        files::write(file, &scenario.to_toml())
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    if !args.json {
        print::line(format_args!("seed         {seed}"));
        print::line(format_args!("scenario     {}: {}", scenario.name, scenario.description));
        if drawn {
            print::text(output::drawn(&scenario));
        }
    }
    let overrides = [args.overrides.arguments(), args.subject.arguments()].concat();
    let watch = Stopwatch::start();
    let (report, divergence) = if args.check_determinism {
        determinism::check(&args.subject.subject(), &scenario, seed)
    } else {
        let header = Header::new(&scenario, seed, output::reproduce(&name, seed, &overrides));
        (args.listen.run(&args.subject.subject(), &scenario, seed, &header)?, None)
    };
    let runs = 1 + u64::from(args.check_determinism);
    let wall_us = watch.elapsed_us() / runs;
    // The run need not have been listened to: the same seed gives the same run.
    let violated = report.violation.is_some() && divergence.is_none();
    let explained =
        if violated { explain::run(&args.subject.subject(), &scenario, seed).1 } else { Ok(None) };
    if args.json {
        let mut object = output::json_of(&report, &name, &overrides, wall_us / 1_000, divergence.is_some());
        let explanation = explained.as_ref().ok().and_then(Option::as_ref);
        object["explanation"] = explanation.map(output::explanation_json).into();
        if let Err(why) = &explained {
            object["not_explained"] = why.to_string().into();
        }
        print::line(&object);
    } else {
        if args.check_determinism && divergence.is_none() {
            print::line(format_args!(
                "determinism  two runs, {} lines, one log",
                output::grouped(report.trace_len)
            ));
        }
        print::text(output::summary(&report, &name, &overrides, wall_us));
        print::text(output::explained(&explained));
    }
    if let Some(divergence) = divergence {
        print::tell(output::divergence(&divergence).trim_end());
        return Ok(exit::NONDETERMINISM);
    }
    Ok(output::exit_code(report.outcome))
}
