//! `blixard-sim`: one seed of a scenario, or a sweep over many.

use std::io::Write as _;
use std::process::ExitCode;

use blixard_sim::determinism;
use blixard_sim::output::{self, Stopwatch, exit};
use blixard_sim::scenario::{self, Outcome, Scenario, Storage};
use blixard_sim::swarm;
use blixard_sim::sweep::{Finished, Source, Sweep};
use blixard_sim::trace::{Entry, Sink};
use blixard_sim::world::{self, Sabotage};
use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Runs the production node through seeded faults. The same seed gives the same run on every machine.
///
/// Exit codes: 0 everything held; 1 a safety property was violated or node code panicked; 2 usage or a bad scenario file;
/// 3 the healed core did not recover; 4 the same seed gave two runs; 5 inconclusive.
#[derive(Debug, Parser)]
#[command(name = "blixard-sim", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs many seeds and lists those that fail.
    Sweep(SweepArgs),
    /// As sweep, of scenarios drawn whole from their seeds: cluster, work, conditions and faults.
    Swarm(SwarmArgs),
}

#[derive(Debug, Args)]
struct Run {
    /// The seed: everything that happens follows from it.
    #[arg(long, required = true)]
    seed: Option<u64>,
    /// A scenario file, the name of one in scenarios/, or "swarm" for one drawn from the seed.
    #[arg(long, required = true)]
    scenario: Option<String>,
    /// Write the scenario to this file, as it was run: with the same seed it gives the same run.
    #[arg(long, value_name = "FILE")]
    write_scenario: Option<std::path::PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    /// Print one JSON object instead of the summary.
    #[arg(long)]
    json: bool,
    /// Write the event log to this file, one line an event.
    #[arg(long, value_name = "FILE")]
    trace: Option<std::path::PathBuf>,
    /// Tell the event log live on stderr.
    #[arg(long)]
    verbose: bool,
    /// Run the seed twice and compare.
    #[arg(long, conflicts_with_all = ["trace", "verbose"])]
    check_determinism: bool,
}

#[derive(Debug, Args)]
struct Overrides {
    /// Another disk than the scenario's.
    #[arg(long, value_enum)]
    storage: Option<StorageArg>,
    /// Another length of the safety phase than the scenario's, such as 30s.
    #[arg(long, value_name = "SPAN")]
    duration: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StorageArg {
    Modelled,
    Redb,
}

#[derive(Debug, Args)]
struct SweepArgs {
    /// A scenario file, the name of one in scenarios/, a folder of them, or "swarm"; may be given more than once.
    #[arg(long, required = true)]
    scenario: Vec<String>,
    #[command(flatten)]
    many: Many,
    #[command(flatten)]
    overrides: Overrides,
}

#[derive(Debug, Args)]
struct SwarmArgs {
    #[command(flatten)]
    many: Many,
}

#[derive(Debug, Args)]
struct Many {
    /// The seeds, from A up to but not including B.
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    seeds: std::ops::Range<u64>,
    /// Threads; all cores by default.
    #[arg(long)]
    jobs: Option<usize>,
    /// Begin no further seed after this long, such as 60s.
    #[arg(long, value_name = "SPAN")]
    time: Option<String>,
    /// Run each seed twice and compare.
    #[arg(long)]
    check_determinism: bool,
}

fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let bad = || format!("{text:?} is no range of seeds: write such as 0..1000");
    let (from, to) = text.split_once("..").ok_or_else(bad)?;
    let range = from.trim().parse().map_err(|_| bad())?..to.trim().parse().map_err(|_| bad())?;
    if range.is_empty() { Err(format!("{text:?} holds no seed: the end is not included")) } else { Ok(range) }
}

impl Overrides {
    fn apply(&self, scenario: &mut Scenario) -> Result<(), String> {
        match self.storage {
            Some(StorageArg::Modelled) => scenario.cluster.storage = Storage::Modelled,
            Some(StorageArg::Redb) => scenario.cluster.storage = Storage::Redb,
            None => {}
        }
        if let Some(span) = &self.duration {
            scenario.run.duration = scenario::duration(span).map_err(|why| format!("--duration: {why}"))?;
        }
        Ok(())
    }

    fn arguments(&self) -> Vec<String> {
        let storage = self.storage.map(|storage| match storage {
            StorageArg::Modelled => "--storage modelled".to_owned(),
            StorageArg::Redb => "--storage redb".to_owned(),
        });
        let duration = self.duration.as_ref().map(|span| format!("--duration {span}"));
        storage.into_iter().chain(duration).collect()
    }

