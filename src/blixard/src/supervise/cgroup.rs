//! A cgroup for each run that lasts, beside the daemon's own: what ends the daemon's unit with all its processes leaves the
//! run alone, and a daemon that has lost the supervisor finds all that came of it.
//!
//! Only where cgroup v2 is there and delegated to this user; quietly not elsewhere. Moving a process takes the kernel
//! tens of milliseconds, in which no process of the host can fork, so it is not done while VMs start: see [`SETTLED`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::{Pid, getpid};

use super::tree::descendants;

/// How long a VM has run before it is given a cgroup, in nanoseconds.
pub(super) const SETTLED: u64 = 10_000_000_000;

/// By how much more at most, so that VMs that started together do not move together.
pub(super) const SPREAD: u64 = 3_200_000_000;

/// How often the run is looked through for processes that were forked before their parents moved.
const LOOKS_MAX: u32 = 16;

/// The folder that holds the runs' cgroups, below the highest one that this user may divide.
const FOLDER: &str = "blixard";

/// Where runs can have cgroups of their own.
///
/// # Errors
/// Why they cannot, for people.
pub(crate) fn parent() -> Result<PathBuf, String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    let root = mounts.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then(|| fields.split(' ').nth(4))?.map(PathBuf::from)
    });
    let root = root.ok_or("no cgroup v2 is mounted")?;
    let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().to_owned();
    let is_ours = |folder: &Path| {
        let may = |path: &Path| access(path, Access::WRITE_OK).is_ok();
        may(folder) && may(&folder.join("cgroup.procs"))
    };
    let own = root.join(own);
    let above = own.ancestors().take_while(|folder| folder.starts_with(&root) && is_ours(folder)).last();
    let top = above.ok_or_else(|| format!("{} is not delegated to this user", own.display()))?;
    Ok(top.join(FOLDER))
}

/// Moves this process and all below it into a cgroup of that name, and returns where that is.
pub(super) fn enter(name: &str) -> io::Result<PathBuf> {
    let path = parent().map_err(io::Error::other)?.join(name);
    fs::create_dir_all(&path)?;
    let moved = put(&path, getpid()).and_then(|()| put_all(&path));
    match moved {
        Ok(()) => Ok(path),
        Err(error) => {
            leave(&path);
            Err(error)
        }
    }
}

/// What is forked by one that has moved is where that is; what was forked before is found at the next look.
fn put_all(path: &Path) -> io::Result<()> {
    let mut before = usize::MAX;
    for _ in 0..LOOKS_MAX {
        let inside = fs::read_to_string(path.join("cgroup.procs"))?;
        let is_inside = |pid: &Pid| inside.lines().any(|line| *line == pid.as_raw_nonzero().to_string());
        let outside: Vec<Pid> =
            descendants().into_iter().map(|(pid, _)| pid).filter(|pid| !is_inside(pid)).collect();
        // Zombies cannot be moved; when they alone are left it is done.
        if outside.is_empty() || outside.len() == before {
            break;
        }
        before = outside.len();
        for pid in outside {
            let _ = put(path, pid);
        }
    }
    Ok(())
}

fn put(path: &Path, pid: Pid) -> io::Result<()> {
    fs::write(path.join("cgroup.procs"), pid.as_raw_nonzero().to_string())
}

/// Leaves a cgroup in which nothing else is left, and removes it.
pub(super) fn leave(path: &Path) {
    if let Some(parent) = path.parent() {
        let _ = put(parent, getpid());
    }
    remove(path);
}

/// Removes a run's cgroup, if nothing is left in it, and the folder of all runs, if this was the last.
pub(crate) fn remove(path: &Path) {
    if fs::remove_dir(path).is_ok()
        && let Some(parent) = path.parent()
    {
        let _ = fs::remove_dir(parent);
    }
}

/// Removes the cgroups of runs that have ended without anybody to do it: those in which nothing lives.
pub(crate) fn tidy() {
    let Ok(parent) = parent() else { return };
    for run in fs::read_dir(parent).into_iter().flatten().flatten() {
        // Fails for any other. One that is being entered at this moment does without.
        let _ = fs::remove_dir(run.path());
    }
}

/// Whether nothing lives in it.
pub(crate) fn is_empty(path: &Path) -> bool {
    fs::read_to_string(path.join("cgroup.procs")).is_ok_and(|inside| inside.is_empty()) || !path.exists()
}

/// Kills all that is in it. Needs Linux 5.14.
pub(crate) fn kill(path: &Path) {
    let _ = fs::write(path.join("cgroup.kill"), "1");
}
