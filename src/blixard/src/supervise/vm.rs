//! The stage in which the VM lives: its controller, the rungs of a stop, and what is killed when.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::getpid;

use super::boot_time;
use super::cgroup::{SETTLED, SPREAD};
use super::child::{Child, Handed, Role};
use super::control::{self, Ask, Controller, News};
use super::tree::{bury, bury_all_but, kill_all};
use super::watch::Watch;
use crate::hypervisor::run_dir::Control;
use crate::hypervisor::wire::{Ended, How, Order, Standing};

/// How long a program may take to end that was told to quit, in nanoseconds. Short: a stop's grace is over by then, and
/// the daemon waits a second beyond it before it kills by itself.
const QUIT_GRACE: u64 = 300_000_000;

/// The VM and what runs beside it.
struct Vm {
    first: Child,
    control: Box<dyn Controller>,
    /// The controller has said so.
    alive: bool,
    /// The controller has said that it ends.
    over: bool,
    beside: Vec<Child>,
    stop: Option<Stop>,
    /// What the controller was asked for and has not answered.
    asked: Vec<Order>,
    /// When it is given a cgroup of its own.
    settled_at: Option<u64>,
}

/// A stop under way: when its present step is over, and which it is.
struct Stop {
    by: u64,
    quitting: bool,
    /// The program that asks the guest to power off.
    shutdown: Option<Child>,
}

impl Watch {
    /// Starts the VM and watches until it has ended. Nothing of it is left then.
    pub(super) fn vm(&mut self) -> Ended {
        let mut vm = match self.start() {
            Ok(vm) => vm,
            Err(error) => {
                kill_all(None);
                return Ended::new(How::NotStarted, error.to_string());
            }
        };
        let killed_for = self.watch(&mut vm);
        let status = kill_all(Some(vm.first.pid));
        let Some(ended) = killed_for else {
            let ended = vm.control.end(status);
            return match self.standing {
                Standing::Stopping => Ended::new(How::Stopped, ended.detail),
                Standing::Running => ended,
                Standing::Starting => Ended::new(How::NotStarted, self.with_last_line(ended.detail)),
            };
        };
        ended
    }

    fn start(&mut self) -> io::Result<Vm> {
        let mut beside = Vec::new();
        for at in 0..self.record.plan.beside.len() {
            beside.push(self.spawner.spawn(Role::Beside(at), &Handed::default(), self.deadline, None)?);
        }
        let (ours, theirs) = control_line(&self.record.plan.control)?;
        let handed = Handed { control: theirs, input: self.input.take() };
        let first = self.spawner.spawn(Role::Main, &handed, self.deadline, None)?;
        let control = control::open(&self.record.plan, first.pid, ours, boot_time());
        Ok(Vm {
            first,
            control,
            alive: false,
            over: false,
            beside,
            stop: None,
            asked: Vec::new(),
            settled_at: None,
        })
    }

    /// Watches until the VM's first process is dead, or until all is to be killed, for that reason.
    fn watch(&mut self, vm: &mut Vm) -> Option<Ended> {
        loop {
            // First of all, before any order that came too late.
            if boot_time() >= self.deadline {
                return Some(Ended::new(How::DeadlinePassed, "killed at its deadline"));
            }
            let over = self.take_reports(vm).or_else(|| self.take_orders(vm)).or_else(|| self.climb(vm));
            // Last, for what it was just asked may be done already.
            let over = over.or_else(|| self.hear_controller(vm));
            if over.is_some() {
                return over;
            }
            if vm.over {
                return None;
            }
            if vm.settled_at.is_some_and(|at| boot_time() >= at) {
                vm.settled_at = None;
                self.enter_cgroup();
            }
            match self.wait_for(vm) {
                Ok(true) => {
                    // It may have come alive in its last moments.
                    return self.take_reports(vm).or_else(|| self.hear_controller(vm));
                }
                Ok(false) => {}
                Err(error) => {
                    return Some(Ended::new(How::Crashed, format!("the supervisor cannot wait: {error}")));
                }
            }
            self.hear();
            let shutdown = vm.stop.as_ref().and_then(|stop| stop.shutdown.as_ref());
            let kept = [Some(vm.first.pid), shutdown.map(|child| child.pid)];
            bury_all_but(&kept.into_iter().flatten().collect::<Vec<_>>());
        }
    }

    /// Blocks until something happens or is due. Whether the VM's first process is dead.
    fn wait_for(&self, vm: &Vm) -> io::Result<bool> {
        let shutdown = vm.stop.as_ref().and_then(|stop| stop.shutdown.as_ref());
        let times = [vm.stop.as_ref().map(|stop| stop.by), vm.control.due(), vm.settled_at];
        let due = times.into_iter().flatten().fold(self.deadline, u64::min);
        let mut fds = vec![(vm.first.pidfd.as_fd(), PollFlags::IN)];
        fds.extend(shutdown.map(|child| (child.pidfd.as_fd(), PollFlags::IN)));
        let reports = vm.beside.iter().chain([&vm.first]).filter_map(|child| child.report.as_ref());
        fds.extend(reports.map(|report| (report.as_fd(), PollFlags::IN)));
        fds.extend(vm.control.fds());
        Ok(self.wait(&fds, due)?[0])
    }

