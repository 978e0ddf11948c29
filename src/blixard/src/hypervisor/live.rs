//! One run that may be alive, as its host sees it: the line to its supervisor, and what waits for it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use blixard_node::hypervisor::{Run, RunState, RunView};
use blixard_node::ids::OpId;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::Pid;

use super::run_dir::{Record, RunDir};
use super::wire::{Heard, Notice, Order, Standing, Who, hear, say};
use crate::supervise::stat;

/// Nanoseconds of one millisecond.
pub(super) const MS: u64 = 1_000_000;

/// How long after its deadline a supervisor has for its work before its daemon does it. Below the `kill_grace` that
/// leaders wait.
const OVERDUE: u64 = 1_000 * MS;

/// How long after its deadline a VM may live at all: the `kill_grace` that leaders wait.
const KILL_GRACE: u64 = 2_000 * MS;

/// How long each command that comes after a VM may take.
const AFTER: u64 = 5_000 * MS;

/// How long an adopted supervisor has to answer before its record's deadline is held against it.
const ANSWER: u64 = 5_000 * MS;

/// How long a supervisor has to answer a pause or a resume.
const HALT: u64 = 3_000 * MS;

/// How long a supervisor that holds its lock may be without a socket.
const SILENT: u64 = 2_000 * MS;

/// A run that may be alive.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) run: Run,
    pub(super) name: String,
    pub(super) dir: RunDir,
    pub(super) token: String,
    pub(super) standing: Standing,
    /// The supervisor, if it is this process's own child and has to be waited for.
    pub(super) child: Option<Pid>,
    /// The process at the other end of the line. Nothing is ever sent to that id: it may be another process's by now.
    peer: Option<Pid>,
    /// The start to complete when it has come alive.
    pub(super) start: Option<OpId>,
    /// The stops and kills to complete when it is dead.
    pub(super) stops: Vec<OpId>,
    /// The pauses and resumes that are not answered yet.
    halts: Vec<Halt>,
    paused: bool,
    /// Its supervisor has said who it is, or was spawned by this process.
    pub(super) known: bool,
    /// Its supervisor is gone without a word.
    pub(super) orphaned: bool,
    /// How many commands come after it; none once they have been seen to.
    after: u64,
    line: Option<OwnedFd>,
    outbox: VecDeque<Order>,
    /// When its processes are killed from here, whatever the supervisor does, because its deadline has passed.
    doom: u64,
    /// When it is to be dead, as far as is known here.
    deadline: u64,
    /// The same, because a stop's grace is over: no extension moves that.
    stop_doom: u64,
    since: u64,
}

/// A pause or a resume under way.
#[derive(Debug)]
struct Halt {
    op: OpId,
    order: Order,
    /// When it is given up.
    until: u64,
}

impl Live {
    /// A run whose supervisor has just been spawned.
    pub(super) fn spawned(dir: RunDir, record: Record, line: OwnedFd, pid: Option<Pid>, op: OpId) -> Self {
        let mut live = Self::new(dir, record, 0);
        live.line = Some(line);
        live.child = pid;
        live.peer = pid;
        live.start = Some(op);
        live.known = true;
        live
    }

    /// A run found with its lock held.
    pub(super) fn found(dir: RunDir, record: Record, now: u64) -> Self {
        let mut live = Self::new(dir, record, now);
        live.doom = live.doom.max(now + ANSWER);
        live.deadline = live.deadline.max(now + ANSWER);
        live
    }

    fn new(dir: RunDir, record: Record, since: u64) -> Self {
        Self {
            run: record.run.into(),
            name: record.name,
            dir,
            token: record.token,
            standing: Standing::Starting,
            child: None,
            peer: None,
            start: None,
            stops: Vec::new(),
            halts: Vec::new(),
            paused: false,
            known: false,
            orphaned: false,
            after: record.plan.after.len() as u64,
            line: None,
            outbox: VecDeque::new(),
            doom: record.deadline.saturating_add(OVERDUE),
            deadline: record.deadline,
            stop_doom: u64::MAX,
            since,
        }
    }

    /// For [`blixard_node::hypervisor::Done::Listed`].
    pub(super) fn view(&self) -> RunView {
        let state = match self.standing {
            Standing::Starting => RunState::Starting,
            Standing::Running if self.paused => RunState::Paused,
            Standing::Running => RunState::Running,
            Standing::Stopping => RunState::Stopping,
        };
        RunView { run: self.run, state }
    }

    /// The socket, for waiting.
    pub(super) fn line(&self) -> Option<&OwnedFd> {
        self.line.as_ref()
    }

    /// Whether something has to be tried again soon.
    pub(super) fn is_restless(&self) -> bool {
        self.orphaned || self.line.is_none() || !self.outbox.is_empty() || !self.halts.is_empty()
    }

    /// When its processes are killed from here.
    pub(super) fn doom(&self) -> u64 {
        self.doom.min(self.stop_doom)
    }

    /// The VM is dead, and its supervisor cleans up until then.
    pub(super) fn leave_until(&mut self, until: u64) {
        self.standing = Standing::Stopping;
        self.doom = until.saturating_add(OVERDUE);
        self.deadline = self.deadline.max(until);
    }

    /// Its supervisor is gone, and what comes after it is still to be done.
    pub(super) fn is_unclean(&self) -> bool {
        self.after > 0
    }

