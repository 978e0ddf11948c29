//! `cargo xtask`: chores of the repository that need more than a shell.

mod mutants;
#[cfg(feature = "planted")]
mod teeth;

use std::io::Write as _;
use std::process::ExitCode;

/// Chores of the repository.
#[derive(Debug, clap::Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Cli {
    /// Plants each bug of the catalogue and lets the swarm seek it.
    ///
    /// Exit codes: 0 all were found; 1 one was not; 2 usage.
    #[cfg(feature = "planted")]
    Teeth(teeth::Args),
    /// Changes the node in all the ways that cargo-mutants knows, one at a time, and lets the simulator and the node's tests seek each.
    ///
    /// Exit codes: 0 each was caught, or docs/mutants.md has a sentence for it; 1 one was not; 2 usage.
    Mutants(mutants::Args),
}

fn main() -> ExitCode {
    let result = match <Cli as clap::Parser>::parse() {
        #[cfg(feature = "planted")]
        Cli::Teeth(args) => teeth::run(&args),
        Cli::Mutants(args) => mutants::run(&args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "error: {message}");
            ExitCode::from(2)
        }
    }
}
