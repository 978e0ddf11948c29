//! Processes of this machine that belong to a test: those that name its folder in their arguments or environment.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use rustix::time::{ClockId, clock_gettime};

/// The boot-time clock, which all processes of this machine share.
pub(crate) fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap(), u32::try_from(now.tv_nsec).unwrap())
}

/// The children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

/// The parent of a process.
pub(crate) fn parent(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The CPU time that a process's threads have taken.
pub(crate) fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    stats.map(|stat| Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())).sum()
}

/// A line of a process's memory, in KiB: `Pss` shares each page out among those that have it, `Rss` counts it whole for each.
pub(crate) fn memory_kib(pid: u32, what: &str) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

/// The processes that carry `mark` in arguments or environment.
pub(crate) fn of(mark: &Path) -> BTreeSet<u32> {
    let mark = mark.as_os_str().as_encoded_bytes();
    let ids = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse().ok());
    ids.filter(|pid| *pid != std::process::id() && carries_mark(*pid, mark)).collect()
}

fn carries_mark(pid: u32, mark: &[u8]) -> bool {
    ["cmdline", "environ"].into_iter().any(|file| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        bytes.windows(mark.len()).any(|part| part == mark)
    })
}

/// Kills all processes that carry `mark` in arguments or environment until there are none, also those that come of them
/// meanwhile.
pub(crate) fn kill_all(mark: &Path) {
    let mark = mark.as_os_str().as_encoded_bytes();
    let began = Instant::now();
    while kill_once(mark) > 0 {
        if began.elapsed() > Duration::from_secs(20) {
            eprintln!("processes of {} do not die", String::from_utf8_lossy(mark));
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill_once(mark: &[u8]) -> usize {
    let mut found = 0;
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|pid| *pid != getpid()) else { continue };
        // Taken before looking, so that what is killed is what was looked at.
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if carries_mark(pid.as_raw_nonzero().get().unsigned_abs(), mark) {
            found += 1;
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
    found
}
