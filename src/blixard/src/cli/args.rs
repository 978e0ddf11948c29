//! The command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use blixard_node::ids::NodeId;
use blixard_node::request::Write;
use clap::{Args, Subcommand};

use super::output::Format;

/// What every client command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of all client commands")]
pub(super) struct ClientArgs {
    /// A member to ask; repeat it to name more, which are tried in turn
    #[arg(
        long = "server",
        value_name = "ADDR",
        env = "BLIXARD_SERVER",
        default_value = "127.0.0.1:7001",
        value_delimiter = ',',
        global = true
    )]
    pub(super) servers: Vec<String>,
    /// How long to try, and to wait for the outcome, as in 30s or 2m
    #[arg(
        long,
        value_name = "TIME",
        env = "BLIXARD_TIMEOUT",
        default_value = "30s",
        value_parser = humantime::parse_duration,
        global = true
    )]
    pub(super) timeout: Duration,
    /// How to print results
    #[arg(long, env = "BLIXARD_FORMAT", value_enum, default_value_t, global = true)]
    pub(super) format: Format,
    /// Return as soon as the cluster has taken the change
    #[arg(long, env = "BLIXARD_NO_WAIT", global = true)]
    pub(super) no_wait: bool,
}

/// `blixard vm`
#[derive(Args, Clone, Debug)]
pub(super) struct VmArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(subcommand)]
    pub(super) command: VmCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum VmCommand {
    /// List a new VM, stopped
    #[command(after_help = SOURCE_HELP)]
    Create {
        /// Its name: 1 to 63 of a-z, 0-9 and '-' [default: as the file, or the flake's #NAME, says]
        #[arg(value_name = "NAME", conflicts_with = "name")]
        names: Vec<String>,
        /// Its name, for those who like flags
        #[arg(long, env = "BLIXARD_NAME")]
        name: Option<String>,
        #[command(flatten)]
        source: Source,
    },
    /// Give a stopped VM another spec, and show what changes
    #[command(after_help = SOURCE_HELP)]
    Update(Update),
    /// Start VMs, and wait until they run
    Start(Change),
    /// Stop VMs, and wait until they are; they stay listed
    Stop(Change),
    /// Stop VMs and remove them for good, and wait until they are gone
    Delete {
        #[command(flatten)]
        change: Change,
        /// Leave what their hosts keep of them: disks, and what was built
        #[arg(long, env = "BLIXARD_KEEP_VOLUMES")]
        keep_volumes: bool,
    },
    /// Show VMs
    Status {
        #[command(flatten)]
        names: Names,
        /// Let the asked member answer from its own state, which may be old
        #[arg(long, env = "BLIXARD_STALE")]
        stale: bool,
    },
    /// Print what a VM has printed
    #[command(after_help = LOGS_HELP)]
    Logs(Logs),
    /// Attach to a VM's serial console
    #[command(after_help = CONSOLE_HELP)]
    Console(Console),
    /// Show when and why VMs came to stand as they do; only the newest few changes are kept
    Events {
        #[command(flatten)]
        names: SomeNames,
        /// Of all VMs
        #[arg(long, env = "BLIXARD_ALL")]
        all: bool,
        /// Go on with what happens; with --format json one object a line
        #[arg(long, short, env = "BLIXARD_FOLLOW")]
        follow: bool,
        /// Let the asked member answer from its own state, which may be old
        #[arg(long, env = "BLIXARD_STALE")]
        stale: bool,
    },
    /// Show where the ports of VMs are reached
    Ports {
        #[command(flatten)]
        names: SomeNames,
        /// Let the asked member answer from its own state, which may be old
        #[arg(long, env = "BLIXARD_STALE")]
        stale: bool,
    },
    /// List all VMs
    List {
        /// Let the asked member answer from its own state, which may be old
        #[arg(long, env = "BLIXARD_STALE")]
        stale: bool,
    },
}

const SOURCE_HELP: &str = "\
A TOML file says all there is to say of a VM: see docs/cli.md. A .nix file is a NixOS module for microvm.nix; its content is stored in the \
cluster (256 KiB at most), and each host builds it. A flake's nixosConfigurations.NAME is built by the hosts from where it is: so a relative \
reference, which is made absolute from the working directory, needs that folder on every host that may run the VM. A reference such as \
git+https://HOST/REPO#NAME or github:OWNER/REPO#NAME works on all of them. What the first host built is what every host runs, until the VM is updated.";

