//! Two trace files, and the first line in which they part.

use std::path::PathBuf;

use blixard_sim::output::{self, exit};
use blixard_sim::trace::file::read;
use clap::Args;

use super::print;

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A trace file, as --trace writes it.
    first: PathBuf,
    /// The other one.
    second: PathBuf,
}

/// Shows where the two part. The exit code: 0 when they are the same, 4 when they part.
pub(crate) fn diff(args: &DiffArgs) -> Result<u8, String> {
    let first = read(&args.first).map_err(|error| error.to_string())?;
    let second = read(&args.second).map_err(|error| error.to_string())?;
    let parting = output::Parting::of(&first, &second);
    let names = [args.first.display().to_string(), args.second.display().to_string()];
    print::text(output::parting(&parting, &names));
    Ok(if parting.is_empty() { exit::HELD } else { exit::NONDETERMINISM })
}
