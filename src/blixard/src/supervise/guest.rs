//! From the supervisor to the VM's command.
//!
//! Between the two stands this program once more, as the supervisor's child: it binds its life to the supervisor's and
//! checks the deadline a last time before it becomes the command. Done in a process of its own because nothing but
//! `exec` may safely happen between `fork` and `exec`.

use std::fs::{self, File};
use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, set_parent_process_death_signal,
};

use crate::hypervisor::run_dir::{Record, RunDir, TOKEN_VAR};

/// The VM's first process.
#[derive(Debug)]
pub(super) struct Guest {
    /// Its id, also that of its process group. Ours to use until it is waited for.
    pub(super) pid: Pid,
    /// Readable once it is dead.
    pub(super) pidfd: OwnedFd,
    /// Carries why the command could not be run; closed without a word when it could.
    pub(super) report: OwnedFd,
}

/// Spawns the step between, which will become the command.
pub(super) fn spawn(dir: &RunDir, record: &Record, output: PipeWriter) -> io::Result<Guest> {
    let flags = SocketFlags::CLOEXEC;
    let (report, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let child = Command::new("/proc/self/exe")
        .arg0("blixard")
        .args([super::SUBCOMMAND, "--dir"])
        .arg(dir.path())
        .args(["--guest", &getpid().as_raw_nonzero().to_string()])
        .env_clear()
        .env(TOKEN_VAR, &record.token)
        .stdin(Stdio::from(theirs))
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the child has no process id"))?;
    Ok(Guest { pid, pidfd: pidfd_open(pid, PidfdFlags::empty())?, report })
}

/// Becomes the command. Returns only with the reason why it could not, after telling the supervisor.
pub(super) fn become_guest(dir: &Path, parent: &str) -> String {
    match io::stdin().as_fd().try_clone_to_owned() {
        Ok(report) => {
            let reason = exec(dir, parent);
            // Nobody listens when the supervisor is dead; then nobody needs to know.
            let _ = send(&report, reason.as_bytes(), SendFlags::NOSIGNAL);
            reason
        }
        Err(error) => format!("it has no channel to its supervisor: {error}"),
    }
}

fn exec(dir: &Path, parent: &str) -> String {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("its life cannot be bound to the supervisor's: {error}");
    }
    // A parent that died before that line sends no signal any more.
    if getppid().map(|pid| pid.as_raw_nonzero().to_string()).as_deref() != Some(parent) {
        return "the supervisor is gone".into();
    }
    let record = match RunDir::new(dir).record() {
        Ok(record) => record,
        Err(error) => return format!("{} cannot be read: {error}", dir.join("record.json").display()),
    };
    let Some((program, args)) = record.plan.command.split_first() else {
        return "the command is empty".into();
    };
    if let Err(error) = fs::metadata(&record.plan.workdir) {
        return format!("the working directory {} cannot be used: {error}", record.plan.workdir.display());
    }
    if super::boot_time() >= record.deadline {
        return "the deadline has passed".into();
    }
    let error = Command::new(program)
        .args(args)
        .env_clear()
        .envs(&record.plan.env)
        .env(TOKEN_VAR, &record.token)
        .current_dir(&record.plan.workdir)
        .stdin(File::open("/dev/null").map_or_else(|_| Stdio::null(), Stdio::from))
        .exec();
    format!("{program:?} cannot be run: {error}")
}
