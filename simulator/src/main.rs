//! `blixard-sim`: one seed of a scenario, or a sweep over many.

mod cli;

use std::process::ExitCode;

use blixard_sim::output::exit;
use clap::{Parser, Subcommand};

use cli::diff::DiffArgs;
use cli::explain::ExplainArgs;
use cli::history::HistoryArgs;
use cli::replay::ReplayArgs;
use cli::run::Run;
use cli::shrink::ShrinkArgs;
use cli::sweep::{SwarmArgs, SweepArgs};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Makes a failing run small: fewer faults, operations and hosts, and still the same violation.
    Shrink(ShrinkArgs),
    /// Runs what `shrink` has written, and says whether it is as recorded.
    Replay(ReplayArgs),
    /// Shows the first line in which two trace files part. Exits with 0 when they are the same, with 4 when they part.
    Diff(DiffArgs),
    /// Tells what led to a violation: of a trace file, or of a seed that is run.
    Explain(ExplainArgs),
    /// Lists what sweeps on this machine came to, by build.
    History(HistoryArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match (cli.command, cli.run) {
        (Some(Command::Sweep(args)), _) => cli::sweep::fixed(&args),
        (Some(Command::Swarm(args)), _) => cli::sweep::drawn(&args),
        (Some(Command::Shrink(args)), _) => cli::shrink::shrink(&args),
        (Some(Command::Replay(args)), _) => cli::replay::replay(&args),
        (Some(Command::Diff(args)), _) => cli::diff::diff(&args),
        (Some(Command::Explain(args)), _) => cli::explain::explain(&args),
        (Some(Command::History(args)), _) => cli::history::run(&args),
        (None, args) => cli::run::run(&args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            cli::print::tell(format_args!("error: {message}"));
            ExitCode::from(exit::USAGE)
        }
    }
}
