//! What sweeps on this machine came to.

use std::path::PathBuf;

use blixard_sim::logbook::Logbook;
use blixard_sim::output::{self, exit};
use clap::{Args, ValueEnum};

use super::print;

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The file with the history; the one below the user's state folder by default.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Builds whose commit or version begins so.
    #[arg(long, value_name = "PREFIX")]
    build: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Prints the history. The exit code.
pub(crate) fn run(args: &HistoryArgs) -> Result<u8, String> {
    let path = args.history.clone().or_else(Logbook::default_path);
    let path = path.ok_or("neither XDG_STATE_HOME nor HOME is set: name the file with --history")?;
    if args.history.is_some() && !path.exists() {
        return Err(format!("there is no history at {}", path.display()));
    }
    let logbook = Logbook::at(path);
    let of_build = |name: &str| args.build.as_deref().is_none_or(|prefix| name.starts_with(prefix));
    let mut entries = Vec::new();
    for (number, record) in
        logbook.records().map_err(|error| format!("{error}; give the file of a history to --history"))?
    {
        if of_build(&record.build.name) {
            let failed = match record.swept.failures {
                0 => Vec::new(),
                _ => logbook.failures(number).map_err(|error| error.to_string())?,
            };
            entries.push((number, record, failed));
        }
    }
    match args.format {
        Format::Table => print::text(output::history_table(&entries)),
        Format::Json => print::line(format_args!("{:#}", output::history_json(&entries))),
    }
    Ok(exit::HELD)
}
