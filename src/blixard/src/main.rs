//! The `blixard` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: a supervisor must stay small, so it meets neither the argument parser nor tokio.
    if let Some(code) = blixard::supervise::run_if_asked(std::env::args_os()) {
        return code;
    }
    #[cfg(not(madsim))]
    let code = blixard::cli::run();
    #[cfg(madsim)]
    let code = {
        eprintln!("blixard: built with --cfg madsim, for simulation alone");
        ExitCode::FAILURE
    };
    code
}
