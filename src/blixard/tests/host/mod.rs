//! A host for the tests of hypervisors: its folder, its backends, and what can be found out of its VMs from outside, whatever the
//! hypervisor says of them. Each test file says what is its own as an [`Opens`], and as a [`Kind`] to have the suite run that
//! all hypervisors pass.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration as StdDuration;

use blixard::hypervisor::{Backends, Config, Sink};
use blixard::supervise::boot_time;
use blixard_node::hypervisor::{Done, Exit, HypervisorError, HypervisorRequest, Run, VmEvent};
use blixard_node::ids::{Epoch, OpId, VmId};
use blixard_node::input::Input;
use blixard_node::spec::{FailoverPolicy, Labels, Resources, RestartPolicy, VmName, VmSpec};
use blixard_node::time::{Duration, Time};
use blixard_runtime::Hypervisor;
use blixard_runtime::hypervisor_conformance::{Bench, Guest, conformance_part};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const RUN: Run = Run { vm: VmId(7), epoch: Epoch(3) };
pub(crate) const LEASE: Duration = Duration::from_secs(120);
pub(crate) const GRACE: Duration = Duration::from_secs(20);

/// How long anything is waited for that is to come by itself.
const PATIENCE: StdDuration = StdDuration::from_secs(20);
/// Shares of the conformance suite that run at once.
const PARTS: usize = 4;

/// How a host of its kind is opened.
pub(crate) trait Opens: Sized + Send + 'static {
    /// How long a completion or an exit may take.
    const PATIENCE: StdDuration = PATIENCE;

    /// Puts into the folder what its VMs need.
    fn new(folder: &Path) -> Self;

    fn state(folder: &Path) -> PathBuf {
        folder.join("state")
    }

    fn open(&self, _folder: &Path, config: Config, sink: Sink) -> Backends {
        Backends::open(config, sink).unwrap()
    }
}

/// What the suite has to know.
pub(crate) trait Kind: Opens {
    /// How each line begins by which a guest shows that it works.
    const TICK: &'static str;

    fn guest(host: &Host<Self>, guest: Guest) -> Option<VmSpec>;

    /// What the reason of such a guest's end says.
    fn words(guest: Guest) -> &'static str;

    /// Whether a process of a run is the VM, and not beside it.
    fn is_vm(cmdline: &str) -> bool;

    /// What is kept of VMs beyond their runs.
    fn kept(host: &Host<Self>) -> Vec<String>;
}

pub(crate) struct Host<K> {
    pub(crate) kind: K,
    folder: TempDir,
    state: PathBuf,
    backends: Option<Backends>,
    inputs: Receiver<Input>,
    op: u64,
}

impl<K: Opens> Host<K> {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (kind, state) = (K::new(folder.path()), K::state(folder.path()));
        let (_, inputs) = channel();
        let mut host = Self { kind, folder, state, backends: None, inputs, op: 0 };
        host.reopen();
        host
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// The daemon is gone.
    pub(crate) fn close(&mut self) {
        self.backends = None;
    }

    /// The next daemon comes.
    pub(crate) fn reopen(&mut self) {
        self.backends = None;
        let (backends, inputs) = self.another();
        (self.backends, self.inputs) = (Some(backends), inputs);
    }

    /// One more daemon on the same folder.
    pub(crate) fn another(&self) -> (Backends, Receiver<Input>) {
        let (sender, inputs) = channel();
        let sink: Sink = Arc::new(move |input| {
            let _ = sender.send(input);
        });
        let program = PathBuf::from(env!("CARGO_BIN_EXE_blixard"));
        let config = Config { state_dir: self.state.clone(), program };
        (self.kind.open(self.folder(), config, sink), inputs)
    }

    // ---- asking

    pub(crate) fn submit(&mut self, request: HypervisorRequest) -> OpId {
        self.op += 1;
        self.backends.as_mut().unwrap().submit(OpId(self.op), request);
        OpId(self.op)
    }

    pub(crate) fn next(&self) -> Input {
        self.inputs.recv_timeout(K::PATIENCE).expect("an input in time")
    }

