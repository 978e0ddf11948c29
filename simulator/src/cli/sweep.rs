//! Many seeds.

use blixard_sim::output::{self, Stopwatch, exit};
use blixard_sim::scenario::{self, Outcome};
use blixard_sim::subject::Blixard;
use blixard_sim::swarm;
use blixard_sim::sweep::{Finished, Source, Sweep};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::overrides::Overrides;

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// A scenario file, the name of one in scenarios/, a folder of them, or "swarm"; may be given more than once.
    #[arg(long, required = true)]
    scenario: Vec<String>,
    #[command(flatten)]
    many: Many,
    #[command(flatten)]
    overrides: Overrides,
}

#[derive(Debug, Args)]
pub(crate) struct SwarmArgs {
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

/// Sweeps scenarios that stand in files.
pub(crate) fn fixed(args: &SweepArgs) -> Result<u8, String> {
    sweep(sources(args)?, &args.many)
}

/// Sweeps scenarios that are drawn.
pub(crate) fn drawn(args: &SwarmArgs) -> Result<u8, String> {
    sweep(vec![(swarm::NAME.into(), Source::Drawn)], &args.many)
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
    let swept = sweep.run(&Blixard::default(), &|finished: &Finished| {
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
