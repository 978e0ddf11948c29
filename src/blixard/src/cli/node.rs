//! `blixard node …`.

use std::process::ExitCode;

use clap::Args;

/// The arguments of `blixard node`.
#[derive(Debug, Args)]
pub(super) struct NodeArgs {}

/// Runs the daemon.
pub(super) fn run(args: NodeArgs) -> ExitCode {
    let NodeArgs {} = args;
    eprintln!("blixard node: not built yet");
    ExitCode::from(2)
}
