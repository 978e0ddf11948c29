//! VMs that are entries in a table. As with real ones they belong to their host: they outlive the daemon, and die at
//! their deadline whether one runs or not. Faults of hypervisors are for the simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blixard::hypervisor::Sink;
use blixard_node::hypervisor::{
    Done, Exit, HypervisorError, HypervisorRequest, Run, RunState, RunView, VmEvent,
};
use blixard_node::ids::{OpId, VmId};
use blixard_node::input::Input;
use blixard_node::time::Time;
use blixard_runtime::{Clock, Hypervisor};

/// How long every operation takes.
const LATENCY: Duration = Duration::from_millis(20);

/// The VMs of one host, with the truth about when they ran.
#[derive(Clone, Debug, Default)]
pub struct Host(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    alive: BTreeMap<VmId, Alive>,
    past: Vec<Stretch>,
    /// Dead of their deadline, and no daemon knows yet.
    untold: BTreeSet<Run>,
}

#[derive(Clone, Copy, Debug)]
struct Alive {
    run: Run,
    since: Time,
    deadline: Time,
}

/// A time in which a VM ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    vm: VmId,
    from: Time,
    to: Time,
}

impl Table {
    /// Ends what is past its deadline: at the deadline, not now.
    fn expire(&mut self, now: Time) {
        let over: Vec<_> = self.alive.values().filter(|alive| alive.deadline <= now).copied().collect();
        for alive in over {
            self.end(alive.run, alive.deadline);
            self.untold.insert(alive.run);
        }
    }

    fn end(&mut self, run: Run, at: Time) {
        if let Some(alive) = self.alive.get(&run.vm).filter(|alive| alive.run == run).copied() {
            self.alive.remove(&run.vm);
            self.past.push(Stretch { vm: run.vm, from: alive.since, to: at });
        }
    }

    fn is_alive(&self, run: Run) -> bool {
        self.alive.get(&run.vm).is_some_and(|alive| alive.run == run)
    }
}

impl Host {
    fn with<T>(&self, now: Time, act: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.expire(now);
        act(&mut table)
    }

    /// How many VMs are alive.
    #[must_use]
    pub fn alive(&self, now: Time) -> usize {
        self.with(now, |table| table.alive.len())
    }

    fn stretches(&self, now: Time) -> Vec<Stretch> {
        self.with(now, |table| {
            let alive = table.alive.values();
            let open = alive.map(|alive| Stretch { vm: alive.run.vm, from: alive.since, to: now });
            table.past.iter().copied().chain(open).collect()
        })
    }
}

/// The VMs that ever ran on two of the hosts at one time. All hosts' clocks must be the same one.
#[must_use]
pub fn run_twice(hosts: &[&Host], now: Time) -> Vec<VmId> {
    let mut stretches: Vec<_> = hosts.iter().flat_map(|host| host.stretches(now)).collect();
    stretches.sort();
    let twice = stretches.windows(2).filter(|pair| pair[0].vm == pair[1].vm && pair[1].from < pair[0].to);
    twice.map(|pair| pair[0].vm).collect()
}

/// One daemon's hold on its host's VMs.
pub struct Guests<C> {
    host: Host,
    clock: C,
    sink: Sink,
}

impl<C> std::fmt::Debug for Guests<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guests").field("host", &self.host).finish_non_exhaustive()
    }
}

