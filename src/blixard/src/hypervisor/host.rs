//! The thread that runs this host's VMs: one loop over operations and supervisors. It never waits for any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use blixard_node::hypervisor::{Done, Exit, HypervisorError, HypervisorRequest, Run, VmEvent};
use blixard_node::ids::{OpId, VmId};
use blixard_node::input::Input;
use blixard_node::time::{Duration, Time};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, WaitOptions, waitpid};
use tracing::{info, warn};

use super::backend::{Backend, Job};
use super::builders::{Builders, Kind, Task};
use super::live::{Live, MS, Told};
use super::run_dir::{FORMAT, Record, RunDir, StateDir};
use super::sweep::sweep;
use super::units::{Unit, Units};
use super::wire::{Ended, Heard, How, Notice, Order, Standing};
use super::{Options, Sink};
use crate::supervise::{CLEAN, SUBCOMMAND, boot_time, cgroup};
use crate::watchdog::Vitals;

/// Folders of ended runs kept for their output and their exits; the oldest go first.
const ENDED_MAX: usize = 256;

/// How long a first `List` waits for found supervisors to answer.
const ADOPTION: u64 = 2_000 * MS;

/// How often what could not be done is tried again.
const RETRY: u64 = 20 * MS;

/// See the module.
pub(super) struct Host {
    state: StateDir,
    program: PathBuf,
    boot: String,
    backends: Arc<[Box<dyn Backend>]>,
    sink: Sink,
    /// At most one run of a VM can be alive: its supervisor holds the VM's lock.
    live: BTreeMap<VmId, Live>,
    /// The last run of each VM that has none alive.
    ended: BTreeMap<VmId, (Run, RunDir)>,
    /// Supervisors to wait for, that they do not stay as zombies.
    zombies: BTreeSet<i32>,
    lists: Vec<OpId>,
    adopted_by: u64,
    builders: Builders,
    vitals: Arc<Vitals>,
    /// Starts supervisors as units of systemd, if they are to be such.
    units: Option<Units>,
}