    fn load(&self, path: &std::path::Path) -> Result<Scenario, String> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
        let mut scenario = Scenario::parse(&name, &text).map_err(|problem| problem.to_string())?;
        self.apply(&mut scenario)?;
        Ok(scenario)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match (cli.command, cli.run) {
        (Some(Command::Sweep(args)), _) => sources(&args).and_then(|scenarios| sweep(scenarios, &args.many)),
        (Some(Command::Swarm(args)), _) => sweep(vec![(swarm::NAME.into(), Source::Drawn)], &args.many),
        (None, args) => run(&args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(exit::USAGE)
        }
    }
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

fn run(args: &Run) -> Result<u8, String> {
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
        write(file, &scenario.to_toml())
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    if !args.json {
        println!("seed         {seed}");
        println!("scenario     {}: {}", scenario.name, scenario.description);
    }
    let overrides = args.overrides.arguments();
    let watch = Stopwatch::start();
    let (report, divergence) = if args.check_determinism {
        determinism::check(&scenario, seed, Sabotage::default())
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
            Some(create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?)
        }
    };
    if file.is_none() && !args.verbose {
        return Ok(world::run(scenario, seed, Sabotage::default(), None));
    }
    let mut listener = Listener { file, verbose: args.verbose, error: None };
    let report = world::run(scenario, seed, Sabotage::default(), Some(&mut listener));
    let flushed = listener.file.as_mut().map_or(Ok(()), std::io::Write::flush);
    match (listener.error, flushed) {
        (Some(error), _) | (None, Err(error)) => Err(format!("cannot write the trace: {error}")),
        (None, Ok(())) => Ok(report),
    }
}

#[expect(clippy::disallowed_methods, reason = "the user asked for this file; no run reads it")]
fn create(path: &std::path::Path) -> std::io::Result<std::io::BufWriter<std::fs::File>> {
    std::fs::File::create(path).map(std::io::BufWriter::new)
}

#[expect(clippy::disallowed_methods, reason = "the user asked for this file; no run reads it")]
fn write(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)
}

fn sources(args: &SweepArgs) -> Result<Vec<(String, Source)>, String> {
    let mut scenarios = Vec::new();
    for name in &args.scenario {
        if name == swarm::NAME {
            if !args.overrides.arguments().is_empty() {
                return Err(format!(
                    "{name} draws storage and duration itself: leave --storage and --duration out, or write one scenario out with --write-scenario and change that"
                ));
            }
            scenarios.push((name.clone(), Source::Drawn));
            continue;
        }
        for path in scenario::find_all(name)? {
            let mut again = path.display().to_string();
            for each in args.overrides.arguments() {
                again.push(' ');
                again.push_str(&each);
            }
            scenarios.push((again, Source::Fixed(Box::new(args.overrides.load(&path)?))));
        }
    }
    Ok(scenarios)
}

fn sweep(scenarios: Vec<(String, Source)>, args: &Many) -> Result<u8, String> {
    let time =
        args.time.as_deref().map(scenario::duration).transpose().map_err(|why| format!("--time: {why}"))?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let sweep = Sweep {
        scenarios,
        seeds: args.seeds.clone(),
        jobs: args.jobs.unwrap_or(cores),
        time_max_ms: time.map(|time| time.as_millis()),
        twice: args.check_determinism,
    };
    let bar = bar(sweep.len());
    let watch = Stopwatch::start();
    let swept = sweep.run(&|finished: &Finished| {
        if finished.failed {
            let name = &sweep.scenarios[finished.scenario].0;
            bar.suspend(|| eprintln!("failed: {}", output::reproduce(name, finished.report.seed, &[])));
        }
        bar.inc(1);
    });
    bar.finish_and_clear();
    print!("{}", output::sweep_summary(&sweep, &swept, watch.elapsed_us()));
    if swept.failed.iter().any(|finished| finished.diverged) {
        return Ok(exit::NONDETERMINISM);
    }
    let worst = |outcome| swept.failed.iter().any(|finished| finished.report.outcome == outcome);
    let order = [Outcome::Safety, Outcome::Liveness, Outcome::Inconclusive];
    match order.into_iter().find(|outcome| worst(*outcome)) {
        Some(outcome) => Ok(output::exit_code(outcome)),
        // What held although a failure was expected is a failed safety check, too.
        None if !swept.failed.is_empty() => Ok(exit::SAFETY),
        None => Ok(exit::HELD),
    }
}

fn bar(len: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    bar
}
