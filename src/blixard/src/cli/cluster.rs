//! `blixard cluster …`.

use std::process::ExitCode;

use clap::Args;

/// The arguments of `blixard cluster`.
#[derive(Debug, Args)]
pub(super) struct ClusterArgs {}

/// Does what they say.
pub(super) fn run(args: ClusterArgs) -> ExitCode {
    let ClusterArgs {} = args;
    eprintln!("blixard cluster: not built yet");
    ExitCode::from(2)
}