impl Host {
    pub(super) fn open(
        state: StateDir,
        program: PathBuf,
        backends: Vec<Box<dyn Backend>>,
        sink: Sink,
        options: Options,
    ) -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let backends: Arc<[Box<dyn Backend>]> = backends.into();
        let builders = Builders::spawn(&backends, &sink)?;
        let mut host = Self {
            state,
            program,
            boot,
            backends,
            sink,
            live: BTreeMap::new(),
            ended: BTreeMap::new(),
            zombies: BTreeSet::new(),
            lists: Vec::new(),
            adopted_by: boot_time() + ADOPTION,
            builders,
            vitals: options.vitals,
            units: options.units.map(Units::open).transpose()?,
        };
        host.adopt()?;
        cgroup::tidy();
        Ok(host)
    }

    /// Serves until the queue is closed.
    pub(super) fn run(mut self, requests: &Receiver<(OpId, HypervisorRequest)>, bell: &OwnedFd) {
        loop {
            loop {
                match requests.try_recv() {
                    Ok((op, request)) => self.take(op, request),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.tend();
            self.answer_lists();
            let now = boot_time();
            self.vitals.looked(now, self.live.values().any(|live| live.is_overdue(now)));
            self.wait(bell);
        }
    }

    /// Blocks until a notice, an operation, or a time that something is due at.
    fn wait(&self, bell: &OwnedFd) {
        let now = boot_time();
        let mut due = self.live.values().map(Live::doom).min().unwrap_or(u64::MAX);
        if !self.zombies.is_empty() || self.live.values().any(Live::is_restless) {
            due = due.min(now + RETRY);
        }
        if !self.lists.is_empty() {
            due = due.min(self.adopted_by.max(now + RETRY));
        }
        // Never longer than a second: the timeout is on a clock that stands still in suspend.
        let span = due.saturating_sub(now).clamp(MS, 1_000 * MS);
        let timeout = Timespec { tv_sec: (span / 1_000_000_000) as _, tv_nsec: (span % 1_000_000_000) as _ };
        let mut fds = vec![PollFd::from_borrowed_fd(bell.as_fd(), PollFlags::IN)];
        let lines = self.live.values().filter_map(Live::line);
        fds.extend(lines.map(|line| PollFd::from_borrowed_fd(line.as_fd(), PollFlags::IN)));
        let _ = poll(&mut fds, Some(&timeout));
        let _ = rustix::io::read(bell, &mut [0_u8; 8]);
    }

    // ---- operations

    fn take(&mut self, op: OpId, request: HypervisorRequest) {
        match request {
            HypervisorRequest::Prepare { name, spec, artifact, .. } => {
                self.builders.submit(Task { op, kind: Kind::Prepare, name, spec, artifact });
            }
            HypervisorRequest::Start { run, name, spec, artifact, deadline } => {
                let job = Job { name: &name, spec: &spec, artifact: artifact.as_deref() };
                if let Err(error) = self.start(op, run, job, deadline) {
                    self.done(op, Err(error));
                }
            }
            HypervisorRequest::Stop { run, grace: Duration(grace) } => {
                self.stop(op, run, Order::Stop { grace });
            }
            HypervisorRequest::Kill { run } => self.stop(op, run, Order::Kill),
            HypervisorRequest::Extend { runs, deadline: Time(deadline) } => {
                let now = boot_time();
                for run in runs {
                    if let Some(live) = self.live.get_mut(&run.vm).filter(|live| live.run == run) {
                        live.order(Order::Extend { deadline }, now);
                    }
                }
            }
            HypervisorRequest::Pause { run } => self.halt(op, run, Order::Pause),
            HypervisorRequest::Resume { run } => self.halt(op, run, Order::Resume),
            HypervisorRequest::Purge { run, name, spec } => {
                if let Some(live) = self.live.get(&run.vm) {
                    let epoch = live.run.epoch;
                    return self.done(op, Err(HypervisorError::AlreadyRunning { epoch }));
                }
                self.builders.submit(Task { op, kind: Kind::Purge, name, spec, artifact: None });
            }
            HypervisorRequest::List => self.lists.push(op),
        }
    }

    fn start(&mut self, op: OpId, run: Run, job: Job<'_>, deadline: Time) -> Result<(), HypervisorError> {
        let Job { name, spec, .. } = job;
        if let Some(live) = self.live.get(&run.vm) {
            return Err(HypervisorError::AlreadyRunning { epoch: live.run.epoch });
        }
        let backend = self.backends.iter().find(|backend| backend.name() == spec.hypervisor);
        let backend = backend.ok_or_else(|| HypervisorError::NoBackend { name: spec.hypervisor.clone() })?;
        if self.builders.is_purging(name) {
            let reason = "what this host keeps for it is being removed".into();
            return Err(HypervisorError::Prepare { reason });
        }
        let plan = backend.plan(job)?;
        let failed =
            |what: &str, error: io::Error| HypervisorError::Start { reason: format!("{what}: {error}") };
        let lock = self.state.try_lock(run).map_err(|error| failed("its lock cannot be used", error))?;
        let lock = lock.ok_or_else(|| HypervisorError::Uncertain {
            reason: format!("processes of an earlier run hold {}", self.state.lock_path(run).display()),
        })?;
        // The lock is ours: whatever ran before is dead.
        if let Some((_, dir)) = self.ended.remove(&run.vm) {
            let _ = dir.remove();
        }
        if boot_time() >= deadline.0 {
            let _ = fs::remove_file(self.state.lock_path(run));
            return Err(HypervisorError::DeadlinePassed);
        }
        let token = new_token().map_err(|error| failed("no random token", error))?;
        let record = Record {
            format: FORMAT,
            run: run.into(),
            name: name.to_string(),
            boot: self.boot.clone(),
            deadline: deadline.0,
            plan,
            token,
        };
        let dir = self.state.attempt(run, &record.token);
        let spawned = dir.create(&record).and_then(|()| self.spawn(&dir, &record, lock));
        match spawned {
            Ok((line, pid)) => {
                info!(vm = %run.vm, epoch = %run.epoch, %name, "starting");
                self.live.insert(run.vm, Live::spawned(dir, record, line, pid, op));
                Ok(())
            }
            Err(error) => {
                let _ = dir.remove();
                let _ = fs::remove_file(self.state.lock_path(run));
                Err(failed("no supervisor", error))
            }
        }
    }

    /// Spawns the supervisor. The lock is its standard output from its first moment on, so no crash of this process can
    /// leave a supervisor without it.
    fn spawn(&self, dir: &RunDir, record: &Record, lock: File) -> io::Result<(OwnedFd, Option<Pid>)> {
        if let Some(units) = &self.units {
            let (line, theirs) = new_line()?;
            let Record { run, name, token, .. } = record;
            let unit = Unit {
                program: self.program.clone(),
                dir: dir.clone(),
                token: token.clone(),
                description: format!("Blixard VM {name} (vm{}, epoch {})", run.vm, run.epoch),
                line: theirs,
                lock,
                lock_path: self.state.lock_path((*run).into()),
            };
            units.start(unit)?;
            return Ok((line, None));
        }
        supervise(&self.program, dir, &record.token, lock, None)
    }

    fn stop(&mut self, op: OpId, run: Run, order: Order) {
        match self.live.get_mut(&run.vm).filter(|live| live.run == run) {
            Some(live) => {
                live.stops.push(op);
                live.order(order, boot_time());
            }
            None => {
                self.forget_exit(run);
                self.done(op, Ok(Done::Stopped));
            }
        }
    }

    /// A pause or a resume.
    fn halt(&mut self, op: OpId, run: Run, order: Order) {
        match self.live.get_mut(&run.vm).filter(|live| live.run == run) {
            Some(live) => live.halt(op, order, boot_time()),
            None => self.done(op, Err(uncertain("no such run is alive here"))),
        }
    }

    /// The agent knows that this run is over: its exit is not told again.
    fn forget_exit(&self, run: Run) {
        if let Some((_, dir)) = self.ended.get(&run.vm).filter(|(ended, _)| *ended == run)
            && let Some(end) = dir.end().filter(|end| end.unasked().is_some())
        {
            let _ = dir.write_end(&Ended::new(How::Stopped, end.detail));
        }
    }

    fn answer_lists(&mut self) {
        let settled = self.live.values().all(|live| live.known) || boot_time() >= self.adopted_by;
        if settled {
            for op in std::mem::take(&mut self.lists) {
                self.done(op, Ok(Done::Listed(self.live.values().map(Live::view).collect())));
            }
        }
    }

    fn done(&self, op: OpId, result: Result<Done, HypervisorError>) {
        (self.sink)(Input::HypervisorDone { op, result });
    }

    fn exited(&self, run: Run, exit: Exit, reason: &str) {
        (self.sink)(Input::HypervisorEvent {
            run,
            event: VmEvent::Exited { exit, reason: reason.to_owned() },
        });
    }

    // ---- supervisors

    /// Hears all supervisors and does what is due.
    fn tend(&mut self) {
        self.zombies.retain(|pid| {
            let pid = Pid::from_raw(*pid);
            pid.is_some_and(|pid| matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)))
        });
        let now = boot_time();
        let vms: Vec<VmId> = self.live.keys().copied().collect();
        for vm in vms {
            if let Some(ended) = self.tend_one(vm, now) {
                self.settle(vm, &ended);
            }
        }
    }

    fn tend_one(&mut self, vm: VmId, now: u64) -> Option<Ended> {
        let live = self.live.get_mut(&vm)?;
        if live.line().is_none() && !live.orphaned && live.call(now) {
            live.orphaned = true;
        }
        loop {
            match live.hear() {
                Heard::Message(Notice::Is { token, state, deadline, paused, who }) => {
                    if !live.learn(&Told { token: &token, state, deadline, paused, who }) {
                        warn!(%vm, dir = %live.dir.path().display(), "another program answers on the run's socket");
                        break;
                    }
                    if live.standing == Standing::Running
                        && let Some(op) = live.start.take()
                    {
                        (self.sink)(Input::HypervisorDone { op, result: Ok(Done::Started) });
                    }
                }
                Heard::Message(Notice::Did { order, refused }) => {
                    for op in live.halted(order, refused.is_none()) {
                        let result = match (&refused, order) {
                            (Some(reason), _) => Err(uncertain(reason)),
                            (None, Order::Pause) => Ok(Done::Paused),
                            (None, _) => Ok(Done::Resumed),
                        };
                        (self.sink)(Input::HypervisorDone { op, result });
                    }
                }
                Heard::Message(Notice::Dead { until }) => live.leave_until(until),
                Heard::Message(Notice::Ended(ended)) => return Some(ended),
                Heard::Garbled => {}
                Heard::Nothing | Heard::Closed => break,
            }
        }
        live.flush();
        for (op, order) in live.overdue_halts(now) {
            (self.sink)(Input::HypervisorDone { op, result: Err(unsupported(order)) });
        }
        if live.orphaned {
            return self.mourn(vm);
        }
        if now >= live.doom() {
            warn!(%vm, epoch = %live.run.epoch, "the supervisor is overdue: killing its processes");
            sweep(&live.token, &self.state.lock_path(live.run), live.dir.cgroup().as_deref());
            live.doom_again_at(now + 10 * RETRY);
        }
        None
    }

    /// A supervisor is gone: how its run ended, once nothing of it is left.
    fn mourn(&mut self, vm: VmId) -> Option<Ended> {
        let live = self.live.get_mut(&vm)?;
        if let Some(ended) = live.dir.end() {
            return Some(ended);
        }
        sweep(&live.token, &self.state.lock_path(live.run), live.dir.cgroup().as_deref());
        if lives_in_cgroup(&live.dir) {
            return None;
        }
        let lock = self.state.try_lock(live.run).ok()??;
        if live.is_unclean() && live.dir.end().is_none() {
            live.dir.remove_sockets();
            remove_cgroup(&live.dir);
            let cleaner = supervise(&self.program, &live.dir, &live.token, lock, Some(CLEAN));
            if let Err(error) = &cleaner {
                warn!(%vm, %error, "what comes after a run cannot be done");
            }
            self.zombies.extend(live.child.take().map(|pid| pid.as_raw_nonzero().get()));
            live.cleaned_by(cleaner.ok(), boot_time());
            return None;
        }
        // Looked at again under the lock: the supervisor may have spoken between the two.
        let ended = live.dir.end().unwrap_or_else(|| {
            let ended = Ended::new(How::Crashed, "its supervisor was killed");
            if let Err(error) = live.dir.write_end(&ended) {
                warn!(%vm, %error, "the end of a run cannot be written down");
            }
            ended
        });
        live.dir.remove_sockets();
        remove_cgroup(&live.dir);
        let _ = fs::remove_file(self.state.lock_path(live.run));
        let _ = lock.unlock();
        Some(ended)
    }

    /// Completes what waits for the end of a run, and tells of it when nobody asked for it.
    fn settle(&mut self, vm: VmId, ended: &Ended) {
        let Some(mut live) = self.live.remove(&vm) else {
            return;
        };
        for (op, _) in live.lost_halts() {
            self.done(op, Err(uncertain("the run has ended")));
        }
        info!(%vm, epoch = %live.run.epoch, name = %live.name, how = ?ended.how, detail = ended.detail, "ended");
        self.zombies.extend(live.child.map(|pid| pid.as_raw_nonzero().get()));
        let run = live.run;
        self.keep(run, live.dir);
        if let Some(op) = live.start {
            self.done(op, Err(failed_start(ended)));
            if ended.unasked().is_some() {
                self.forget_exit(run);
            }
        } else if live.stops.is_empty()
            && let Some(exit) = ended.unasked()
        {
            self.exited(run, exit, &ended.detail);
        }
        if !live.stops.is_empty() {
            self.forget_exit(run);
        }
        for op in live.stops {
            self.done(op, Ok(Done::Stopped));
        }
    }

    /// Keeps an ended run's folder, and not too many of them.
    fn keep(&mut self, run: Run, dir: RunDir) {
        if let Some((_, older)) = self.ended.insert(run.vm, (run, dir)) {
            let _ = older.remove();
        }
        if self.ended.len() > ENDED_MAX
            && let Some(oldest) =
                self.ended.iter().min_by_key(|(_, (_, dir))| dir.ended_at()).map(|(vm, _)| *vm)
            && let Some((_, dir)) = self.ended.remove(&oldest)
        {
            let _ = dir.remove();
        }
    }

    // ---- adoption

    /// Takes over what earlier daemons have left.
    fn adopt(&mut self) -> io::Result<()> {
        let now = boot_time();
        for dir in self.state.attempts()? {
            let record = match dir.record() {
                Ok(record) => record,
                Err(error) => {
                    // Torn by a crash before anything was spawned, or by a power loss. If it is anything else and its VM
                    // runs, the lock keeps a second one off and its deadline ends it.
                    warn!(dir = %dir.path().display(), %error, "a run without a readable record");
                    let lock = dir.run().map(|run| self.state.try_lock(run));
                    if !matches!(lock, Some(Ok(None) | Err(_))) {
                        let _ = dir.remove();
                    }
                    continue;
                }
            };
            let run = Run::from(record.run);
            if let Some(ended) = self.end_of(&dir, &record) {
                self.keep(run, dir);
                if let Some(exit) = ended.unasked() {
                    self.exited(run, exit, &ended.detail);
                }
            } else {
                info!(vm = %run.vm, epoch = %run.epoch, name = %record.name, "adopting");
                self.live.insert(run.vm, Live::found(dir, record, now));
            }
        }
        Ok(())
    }

    /// How a found run has ended; none while its lock is held.
    fn end_of(&self, dir: &RunDir, record: &Record) -> Option<Ended> {
        if let Some(ended) = dir.end() {
            return Some(ended);
        }
        let run = Run::from(record.run);
        let lock = self.state.try_lock(run).ok()??;
        // What still has to be done takes its time: it is found alive, and done when nobody answers.
        let unclean = !record.plan.after.is_empty() && record.boot == self.boot;
        if dir.end().is_none() && (unclean || lives_in_cgroup(dir)) {
            return None;
        }
        let ended = dir.end().unwrap_or_else(|| {
            let rebooted = record.boot != self.boot;
            if !rebooted {
                sweep(&record.token, &self.state.lock_path(run), dir.cgroup().as_deref());
            }
            let why = if rebooted { "the host was restarted" } else { "its supervisor was killed" };
            let ended = Ended::new(How::Crashed, why);
            if let Err(error) = dir.write_end(&ended) {
                warn!(vm = %run.vm, %error, "the end of a run cannot be written down");
            }
            ended
        });
        dir.remove_sockets();
        remove_cgroup(dir);
        let _ = fs::remove_file(self.state.lock_path(run));
        let _ = lock.unlock();
        Some(ended)
    }
}