    /// Another does that now, or it cannot be done.
    pub(super) fn cleaned_by(&mut self, cleaner: Option<(OwnedFd, Option<Pid>)>, now: u64) {
        let span = std::mem::take(&mut self.after) * AFTER;
        if let Some((line, child)) = cleaner {
            self.line = Some(line);
            self.child = child;
            self.peer = child;
            self.orphaned = false;
            self.leave_until(now.saturating_add(span));
        }
    }

    /// Whether it has outlived its deadline, and whoever was to kill it had the time for that.
    pub(super) fn is_overdue(&self, now: u64) -> bool {
        now >= self.deadline.saturating_add(KILL_GRACE)
    }

    /// Puts the killing off, for another look.
    pub(super) fn doom_again_at(&mut self, at: u64) {
        self.doom = self.doom.max(at);
        self.stop_doom = self.stop_doom.max(at);
    }

    /// Sends an order, now or as soon as the supervisor listens.
    pub(super) fn order(&mut self, order: Order, now: u64) {
        match order {
            Order::Stop { grace } => {
                self.standing = Standing::Stopping;
                self.stop_doom = self.stop_doom.min(now.saturating_add(grace).saturating_add(OVERDUE));
            }
            Order::Kill => {
                self.standing = Standing::Stopping;
                self.stop_doom = self.stop_doom.min(now.saturating_add(OVERDUE));
            }
            Order::Extend { .. } => self.outbox.retain(|waiting| !matches!(waiting, Order::Extend { .. })),
            Order::Status | Order::Pause | Order::Resume => {}
        }
        if !self.outbox.contains(&order) {
            self.outbox.push_back(order);
        }
        self.flush();
    }

    /// Sends a pause or a resume, and remembers who waits for its answer.
    pub(super) fn halt(&mut self, op: OpId, order: Order, now: u64) {
        self.halts.push(Halt { op, order, until: now + HALT });
        self.order(order, now);
    }

    /// An order was answered: who has waited for that.
    pub(super) fn halted(&mut self, order: Order, done: bool) -> Vec<OpId> {
        if done {
            self.paused = order == Order::Pause;
        }
        self.take_halts(|halt| halt.order == order).into_iter().map(|halt| halt.op).collect()
    }

    /// Those whose answers are overdue: the supervisor is older than the order, or hangs.
    pub(super) fn overdue_halts(&mut self, now: u64) -> Vec<(OpId, Order)> {
        self.take_halts(|halt| now >= halt.until).into_iter().map(|halt| (halt.op, halt.order)).collect()
    }

    /// All that wait: nothing of the run is left to be halted.
    pub(super) fn lost_halts(&mut self) -> Vec<(OpId, Order)> {
        self.overdue_halts(u64::MAX)
    }

    fn take_halts(&mut self, is_meant: impl Fn(&Halt) -> bool) -> Vec<Halt> {
        let (taken, kept) = std::mem::take(&mut self.halts).into_iter().partition(is_meant);
        self.halts = kept;
        taken
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) {
        let Some(line) = &self.line else {
            return;
        };
        while let Some(order) = self.outbox.front() {
            if say(line, order).is_err() {
                return;
            }
            // What an extension promises counts only once it is on its way.
            if let Order::Extend { deadline } = order {
                self.doom = self.doom.max(deadline.saturating_add(OVERDUE));
            }
            self.outbox.pop_front();
        }
    }

    /// Tries to reach the supervisor of a found run. True when it is past hope.
    pub(super) fn call(&mut self, now: u64) -> bool {
        match self.connect() {
            Ok(line) => {
                self.peer = socket_peercred(&line).ok().map(|peer| peer.pid);
                self.line = Some(line);
                self.outbox.push_front(Order::Status);
                self.flush();
                false
            }
            Err(_) => now >= self.since + SILENT,
        }
    }

    /// Through the folder's descriptor, because a socket's path has 108 bytes at most.
    fn connect(&self) -> io::Result<OwnedFd> {
        let folder = File::open(self.dir.path())?;
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/socket", folder.as_raw_fd()))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let line = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        connect(&line, &address)?;
        Ok(line)
    }

    /// Takes the next notice. A closed line is dropped.
    pub(super) fn hear(&mut self) -> Heard<Notice> {
        let Some(line) = &self.line else {
            return Heard::Nothing;
        };
        let heard = hear(line);
        if matches!(heard, Heard::Closed) {
            self.line = None;
            self.orphaned = true;
        }
        heard
    }

    /// Takes over what a supervisor says of itself. False when it is not the one of this run.
    pub(super) fn learn(&mut self, told: &Told<'_>) -> bool {
        if told.token != self.token || told.who.is_some_and(|who| !self.is_peer(who)) {
            self.line = None;
            self.orphaned = true;
            return false;
        }
        self.known = true;
        self.paused = told.paused;
        self.deadline = self.deadline.max(told.deadline);
        if self.standing != Standing::Stopping {
            self.standing = told.state;
            self.doom = self.doom.max(told.deadline.saturating_add(OVERDUE));
        }
        true
    }

    /// Whether that is the process at the other end. One in another process namespace is not seen from here: its token has
    /// to do.
    fn is_peer(&self, who: Who) -> bool {
        let seen = self.peer.filter(|peer| peer.as_raw_nonzero().get() == who.pid);
        let born = seen.and_then(stat).map(|(_, born)| born);
        Run::from(who.run) == self.run && born.is_none_or(|born| born == who.born)
    }
}

/// What a supervisor says of itself, as in [`Notice::Is`].
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) token: &'a str,
    pub(super) state: Standing,
    pub(super) deadline: u64,
    pub(super) paused: bool,
    pub(super) who: Option<Who>,
}
