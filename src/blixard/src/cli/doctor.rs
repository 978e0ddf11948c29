//! `blixard doctor`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use comfy_table::Color;

use super::error::Exit;
use super::output::{Format, Output, Show, trimmed};
use crate::doctor::{self, Report, Status};

/// The arguments of `blixard doctor`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit codes: 0 this host can run VMs of at least one kind, 1 it cannot.")]
pub(super) struct DoctorArgs {
    /// Where the daemon keeps its state, for the look at free space
    #[arg(long, env = "BLIXARD_DATA_DIR", value_name = "DIR", default_value = "/var/lib/blixard")]
    data_dir: PathBuf,
    /// How to print results
    #[arg(long, env = "BLIXARD_FORMAT", value_enum, default_value_t)]
    format: Format,
}

/// Looks at this host and says what it can do.
pub(super) fn run(args: &DoctorArgs) -> ExitCode {
    let report = doctor::examine(&args.data_dir);
    Output::new(args.format, 0).show(&report);
    if report.usable { Exit::Ok } else { Exit::Failed }.into()
}

impl Show for Report {
    fn table(&self, output: Output) -> String {
        let mut kinds = output.new_table(&["HYPERVISOR", "HERE", "FOUND"]);
        for one in &self.hypervisors {
            let (word, color) = if one.available { ("yes", Color::Green) } else { ("no", Color::Yellow) };
            kinds.add_row(vec![
                output.cell(one.name, None, false),
                output.cell(word, Some(color), false),
                output.cell(&one.found, None, false),
            ]);
        }
        let mut checks = output.new_table(&["CHECK", "STATUS", "FOUND"]);
        for check in &self.checks {
            let (word, color) = match check.status {
                Status::Ok => ("ok", Color::Green),
                Status::Lacks => ("lacks", Color::Yellow),
                Status::Fails => ("fails", Color::Red),
            };
            checks.add_row(vec![
                output.cell(check.name, None, false),
                output.cell(word, Some(color), false),
                output.cell(&check.found, None, false),
            ]);
        }
        let mut text = format!("{}\n{}", trimmed(&kinds), trimmed(&checks));
        for one in self.hypervisors.iter().filter(|one| one.available) {
            text += &format!("\n{}: {}.\n", one.name, one.fencing);
        }
        for check in self.checks.iter().filter(|check| check.status != Status::Ok) {
            text += &format!("\n{}: {}.\n  To mend it: {}.\n", check.name, check.means, check.mend);
        }
        text += if self.usable { "\nThis host can run VMs.\n" } else { "\nThis host can run no VM.\n" };
        text
    }
}
