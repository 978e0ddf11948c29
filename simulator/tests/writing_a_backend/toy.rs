//! A hypervisor whose VMs are entries of a table: the smallest one that keeps every promise.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use blixard_node::hypervisor::{
    Done, Exit, HypervisorError, HypervisorRequest, Run, RunState, RunView, VmEvent,
};
use blixard_node::ids::{Epoch, OpId, VmId};
use blixard_node::input::Input;
use blixard_node::spec::VmSpec;
use blixard_node::time::{Duration, Time};
use blixard_runtime::Hypervisor;

/// A VM that is alive.
#[derive(Debug)]
struct Vm {
    epoch: Epoch,
    /// When it is killed unless extended.
    deadline: Time,
    /// When it ends by itself, and how.
    ends: Option<(Time, Exit)>,
    hears: bool,
    /// When a stop becomes a kill, and which operations wait for that.
    stopping: Option<(Time, Vec<OpId>)>,
}

/// What lives below the agent: it goes on when the agent dies.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) now: Time,
    vms: BTreeMap<VmId, Vm>,
    /// Ends that no agent has been told of.
    exits: Vec<(Run, Exit)>,
    /// Answers for the agent there is. They die with it.
    answers: Vec<(OpId, Result<Done, HypervisorError>)>,
}

/// The backend: what the agent holds of the host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Toy(pub(crate) Rc<RefCell<Host>>);

impl Hypervisor for Toy {
    fn submit(&mut self, op: OpId, request: HypervisorRequest) {
        let host = &mut *self.0.borrow_mut();
        if let Some(answer) = host.carry_out(op, request) {
            host.answers.push((op, answer));
        }
    }
}

impl Host {
    /// The answer, unless it comes later or not at all.
    fn carry_out(&mut self, op: OpId, request: HypervisorRequest) -> Option<Result<Done, HypervisorError>> {
        use HypervisorRequest as R;
        Some(match request {
            R::Prepare { spec, .. } => offered(&spec).map(|()| Done::Prepared { artifact: None }),
            R::Start { run, spec, deadline, .. } => self.start(run, &spec, deadline),
            R::Stop { run, grace } => return self.stop(run, grace, op),
            R::Kill { run } => {
                self.end(run);
                Ok(Done::Stopped)
            }
            R::Pause { .. } => Err(HypervisorError::Unsupported { what: "pause a VM".into() }),
            R::Resume { .. } => Err(HypervisorError::Unsupported { what: "resume a VM".into() }),
            R::Purge { run, .. } => self.refuse_living(run).map(|()| Done::Purged),
            R::Extend { runs, deadline } => {
                for run in runs {
                    if let Some(vm) = self.vms.get_mut(&run.vm).filter(|vm| vm.epoch == run.epoch) {
                        vm.deadline = vm.deadline.max(deadline);
                    }
                }
                return None;
            }
            R::List => Ok(Done::Listed(self.vms.iter().map(view).collect())),
        })
    }

    fn start(&mut self, run: Run, spec: &VmSpec, deadline: Time) -> Result<Done, HypervisorError> {
        offered(spec)?;
        self.refuse_living(run)?;
        if deadline <= self.now {
            return Err(HypervisorError::DeadlinePassed);
        }
        let soon = self.now + Duration::from_millis(300);
        let ends = match spec.payload.as_str() {
            "broken" => return Err(HypervisorError::Start { reason: "it is broken".into() }),
            "powers-off" => Some((soon, Exit::PoweredOff)),
            "crashes" => Some((soon, Exit::Crashed)),
            _ => None,
        };
        let hears = spec.payload != "deaf";
        self.vms.insert(run.vm, Vm { epoch: run.epoch, deadline, ends, hears, stopping: None });
        Ok(Done::Started)
    }

    fn stop(&mut self, run: Run, grace: Duration, op: OpId) -> Option<Result<Done, HypervisorError>> {
        match self.vms.get_mut(&run.vm).filter(|vm| vm.epoch == run.epoch) {
            Some(vm) if !vm.hears => {
                let (_, waiting) = vm.stopping.get_or_insert((self.now + grace, Vec::new()));
                waiting.push(op);
                return None;
            }
            _ => self.end(run),
        }
        Some(Ok(Done::Stopped))
    }

    /// The run is dead, if it was not.
    fn end(&mut self, run: Run) {
        if self.is_alive(run)
            && let Some(Vm { stopping: Some((_, waiting)), .. }) = self.vms.remove(&run.vm)
        {
            self.answers.extend(waiting.into_iter().map(|op| (op, Ok(Done::Stopped))));
        }
    }

    fn refuse_living(&self, run: Run) -> Result<(), HypervisorError> {
        let living = self.vms.get(&run.vm).map(|vm| vm.epoch);
        living.map_or(Ok(()), |epoch| Err(HypervisorError::AlreadyRunning { epoch }))
    }

    pub(crate) fn is_alive(&self, run: Run) -> bool {
        self.vms.get(&run.vm).is_some_and(|vm| vm.epoch == run.epoch)
    }

    pub(crate) fn alive(&self) -> Vec<String> {
        self.vms.iter().map(|vm| format!("{:?}", view(vm))).collect()
    }

    /// Lets time pass until something is due, `until` at the latest. A VM at its deadline dies, whoever does not ask for it.
    pub(crate) fn pass(&mut self, until: Time) {
        let due = |(id, vm): (&VmId, &Vm)| {
            let run = Run { vm: *id, epoch: vm.epoch };
            let stop = vm.stopping.as_ref().map(|(at, _)| (*at, run, None));
            let own = vm.ends.map(|(at, exit)| (at, run, Some(exit)));
            let deadline = (vm.deadline, run, Some(Exit::DeadlinePassed));
            [stop, own, Some(deadline)].into_iter().flatten().min_by_key(|(at, ..)| *at)
        };
        match self.vms.iter().filter_map(due).min_by_key(|(at, ..)| *at).filter(|(at, ..)| *at <= until) {
            Some((at, run, exit)) => {
                self.now = self.now.max(at);
                self.end(run);
                self.exits.extend(exit.map(|exit| (run, exit)));
            }
            None => self.now = until,
        }
    }

    /// What the agent has not heard yet.
    pub(crate) fn news(&mut self) -> Vec<Input> {
        let done = |(op, result)| Input::HypervisorDone { op, result };
        let exited = |(run, exit)| {
            let event = VmEvent::Exited { exit, reason: format!("the toy's end: {exit:?}") };
            Input::HypervisorEvent { run, event }
        };
        self.answers.drain(..).map(done).chain(self.exits.drain(..).map(exited)).collect()
    }

    /// The agent dies: nobody waits any more. Its VMs live on.
    pub(crate) fn forget_the_agent(&mut self) {
        self.answers.clear();
        for vm in self.vms.values_mut() {
            if let Some((_, waiting)) = &mut vm.stopping {
                waiting.clear();
            }
        }
    }
}

fn offered(spec: &VmSpec) -> Result<(), HypervisorError> {
    if spec.hypervisor == "toy" {
        Ok(())
    } else {
        Err(HypervisorError::NoBackend { name: spec.hypervisor.clone() })
    }
}

fn view((id, vm): (&VmId, &Vm)) -> RunView {
    let state = if vm.stopping.is_some() { RunState::Stopping } else { RunState::Running };
    RunView { run: Run { vm: *id, epoch: vm.epoch }, state }
}
