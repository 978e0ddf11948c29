//! One seed.

use std::io::Write as _;
use std::path::PathBuf;

use blixard_sim::determinism;
use blixard_sim::output::{self, Stopwatch, exit};
use blixard_sim::scenario::{self, Scenario};
use blixard_sim::subject::{Blixard, Subject as _};
use blixard_sim::swarm;
use blixard_sim::trace::{Entry, Sink};
use blixard_sim::world;
use clap::Args;

use super::files;
use super::overrides::Overrides;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The seed: everything that happens follows from it.
    #[arg(long, required = true)]
    seed: Option<u64>,
    /// A scenario file, the name of one in scenarios/, or "swarm" for one drawn from the seed.
    #[arg(long, required = true)]
    scenario: Option<String>,
    /// Write the scenario to this file, as it was run: with the same seed it gives the same run.
    #[arg(long, value_name = "FILE")]
    write_scenario: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    /// Print one JSON object instead of the summary.
    #[arg(long)]
    json: bool,
    /// Write the event log to this file, one line an event.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Tell the event log live on stderr.
    #[arg(long)]
    verbose: bool,
    /// Run the seed twice and compare.
    #[arg(long, conflicts_with_all = ["trace", "verbose"])]
    check_determinism: bool,
}

/// Writes the log to a file, to stderr, or to both.
struct Listener {
    file: Option<std::io::BufWriter<std::fs::File>>,
    verbose: bool,
    error: Option<std::io::Error>,
}

impl Sink for Listener {
    fn entry(&mut self, entry: &Entry) {
        if self.verbose {
            eprintln!("{entry}");
        }
        if let Some(file) = &mut self.file
            && let Err(error) = writeln!(file, "{entry}")
        {
            self.error.get_or_insert(error);
        }
    }
}

/// Runs the seed and shows what it came to. The exit code.
pub(crate) fn run(args: &Run) -> Result<u8, String> {
    let (Some(seed), Some(name)) = (args.seed, &args.scenario) else {
        return Err("give --seed and --scenario, or the command sweep; --help tells more".into());
    };
    let (name, scenario) = if name == swarm::NAME {
        let mut drawn = swarm::draw(seed);
        args.overrides.apply(&mut drawn)?;
        (name.clone(), drawn)
    } else {
        let path = scenario::find(name)?;
        (path.display().to_string(), args.overrides.load(&path)?)
    };
    if let Some(file) = &args.write_scenario {
        files::write(file, &scenario.to_toml())
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    if !args.json {
        println!("seed         {seed}");
        println!("scenario     {}: {}", scenario.name, scenario.description);
    }
    let overrides = args.overrides.arguments();
    let watch = Stopwatch::start();
    let (report, divergence) = if args.check_determinism {
        determinism::check(&Blixard::default(), &scenario, seed)
    } else {
        (listened(args, seed, &scenario)?, None)
    };
    let runs = 1 + u64::from(args.check_determinism);
    let wall_us = watch.elapsed_us() / runs;
    if args.json {
        println!("{}", output::json_of(&report, &name, &overrides, wall_us / 1_000, divergence.is_some()));
    } else {
        if args.check_determinism && divergence.is_none() {
            println!("determinism  two runs, {} lines, one log", output::grouped(report.trace_len));
        }
        print!("{}", output::summary(&report, &name, &overrides, wall_us));
    }
    if let Some(divergence) = divergence {
        eprint!("{}", output::divergence(&divergence));
        return Ok(exit::NONDETERMINISM);
    }
    Ok(output::exit_code(report.outcome))
}

fn listened(args: &Run, seed: u64, scenario: &Scenario) -> Result<world::Report, String> {
    let file = match &args.trace {
        None => None,
        Some(path) => {
            Some(files::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?)
        }
    };
    if file.is_none() && !args.verbose {
        return Ok(Blixard::default().run(scenario, seed, None));
    }
    let mut listener = Listener { file, verbose: args.verbose, error: None };
    let report = Blixard::default().run(scenario, seed, Some(&mut listener));
    let flushed = listener.file.as_mut().map_or(Ok(()), std::io::Write::flush);
    match (listener.error, flushed) {
        (Some(error), _) | (None, Err(error)) => Err(format!("cannot write the trace: {error}")),
        (None, Ok(())) => Ok(report),
    }
}
