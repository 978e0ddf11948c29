//! The supervisor: a small process, one for each run of a VM, that holds the run's deadline.
//!
//! It starts the VM as its child, kills it when the deadline comes and nobody has moved it, takes orders over a socket,
//! keeps what the VM prints, and writes down how it ended. It outlives the daemon that started it; the next daemon
//! finds it through the run's folder.
//!
//! Not in here: no tokio, no clap, no knowledge of clusters. It has one loop, blocks in `poll`, and never waits for the
//! disk while its VM lives.
//!
//! What it promises:
//! - The deadline is on `CLOCK_BOOTTIME`: it passes in suspend too, and no wall clock moves it.
//! - When the supervisor dies, the kernel kills the VM's first process (`PR_SET_PDEATHSIG`).
//! - It adopts the VM's orphans (`PR_SET_CHILD_SUBREAPER`); when it says that the VM has ended, all processes that ever
//!   came of it are dead, also those in sessions of their own.

pub(crate) mod cgroup;
mod child;
mod console;
mod control;
mod daemons;
mod output;
mod tree;
mod vm;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::time::{ClockId, clock_gettime};

pub(crate) use tree::stat;

/// The subcommand's name.
pub const SUBCOMMAND: &str = "supervise";

/// The argument by which only that is done which comes after the VM, for a run whose supervisor was killed.
pub(crate) const CLEAN: &str = "--clean";

/// Runs the supervisor when the arguments ask for it: `supervise --dir DIR`, or `supervise --dir DIR --guest PARENT ROLE DEADLINE`
/// for the step between the supervisor and a program of the run. Neither is meant to be typed.
pub fn run_if_asked(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    if args.next()? != SUBCOMMAND {
        return None;
    }
    let rest: Vec<OsString> = args.collect();
    let rest: Vec<&str> = rest.iter().filter_map(|arg| arg.to_str()).collect();
    let done = match rest[..] {
        ["--dir", dir] => watch::supervise(&PathBuf::from(dir), false),
        ["--dir", dir, CLEAN] => watch::supervise(&PathBuf::from(dir), true),
        ["--dir", dir, "--guest", parent, role, deadline] => {
            Err(child::become_program(&PathBuf::from(dir), parent, role, deadline))
        }
        _ => Err("usage: blixard supervise --dir DIR (started by `blixard node`, not by hand)".into()),
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("blixard supervise: {reason}");
            ExitCode::FAILURE
        }
    })
}

/// The boot-time clock, in nanoseconds.
#[must_use]
pub fn boot_time() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
