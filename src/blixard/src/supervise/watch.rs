//! The supervisor's loop.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, recv,
    socket_with, socketpair,
};
use rustix::process::{getpid, set_child_subreaper, setsid};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::boot_time;
use super::child::{Child, Handed, spawn};
use super::control::{self, Ask, Controller, News};
use super::output::Output;
use super::tree::kill_all;
use crate::hypervisor::run_dir::{Record, RunDir};
use crate::hypervisor::wire::{Ended, Heard, How, Notice, Order, Standing, hear, say};

/// The most daemons heard at a time; a new one takes the oldest one's place.
const DAEMONS_MAX: usize = 4;

/// How long the end waits for the last output to be on its way to the disk.
const OUTPUT_PATIENCE: Duration = Duration::from_millis(500);

/// How long a program may take to end that was told to quit, in nanoseconds. Short: a stop's grace is over by then, and
/// the daemon waits a second beyond it before it kills by itself.
const QUIT_GRACE: u64 = 300_000_000;

/// The lowest number of the lock's open file: leaves low ones free for what programs expect there.
const LOCK_FD_MIN: i32 = 64;

/// Supervises the run in `dir`, from its start to its end. Standard input is the daemon's socket, standard output the
/// VM's lock.
pub(super) fn supervise(dir: &Path) -> Result<(), String> {
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
    guest: Child,
    control: Box<dyn Controller>,
    output: Option<Output>,
    standing: Standing,
    /// The program is the plan's by now, no more the step before it.
    taken_over: bool,
    /// The controller has said so.
    alive: bool,
    paused: bool,
    /// In nanoseconds of the boot-time clock.
    deadline: u64,
    stop: Option<Stop>,
    /// What daemons have asked the controller for and not heard of, with who asked.
    asked: Vec<Order>,
    timer: OwnedFd,
    listener: OwnedFd,
    daemons: Vec<OwnedFd>,
}

/// A stop under way: when its present step is over, and which it is.
#[derive(Clone, Copy, Debug)]
struct Stop {
    by: u64,
    quitting: bool,
}

/// What one of the loop's descriptors stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The deadline, or another time that something is due at.
    Timer,
    /// The VM's first process is dead.
    Dead,
    /// The command has taken over, or could not.
    Report,
    /// A daemon wants to connect.
    Caller,
    /// A daemon has said something. All are heard at each turn, as is the controller.
    Others,
}

type Prepared = (OwnedFd, OwnedFd, Output, Child, Box<dyn Controller>);

impl Watch {
    fn begin(dir: RunDir, record: Record, daemon: OwnedFd) -> Result<Self, (OwnedFd, Ended)> {
        if boot_time() >= record.deadline {
            return Err((daemon, Ended::new(How::DeadlinePassed, "the deadline passed before the start")));
        }
        match Self::prepare(&dir, &record) {
            Ok((timer, listener, output, guest, control)) => Ok(Self {
                deadline: record.deadline,
                dir,
                record,
                guest,
                control,
                output: Some(output),
                standing: Standing::Starting,
                taken_over: false,
                alive: false,
                paused: false,
                stop: None,
                asked: Vec::new(),
                timer,
                listener,
                daemons: vec![daemon],
            }),
            Err(error) => Err((daemon, Ended::new(How::NotStarted, error.to_string()))),
        }
    }

