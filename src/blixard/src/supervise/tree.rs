//! Kills a VM with all its descendants. The supervisor is their reaper: whoever loses a parent becomes its child.

use std::fs;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, wait};

/// Kills everything below this process and waits for it. The status of `first`, which must not have been waited for:
/// until then its id is its own and its group's, dead or not.
pub(super) fn kill_all(first: Pid) -> Option<WaitStatus> {
    let mut status = None;
    let _ = kill_process_group(first, Signal::KILL);
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, end))) => {
                if pid == first {
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

/// For kernels without `CONFIG_PROC_CHILDREN`.
fn children_by_search() -> Vec<Pid> {
    let own = rustix::process::getpid();
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = processes.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| pid(&name)).filter(|pid| parent_of(*pid) == Some(own)).collect()
}

fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name may hold anything, spaces and brackets too; it ends at the last bracket.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1).and_then(self::pid)
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
}