/// What a VM is made of.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(super) struct Source {
    /// A TOML file, a .nix file for microvm.nix, or - for TOML from standard input
    #[arg(long, value_name = "FILE", env = "BLIXARD_CONFIG", conflicts_with = "flake")]
    pub(super) config: Option<PathBuf>,
    /// A flake for microvm.nix; without #NAME the configuration named as the VM
    #[arg(long, value_name = "REF[#NAME]", env = "BLIXARD_FLAKE")]
    pub(super) flake: Option<String>,
    /// Virtual CPUs that the scheduler counts, for .nix and --flake; as microvm.vcpu [default: 1]
    #[arg(long, value_name = "N", env = "BLIXARD_VM_VCPUS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) vcpus: Option<u32>,
    /// Memory that the scheduler counts, for .nix and --flake, as in 2GiB; as microvm.mem [default: 512MiB]
    #[arg(long, value_name = "SIZE", env = "BLIXARD_VM_MEMORY", value_parser = memory)]
    pub(super) memory: Option<u64>,
}

fn memory(text: &str) -> Result<u64, String> {
    let plain = text.parse().ok();
    plain
        .or_else(|| super::vm_file::parse_memory(text))
        .filter(|mib| *mib > 0)
        .ok_or_else(|| "write a size such as 512MiB or 2GiB, or a whole number of MiB".into())
}

/// `blixard vm update`
#[derive(Args, Clone, Debug)]
pub(super) struct Update {
    /// Which VM [default: as the file, or the flake's #NAME, says]
    #[arg(value_name = "NAME", conflicts_with = "name")]
    pub(super) names: Vec<String>,
    /// Which VM, for those who like flags
    #[arg(long, env = "BLIXARD_NAME")]
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) source: Source,
    /// Only show what would change
    #[arg(long, env = "BLIXARD_DRY_RUN")]
    pub(super) dry_run: bool,
    /// Do not build what microvm.nix runs now and would run, to compare the packages in them
    #[arg(long, env = "BLIXARD_NO_PREVIEW")]
    pub(super) no_preview: bool,
    /// Refuse when the VM is not at this generation
    #[arg(long, value_name = "N", env = "BLIXARD_GENERATION")]
    pub(super) generation: Option<u64>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Change {
    #[command(flatten)]
    pub(super) names: Names,
    /// Refuse when the VM is not at this generation
    #[arg(long, value_name = "N", env = "BLIXARD_GENERATION")]
    pub(super) generation: Option<u64>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Names {
    /// Which VMs
    #[arg(value_name = "NAME", required_unless_present = "name")]
    names: Vec<String>,
    /// Which VM, for those who like flags; may be repeated
    #[arg(long, value_name = "NAME", env = "BLIXARD_NAME", value_delimiter = ',')]
    name: Vec<String>,
}

impl Names {
    /// Those given as arguments, or else those given as flags: a variable does not add to what was typed.
    pub(super) fn all(&self) -> Vec<String> {
        let mut all = if self.names.is_empty() { self.name.clone() } else { self.names.clone() };
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|name| seen.insert(name.clone()));
        all
    }
}

const LOGS_HELP: &str = "\
Its host keeps 1 to 2 MiB of its newest run. The bytes go to standard output as they are, whatever --format says; what happens to the VM \
meanwhile is told on standard error. -f goes on through restarts and moves to other hosts, until the VM is deleted or Ctrl-C.";

const CONSOLE_HELP: &str = "\
On a terminal every key goes to the guest, Ctrl-C too, but for the one that detaches. Otherwise standard input is sent as it is; when it \
ends, what the guest still says is printed until it is silent for --linger, at most for --timeout. Detaching leaves the VM running.";

/// One VM.
#[derive(Args, Clone, Debug)]
pub(super) struct One {
    /// Which VM
    #[arg(value_name = "NAME", required_unless_present = "flag")]
    name: Option<String>,
    /// Which VM, for those who like flags
    #[arg(long = "name", id = "flag", value_name = "NAME", env = "BLIXARD_NAME")]
    flag: Option<String>,
}

impl One {
    /// What was typed as an argument goes first.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().or(self.flag.as_deref()).unwrap_or_default()
    }
}

/// Any VMs, or none.
#[derive(Args, Clone, Debug)]
pub(super) struct SomeNames {
    /// Which VMs
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Which VM, for those who like flags; may be repeated
    #[arg(long, value_name = "NAME", env = "BLIXARD_NAME", value_delimiter = ',')]
    name: Vec<String>,
}

impl SomeNames {
    /// As [`Names::all`].
    pub(super) fn all(&self) -> Vec<String> {
        Names { names: self.names.clone(), name: self.name.clone() }.all()
    }
}

