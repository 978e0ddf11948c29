//! `cargo xtask`: chores of the repository that need more than a shell.

#[cfg(feature = "planted")]
mod teeth;

#[cfg(feature = "planted")]
use std::io::Write as _;
use std::process::ExitCode;

/// Chores of the repository.
#[cfg(feature = "planted")]
#[derive(Debug, clap::Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Cli {
    /// Plants each bug of the catalogue and lets the swarm seek it.
    ///
    /// Exit codes: 0 all were found; 1 one was not; 2 usage.
    Teeth(teeth::Args),
}

#[cfg(feature = "planted")]
fn main() -> ExitCode {
    let result = match <Cli as clap::Parser>::parse() {
        Cli::Teeth(args) => teeth::run(&args),
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

#[cfg(not(feature = "planted"))]
fn main() -> ExitCode {
    eprintln!("error: no bug can be planted in this build; `cargo xtask` builds one with --features planted");
    ExitCode::from(2)
}
