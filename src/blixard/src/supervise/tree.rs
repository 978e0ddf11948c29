//! Kills a VM with all its descendants. The supervisor is their reaper: whoever loses a parent becomes its child.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, pidfd_open,
    pidfd_send_signal, wait, waitpid,
};

/// How often the tree is looked through for processes that have come since the last look.
const LOOKS_MAX: u32 = 16;

/// Kills everything below this process and waits for it. The status of `first`, if it was given and has not been waited for:
/// until then its id is its own and its group's, dead or not.
pub(super) fn kill_all(first: Option<Pid>) -> Option<WaitStatus> {
    let mut status = None;
    if let Some(first) = first {
        let _ = kill_process_group(first, Signal::KILL);
    }
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, end))) => {
                if Some(pid) == first {
                    status = Some(end);
                }
            }
            Ok(None) => {
                for child in children() {
                    let _ = kill_process(child, Signal::KILL);
                }
                thread::sleep(Duration::from_millis(1));
            }
            Err(Errno::INTR) => {}
            // No child is left.
            Err(_) => return status,
        }
    }
}

/// The status of a child that is dead.
pub(super) fn bury(child: Pid) -> Option<WaitStatus> {
    waitpid(Some(child), WaitOptions::NOHANG).ok().flatten().map(|(_, status)| status)
}

/// Waits for those dead children that nobody else waits for: orphans that this process has adopted.
pub(super) fn bury_all_but(kept: &[Pid]) {
    for child in children().into_iter().filter(|child| !kept.contains(child)) {
        let _ = bury(child);
    }
}

/// The children of this process. They stay ours until waited for, so killing them by id hits nobody else.
fn children() -> Vec<Pid> {
    let mut found = Vec::new();
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return found;
    };
    for thread in threads.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => found.extend(list.split_whitespace().filter_map(pid)),
            Err(_) => return children_by_search(),
        }
    }
    found
}

/// Sends `signal` to all that lives below this process, also to what is being forked meanwhile.
pub(super) fn signal_all(signal: Signal) {
    let mut done = BTreeSet::new();
    for _ in 0..LOOKS_MAX {
        let before = done.len();
        for (pid, born) in descendants() {
            // The descriptor is taken before the second look: what is signalled is what was looked at.
            if !done.contains(&(id(pid), born))
                && let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
                && stat(pid).is_some_and(|(_, now)| now == born)
            {
                let _ = pidfd_send_signal(&pidfd, signal);
                done.insert((id(pid), born));
            }
        }
        if done.len() == before {
            return;
        }
    }
}

/// All processes below this one, each with the time of its birth.
pub(super) fn descendants() -> Vec<(Pid, u64)> {
    let all: Vec<(Pid, Pid, u64)> =
        all_pids().filter_map(|pid| stat(pid).map(|(parent, born)| (pid, parent, born))).collect();
    let mut below = BTreeSet::from([id(rustix::process::getpid())]);
    let mut found = Vec::new();
    loop {
        let before = found.len();
        for (pid, parent, born) in &all {
            if below.contains(&id(*parent)) && below.insert(id(*pid)) {
                found.push((*pid, *born));
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// For kernels without `CONFIG_PROC_CHILDREN`.
fn children_by_search() -> Vec<Pid> {
    let own = rustix::process::getpid();
    all_pids().filter(|pid| stat(*pid).is_some_and(|(parent, _)| parent == own)).collect()
}

fn all_pids() -> impl Iterator<Item = Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| pid(entry.file_name().to_str()?))
}

/// A process's parent, and the time of its birth in the kernel's ticks since boot: with its id it names a process for
/// good.
pub(crate) fn stat(pid: Pid) -> Option<(Pid, u64)> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name may hold anything, spaces and brackets too; it ends at the last bracket.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((self::pid(fields.nth(1)?)?, fields.nth(17)?.parse().ok()?))
}

fn id(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

fn pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn both_ways_find_a_child() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let id = pid(&child.id().to_string()).unwrap();
        let (quick, slow) = (children(), children_by_search());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(quick.contains(&id));
        assert!(slow.contains(&id));
    }

    #[test]
    fn descendants_are_found_with_their_births() {
        let mut shell = Command::new("/bin/sh").args(["-c", "sleep 1000 & wait"]).spawn().unwrap();
        let id = pid(&shell.id().to_string()).unwrap();
        let below = || -> Vec<(Pid, u64)> {
            let all = descendants();
            all.into_iter().filter(|(pid, _)| stat(*pid).is_some_and(|(parent, _)| parent == id)).collect()
        };
        while below().is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        let (sleep, born) = below()[0];
        assert!(born >= stat(id).unwrap().1 && stat(id).unwrap().1 > 0);
        kill_process(sleep, Signal::KILL).unwrap();
        shell.wait().unwrap();
    }
}