/// `blixard vm logs`
#[derive(Args, Clone, Debug)]
pub(super) struct Logs {
    #[command(flatten)]
    pub(super) vm: One,
    /// Go on with what it prints from now on
    #[arg(long, short, env = "BLIXARD_FOLLOW")]
    pub(super) follow: bool,
    /// Only so many lines from the end [default: all that is kept]
    #[arg(long, short = 'n', visible_alias = "tail", value_name = "LINES", env = "BLIXARD_LINES")]
    pub(super) lines: Option<u64>,
    /// Let the asked member find the VM's host in its own state, which may be old
    #[arg(long, env = "BLIXARD_STALE")]
    pub(super) stale: bool,
}

/// `blixard vm console`
#[derive(Args, Clone, Debug)]
pub(super) struct Console {
    #[command(flatten)]
    pub(super) vm: One,
    /// The key that detaches, as in ^] for Ctrl-], or none
    #[arg(long, value_name = "KEY", env = "BLIXARD_ESCAPE", default_value = "^]")]
    pub(super) escape: Escape,
    /// After the end of a standard input that is no terminal: how long the guest must be silent before this ends
    #[arg(
        long,
        value_name = "TIME",
        env = "BLIXARD_LINGER",
        default_value = "1s",
        value_parser = humantime::parse_duration
    )]
    pub(super) linger: Duration,
    /// Let the asked member find the VM's host in its own state, which may be old
    #[arg(long, env = "BLIXARD_STALE")]
    pub(super) stale: bool,
}

/// A key on a terminal that is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Escape(pub(super) Option<u8>);

impl FromStr for Escape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.as_bytes() {
            b"none" => Ok(Self(None)),
            // A control character is its letter without the upper bits.
            [b'^', key]
                if matches!(key.to_ascii_uppercase(), b'A'..=b'Z' | b'[' | b'\\' | b']' | b'^' | b'_') =>
            {
                Ok(Self(Some(key.to_ascii_uppercase() & 0x1f)))
            }
            _ => Err("write ^ and a letter or one of [ \\ ] ^ _, as in ^] for Ctrl-], or none".into()),
        }
    }
}

impl fmt::Display for Escape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(f, "Ctrl-{}", char::from(key | 0x40)),
            None => write!(f, "no key"),
        }
    }
}

/// `blixard cluster`
#[derive(Args, Clone, Debug)]
pub(super) struct ClusterArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(subcommand)]
    pub(super) command: ClusterCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Show the term, the leader and the members
    Status {
        /// Let the asked member answer from its own state, which may be old
        #[arg(long, env = "BLIXARD_STALE")]
        stale: bool,
    },
    /// Tell how to start a node that joins this cluster, and wait until it has
    Join {
        /// The new member's id, never used in this cluster before
        #[arg(value_name = "NODE", value_parser = node_id)]
        node: NodeId,
        /// Where its peers and clients will reach it
        #[arg(long, value_name = "ADDR", env = "BLIXARD_BIND")]
        bind: Option<String>,
    },
    /// Have a host leave for good: cordons it, waits until its VMs are gone, removes it
    Leave(Host),
    /// Hand leadership over
    TransferLeader {
        /// To whom; the most up-to-date voter if left out
        #[arg(value_name = "NODE", env = "BLIXARD_TO", value_parser = node_id)]
        to: Option<NodeId>,
    },
    /// Keep new VMs off a host
    Cordon {
        #[command(flatten)]
        host: Host,
        /// Why, for whoever looks at the cluster's status; at most 256 bytes
        #[arg(long, value_name = "TEXT", env = "BLIXARD_REASON", value_parser = reason)]
        reason: Option<String>,
    },
    /// Let new VMs on a host again
    Uncordon(Host),
}

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Host {
    /// The host's id, as in 3 or n3
    #[arg(value_name = "NODE", env = "BLIXARD_NODE", value_parser = node_id)]
    pub(super) node: NodeId,
}

fn reason(text: &str) -> Result<String, String> {
    match text.len() {
        1..=Write::REASON_LEN_MAX => Ok(text.to_owned()),
        len => Err(format!("write 1 to {} bytes, not {len}", Write::REASON_LEN_MAX)),
    }
}

fn node_id(text: &str) -> Result<NodeId, String> {
    match text.strip_prefix('n').unwrap_or(text).parse() {
        Ok(id) if id > 0 => Ok(NodeId(id)),
        _ => Err("a node id is a whole number from 1 on, as in 3 or n3".into()),
    }
}
