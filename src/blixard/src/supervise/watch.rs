//! The supervisor's stages: what comes before the VM, the VM itself (`vm.rs`), what comes after; and the one place at
//! which all of them wait.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::FdFlags;
use rustix::net::SocketType;
use rustix::process::{WaitStatus, getpid, set_child_subreaper, setsid};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::boot_time;
use super::cgroup;
use super::child::{Handed, Role, Spawner};
use super::console::Console;
use super::control::by_status;
use super::daemons::{Daemons, listen_in};
use super::output::Output;
use super::tree::{bury, kill_all, stat};
use crate::hypervisor::run_dir::{Record, RunDir};
use crate::hypervisor::wire::{Ended, How, Notice, Order, Standing, Who, say};

/// How long the end waits for the last output to be on its way to the disk.
const OUTPUT_PATIENCE: Duration = Duration::from_millis(500);

/// How long each command before the VM may take, in nanoseconds. The deadline may cut it shorter.
const BEFORE_MAX: u64 = 60_000_000_000;

/// How long each command after the VM may take, in nanoseconds.
const AFTER_MAX: u64 = 5_000_000_000;

/// The lowest number of the lock's open file: leaves low ones free for what programs expect there.
const LOCK_FD_MIN: i32 = 64;

/// Supervises the run in `dir`, from its start to its end; or does what its supervisor, which was killed, could not: see
/// [`super::CLEAN`]. Standard input is the daemon's socket, standard output the VM's lock.
pub(super) fn supervise(dir: &Path, clean: bool) -> Result<(), String> {
    let dir = RunDir::new(dir);
    let say_why = |what: &str, error: io::Error| format!("{what}: {error}");
    let _ = rustix::thread::set_name(c"blixard-vm");
    // Fails only for a group's leader, which then has no terminal that could end it.
    let _ = setsid();
    set_child_subreaper(Some(getpid())).map_err(|e| say_why("cannot adopt orphans", e.into()))?;
    let lock = keep_lock().map_err(|e| say_why("no lock on standard output", e))?;
    let daemon = io::stdin().as_fd().try_clone_to_owned();
    let daemon = daemon.map_err(|e| say_why("no socket on standard input", e))?;
    let record = dir.record().map_err(|e| say_why("cannot read the record", e))?;

    let ended = match Watch::begin(&dir, record, daemon, clean) {
        Ok(mut watch) => {
            let ended = if clean {
                Ended::new(How::Crashed, "its supervisor was killed")
            } else {
                watch.before().unwrap_or_else(|| watch.vm())
            };
            watch.after();
            watch.finish(&dir, &lock, &ended);
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

/// The lock once more, not closed on exec: every process of the VM holds it too.
fn keep_lock() -> io::Result<OwnedFd> {
    let lock = rustix::io::fcntl_dupfd_cloexec(io::stdout(), LOCK_FD_MIN)?;
    rustix::io::fcntl_setfd(&lock, FdFlags::empty())?;
    Ok(lock)
}

/// Makes the end known on the disk, then lets the next run of this VM begin.
fn write_down(dir: &RunDir, lock: &OwnedFd, ended: &Ended) {
    if let Err(error) = dir.write_end(ended) {
        eprintln!("blixard supervise: the end ({ended:?}) cannot be written down: {error}");
    }
    dir.remove_sockets();
    if let Ok(path) = fs::read_link("/proc/self/fd/1") {
        let _ = fs::remove_file(path);
    }
    let _ = flock(lock, FlockOperation::Unlock);
}

/// A run under way.
pub(super) struct Watch {
    pub(super) record: Record,
    pub(super) spawner: Spawner,
    pub(super) standing: Standing,
    pub(super) paused: bool,
    /// In nanoseconds of the boot-time clock.
    pub(super) deadline: u64,
    /// What daemons want and has not been done: stops, kills, pauses and resumes.
    pub(super) orders: Vec<Order>,
    pub(super) console: Console,
    /// For the VM to read from; taken by it.
    pub(super) input: Option<io::PipeReader>,
    who: Who,
    daemons: Daemons,
    timer: OwnedFd,
    /// The VM is dead, and what comes after it has until then.
    dead_until: Option<u64>,
    cgroup: Option<PathBuf>,
}

/// What became of a command that is run to its end.
enum Outcome {
    Ended(Option<WaitStatus>),
    /// It could not be run, or took too long.
    Failed(String),
    /// The whole run is over.
    CutOff(Ended),
}

impl Watch {
    fn begin(dir: &RunDir, record: Record, daemon: OwnedFd, clean: bool) -> Result<Self, (OwnedFd, Ended)> {
        if !clean && boot_time() >= record.deadline {
            return Err((daemon, Ended::new(How::DeadlinePassed, "the deadline passed before the start")));
        }
        let own = getpid();
        let born = stat(own).map_or(0, |(_, born)| born);
        let who = Who { run: record.run, pid: own.as_raw_nonzero().get(), born };
        let prepare = || -> io::Result<_> {
            let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
            let listener = listen_in(dir, "socket", SocketType::SEQPACKET)?;
            let console = listen_in(dir, "console", SocketType::STREAM)?;
            let (from, output) = io::pipe()?;
            let (input, to) = io::pipe()?;
            let keep = |from| Output::keep(from, dir.output());
            let console = Console::new(from, to, console, keep)?;
            let spawner = Spawner { dir: dir.clone(), token: record.token.clone(), output };
            Ok((timer, listener, console, input, spawner))
        };
        match prepare() {
            Ok((timer, listener, console, input, spawner)) => Ok(Self {
                deadline: record.deadline,
                record,
                spawner,
                standing: Standing::Starting,
                paused: false,
                orders: Vec::new(),
                console,
                input: Some(input),
                who,
                daemons: Daemons::new(listener, daemon),
                timer,
                dead_until: None,
                cgroup: None,
            }),
            Err(error) => Err((daemon, Ended::new(How::NotStarted, error.to_string()))),
        }
    }

    // ---- stages

    /// Runs the commands that come before the VM. The end, when it came to that.
    fn before(&mut self) -> Option<Ended> {
        for at in 0..self.record.plan.before.len() {
            let role = Role::Before(at);
            let failed = match self.run_to_end(role, BEFORE_MAX) {
                Outcome::Ended(status) if status.is_some_and(|status| status.exit_status() == Some(0)) => {
                    continue;
                }
                Outcome::CutOff(ended) => return Some(ended),
                Outcome::Failed(reason) => reason,
                Outcome::Ended(status) => self.with_last_line(by_status(status).detail),
            };
            kill_all(None);
            let program = role.command(&self.record.plan).first().map_or("", String::as_str);
            return Some(Ended::new(How::NotStarted, format!("{program}: {failed}")));
        }
        None
    }

    /// Runs the commands that come after the VM, whatever has become of it and of each other.
    fn after(&mut self) {
        self.standing = Standing::Stopping;
        self.paused = false;
        for at in 0..self.record.plan.after.len() {
            // The daemon is to leave that much time, although the deadline or a stop's grace may be over.
            self.dead_until = Some(boot_time() + AFTER_MAX);
            self.tell_all();
            let role = Role::After(at);
            let outcome = self.run_to_end(role, AFTER_MAX);
            kill_all(None);
            let failed = match outcome {
                Outcome::Ended(status) if status.is_some_and(|status| status.exit_status() == Some(0)) => {
                    continue;
                }
                Outcome::Ended(status) => by_status(status).detail,
                Outcome::Failed(reason) => reason,
                Outcome::CutOff(ended) => ended.detail,
            };
            eprintln!("blixard supervise: {:?}: {failed}", role.command(&self.record.plan));
        }
    }

    /// Runs one command to its end, for `patience` at most.
    fn run_to_end(&mut self, role: Role, patience: u64) -> Outcome {
        let is_after = matches!(role, Role::After(_));
        let deadline = if is_after { u64::MAX } else { self.deadline };
        let mut child = match self.spawner.spawn(role, &Handed::default(), deadline, None) {
            Ok(child) => child,
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        let until = boot_time().saturating_add(patience);
        loop {
            if !is_after && let Some(ended) = self.is_cut_off() {
                kill_all(Some(child.pid));
                return Outcome::CutOff(ended);
            }
            if boot_time() >= until {
                kill_all(Some(child.pid));
                return Outcome::Failed(format!("it did not end within {} s", patience / 1_000_000_000));
            }
            let due = if is_after { until } else { until.min(self.deadline) };
            let readable = |fd| (fd, PollFlags::IN);
            let mut fds = vec![readable(child.pidfd.as_fd())];
            fds.extend(child.report.as_ref().map(|report| readable(report.as_fd())));
            let ready = self.wait(&fds, due);
            match ready {
                Ok(ready) if ready[0] => {
                    let failed = child.take_report();
                    let status = bury(child.pid);
                    self.console.catch_up(boot_time());
                    return failed.map_or(Outcome::Ended(status), Outcome::Failed);
                }
                Ok(_) => {}
                Err(error) => {
                    kill_all(Some(child.pid));
                    return Outcome::Failed(format!("the supervisor cannot wait: {error}"));
                }
            }
            if let Some(reason) = child.take_report() {
                kill_all(Some(child.pid));
                return Outcome::Failed(reason);
            }
            self.hear();
        }
    }

    /// Whether the run is over before its VM was started.
    fn is_cut_off(&mut self) -> Option<Ended> {
        if boot_time() >= self.deadline {
            return Some(Ended::new(How::DeadlinePassed, "killed at its deadline"));
        }
        for order in std::mem::take(&mut self.orders) {
            match order {
                Order::Kill => return Some(Ended::new(How::Stopped, "killed on request")),
                Order::Stop { .. } => return Some(Ended::new(How::Stopped, "stopped before it was started")),
                Order::Pause | Order::Resume => self.refuse(order, "it does not run yet"),
                Order::Status | Order::Extend { .. } => {}
            }
        }
        None
    }

    /// Brings the last output on its way, and makes the end known.
    fn finish(self, dir: &RunDir, lock: &OwnedFd, ended: &Ended) {
        self.console.finish(boot_time, OUTPUT_PATIENCE);
        write_down(dir, lock, ended);
        self.daemons.tell(&Notice::Ended(ended.clone()));
        if let Some(cgroup) = self.cgroup {
            cgroup::leave(&cgroup);
        }
    }

    /// Gives the run a cgroup of its own, where that can be.
    pub(super) fn enter_cgroup(&mut self) {
        // A unit of systemd's has one already, and is to stay in it. What the daemon spawned has no such variable.
        if std::env::var_os("INVOCATION_ID").is_some() {
            return;
        }
        let dir = &self.spawner.dir;
        let Some(name) = dir.path().file_name().and_then(OsStr::to_str) else { return };
        // Known to the daemon first: it has to find it also when this process dies at once.
        let Ok(parent) = cgroup::parent() else { return };
        if dir.write_cgroup(&parent.join(name)).is_ok() {
            self.cgroup = cgroup::enter(name).ok();
        }
    }

    /// With the last line that was printed, which is mostly why.
    pub(super) fn with_last_line(&mut self, detail: String) -> String {
        self.console.catch_up(boot_time());
        match self.console.last_line() {
            line if line.is_empty() => detail,
            line => format!("{detail}: {line}"),
        }
    }

    // ---- waiting

    /// Blocks until `due`, or until something happens: to one of `fds`, to a daemon or to the console. Which of `fds` are
    /// ready.
    pub(super) fn wait(&self, fds: &[(BorrowedFd<'_>, PollFlags)], due: u64) -> io::Result<Vec<bool>> {
        let due = self.console.due().map_or(due, |console| console.min(due));
        let at = Timespec {
            tv_sec: i64::try_from(due / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (due % 1_000_000_000) as _,
        };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = Itimerspec { it_interval: never, it_value: at };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &timer)?;

        let console = self.console.fds();
        let wished = fds.iter().chain(&console);
        let mut all: Vec<_> = wished.map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        all.extend(self.daemons.fds().map(readable));
        all.push(readable(self.timer.as_fd()));
        match poll(&mut all, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(all[..fds.len()].iter().map(|fd| !fd.revents().is_empty()).collect())
    }

    /// Hears the daemons and the console. What daemons want beyond an answer or more time waits in `orders`.
    pub(super) fn hear(&mut self) {
        self.console.turn(boot_time());
        // An extension that comes at the deadline comes too late.
        if self.dead_until.is_none() && boot_time() >= self.deadline {
            return;
        }
        let (orders, status) = self.daemons.hear();
        for order in orders {
            match order {
                Order::Extend { deadline } => self.deadline = self.deadline.max(deadline),
                order => self.orders.push(order),
            }
        }
        if status {
            self.tell_all();
        }
    }

    /// Tells the daemons how the run stands.
    pub(super) fn tell_all(&self) {
        self.daemons.tell(&Notice::Is {
            token: self.record.token.clone(),
            state: self.standing,
            deadline: self.deadline,
            paused: self.paused,
            who: Some(self.who),
        });
        if let Some(until) = self.dead_until {
            self.daemons.tell(&Notice::Dead { until });
        }
    }

    /// Tells the daemons what became of a pause or a resume.
    pub(super) fn answer(&self, order: Order, refused: Option<String>) {
        self.daemons.tell(&Notice::Did { order, refused });
    }

    pub(super) fn refuse(&self, order: Order, why: &str) {
        self.answer(order, Some(why.into()));
    }
}