impl<C: Clock + Clone + Send + 'static> Guests<C> {
    /// Takes over what runs on `host`, and tells of what died when no daemon was there.
    #[must_use]
    pub fn open(host: Host, clock: C, sink: Sink) -> Self {
        let guests = Self { host, clock, sink };
        let (alive, untold) = guests.host.with(guests.now(), |table| {
            let alive: Vec<_> = table.alive.values().map(|alive| alive.run).collect();
            (alive, table.untold.clone())
        });
        for run in alive.into_iter().chain(untold) {
            guests.watch(run);
        }
        guests
    }

    fn now(&self) -> Time {
        self.clock.now().boot
    }

    /// Tells when `run` dies of its deadline, as long as this daemon lives.
    fn watch(&self, run: Run) {
        let (host, clock, sink) = (self.host.clone(), self.clock.clone(), Arc::clone(&self.sink));
        tokio::spawn(async move {
            loop {
                let now = clock.now().boot;
                let (died, left) = host.with(now, |table| {
                    let alive = table.alive.get(&run.vm).filter(|alive| alive.run == run);
                    (table.untold.remove(&run), alive.map(|alive| alive.deadline.since(now)))
                });
                if died {
                    let event = VmEvent::Exited { exit: Exit::DeadlinePassed, reason: String::new() };
                    sink(Input::HypervisorEvent { run, event });
                }
                let Some(left) = left else { return };
                tokio::time::sleep(Duration::from_nanos(left.as_nanos())).await;
            }
        });
    }

    /// Answers after the latency, with what is then true of a start.
    fn answer(&self, op: OpId, result: Result<Done, HypervisorError>, started: Option<Run>) {
        let (host, clock, sink) = (self.host.clone(), self.clock.clone(), Arc::clone(&self.sink));
        tokio::spawn(async move {
            tokio::time::sleep(LATENCY).await;
            let gone = started.is_some_and(|run| !host.with(clock.now().boot, |table| table.is_alive(run)));
            let stopped = || HypervisorError::Start { reason: "stopped while it started".into() };
            sink(Input::HypervisorDone { op, result: if gone { Err(stopped()) } else { result } });
        });
    }

    fn start(&self, run: Run, deadline: Time) -> Result<Done, HypervisorError> {
        let now = self.now();
        if deadline <= now {
            return Err(HypervisorError::DeadlinePassed);
        }
        self.host.with(now, |table| match table.alive.get(&run.vm) {
            Some(alive) => Err(HypervisorError::AlreadyRunning { epoch: alive.run.epoch }),
            None => {
                table.alive.insert(run.vm, Alive { run, since: now, deadline });
                Ok(Done::Started)
            }
        })
    }
}

impl<C: Clock + Clone + Send + 'static> Hypervisor for Guests<C> {
    fn submit(&mut self, op: OpId, request: HypervisorRequest) {
        let now = self.now();
        match request {
            HypervisorRequest::Prepare { .. } => self.answer(op, Ok(Done::Prepared { artifact: None }), None),
            HypervisorRequest::Start { run, deadline, .. } => {
                let started = self.start(run, deadline);
                let alive = started.is_ok().then_some(run);
                if alive.is_some() {
                    self.watch(run);
                }
                self.answer(op, started, alive);
            }
            HypervisorRequest::Stop { run, .. } | HypervisorRequest::Kill { run } => {
                self.host.with(now, |table| table.end(run, now));
                self.answer(op, Ok(Done::Stopped), None);
            }
            HypervisorRequest::Pause { .. } => self.answer(op, Ok(Done::Paused), None),
            HypervisorRequest::Resume { .. } => self.answer(op, Ok(Done::Resumed), None),
            HypervisorRequest::Purge { .. } => self.answer(op, Ok(Done::Purged), None),
            HypervisorRequest::Extend { runs, deadline } => self.host.with(now, |table| {
                for run in runs {
                    if let Some(alive) = table.alive.get_mut(&run.vm).filter(|alive| alive.run == run) {
                        alive.deadline = alive.deadline.max(deadline);
                    }
                }
            }),
            HypervisorRequest::List => {
                let view = |alive: &Alive| RunView { run: alive.run, state: RunState::Running };
                let runs = self.host.with(now, |table| table.alive.values().map(view).collect());
                self.answer(op, Ok(Done::Listed(runs)), None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use blixard_node::ids::Epoch;

    use super::*;

    fn ran(host: &Host, vm: u64, from: u64, deadline: u64, to: u64) {
        let run = Run { vm: VmId(vm), epoch: Epoch(from) };
        host.with(Time(from), |table| {
            table.alive.insert(run.vm, Alive { run, since: Time(from), deadline: Time(deadline) })
        });
        host.with(Time(to), |table| table.end(run, Time(to)));
    }

    #[test]
    fn a_vm_on_two_hosts_is_noticed_and_a_moved_one_is_not() {
        let (one, two) = (Host::default(), Host::default());
        ran(&one, 1, 10, 99, 20);
        ran(&two, 1, 20, 99, 30);
        // Dead at its deadline, whoever looks when.
        ran(&one, 2, 10, 15, 40);
        ran(&two, 2, 15, 99, 30);
        assert_eq!(run_twice(&[&one, &two], Time(50)), []);
        ran(&two, 3, 10, 99, 20);
        ran(&one, 3, 19, 99, 30);
        assert_eq!(run_twice(&[&one, &two], Time(50)), [VmId(3)]);
    }
}
