//! Finds and kills the processes of a run whose supervisor cannot do it any more.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use super::run_dir::TOKEN_VAR;
use crate::supervise::cgroup;

/// Kills every process that is in the run's cgroup, carries the run's token in its environment or holds the VM's lock open. Returns
/// how many of the last two it found; they may take a moment to die.
///
/// A process that has dropped both and is in no cgroup of the run's is not found. The supervisor, while it lives, finds it all the
/// same.
pub(super) fn sweep(token: &str, lock: &Path, cgroup: Option<&Path>) -> usize {
    if let Some(cgroup) = cgroup {
        cgroup::kill(cgroup);
    }
    let mark = format!("{TOKEN_VAR}={token}");
    let lock = fs::metadata(lock).ok().map(|file| (file.dev(), file.ino()));
    let Ok(processes) = fs::read_dir("/proc") else {
        return 0;
    };
    let mut found = 0;
    for process in processes.flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|pid| *pid != getpid()) else {
            continue;
        };
        // The descriptor is taken before looking: what is killed is what was looked at, also if the id is used anew.
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        if carries(&process.path(), mark.as_bytes()) || lock.is_some_and(|lock| holds(&process.path(), lock))
        {
            found += 1;
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
    found
}

fn carries(process: &Path, mark: &[u8]) -> bool {
    fs::read(process.join("environ")).is_ok_and(|vars| vars.split(|byte| *byte == 0).any(|var| var == mark))
}

fn holds(process: &Path, lock: (u64, u64)) -> bool {
    let Ok(fds) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    fds.flatten().any(|fd| fs::metadata(fd.path()).is_ok_and(|file| (file.dev(), file.ino()) == lock))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn kills_by_token_and_by_lock_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("lock");
        let file = fs::File::create(&lock).unwrap();
        let sleep = || {
            let mut command = Command::new("sleep");
            command.arg("1000").stdout(Stdio::null());
            command
        };
        let mut by_token = sleep().env(TOKEN_VAR, "cafe").spawn().unwrap();
        let mut by_lock = sleep().stdout(file).spawn().unwrap();
        let mut stranger = sleep().env(TOKEN_VAR, "cafe2").spawn().unwrap();
        assert_eq!(sweep("cafe", &lock, None), 2);
        assert_eq!(by_token.wait().unwrap().signal(), Some(9));
        assert_eq!(by_lock.wait().unwrap().signal(), Some(9));
        assert!(stranger.try_wait().unwrap().is_none());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
