//! The command line.

mod cluster;
mod node;
mod vm;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

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
    /// Create, start, stop, look at and delete VMs
    Vm(vm::VmArgs),
    /// Look at and change the cluster's members
    Cluster(cluster::ClusterArgs),
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
        Command::Vm(args) => vm::run(args),
        Command::Cluster(args) => cluster::run(args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "blixard", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}
