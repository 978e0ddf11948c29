//! `blixard vm …`.

use std::process::ExitCode;

use clap::Args;

/// The arguments of `blixard vm`.
#[derive(Debug, Args)]
pub(super) struct VmArgs {}

/// Does what they say.
pub(super) fn run(args: VmArgs) -> ExitCode {
    let VmArgs {} = args;
    eprintln!("blixard vm: not built yet");
    ExitCode::from(2)
}