    /// Whether the programs have taken over. The end, when one could not.
    fn take_reports(&mut self, vm: &mut Vm) -> Option<Ended> {
        for child in vm.beside.iter_mut().chain([&mut vm.first]) {
            if let Some(reason) = child.take_report() {
                let how = match self.standing {
                    _ if boot_time() >= self.deadline => How::DeadlinePassed,
                    Standing::Starting => How::NotStarted,
                    Standing::Running => How::Crashed,
                    Standing::Stopping => How::Stopped,
                };
                return Some(Ended::new(how, reason));
            }
        }
        self.tell_of_life(vm);
        None
    }

    fn tell_of_life(&mut self, vm: &mut Vm) {
        let mut programs = vm.beside.iter().chain([&vm.first]);
        if self.standing == Standing::Starting && vm.alive && programs.all(Child::has_taken_over) {
            self.standing = Standing::Running;
            let spread = u64::from(getpid().as_raw_nonzero().get().unsigned_abs()) * 100_000_000 % SPREAD;
            vm.settled_at = Some(boot_time() + SETTLED + spread);
            self.tell_all();
        }
    }

    /// Takes the controller's turn. The end, when nothing will come of the program any more.
    fn hear_controller(&mut self, vm: &mut Vm) -> Option<Ended> {
        for news in vm.control.turn(boot_time()) {
            match news {
                News::Alive => {
                    vm.alive = true;
                    self.tell_of_life(vm);
                }
                News::Did(ask) => {
                    match ask {
                        Ask::Pause => self.paused = true,
                        Ask::Resume => self.paused = false,
                        Ask::PowerDown | Ask::Quit => {}
                    }
                    self.tell_of(vm, ask, None);
                }
                News::Refused(ask, reason) => self.tell_of(vm, ask, Some(reason)),
                News::Over => vm.over = true,
                News::Wedged(reason) => {
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

    /// Tells the daemons what became of a pause or a resume, if one has asked for it.
    fn tell_of(&self, vm: &mut Vm, ask: Ask, refused: Option<String>) {
        let order = match ask {
            Ask::Pause => Order::Pause,
            Ask::Resume => Order::Resume,
            Ask::PowerDown | Ask::Quit => return,
        };
        if vm.asked.contains(&order) {
            vm.asked.retain(|asked| *asked != order);
            self.answer(order, refused);
        }
    }

    /// Does what daemons want. The end, when that is a kill.
    fn take_orders(&mut self, vm: &mut Vm) -> Option<Ended> {
        for order in std::mem::take(&mut self.orders) {
            match order {
                Order::Kill => return Some(Ended::new(How::Stopped, "killed on request")),
                Order::Stop { grace } => self.begin_stop(vm, grace),
                Order::Pause => self.ask(vm, order, Ask::Pause),
                Order::Resume => self.ask(vm, order, Ask::Resume),
                Order::Status | Order::Extend { .. } => {}
            }
        }
        None
    }

    fn ask(&self, vm: &mut Vm, order: Order, ask: Ask) {
        let cannot = match self.standing {
            Standing::Running => vm.control.ask(ask, boot_time()).err(),
            Standing::Starting => Some("it does not run yet".into()),
            Standing::Stopping => Some("it is being stopped".into()),
        };
        match cannot {
            Some(reason) => self.refuse(order, &reason),
            None => vm.asked.push(order),
        }
    }

    // ---- a stop

    fn begin_stop(&mut self, vm: &mut Vm, grace: u64) {
        let now = boot_time();
        let by = now.saturating_add(grace);
        self.standing = Standing::Stopping;
        match &mut vm.stop {
            // A second stop may shorten the first one's grace, never lengthen it.
            Some(stop) if !stop.quitting => stop.by = stop.by.min(by),
            Some(_) => {}
            None => {
                // A halted guest hears no power button.
                if self.paused {
                    let _ = vm.control.ask(Ask::Resume, now);
                }
                let shutdown = self.spawn_shutdown(vm);
                let asked = shutdown.is_some() || vm.control.ask(Ask::PowerDown, now).is_ok();
                let by = if asked { by } else { now };
                vm.stop = Some(Stop { by, quitting: false, shutdown });
            }
        }
    }

    fn spawn_shutdown(&self, vm: &Vm) -> Option<Child> {
        let wanted = matches!(self.record.plan.control, Control::Command { .. });
        let spawn =
            || self.spawner.spawn(Role::Shutdown, &Handed::default(), self.deadline, Some(vm.first.pid)).ok();
        wanted.then(spawn).flatten()
    }

    /// Takes the next step of a stop when its time has come. The end, when that was the last.
    fn climb(&mut self, vm: &mut Vm) -> Option<Ended> {
        let now = boot_time();
        let Vm { stop, control, .. } = vm;
        let stop = stop.as_mut()?;
        if let Some(shutdown) = &stop.shutdown
            && let Some(status) = bury(shutdown.pid)
        {
            stop.shutdown = None;
            // One that failed has asked nobody.
            if status.exit_status() != Some(0) && control.ask(Ask::PowerDown, now).is_err() {
                stop.by = now;
            }
        }
        if now < stop.by {
            return None;
        }
        if !stop.quitting && control.ask(Ask::Quit, now).is_ok() {
            stop.by = now + QUIT_GRACE;
            stop.quitting = true;
            return None;
        }
        Some(Ended::new(How::Stopped, "killed after the grace of a stop"))
    }
}

/// A pair of sockets for a program that is handed its end of a control line; the supervisor's end first.
fn control_line(control: &Control) -> io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    if !control::wants_line(control) {
        return Ok((None, None));
    }
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    Ok((Some(ours), Some(theirs)))
}