    pub(crate) fn call(&mut self, request: HypervisorRequest) -> Result<Done, HypervisorError> {
        let op = self.submit(request);
        match self.next() {
            Input::HypervisorDone { op: done, result } if done == op => result,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn prepare(&mut self, run: Run, spec: &VmSpec) -> Result<Done, HypervisorError> {
        let spec = Arc::new(spec.clone());
        self.call(HypervisorRequest::Prepare { run, name: name(run), spec, artifact: None })
    }

    /// Prepares and starts, as an agent does: what was built is agreed upon in between.
    pub(crate) fn start(&mut self, run: Run, spec: &VmSpec) -> Result<Done, HypervisorError> {
        self.start_for(run, spec, LEASE)
    }

    pub(crate) fn start_for(
        &mut self,
        run: Run,
        spec: &VmSpec,
        lease: Duration,
    ) -> Result<Done, HypervisorError> {
        let artifact = match self.prepare(run, spec)? {
            Done::Prepared { artifact } => artifact,
            other => panic!("{other:?}"),
        };
        let request = self.start_request(run, spec, lease);
        let HypervisorRequest::Start { run, name, spec, deadline, .. } = request else { unreachable!() };
        self.call(HypervisorRequest::Start { run, name, spec, artifact, deadline })
    }

    pub(crate) fn start_request(&self, run: Run, spec: &VmSpec, lease: Duration) -> HypervisorRequest {
        let (spec, deadline) = (Arc::new(spec.clone()), Time(boot_time()) + lease);
        HypervisorRequest::Start { run, name: name(run), spec, artifact: None, deadline }
    }

    pub(crate) fn stop(&mut self, run: Run) {
        assert_eq!(self.call(HypervisorRequest::Stop { run, grace: GRACE }), Ok(Done::Stopped));
    }

    pub(crate) fn expect_exit(&self, exit: Exit, words: &str) {
        match self.next() {
            Input::HypervisorEvent { run: RUN, event: VmEvent::Exited { exit: told, reason } } => {
                assert_eq!(told, exit, "{reason}");
                assert!(!reason.is_empty() && reason.contains(words), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn assert_nothing_left(&self) {
        eventually("no process, socket, lock or cgroup is left", || self.rest().is_empty());
    }

    /// Starts and stops one VM after another, and counts what is left.
    pub(crate) fn rounds(&mut self, spec: &VmSpec, count: u64) {
        let files = || fs::read_dir("/proc/self/fd").unwrap().count();
        let (before, begun) = (files(), boot_time());
        for epoch in 1..=count {
            let run = Run { vm: RUN.vm, epoch: Epoch(epoch) };
            assert_eq!(self.start(run, spec), Ok(Done::Started), "round {epoch}");
            self.stop(run);
        }
        let spent = (boot_time() - begun) / 1_000_000;
        self.assert_nothing_left();
        eventually("no file is left open", || files() <= before);
        assert!(self.attempts("").len() <= 1, "one ended run is kept");
        println!("{count} rounds in {spent} ms: no process, socket, lock or open file is left");
    }
}

impl<K> Host<K> {
    /// The folders of the runs whose names begin with `prefix`.
    fn attempts(&self, prefix: &str) -> Vec<PathBuf> {
        let of_run = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(prefix);
        entries(&self.state.join("runs")).into_iter().filter(of_run).collect()
    }

    fn tokens(&self, prefix: &str) -> Vec<String> {
        let records = self.attempts(prefix).into_iter().map(|dir| dir.join("record.json"));
        records
            .filter_map(|path| fs::read_to_string(path).ok())
            .filter_map(|text| Some(text.split_once("\"token\": \"")?.1.split_once('"')?.0.to_owned()))
            .collect()
    }

    /// The folder of the only run.
    pub(crate) fn dir(&self) -> PathBuf {
        let dirs = self.attempts("");
        assert_eq!(dirs.len(), 1, "{dirs:?}");
        dirs[0].clone()
    }

    /// What the guest of the only run has printed so far.
    pub(crate) fn printed(&self) -> String {
        let outputs =
            self.attempts("").into_iter().filter_map(|dir| fs::read_to_string(dir.join("output")).ok());
        outputs.collect()
    }

    /// Living processes of this host's VMs, supervisors among them: they name its folder, or carry a run's token.
    pub(crate) fn processes(&self, fits: impl Fn(&str, &str) -> bool) -> Vec<i32> {
        let (folder, tokens) = (self.folder.path().display().to_string(), self.tokens(""));
        let own = |environ: &str| tokens.iter().any(|token| environ.contains(token.as_str()));
        processes(|environ, cmdline| {
            (environ.contains(&folder) || cmdline.contains(&folder) || own(environ)) && fits(environ, cmdline)
        })
    }

    /// What is left of the VMs: processes, sockets, locks, cgroups.
    pub(crate) fn rest(&self) -> Vec<String> {
        let living = self.processes(|_, _| true).into_iter().map(|pid| format!("process {pid}"));
        let folders = ["runs", "volumes"].map(|folder| entries(&self.state.join(folder)));
        let files = folders.iter().flatten().flat_map(|folder| entries(folder));
        let is_socket =
            |path: &PathBuf| path.symlink_metadata().is_ok_and(|data| data.file_type().is_socket());
        let files = files.filter(is_socket).chain(entries(&self.state.join("locks")));
        let notes = self.attempts("").into_iter().map(|dir| dir.join("cgroup"));
        let cgroups = notes.filter_map(|note| fs::read_to_string(note).ok());
        let cgroups = cgroups.map(|cgroup| PathBuf::from(cgroup.trim())).filter(|cgroup| cgroup.exists());
        living.chain(files.chain(cgroups).map(|path| path.display().to_string())).collect()
    }
}

impl<K> Drop for Host<K> {
    fn drop(&mut self) {
        self.backends = None;
        for pid in self.processes(|_, _| true) {
            signal(pid, Signal::KILL);
        }
    }
}

impl<K: Kind> Bench for Host<K> {
    fn hypervisor(&mut self) -> &mut dyn Hypervisor {
        self.backends.as_mut().unwrap()
    }

    fn now(&self) -> Time {
        Time(boot_time())
    }

    fn pass(&mut self, span: Duration) -> Vec<Input> {
        let span = StdDuration::from_nanos(span.as_nanos());
        match self.inputs.recv_timeout(span) {
            Ok(input) => vec![input],
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(span);
                Vec::new()
            }
        }
    }

    fn spec(&self, guest: Guest) -> Option<VmSpec> {
        K::guest(self, guest)
    }

    fn can_pause(&self) -> bool {
        true
    }

    fn words(&self, guest: Guest) -> &'static str {
        K::words(guest)
    }

    fn agent_dies(&mut self) {
        self.close();
    }

    fn agent_comes(&mut self) {
        self.reopen();
    }

    fn is_alive(&mut self, run: Run) -> bool {
        let tokens = self.tokens(&format!("{}.{}.", run.vm, run.epoch));
        let of_run = |environ: &str| tokens.iter().any(|token| environ.contains(token.as_str()));
        !processes(|environ, cmdline| K::is_vm(cmdline) && of_run(environ)).is_empty()
    }

    fn work_done(&mut self, run: Run) -> Option<u64> {
        let dirs = self.attempts(&format!("{}.{}.", run.vm, run.epoch));
        let output = fs::read_to_string(dirs.first()?.join("output")).ok()?;
        Some(output.lines().filter(|line| line.starts_with(K::TICK)).count() as u64)
    }

    fn left(&mut self) -> Vec<String> {
        self.rest()
    }

    fn kept(&mut self) -> Vec<String> {
        K::kept(self)
    }
}

/// Runs the suite that all hypervisors pass.
pub(crate) fn conforms<K: Kind>() {
    std::thread::scope(|scope| {
        for part in 0..PARTS {
            scope.spawn(move || conformance_part(part, PARTS, |_| Host::<K>::new()));
        }
    });
}

pub(crate) fn name(run: Run) -> VmName {
    VmName::new(format!("web-{}", run.vm.0)).unwrap()
}

pub(crate) fn spec(hypervisor: &str, payload: String) -> VmSpec {
    VmSpec {
        resources: Resources { vcpus: 1, memory_mib: 32 },
        requires: Labels::new(),
        restart: RestartPolicy::Always,
        failover: FailoverPolicy::Move,
        local_volume: false,
        ports: Vec::new(),
        hypervisor: hypervisor.into(),
        payload,
    }
}

pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Living processes by their environment and command line, its arguments separated by NULs. Zombies have neither.
pub(crate) fn processes(fits: impl Fn(&str, &str) -> bool) -> Vec<i32> {
    let read = |path: PathBuf| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let (Ok(environ), Ok(cmdline)) =
            (read(entry.path().join("environ")), read(entry.path().join("cmdline")))
            && fits(&environ, &cmdline)
        {
            found.push(pid);
        }
    }
    found
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = boot_time() + PATIENCE.as_nanos() as u64;
    while !holds() {
        assert!(boot_time() < until, "not in time: {what}");
        std::thread::sleep(StdDuration::from_millis(10));
    }
}
