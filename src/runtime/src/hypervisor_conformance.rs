//! What every [`Hypervisor`] must do, as tests over the trait. Each sentence of [`blixard_node::hypervisor`] that can be
//! tried from outside is tried here, on real and simulated hypervisors alike.
//!
//! A backend's author implements [`Bench`] and calls [`conformance`] in a test; a broken promise panics with its name.

use std::sync::Arc;

use blixard_node::hypervisor::{
    Done, Exit, HypervisorError, HypervisorRequest, Run, RunState, RunView, VmEvent,
};
use blixard_node::ids::{Epoch, OpId, VmId};
use blixard_node::input::Input;
use blixard_node::spec::{VmName, VmSpec};
use blixard_node::time::{Duration, Time};

use crate::backend::Hypervisor;

/// A host with one hypervisor, in a world whose time can pass.
pub trait Bench {
    /// The hypervisor. Not called between [`Bench::agent_dies`] and [`Bench::agent_comes`].
    fn hypervisor(&mut self) -> &mut dyn Hypervisor;

    /// The host's boot-time clock.
    fn now(&self) -> Time;

    /// Lets `span` pass, or less when something comes in, and returns what came in.
    fn pass(&mut self, span: Duration) -> Vec<Input>;

    /// How to make such a guest; none when this hypervisor cannot have one.
    fn spec(&self, guest: Guest) -> Option<VmSpec>;

    /// The agent's process dies, and all with it that does not outlive it.
    fn agent_dies(&mut self);

    /// The next agent's process begins, with a hypervisor that finds what the last one left.
    fn agent_comes(&mut self);

    /// Whether anything of that run is alive in truth, whatever the hypervisor says.
    fn is_alive(&mut self, run: Run) -> bool;
}

/// How a guest behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// Runs until it is asked to end.
    Obedient,
    /// Runs, and does not listen when asked to end.
    Deaf,
    /// Powers itself off in good order soon after it has started.
    PowersOff,
    /// Crashes soon after it has started.
    Crashes,
    /// Cannot be started.
    Broken,
}

/// How long anything may take that has no bound of its own.
const PATIENCE: Duration = Duration::from_secs(30);
/// How late a deadline may be enforced. Below `Settings::kill_grace`.
const LATE: Duration = Duration::from_millis(1_500);
/// A lease that does not matter.
const LONG: Duration = Duration::from_secs(300);
/// How long a thing that must not happen is waited for.
const QUIET: Duration = Duration::from_millis(300);

const RUN: Run = Run { vm: VmId(7), epoch: Epoch(3) };
const NEXT: Run = Run { vm: VmId(7), epoch: Epoch(4) };
const OTHER: Run = Run { vm: VmId(8), epoch: Epoch(1) };

/// Runs every case, each on a bench of its own.
///
/// # Panics
/// When the hypervisor breaks a promise.
pub fn conformance<B: Bench>(mut bench: impl FnMut(&str) -> B) {
    for (name, case) in cases::<B>() {
        case(&mut Trial { bench: bench(name), name, op: 0, done: Vec::new(), exits: Vec::new() });
    }
}

