//! The supervisor's loop.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, recv,
    socket_with,
};
use rustix::process::{Signal, WaitStatus, getpid, kill_process_group, set_child_subreaper, setsid};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::boot_time;
use super::guest::{Guest, spawn};
use super::output::Output;
use super::tree::kill_all;
use crate::hypervisor::run_dir::{Record, RunDir};
use crate::hypervisor::wire::{Ended, Heard, How, Notice, Order, Standing, hear, say};

/// The most daemons heard at a time; a new one takes the oldest one's place.
const DAEMONS_MAX: usize = 4;

/// How long the end waits for the last output to be on its way to the disk.
const OUTPUT_PATIENCE: Duration = Duration::from_millis(500);

/// Supervises the run in `dir`, from its start to its end. Standard input is the daemon's socket, standard output the
/// VM's lock.
pub(super) fn supervise(dir: &Path) -> Result<(), String> {
    let dir = RunDir::new(dir);
    let say_why = |what: &str, error: io::Error| format!("{what}: {error}");
    let _ = rustix::thread::set_name(c"blixard-vm");
    // Fails only for a group's leader, which then has no terminal that could end it.
    let _ = setsid();
    set_child_subreaper(Some(getpid())).map_err(|e| say_why("cannot adopt orphans", e.into()))?;
    // Not closed on exec: every process of the VM holds the lock too.
    let lock = rustix::io::dup(io::stdout()).map_err(|e| say_why("no lock on standard output", e.into()))?;
    let daemon = io::stdin().as_fd().try_clone_to_owned();
    let daemon = daemon.map_err(|e| say_why("no socket on standard input", e))?;
    let record = dir.record().map_err(|e| say_why("cannot read the record", e))?;

    let ended = match Watch::begin(dir.clone(), record, daemon) {
        Ok(mut watch) => {
            let ended = watch.run();
            watch.finish(&lock, &ended);
            return Ok(());
        }
        Err((daemon, ended)) => {
            write_down(&dir, &lock, &ended);
            let _ = say(&daemon, &Notice::Ended(ended.clone()));
            ended
        }
    };
    if ended.how == How::DeadlinePassed { Ok(()) } else { Err(ended.detail) }
}

/// Makes the end known on the disk, then lets the next run of this VM begin.
fn write_down(dir: &RunDir, lock: &OwnedFd, ended: &Ended) {
    if let Err(error) = dir.write_end(ended) {
        eprintln!("blixard supervise: the end ({ended:?}) cannot be written down: {error}");
    }
    let _ = fs::remove_file(dir.socket());
    if let Ok(path) = fs::read_link("/proc/self/fd/1") {
        let _ = fs::remove_file(path);
    }
    let _ = flock(lock, FlockOperation::Unlock);
}

/// A run under way.
struct Watch {
    dir: RunDir,
    record: Record,
    guest: Guest,
    output: Option<Output>,
    standing: Standing,
    /// In nanoseconds of the boot-time clock.
    deadline: u64,
    /// When the grace of a stop is over.
    stop_by: Option<u64>,
    timer: OwnedFd,
    listener: OwnedFd,
    daemons: Vec<OwnedFd>,
}

/// What the loop waits for, in the order of its descriptors.
struct Ready {
    /// The command has taken over, or could not.
    report: bool,
    /// The VM's first process is dead.
    dead: bool,
    /// A daemon wants to connect.
    caller: bool,
}

impl Watch {
    fn begin(dir: RunDir, record: Record, daemon: OwnedFd) -> Result<Self, (OwnedFd, Ended)> {
        if boot_time() >= record.deadline {
            return Err((daemon, Ended::new(How::DeadlinePassed, "the deadline passed before the start")));
        }
        match Self::prepare(&dir, &record) {
            Ok((timer, listener, output, guest)) => Ok(Self {
                deadline: record.deadline,
                dir,
                record,
                guest,
                output: Some(output),
                standing: Standing::Starting,
                stop_by: None,
                timer,
                listener,
                daemons: vec![daemon],
            }),
            Err(error) => Err((daemon, Ended::new(How::NotStarted, error.to_string()))),
        }
    }

