//! The `blixard` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: a supervisor must stay small, so it meets neither the argument parser nor tokio.
    if let Some(code) = blixard::supervise::run_if_asked(std::env::args_os()) {
        return code;
    }
    blixard::cli::run()
}