/// A supervisor as this process's child, with the line to it.
fn supervise(
    program: &Path,
    dir: &RunDir,
    token: &str,
    lock: File,
    more: Option<&str>,
) -> io::Result<(OwnedFd, Option<Pid>)> {
    let (line, theirs) = new_line()?;
    let said = OpenOptions::new().append(true).create(true).mode(0o600).open(dir.supervisor_output())?;
    let child = Command::new(program)
        .arg0("blixard")
        .args([SUBCOMMAND, "--dir"])
        .arg(dir.path())
        .args(more)
        .env_clear()
        .env(super::run_dir::TOKEN_VAR, token)
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::from(lock))
        .stderr(said)
        .spawn()?;
    Ok((line, i32::try_from(child.id()).ok().and_then(Pid::from_raw)))
}

fn new_line() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Whether something is left that has dropped the lock.
fn lives_in_cgroup(dir: &RunDir) -> bool {
    dir.cgroup().is_some_and(|cgroup| !cgroup::is_empty(&cgroup))
}

/// What a supervisor that was killed could not do itself.
fn remove_cgroup(dir: &RunDir) {
    if let Some(cgroup) = dir.cgroup() {
        cgroup::remove(&cgroup);
    }
}

fn failed_start(ended: &Ended) -> HypervisorError {
    match ended.how {
        How::DeadlinePassed => HypervisorError::DeadlinePassed,
        How::Stopped => HypervisorError::Start { reason: "it was stopped before it had come alive".into() },
        _ => HypervisorError::Start { reason: ended.detail.clone() },
    }
}

fn uncertain(reason: impl Into<String>) -> HypervisorError {
    HypervisorError::Uncertain { reason: reason.into() }
}

/// The answer for a supervisor that does not know an order.
fn unsupported(order: Order) -> HypervisorError {
    let what = if order == Order::Pause { "pause a VM" } else { "resume a VM" };
    HypervisorError::Unsupported { what: format!("{what}: its supervisor does not answer to that") }
}

fn new_token() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
