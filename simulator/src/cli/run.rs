//! One seed.

use std::path::{Path, PathBuf};

use blixard_sim::determinism;
use blixard_sim::output::{self, Stopwatch, exit};
use blixard_sim::report;
use blixard_sim::scenario::{self, Scenario};
use blixard_sim::subject::{Blixard, Subject as _};
use blixard_sim::swarm;
use blixard_sim::trace::file::{End, Header, Writer};
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
    /// Write the event log to this file, one line of JSON an event; docs/trace.md describes it.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write a picture of the run to this file: one HTML page that needs nothing beside itself; docs/report.md describes it.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Tell the event log live on stderr.
    #[arg(long)]
    verbose: bool,
    /// Run the seed twice and compare.
    #[arg(long, conflicts_with_all = ["trace", "report", "verbose"])]
    check_determinism: bool,
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
            eprintln!("{entry}");
        }
        if let Some(file) = &mut self.file {
            file.entry(entry);
        }
        if let Some(entries) = &mut self.entries {
            entries.push(*entry);
        }
    }
}

/// Runs the seed and shows what it came to. The exit code.
pub(crate) fn run(args: &Run) -> Result<u8, String> {
    let (Some(seed), Some(name)) = (args.seed, &args.scenario) else {
        return Err("give --seed and --scenario, or the command sweep; --help tells more".into());
    };
    let (name, written) = if name == swarm::NAME {
        let mut whole = swarm::whole();
        args.overrides.apply(&mut whole)?;
        (name.clone(), whole)
    } else {
        let path = scenario::find(name)?;
        (path.display().to_string(), args.overrides.load(&path)?)
    };
    let drawn = !written.swarm.is_empty();
    let scenario = swarm::resolve(&written, seed).into_owned();
    if let Some(file) = &args.write_scenario {
        files::write(file, &scenario.to_toml())
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    if !args.json {
        println!("seed         {seed}");
        println!("scenario     {}: {}", scenario.name, scenario.description);
        if drawn {
            print!("{}", output::drawn(&scenario));
        }
    }
    let overrides = args.overrides.arguments();
    let watch = Stopwatch::start();
    let (report, divergence) = if args.check_determinism {
        determinism::check(&Blixard::default(), &scenario, seed)
    } else {
        let header = Header::new(&scenario, seed, output::reproduce(&name, seed, &overrides));
        (listened(args, seed, &scenario, &header)?, None)
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

fn listened(args: &Run, seed: u64, scenario: &Scenario, header: &Header) -> Result<world::Report, String> {
    if args.trace.is_none() && args.report.is_none() && !args.verbose {
        return Ok(Blixard::default().run(scenario, seed, None));
    }
    let cannot_write = |error| match &args.trace {
        Some(path) => format!("cannot write {}: {error}", path.display()),
        None => format!("cannot write the trace: {error}"),
    };
    let file = args.trace.as_ref().map(|path| Writer::new(files::create(path)?, header));
    let mut listener = Listener {
        file: file.transpose().map_err(cannot_write)?,
        entries: args.report.is_some().then(Vec::new),
        verbose: args.verbose,
    };
    let report = Blixard::default().run(scenario, seed, Some(&mut listener));
    if let Some(file) = listener.file {
        file.finish(&End::of(&report)).map_err(cannot_write)?;
    }
    if let (Some(path), Some(entries)) = (&args.report, listener.entries) {
        draw(path, scenario, header, &entries, &report)?;
    }
    Ok(report)
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
        explanation: Vec::new(),
    };
    files::write(path, &report::html(&above, entries, report))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}
