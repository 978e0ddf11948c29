//! The command line. Only this module prints.
//!
//! Results go to standard output, progress and failures to standard error. The exit codes are [`Exit`]'s.

mod args;
mod client;
mod cluster;
mod console;
mod doctor;
mod error;
mod events;
mod logs;
mod node;
mod output;
mod ports;
mod source;
mod update;
mod view;
mod vm;
pub mod vm_file;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{CommandFactory as _, Parser, Subcommand};

use client::Client;
pub use error::{CliError, Exit};
use output::Output;

/// Runs microVMs on a few to a thousand hosts from one binary.
#[derive(Debug, Parser)]
#[command(name = "blixard", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run this host's member of the cluster
    Node(Box<node::NodeArgs>),
    /// Create, start, stop, change, look at, speak to and delete VMs
    Vm(args::VmArgs),
    /// Look at and change the cluster's members
    Cluster(args::ClusterArgs),
    /// Tell what this host can do: hypervisors, what they need, and what is missing
    Doctor(doctor::DoctorArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Parses the arguments and does what they say.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Node(args) => node::run(*args),
        Command::Vm(args) => {
            let (client, output, wait) = begin(&args.client);
            block_on(vm::run(args.command, client, output, wait))
        }
        Command::Cluster(args) => {
            let (client, output, wait) = begin(&args.client);
            block_on(cluster::run(args.command, client, output, wait))
        }
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "blixard", &mut script);
            // A closed pipe ends it without complaint.
            let _ = std::io::stdout().lock().write_all(&script);
            ExitCode::SUCCESS
        }
    }
}

/// A client command's runtime: one thread is plenty.
fn block_on(command: impl Future<Output = Exit>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command).into(),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "blixard: no runtime: {error}");
            Exit::Failed.into()
        }
    }
}

fn begin(args: &args::ClientArgs) -> (Client, Output, bool) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let output = Output::new(args.format, u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    (Client::new(&args.servers, args.timeout, output), output, !args.no_wait)
}
