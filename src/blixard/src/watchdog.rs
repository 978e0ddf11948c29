//! The host's hardware watchdog: resets the host when nothing else can end a VM in time.
//!
//! A supervisor kills its VM at the deadline, and the daemon kills what a supervisor leaves. Both run on a kernel that may do neither any
//! more. So the device is fed only while this daemon can vouch for its leases: its turn loop and its hypervisors'
//! thread go round, and no VM has outlived its deadline. The host then has the device's own timeout to be reset in.
//!
//! The device is the kernel's (`Documentation/watchdog/watchdog-api.rst`): opening it starts it, any write feeds it, and a
//! `V` before it is closed stops it. It goes on when the daemon dies; the next daemon opens it anew and feeds it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use blixard_node::time::Now;
use blixard_runtime::Clock;

use crate::supervise::boot_time;

/// How often the device is fed. Its timeout is whole seconds, one at least.
const FEED_EVERY: Duration = Duration::from_millis(250);

/// What shows that this daemon keeps its leases.
#[derive(Debug)]
pub struct Vitals {
    /// When the turn loop last went round, in nanoseconds of the boot-time clock.
    turned_at: AtomicU64,
    /// When the hypervisors' thread did.
    looked_at: AtomicU64,
    /// A VM has outlived its deadline by more than its killers are given.
    overdue: AtomicBool,
}

impl Default for Vitals {
    /// Good until a lease has passed without any sign.
    fn default() -> Self {
        let now = boot_time();
        Self {
            turned_at: AtomicU64::new(now),
            looked_at: AtomicU64::new(now),
            overdue: AtomicBool::new(false),
        }
    }
}

impl Vitals {
    /// The turn loop goes round.
    pub fn turned(&self, now: u64) {
        self.turned_at.store(now, Ordering::Relaxed);
    }

    /// The hypervisors' thread goes round, and has seen whether a VM is overdue.
    pub fn looked(&self, now: u64, overdue: bool) {
        self.overdue.store(overdue, Ordering::Relaxed);
        self.looked_at.store(now, Ordering::Relaxed);
    }

    /// Why this daemon cannot vouch for its leases, `lease` nanoseconds long; none while it can. A loop that has stood still for
    /// less has lost none.
    #[must_use]
    pub fn ail(&self, now: u64, lease: u64) -> Option<&'static str> {
        let is_old = |at: &AtomicU64| now.saturating_sub(at.load(Ordering::Relaxed)) > lease;
        if self.overdue.load(Ordering::Relaxed) {
            Some("a VM outlives its deadline and cannot be killed")
        } else if is_old(&self.looked_at) {
            Some("the hypervisors' thread stands still")
        } else if is_old(&self.turned_at) {
            Some("the turn loop stands still")
        } else {
            None
        }
    }
}

/// A clock that notes when it is read: the turn loop reads it at each turn.
#[derive(Clone, Debug)]
pub struct NotedClock<C> {
    /// The clock.
    pub clock: C,
    /// Where it is noted.
    pub vitals: Arc<Vitals>,
}

impl<C: Clock> Clock for NotedClock<C> {
    fn now(&self) -> Now {
        let now = self.clock.now();
        self.vitals.turned(now.boot.0);
        now
    }
}

/// The device, and the thread that feeds it.
#[derive(Debug)]
pub struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<File>>,
}

impl Watchdog {
    /// Opens the device, which starts it, and feeds it while `vitals` are good.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn start(device: &Path, vitals: Arc<Vitals>, lease: Duration) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).open(device)?;
        let lease = u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX);
        let (stop, stopped) = channel();
        let thread = thread::Builder::new().name("watchdog".into()).spawn(move || {
            let mut ailed = None;
            loop {
                let ails = vitals.ail(boot_time(), lease);
                if ails != ailed {
                    match ails {
                        Some(reason) => {
                            tracing::error!(
                                reason,
                                "the watchdog is not fed: this host is about to be reset"
                            );
                        }
                        None => tracing::warn!("the watchdog is fed again"),
                    }
                    ailed = ails;
                }
                if ails.is_none()
                    && let Err(error) = file.write_all(b"\0")
                {
                    tracing::error!(%error, "the watchdog cannot be fed");
                }
                match stopped.recv_timeout(FEED_EVERY) {
                    Err(RecvTimeoutError::Timeout) => {}
                    // Only who ends in good order says so.
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return file,
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Stops the device: the daemon ends in good order, and its VMs end with their leases.
    ///
    /// # Errors
    /// When the device does not take it; it will reset the host.
    pub fn disarm(mut self) -> io::Result<()> {
        self.stop = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(mut file)) => file.write_all(b"V"),
            _ => Err(io::Error::other("the watchdog's thread has failed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A pipe in the device's place, and its reading end.
    fn device(folder: &Path) -> (std::path::PathBuf, File) {
        let path = folder.join("watchdog");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
        let reader = OpenOptions::new().read(true).custom_flags(flags).open(&path).unwrap();
        (path, reader)
    }

    fn fed(reader: &mut File) -> String {
        let mut text = Vec::new();
        let _ = reader.read_to_end(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn it_is_fed_while_the_leases_hold_and_stopped_in_good_order_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut reader) = device(folder.path());
        let vitals = Arc::new(Vitals::default());
        let watchdog = Watchdog::start(&path, Arc::clone(&vitals), Duration::from_secs(3600)).unwrap();
        thread::sleep(FEED_EVERY * 4);
        assert!(fed(&mut reader).len() >= 2);
        vitals.looked(boot_time(), true);
        thread::sleep(FEED_EVERY * 2);
        fed(&mut reader);
        thread::sleep(FEED_EVERY * 4);
        assert_eq!(fed(&mut reader), "", "not a byte while a VM is overdue");
        vitals.looked(boot_time(), false);
        thread::sleep(FEED_EVERY * 4);
        assert!(fed(&mut reader).len() >= 2, "it was killed after all");
        watchdog.disarm().unwrap();
        assert!(fed(&mut reader).ends_with('V'));
        let watchdog = Watchdog::start(&path, vitals, Duration::from_secs(3600)).unwrap();
        drop(watchdog);
        thread::sleep(FEED_EVERY * 2);
        assert!(!fed(&mut reader).contains('V'), "a daemon that fails leaves the device running");
    }

    #[test]
    fn what_stands_still_for_a_lease_ails() {
        let vitals = Vitals::default();
        let now = boot_time() + 100 * SECOND;
        for (turned, looked, overdue, expected) in [
            (0, 0, false, None),
            (8, 8, false, None),
            (9, 0, false, Some("the turn loop stands still")),
            (0, 9, false, Some("the hypervisors' thread stands still")),
            (0, 0, true, Some("a VM outlives its deadline and cannot be killed")),
        ] {
            vitals.turned(now - turned * SECOND);
            vitals.looked(now - looked * SECOND, overdue);
            assert_eq!(vitals.ail(now, 8 * SECOND), expected);
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_refused() {
        let missing = Watchdog::start(Path::new("/no/such"), Arc::default(), Duration::from_secs(8));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
