//! One case at work on one bench.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use blixard_node::hypervisor::{
    Done, Exit, HypervisorError, HypervisorRequest, Run, RunState, RunView, VmEvent,
};
use blixard_node::ids::{Epoch, OpId, VmId};
use blixard_node::input::Input;
use blixard_node::spec::{VmName, VmSpec};
use blixard_node::time::{Duration, Time};

use super::{Bench, Guest, LATE, PATIENCE, QUIET};

pub(super) const RUN: Run = Run { vm: VmId(7), epoch: Epoch(3) };
pub(super) const NEXT: Run = Run { vm: VmId(7), epoch: Epoch(4) };
pub(super) const OTHER: Run = Run { vm: VmId(8), epoch: Epoch(1) };

pub(super) type Answer = Result<Done, HypervisorError>;

/// An end that was told.
#[derive(Debug)]
pub(super) struct Told {
    run: Run,
    exit: Exit,
    pub(super) reason: String,
    pub(super) at: Time,
}

/// See the module.
pub(super) struct Trial<B> {
    pub(super) bench: B,
    pub(super) name: &'static str,
    op: u64,
    done: Vec<(OpId, Answer)>,
    /// Operations whose completions are lost on their way.
    lost: Vec<OpId>,
    exits: Vec<Told>,
    /// What each VM's first preparation has built, and of which spec: another spec is built anew.
    artifacts: BTreeMap<VmId, (Arc<VmSpec>, Option<String>)>,
}

pub(super) fn vm_name(run: Run) -> VmName {
    VmName::new(format!("conform-{}", run.vm.0)).unwrap_or_else(|error| panic!("{error}"))
}

impl<B: Bench> Trial<B> {
    pub(super) fn new(bench: B, name: &'static str) -> Self {
        let (done, lost, exits) = (Vec::new(), Vec::new(), Vec::new());
        Self { bench, name, op: 0, done, lost, exits, artifacts: BTreeMap::new() }
    }

    // Operations and time.

    pub(super) fn submit(&mut self, request: HypervisorRequest) -> OpId {
        self.op += 1;
        self.bench.hypervisor().submit(OpId(self.op), request);
        OpId(self.op)
    }

    /// Submits what is carried out but never answered.
    pub(super) fn submit_unheard(&mut self, request: HypervisorRequest) {
        let op = self.submit(request);
        self.lost.push(op);
    }

    pub(super) fn pass(&mut self, span: Duration) {
        let until = self.bench.now() + span;
        while self.bench.now() < until {
            self.pump(until.since(self.bench.now()));
        }
    }

    fn pump(&mut self, span: Duration) {
        for input in self.bench.pass(span) {
            match input {
                Input::HypervisorDone { op, .. } if self.lost.contains(&op) => {}
                Input::HypervisorDone { op, result } => self.done.push((op, result)),
                Input::HypervisorEvent { run, event: VmEvent::Exited { exit, reason } } => {
                    self.exits.push(Told { run, exit, reason, at: self.bench.now() });
                }
                other => panic!("{}: a hypervisor says {other:?}", self.name),
            }
        }
    }

    pub(super) fn wait(&mut self, op: OpId) -> Answer {
        let until = self.bench.now() + PATIENCE;
        loop {
            if let Some(at) = self.done.iter().position(|(done, _)| *done == op) {
                return self.done.remove(at).1;
            }
            assert!(self.bench.now() < until, "{}: {op} was not completed", self.name);
            self.pump(until.since(self.bench.now()));
        }
    }

    pub(super) fn call(&mut self, request: HypervisorRequest) -> Answer {
        let op = self.submit(request);
        self.wait(op)
    }

    // Guests.

    pub(super) fn spec(&self, guest: Guest) -> Option<Arc<VmSpec>> {
        self.bench.spec(guest).map(Arc::new)
    }

    pub(super) fn obedient(&self) -> Arc<VmSpec> {
        let Some(spec) = self.spec(Guest::Obedient) else {
            panic!("{}: every hypervisor can have an obedient guest", self.name);
        };
        spec
    }

    /// What a VM's first preparation has built.
    pub(super) fn artifact(&self, run: Run) -> Option<String> {
        self.artifacts.get(&run.vm).and_then(|(_, artifact)| artifact.clone())
    }

    /// What is agreed that its hosts run, when it is made of `spec`.
    fn agreed(&self, run: Run, spec: &Arc<VmSpec>) -> Option<String> {
        self.artifacts.get(&run.vm).filter(|(of, _)| of == spec).and_then(|(_, artifact)| artifact.clone())
    }

    pub(super) fn prepare_request(&self, run: Run, spec: Arc<VmSpec>) -> HypervisorRequest {
        let artifact = self.agreed(run, &spec);
        HypervisorRequest::Prepare { run, name: vm_name(run), spec, artifact }
    }

    /// Prepares a VM as its host's agent does: what the first preparation built is asked for from then on.
    pub(super) fn prepare(&mut self, run: Run, spec: Arc<VmSpec>) -> Answer {
        let request = self.prepare_request(run, Arc::clone(&spec));
        let answer = self.call(request);
        match &answer {
            Ok(Done::Prepared { artifact }) => {
                let first =
                    self.artifacts.entry(run.vm).or_insert_with(|| (Arc::clone(&spec), artifact.clone()));
                if first.0 != spec {
                    *first = (spec, artifact.clone());
                }
                assert_eq!(first.1, *artifact, "{}: another preparation, another artifact", self.name);
            }
            Ok(other) => panic!("{}: a preparation completed as {other:?}", self.name),
            Err(_) => {}
        }
        answer
    }

