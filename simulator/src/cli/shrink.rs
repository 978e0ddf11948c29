//! A failing run made small.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use blixard_sim::output::{self, Stopwatch};
use blixard_sim::scenario;
use blixard_sim::shrink::{self, Options, Progress, Refused, Shrunk, Size};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::files;
use super::overrides::{Overrides, seed};
use super::print;
use super::subject::SubjectArgs;

#[derive(Debug, Args)]
pub(crate) struct ShrinkArgs {
    /// The seed that fails.
    #[arg(long, value_parser = seed, allow_negative_numbers = true)]
    seed: u64,
    /// Its scenario: a file, the name of one in scenarios/, or "swarm".
    #[arg(long)]
    scenario: String,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    subject: SubjectArgs,
    /// Where to write the smallest scenario; it is there as soon as there is one, and replaced when a smaller one is found. By default
    /// repro-<scenario>-<seed>.toml.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Search for this long at most, such as 30s.
    #[arg(long, value_name = "SPAN", default_value = "2m")]
    time: String,
    /// Threads; all cores by default.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096))]
    jobs: Option<u16>,
}

/// Shrinks, shows what came of it, and writes it. The exit code is that of the violation.
pub(crate) fn shrink(args: &ShrinkArgs) -> Result<u8, String> {
    let time = scenario::duration(&args.time).map_err(|why| format!("--time: {why}"))?;
    let (_, scenario, _) = args.overrides.named(&args.scenario, args.seed)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = Options { jobs: args.jobs.map_or(cores, usize::from), time_max_ms: Some(time.as_millis()) };
    let out =
        args.out.clone().unwrap_or_else(|| format!("repro-{}-{}.toml", scenario.name, args.seed).into());
    let keep = |shrunk: &Shrunk| {
        files::replace(&out, &shrunk.case.scenario.to_toml())
            .map_err(|error| format!("cannot write {}: {error}", out.display()))
    };
    let bar = bar();
    let watch = Stopwatch::start();
    let mut failed = Ok(());
    let subject = args.subject.subject();
    let shrunk = shrink::shrink(&subject, &scenario, args.seed, options, &mut |progress: &Progress<'_>| {
        bar.set_message(told(progress));
        bar.tick();
        if let Some(better) = progress.better
            && failed.is_ok()
        {
            failed = keep(better);
        }
    });
    bar.finish_and_clear();
    failed?;
    let shrunk = match shrunk {
        Ok(shrunk) => shrunk,
        Err(refused @ Refused::Holds { outcome, .. }) => {
            print::line(&refused);
            return Ok(output::exit_code(outcome));
        }
        Err(refused) => return Err(refused.to_string()),
    };
    keep(&shrunk)?;
    let replay =
        [vec![format!("cargo sim replay {}", out.display())], args.subject.arguments()].concat().join(" ");
    print::text(output::shrunk_summary(&shrunk, watch.elapsed_ms(), &replay));
    Ok(output::exit_code(shrunk.report.outcome))
}

fn told(progress: &Progress<'_>) -> String {
    let Size { faults, operations, hosts, .. } = progress.before;
    let now = progress.now;
    format!(
        "{} runs; faults {faults} → {}, operations {operations} → {}, hosts {hosts} → {}",
        output::grouped(progress.runs),
        now.faults,
        now.operations,
        now.hosts
    )
}

fn bar() -> ProgressBar {
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar
}