    fn prepare(dir: &RunDir, record: &Record) -> io::Result<(OwnedFd, OwnedFd, Output, Guest)> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        let listener = listen_in(dir)?;
        let (from, to) = io::pipe()?;
        let output = Output::keep(from, dir.output())?;
        let guest = spawn(dir, record, to)?;
        Ok((timer, listener, output, guest))
    }

    /// Watches until the VM has ended, and kills what is left of it.
    fn run(&mut self) -> Ended {
        loop {
            // First of all, before any order that came too late.
            let now = boot_time();
            if now >= self.deadline {
                kill_all(self.guest.pid);
                return Ended::new(How::DeadlinePassed, "killed at its deadline");
            }
            if self.stop_by.is_some_and(|by| now >= by) {
                kill_all(self.guest.pid);
                return Ended::new(How::Stopped, "killed after the grace of a stop");
            }
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => {
                    kill_all(self.guest.pid);
                    return Ended::new(How::Crashed, format!("the supervisor cannot wait: {error}"));
                }
            };
            if ready.report
                && let Some(ended) = self.take_report()
            {
                return ended;
            }
            if ready.dead {
                return self.bury();
            }
            if ready.caller {
                self.take_caller();
            }
            if boot_time() < self.deadline && self.take_orders() {
                kill_all(self.guest.pid);
                return Ended::new(How::Stopped, "killed on request");
            }
        }
    }

    /// Blocks until something happens or is due.
    fn wait(&self) -> io::Result<Ready> {
        let due = self.stop_by.map_or(self.deadline, |by| by.min(self.deadline));
        let at = Timespec {
            tv_sec: i64::try_from(due / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (due % 1_000_000_000) as _,
        };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = Itimerspec { it_interval: never, it_value: at };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &timer)?;

        let reporting = self.standing == Standing::Starting;
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds = vec![
            readable(self.timer.as_fd()),
            readable(self.guest.pidfd.as_fd()),
            readable(self.listener.as_fd()),
        ];
        if reporting {
            fds.push(readable(self.guest.report.as_fd()));
        }
        fds.extend(self.daemons.iter().map(|daemon| readable(daemon.as_fd())));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |at: usize| !fds[at].revents().is_empty();
        Ok(Ready { report: reporting && is_ready(3), dead: is_ready(1), caller: is_ready(2) })
    }

    /// Whether the command has taken over. The end, when it could not.
    fn take_report(&mut self) -> Option<Ended> {
        let mut buffer = [0_u8; 2048];
        match recv(&self.guest.report, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                self.standing = Standing::Running;
                let is = self.is();
                self.tell(&is);
                None
            }
            Ok((len, _)) => {
                kill_all(self.guest.pid);
                let how = if boot_time() >= self.deadline { How::DeadlinePassed } else { How::NotStarted };
                Some(Ended::new(how, String::from_utf8_lossy(&buffer[..len])))
            }
            Err(_) => None,
        }
    }

    /// The VM's first process is dead: kills the rest and says how it ended.
    fn bury(&mut self) -> Ended {
        let (how, detail) = describe(kill_all(self.guest.pid));
        if self.standing == Standing::Stopping {
            Ended::new(How::Stopped, detail)
        } else {
            Ended::new(how, detail)
        }
    }

    fn take_caller(&mut self) {
        if let Ok(daemon) = accept_with(&self.listener, SocketFlags::CLOEXEC) {
            if self.daemons.len() >= DAEMONS_MAX {
                self.daemons.remove(0);
            }
            self.daemons.push(daemon);
        }
    }

    /// Takes all orders that have come. True when the VM is to be killed now.
    fn take_orders(&mut self) -> bool {
        let mut kill = false;
        let mut status_for = Vec::new();
        let mut at = 0;
        while at < self.daemons.len() {
            match hear(&self.daemons[at]) {
                Heard::Message(Order::Status) => status_for.push(at),
                Heard::Message(Order::Extend { deadline }) => self.deadline = self.deadline.max(deadline),
                Heard::Message(Order::Stop { grace }) => self.begin_stop(grace),
                Heard::Message(Order::Kill) => kill = true,
                Heard::Garbled => {}
                Heard::Nothing => at += 1,
                Heard::Closed => {
                    status_for.retain(|asker| *asker != at);
                    self.daemons.remove(at);
                }
            }
        }
        let is = self.is();
        for asker in status_for {
            let _ = say(&self.daemons[asker], &is);
        }
        kill
    }

    fn begin_stop(&mut self, grace: u64) {
        let by = boot_time().saturating_add(grace);
        // A second stop may shorten the first one's grace, never lengthen it.
        self.stop_by = Some(self.stop_by.map_or(by, |first| first.min(by)));
        self.standing = Standing::Stopping;
        let _ = kill_process_group(self.guest.pid, Signal::TERM);
    }

    fn is(&self) -> Notice {
        Notice::Is { token: self.record.token.clone(), state: self.standing, deadline: self.deadline }
    }

    fn tell(&self, notice: &Notice) {
        for daemon in &self.daemons {
            let _ = say(daemon, notice);
        }
    }

    fn finish(&mut self, lock: &OwnedFd, ended: &Ended) {
        if let Some(output) = self.output.take() {
            output.finish(OUTPUT_PATIENCE);
        }
        write_down(&self.dir, lock, ended);
        self.tell(&Notice::Ended(ended.clone()));
    }
}

/// Listens in the run's folder. From inside it, because a socket's path has 108 bytes at most.
fn listen_in(dir: &RunDir) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    std::env::set_current_dir(dir.path())?;
    let bound = bind(&listener, &SocketAddrUnix::new("socket")?);
    std::env::set_current_dir("/")?;
    bound?;
    listen(&listener, 8)?;
    Ok(listener)
}

fn describe(status: Option<WaitStatus>) -> (How, String) {
    let Some(status) = status else {
        return (How::Crashed, "its status is not known".into());
    };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => (How::PoweredOff, "exit status 0".into()),
        (Some(code), _) => (How::Crashed, format!("exit status {code}")),
        (None, Some(signal)) => (How::Crashed, format!("killed by signal {signal}")),
        (None, None) => (How::Crashed, format!("status {status:?}")),
    }
}
