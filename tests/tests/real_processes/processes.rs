//! Processes of this machine that belong to a test: those that name its folder in their arguments or environment.

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
        let carries = |file: &str| {
            let bytes = fs::read(process.path().join(file)).unwrap_or_default();
            bytes.windows(mark.len()).any(|part| part == mark)
        };
        if carries("cmdline") || carries("environ") {
            found += 1;
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
    found
}