type Case<B> = (&'static str, fn(&mut Trial<B>));

/// The cases with their names, for running one alone.
fn cases<B: Bench>() -> Vec<Case<B>> {
    vec![
        ("a VM is prepared, started, listed and stopped", started_and_stopped),
        ("a deaf guest is killed after its grace", deaf_guest),
        ("a kill kills at once", killed),
        ("what is not there counts as stopped", stopping_nothing),
        ("a stop under another epoch harms nothing", stop_of_another_epoch),
        ("a second start is refused and harms nothing", second_start),
        ("of two starts at once one succeeds", two_starts_at_once),
        ("a kill during a start leaves nothing alive", kill_during_start),
        ("the deadline kills", deadline),
        ("a passed deadline is refused", passed_deadline),
        ("an extension moves the deadline and never back", extension),
        ("a run left out of an extension keeps its deadline", left_out),
        ("a guest's own end is told", own_end),
        ("a VM is started again under the same epoch", started_again),
        ("a broken guest is not alive", broken),
        ("an unknown backend is refused", unknown_backend),
        ("VMs outlive their agent and obey the next", adopted),
        ("the deadline kills without an agent", deadline_without_agent),
        ("an exit without an agent is told to the next", exit_without_agent),
        ("a start cut off by the agent's death happens once or not at all", cut_off_start),
    ]
}

struct Trial<B> {
    bench: B,
    name: &'static str,
    op: u64,
    done: Vec<(OpId, Result<Done, HypervisorError>)>,
    exits: Vec<(Run, Exit, Time)>,
}

impl<B: Bench> Trial<B> {
    fn submit(&mut self, request: HypervisorRequest) -> OpId {
        self.op += 1;
        self.bench.hypervisor().submit(OpId(self.op), request);
        OpId(self.op)
    }

    fn pass(&mut self, span: Duration) {
        let until = self.bench.now() + span;
        while self.bench.now() < until {
            self.pump(until.since(self.bench.now()));
        }
    }

    fn pump(&mut self, span: Duration) {
        for input in self.bench.pass(span) {
            match input {
                Input::HypervisorDone { op, result } => self.done.push((op, result)),
                Input::HypervisorEvent { run, event: VmEvent::Exited { exit, .. } } => {
                    self.exits.push((run, exit, self.bench.now()));
                }
                other => panic!("{}: a hypervisor says {other:?}", self.name),
            }
        }
    }

    fn wait(&mut self, op: OpId) -> Result<Done, HypervisorError> {
        let until = self.bench.now() + PATIENCE;
        loop {
            if let Some(at) = self.done.iter().position(|(done, _)| *done == op) {
                return self.done.remove(at).1;
            }
            assert!(self.bench.now() < until, "{}: {op} was not completed", self.name);
            self.pump(until.since(self.bench.now()));
        }
    }

    fn call(&mut self, request: HypervisorRequest) -> Result<Done, HypervisorError> {
        let op = self.submit(request);
        self.wait(op)
    }

    fn spec(&self, guest: Guest) -> Option<Arc<VmSpec>> {
        self.bench.spec(guest).map(Arc::new)
    }

    fn obedient(&self) -> Arc<VmSpec> {
        let Some(spec) = self.spec(Guest::Obedient) else {
            panic!("{}: every hypervisor can have an obedient guest", self.name);
        };
        spec
    }

    fn start_request(&self, run: Run, spec: Arc<VmSpec>, lease: Duration) -> HypervisorRequest {
        HypervisorRequest::Start {
            run,
            name: vm_name(run),
            spec,
            artifact: None,
            deadline: self.bench.now() + lease,
        }
    }

    fn start(&mut self, run: Run, spec: Arc<VmSpec>, lease: Duration) -> Result<Done, HypervisorError> {
        let prepare =
            HypervisorRequest::Prepare { run, name: vm_name(run), spec: Arc::clone(&spec), artifact: None };
        match self.call(prepare) {
            Ok(Done::Prepared { .. }) => {}
            Ok(other) => panic!("{}: a preparation completed as {other:?}", self.name),
            Err(error) => return Err(error),
        }
        let request = self.start_request(run, spec, lease);
        self.call(request)
    }

    fn run(&mut self, run: Run, lease: Duration) {
        let spec = self.obedient();
        let started = self.start(run, spec, lease);
        self.expect(&started, &Ok(Done::Started));
        self.expect_alive(run, true);
    }

    fn list(&mut self) -> Vec<RunView> {
        match self.call(HypervisorRequest::List) {
            Ok(Done::Listed(runs)) => runs,
            other => panic!("{}: a list completed as {other:?}", self.name),
        }
    }

    fn expect_listed(&mut self, run: Run) {
        let listed = self.list();
        assert_eq!(listed, [RunView { run, state: RunState::Running }], "{}", self.name);
    }

    fn expect_nothing_listed(&mut self) {
        assert_eq!(self.list(), [], "{}", self.name);
    }

    fn expect<T: std::fmt::Debug + PartialEq>(&self, found: &T, expected: &T) {
        assert_eq!(found, expected, "{}", self.name);
    }

    fn expect_alive(&mut self, run: Run, alive: bool) {
        assert_eq!(self.bench.is_alive(run), alive, "{}: is {run:?} alive?", self.name);
    }

    /// Waits for an exit, and returns when it came in.
    fn expect_exit(&mut self, run: Run, exit: Exit) -> Time {
        let until = self.bench.now() + PATIENCE;
        while self.exits.is_empty() {
            assert!(self.bench.now() < until, "{}: {exit:?} of {run:?} was not told", self.name);
            self.pump(until.since(self.bench.now()));
        }
        let (of, how, at) = self.exits.remove(0);
        assert_eq!((of, how), (run, exit), "{}", self.name);
        self.expect_alive(run, false);
        at
    }

    fn expect_no_exit(&mut self) {
        self.pass(QUIET);
        assert_eq!(self.exits, [], "{}: told unasked", self.name);
    }

    fn expect_dead_at(&mut self, run: Run, deadline: Time) {
        let at = self.expect_exit(run, Exit::DeadlinePassed);
        assert!(at >= deadline, "{}: killed {} too early", self.name, deadline.since(at));
        assert!(at <= deadline + LATE, "{}: killed {} too late", self.name, at.since(deadline));
    }
}

fn vm_name(run: Run) -> VmName {
    VmName::new(format!("conform-{}", run.vm.0)).unwrap_or_else(|error| panic!("{error}"))
}

fn started_and_stopped<B: Bench>(t: &mut Trial<B>) {
    t.expect_nothing_listed();
    t.run(RUN, LONG);
    t.expect_listed(RUN);
    let stopped = t.call(HypervisorRequest::Stop { run: RUN, grace: PATIENCE });
    t.expect(&stopped, &Ok(Done::Stopped));
    t.expect_alive(RUN, false);
    t.expect_nothing_listed();
    t.expect_no_exit();
}

fn deaf_guest<B: Bench>(t: &mut Trial<B>) {
    let Some(spec) = t.spec(Guest::Deaf) else { return };
    let started = t.start(RUN, spec, LONG);
    t.expect(&started, &Ok(Done::Started));
    // It may take the guest a moment to stop its ears.
    t.pass(QUIET);
    let grace = Duration::from_millis(700);
    let asked = t.bench.now();
    let op = t.submit(HypervisorRequest::Stop { run: RUN, grace });
    t.pass(QUIET);
    t.expect_alive(RUN, true);
    let listed = t.list();
    t.expect(&listed, &vec![RunView { run: RUN, state: RunState::Stopping }]);
    let stopped = t.wait(op);
    t.expect(&stopped, &Ok(Done::Stopped));
    t.expect_alive(RUN, false);
    let took = t.bench.now().since(asked);
    assert!(took >= grace && took <= grace + LATE, "{}: took {took}", t.name);
    t.expect_no_exit();
}

fn killed<B: Bench>(t: &mut Trial<B>) {
    let spec = t.spec(Guest::Deaf).unwrap_or_else(|| t.obedient());
    let started = t.start(RUN, spec, LONG);
    t.expect(&started, &Ok(Done::Started));
    let asked = t.bench.now();
    let stopped = t.call(HypervisorRequest::Kill { run: RUN });
    t.expect(&stopped, &Ok(Done::Stopped));
    t.expect_alive(RUN, false);
    assert!(t.bench.now() <= asked + LATE, "{}: took {}", t.name, t.bench.now().since(asked));
    t.expect_no_exit();
}

fn stopping_nothing<B: Bench>(t: &mut Trial<B>) {
    let stopped = t.call(HypervisorRequest::Stop { run: RUN, grace: PATIENCE });
    t.expect(&stopped, &Ok(Done::Stopped));
    let killed = t.call(HypervisorRequest::Kill { run: RUN });
    t.expect(&killed, &Ok(Done::Stopped));
    t.run(RUN, LONG);
    for _ in 0..2 {
        let killed = t.call(HypervisorRequest::Kill { run: RUN });
        t.expect(&killed, &Ok(Done::Stopped));
    }
}

fn stop_of_another_epoch<B: Bench>(t: &mut Trial<B>) {
    t.run(NEXT, LONG);
    for request in [HypervisorRequest::Kill { run: RUN }, HypervisorRequest::Stop { run: RUN, grace: QUIET }]
    {
        let stopped = t.call(request);
        t.expect(&stopped, &Ok(Done::Stopped));
    }
    t.expect_no_exit();
    t.expect_alive(NEXT, true);
    t.expect_listed(NEXT);
}

fn second_start<B: Bench>(t: &mut Trial<B>) {
    t.run(RUN, LONG);
    let refused = Err(HypervisorError::AlreadyRunning { epoch: RUN.epoch });
    for run in [RUN, NEXT] {
        let spec = t.obedient();
        let again = t.start(run, spec, LONG);
        t.expect(&again, &refused);
    }
    t.expect_no_exit();
    t.expect_alive(RUN, true);
    t.expect_alive(NEXT, false);
    t.expect_listed(RUN);
    t.run(OTHER, LONG);
}

fn two_starts_at_once<B: Bench>(t: &mut Trial<B>) {
    let first = t.start_request(RUN, t.obedient(), LONG);
    let second = t.start_request(NEXT, t.obedient(), LONG);
    let (first, second) = (t.submit(first), t.submit(second));
    let (first, second) = (t.wait(first), t.wait(second));
    t.expect(&first, &Ok(Done::Started));
    t.expect(&second, &Err(HypervisorError::AlreadyRunning { epoch: RUN.epoch }));
    t.expect_alive(RUN, true);
    t.expect_alive(NEXT, false);
}

fn kill_during_start<B: Bench>(t: &mut Trial<B>) {
    let start = t.start_request(RUN, t.obedient(), LONG);
    let start = t.submit(start);
    let kill = t.submit(HypervisorRequest::Kill { run: RUN });
    let killed = t.wait(kill);
    t.expect(&killed, &Ok(Done::Stopped));
    t.expect_alive(RUN, false);
    let started = t.wait(start);
    assert!(
        matches!(started, Ok(Done::Started) | Err(HypervisorError::Start { .. })),
        "{}: {started:?}",
        t.name
    );
    t.expect_no_exit();
    t.expect_alive(RUN, false);
    t.expect_nothing_listed();
}

fn deadline<B: Bench>(t: &mut Trial<B>) {
    let lease = Duration::from_secs(2);
    let deadline = t.bench.now() + lease;
    t.run(RUN, lease);
    t.expect_dead_at(RUN, deadline);
    t.expect_nothing_listed();
    t.run(NEXT, LONG);
}

fn passed_deadline<B: Bench>(t: &mut Trial<B>) {
    t.pass(Duration::from_millis(1));
    let spec = t.obedient();
    let started = t.start(RUN, spec, Duration::ZERO);
    t.expect(&started, &Err(HypervisorError::DeadlinePassed));
    t.expect_no_exit();
    t.expect_alive(RUN, false);
    t.expect_nothing_listed();
}

fn extension<B: Bench>(t: &mut Trial<B>) {
    let first = t.bench.now() + Duration::from_secs(2);
    t.run(RUN, Duration::from_secs(2));
    let second = first + Duration::from_secs(1);
    t.submit(HypervisorRequest::Extend { runs: vec![OTHER, RUN], deadline: second });
    t.submit(HypervisorRequest::Extend { runs: vec![RUN], deadline: first });
    t.submit(HypervisorRequest::Extend { runs: vec![NEXT], deadline: second + LONG });
    t.pass((first + Duration::from_millis(400)).since(t.bench.now()));
    t.expect_alive(RUN, true);
    t.expect_dead_at(RUN, second);
    t.submit(HypervisorRequest::Extend { runs: vec![RUN], deadline: second + LONG });
    t.pass(QUIET);
    t.expect_alive(RUN, false);
    t.expect_nothing_listed();
}

fn left_out<B: Bench>(t: &mut Trial<B>) {
    let deadline = t.bench.now() + Duration::from_secs(3);
    t.run(RUN, deadline.since(t.bench.now()));
    t.run(OTHER, deadline.since(t.bench.now()));
    t.submit(HypervisorRequest::Extend { runs: vec![OTHER], deadline: deadline + LONG });
    t.expect_dead_at(RUN, deadline);
    t.expect_alive(OTHER, true);
    t.expect_listed(OTHER);
}

fn own_end<B: Bench>(t: &mut Trial<B>) {
    for (guest, exit) in [(Guest::PowersOff, Exit::PoweredOff), (Guest::Crashes, Exit::Crashed)] {
        let Some(spec) = t.spec(guest) else { continue };
        let started = t.start(RUN, spec, LONG);
        t.expect(&started, &Ok(Done::Started));
        t.expect_exit(RUN, exit);
        t.expect_nothing_listed();
        t.expect_no_exit();
    }
}

fn started_again<B: Bench>(t: &mut Trial<B>) {
    let Some(spec) = t.spec(Guest::Crashes) else { return };
    for _ in 0..3 {
        let started = t.start(RUN, Arc::clone(&spec), LONG);
        t.expect(&started, &Ok(Done::Started));
        t.expect_exit(RUN, Exit::Crashed);
    }
    t.run(RUN, LONG);
    t.expect_no_exit();
    t.expect_listed(RUN);
}

fn broken<B: Bench>(t: &mut Trial<B>) {
    let Some(spec) = t.spec(Guest::Broken) else { return };
    let started = t.start(RUN, spec, LONG);
    assert!(
        matches!(started, Err(HypervisorError::Prepare { .. } | HypervisorError::Start { .. })),
        "{}: {started:?}",
        t.name
    );
    t.expect_no_exit();
    t.expect_alive(RUN, false);
    t.expect_nothing_listed();
    t.run(RUN, LONG);
}

fn unknown_backend<B: Bench>(t: &mut Trial<B>) {
    let mut spec = VmSpec::clone(&t.obedient());
    spec.hypervisor = "no-such".into();
    let spec = Arc::new(spec);
    let refused = Err(HypervisorError::NoBackend { name: "no-such".into() });
    let prepared = t.start(RUN, Arc::clone(&spec), LONG);
    t.expect(&prepared, &refused);
    let start = t.start_request(RUN, spec, LONG);
    let started = t.call(start);
    t.expect(&started, &refused);
    t.expect_nothing_listed();
}

fn adopted<B: Bench>(t: &mut Trial<B>) {
    let first = t.bench.now() + Duration::from_secs(3);
    t.run(RUN, Duration::from_secs(3));
    t.bench.agent_dies();
    t.pass(QUIET);
    t.expect_alive(RUN, true);
    t.bench.agent_comes();
    t.expect_listed(RUN);
    t.submit(HypervisorRequest::Extend { runs: vec![RUN], deadline: first + LONG });
    let spec = t.obedient();
    let again = t.start(NEXT, spec, LONG);
    t.expect(&again, &Err(HypervisorError::AlreadyRunning { epoch: RUN.epoch }));
    t.pass((first + QUIET).since(t.bench.now()));
    t.expect_alive(RUN, true);
    t.expect_no_exit();
    let stopped = t.call(HypervisorRequest::Stop { run: RUN, grace: PATIENCE });
    t.expect(&stopped, &Ok(Done::Stopped));
    t.expect_alive(RUN, false);
    t.run(NEXT, LONG);
}

fn deadline_without_agent<B: Bench>(t: &mut Trial<B>) {
    let lease = Duration::from_secs(2);
    let deadline = t.bench.now() + lease;
    t.run(RUN, lease);
    t.bench.agent_dies();
    t.pass((deadline + LATE).since(t.bench.now()));
    t.expect_alive(RUN, false);
    t.bench.agent_comes();
    t.expect_exit(RUN, Exit::DeadlinePassed);
    t.expect_nothing_listed();
    t.run(NEXT, LONG);
}

fn exit_without_agent<B: Bench>(t: &mut Trial<B>) {
    let Some(spec) = t.spec(Guest::PowersOff) else { return };
    let started = t.start(RUN, spec, LONG);
    t.expect(&started, &Ok(Done::Started));
    t.bench.agent_dies();
    let until = t.bench.now() + PATIENCE;
    while t.bench.is_alive(RUN) {
        assert!(t.bench.now() < until, "{}: it does not power itself off", t.name);
        t.pass(QUIET);
    }
    t.bench.agent_comes();
    t.expect_exit(RUN, Exit::PoweredOff);
    t.expect_nothing_listed();
    t.run(NEXT, LONG);
}

fn cut_off_start<B: Bench>(t: &mut Trial<B>) {
    let start = t.start_request(RUN, t.obedient(), LONG);
    t.submit(start);
    t.bench.agent_dies();
    t.bench.agent_comes();
    let listed = t.list();
    assert!(listed.is_empty() || (listed.len() == 1 && listed[0].run == RUN), "{}: {listed:?}", t.name);
    let spec = t.obedient();
    let next = t.start(NEXT, spec, LONG);
    t.pass(QUIET);
    match next {
        Ok(Done::Started) => {
            t.expect_alive(RUN, false);
            t.expect_listed(NEXT);
        }
        Err(HypervisorError::AlreadyRunning { epoch }) if epoch == RUN.epoch => {
            t.expect_alive(NEXT, false);
            t.expect_listed(RUN);
        }
        other => panic!("{}: {other:?}", t.name),
    }
}