    fn prepare(dir: &RunDir, record: &Record) -> io::Result<Prepared> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        let listener = listen_in(dir)?;
        let (from, to) = io::pipe()?;
        let output = Output::keep(from, dir.output())?;
        let (ours, theirs) = control_line(record)?;
        let guest = spawn(dir, record, to.into(), Handed { control: theirs, input: None })?;
        let control = control::open(&record.plan, guest.pid, ours, boot_time());
        Ok((timer, listener, output, guest, control))
    }

    /// Watches until the VM has ended, and kills what is left of it.
    fn run(&mut self) -> Ended {
        loop {
            // First of all, before any order that came too late.
            if boot_time() >= self.deadline {
                kill_all(self.guest.pid);
                return Ended::new(How::DeadlinePassed, "killed at its deadline");
            }
            if let Some(ended) = self.climb() {
                return ended;
            }
            if let Some(ended) = self.hear_controller() {
                return ended;
            }
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => {
                    kill_all(self.guest.pid);
                    return Ended::new(How::Crashed, format!("the supervisor cannot wait: {error}"));
                }
            };
            if ready.contains(&Source::Report)
                && let Some(ended) = self.take_report()
            {
                return ended;
            }
            if ready.contains(&Source::Dead) {
                return self.bury();
            }
            if ready.contains(&Source::Caller) {
                self.take_caller();
            }
            if boot_time() < self.deadline && self.take_orders() {
                kill_all(self.guest.pid);
                return Ended::new(How::Stopped, "killed on request");
            }
        }
    }

    /// Blocks until something happens or is due. What is ready.
    fn wait(&self) -> io::Result<Vec<Source>> {
        let times = [self.stop.map(|stop| stop.by), self.control.due()];
        let due = times.into_iter().flatten().fold(self.deadline, u64::min);
        let at = Timespec {
            tv_sec: i64::try_from(due / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (due % 1_000_000_000) as _,
        };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = Itimerspec { it_interval: never, it_value: at };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &timer)?;

        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut sources = vec![Source::Timer, Source::Dead, Source::Caller];
        let mut fds = vec![
            readable(self.timer.as_fd()),
            readable(self.guest.pidfd.as_fd()),
            readable(self.listener.as_fd()),
        ];
        if !self.taken_over {
            sources.push(Source::Report);
            fds.push(readable(self.guest.report.as_fd()));
        }
        if let Some((fd, flags)) = self.control.fd() {
            sources.push(Source::Others);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        }
        for daemon in &self.daemons {
            sources.push(Source::Others);
            fds.push(readable(daemon.as_fd()));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = fds.iter().zip(sources).filter(|(fd, _)| !fd.revents().is_empty());
        Ok(ready.map(|(_, source)| source).collect())
    }

    /// Whether the command has taken over. The end, when it could not.
    fn take_report(&mut self) -> Option<Ended> {
        let mut buffer = [0_u8; 2048];
        match recv(&self.guest.report, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                self.taken_over = true;
                self.tell_of_life();
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
        let status = kill_all(self.guest.pid);
        // It may have come alive and ended since the last look: then it has run.
        if !self.taken_over {
            let _ = self.take_report();
        }
        let _ = self.hear_controller();
        let ended = self.control.end(status);
        if self.standing == Standing::Stopping { Ended::new(How::Stopped, ended.detail) } else { ended }
    }

    // ---- the controller

    /// Takes the controller's turn. The end, when nothing will come of the program any more.
    fn hear_controller(&mut self) -> Option<Ended> {
        for news in self.control.turn(boot_time()) {
            match news {
                News::Alive => {
                    self.alive = true;
                    self.tell_of_life();
                }
                News::Did(ask) => {
                    match ask {
                        Ask::Pause => self.paused = true,
                        Ask::Resume => self.paused = false,
                        Ask::PowerDown | Ask::Quit => {}
                    }
                    self.answer(ask, None);
                }
                News::Refused(ask, reason) => self.answer(ask, Some(reason)),
                News::Wedged(reason) => {
                    kill_all(self.guest.pid);
                    let how = match self.standing {
                        Standing::Starting => How::NotStarted,
                        Standing::Running => How::Crashed,
                        Standing::Stopping => How::Stopped,
                    };
                    return Some(Ended::new(how, reason));
                }
            }
        }
        None
    }

    fn tell_of_life(&mut self) {
        if self.standing == Standing::Starting && self.taken_over && self.alive {
            self.standing = Standing::Running;
            let is = self.is();
            self.tell(&is);
        }
    }

    /// Tells the daemons what became of their pause or resume.
    fn answer(&mut self, ask: Ask, refused: Option<String>) {
        let order = match ask {
            Ask::Pause => Order::Pause,
            Ask::Resume => Order::Resume,
            Ask::PowerDown | Ask::Quit => return,
        };
        if self.asked.contains(&order) {
            self.asked.retain(|asked| *asked != order);
            self.tell(&Notice::Did { order, refused });
        }
    }

    /// A pause or a resume that a daemon wants.
    fn ask(&mut self, order: Order, ask: Ask) {
        let cannot = match self.standing {
            Standing::Running => self.control.ask(ask, boot_time()).err(),
            Standing::Starting => Some("it does not run yet".into()),
            Standing::Stopping => Some("it is being stopped".into()),
        };
        match cannot {
            Some(reason) => self.tell(&Notice::Did { order, refused: Some(reason) }),
            None => self.asked.push(order),
        }
    }

    fn begin_stop(&mut self, grace: u64) {
        let now = boot_time();
        let by = now.saturating_add(grace);
        self.standing = Standing::Stopping;
        match &mut self.stop {
            // A second stop may shorten the first one's grace, never lengthen it.
            Some(stop) if !stop.quitting => stop.by = stop.by.min(by),
            Some(_) => {}
            None => {
                // A halted guest hears no power button.
                if self.paused {
                    let _ = self.control.ask(Ask::Resume, now);
                }
                let asked = self.control.ask(Ask::PowerDown, now);
                self.stop = Some(Stop { by: if asked.is_ok() { by } else { now }, quitting: false });
            }
        }
    }

    /// Takes the next step of a stop when its time has come. The end, when that was the last.
    fn climb(&mut self) -> Option<Ended> {
        let now = boot_time();
        let stop = self.stop.filter(|stop| now >= stop.by)?;
        if !stop.quitting && self.control.ask(Ask::Quit, now).is_ok() {
            self.stop = Some(Stop { by: now + QUIT_GRACE, quitting: true });
            return None;
        }
        kill_all(self.guest.pid);
        Some(Ended::new(How::Stopped, "killed after the grace of a stop"))
    }

    // ---- daemons

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
                Heard::Message(Order::Pause) => self.ask(Order::Pause, Ask::Pause),
                Heard::Message(Order::Resume) => self.ask(Order::Resume, Ask::Resume),
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

    fn is(&self) -> Notice {
        Notice::Is {
            token: self.record.token.clone(),
            state: self.standing,
            deadline: self.deadline,
            paused: self.paused,
        }
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

/// A pair of sockets for a program that is handed its end of a control line; the supervisor's end first.
fn control_line(record: &Record) -> io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    if !control::wants_line(&record.plan.control) {
        return Ok((None, None));
    }
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    Ok((Some(ours), Some(theirs)))
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