    pub(super) fn start_request(&self, run: Run, spec: Arc<VmSpec>, lease: Duration) -> HypervisorRequest {
        let (name, artifact) = (vm_name(run), self.agreed(run, &spec));
        HypervisorRequest::Start { run, name, spec, artifact, deadline: self.bench.now() + lease }
    }

    pub(super) fn start(&mut self, run: Run, spec: Arc<VmSpec>, lease: Duration) -> Answer {
        self.prepare(run, Arc::clone(&spec))?;
        let request = self.start_request(run, spec, lease);
        self.call(request)
    }

    /// Prepares an obedient guest without starting it.
    pub(super) fn ready(&mut self, run: Run) -> Arc<VmSpec> {
        let spec = self.obedient();
        let prepared = self.prepare(run, Arc::clone(&spec));
        assert!(prepared.is_ok(), "{}: {prepared:?}", self.name);
        spec
    }

    /// Starts an obedient guest.
    pub(super) fn run(&mut self, run: Run, lease: Duration) {
        let spec = self.obedient();
        let started = self.start(run, spec, lease);
        self.expect(&started, &Ok(Done::Started));
        self.expect_alive(run, true);
    }

    /// Stops an obedient guest, which does not need to be killed.
    pub(super) fn stop_in_order(&mut self, run: Run) {
        let asked = self.bench.now();
        let stopped = self.call(HypervisorRequest::Stop { run, grace: PATIENCE });
        self.expect(&stopped, &Ok(Done::Stopped));
        let took = self.bench.now().since(asked);
        assert!(took < PATIENCE, "{}: {run:?} had to be killed", self.name);
        self.expect_alive(run, false);
    }

    // What must hold.

    pub(super) fn expect<T: Debug + PartialEq>(&self, found: &T, expected: &T) {
        assert_eq!(found, expected, "{}", self.name);
    }

    pub(super) fn list(&mut self) -> Vec<RunView> {
        match self.call(HypervisorRequest::List) {
            Ok(Done::Listed(runs)) => runs,
            other => panic!("{}: a list completed as {other:?}", self.name),
        }
    }

    pub(super) fn expect_state(&mut self, run: Run, state: RunState) {
        let listed = self.list();
        assert_eq!(listed, [RunView { run, state }], "{}", self.name);
    }

    pub(super) fn expect_listed(&mut self, run: Run) {
        self.expect_state(run, RunState::Running);
    }

    pub(super) fn expect_nothing_listed(&mut self) {
        assert_eq!(self.list(), [], "{}", self.name);
    }

    /// Lists until the list is `expected`.
    pub(super) fn list_until(&mut self, expected: &[RunView]) {
        let until = self.bench.now() + PATIENCE;
        loop {
            let listed = self.list();
            if listed == expected {
                return;
            }
            assert!(self.bench.now() < until, "{}: {listed:?} is listed, not {expected:?}", self.name);
            self.pass(Duration::from_millis(50));
        }
    }

    pub(super) fn expect_alive(&mut self, run: Run, alive: bool) {
        assert_eq!(self.bench.is_alive(run), alive, "{}: is {run:?} alive?", self.name);
    }

    /// Waits for an exit.
    pub(super) fn expect_exit(&mut self, run: Run, exit: Exit) -> Told {
        let until = self.bench.now() + PATIENCE;
        while self.exits.is_empty() {
            assert!(self.bench.now() < until, "{}: {exit:?} of {run:?} was not told", self.name);
            self.pump(until.since(self.bench.now()));
        }
        let told = self.exits.remove(0);
        assert_eq!((told.run, told.exit), (run, exit), "{}: {}", self.name, told.reason);
        assert!(!told.reason.is_empty(), "{}: {exit:?} of {run:?} has no reason", self.name);
        self.expect_alive(run, false);
        told
    }

    pub(super) fn expect_no_exit(&mut self) {
        self.pass(QUIET);
        assert!(self.exits.is_empty(), "{}: told unasked: {:?}", self.name, self.exits);
    }

    pub(super) fn expect_dead_at(&mut self, run: Run, deadline: Time) {
        let at = self.expect_exit(run, Exit::DeadlinePassed).at;
        assert!(at >= deadline, "{}: killed {} too early", self.name, deadline.since(at));
        assert!(at <= deadline + LATE, "{}: killed {} too late", self.name, at.since(deadline));
    }

    /// Ends what still runs. Then the host is as if nothing had ever run there.
    pub(super) fn leave_nothing(&mut self) {
        for view in self.list() {
            let killed = self.call(HypervisorRequest::Kill { run: view.run });
            self.expect(&killed, &Ok(Done::Stopped));
        }
        let until = self.bench.now() + PATIENCE;
        loop {
            let left = self.bench.left();
            if left.is_empty() {
                return;
            }
            assert!(self.bench.now() < until, "{}: this is left: {left:?}", self.name);
            self.pass(Duration::from_millis(20));
        }
    }
}
