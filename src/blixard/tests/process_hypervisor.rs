//! The process hypervisor with real processes: the suite that all hypervisors pass, and what only real processes can
//! show.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
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
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

/// Shares of the conformance suite that run at once.
const PARTS: usize = 4;
const RUN: Run = Run { vm: VmId(7), epoch: Epoch(3) };
const NONE: [i32; 0] = [];

/// A host with the process hypervisor. Each VM carries the bench's folder in its environment, by which its processes are
/// found whatever the hypervisor knows of them.
struct Host {
    folder: TempDir,
    backends: Option<Backends>,
    inputs: Receiver<Input>,
    op: u64,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (backends, inputs) = open(folder.path());
        Self { folder, backends: Some(backends), inputs, op: 0 }
    }

    fn config(folder: &Path) -> Config {
        // Longer than a socket's path may be.
        let deep = folder.join("a-folder-with-a-long-name".repeat(6));
        Config { state_dir: deep, program: PathBuf::from(env!("CARGO_BIN_EXE_blixard")) }
    }

    fn shell(&self, script: &str) -> VmSpec {
        let payload = format!(
            "command = ['/bin/sh', '-c', '''{script}''']\n[env]\nBENCH = '{}'",
            self.folder.path().display()
        );
        VmSpec {
            resources: Resources { vcpus: 1, memory_mib: 1 },
            requires: Labels::new(),
            restart: RestartPolicy::Always,
            failover: FailoverPolicy::Move,
            local_volume: false,
            hypervisor: "process".into(),
            payload,
            ports: Vec::new(),
        }
    }

    fn submit(&mut self, request: HypervisorRequest) -> OpId {
        self.op += 1;
        self.backends.as_mut().unwrap().submit(OpId(self.op), request);
        OpId(self.op)
    }

    fn next(&self) -> Input {
        self.inputs.recv_timeout(StdDuration::from_secs(20)).expect("an input within 20 s")
    }

    fn call(&mut self, request: HypervisorRequest) -> Result<Done, HypervisorError> {
        let op = self.submit(request);
        match self.next() {
            Input::HypervisorDone { op: done, result } if done == op => result,
            other => panic!("{other:?}"),
        }
    }

    fn start(&mut self, script: &str, lease: Duration) -> Result<Done, HypervisorError> {
        let (name, spec) = (VmName::new("web").unwrap(), Arc::new(self.shell(script)));
        let deadline = Time(boot_time()) + lease;
        self.call(HypervisorRequest::Start { run: RUN, name, spec, artifact: None, deadline })
    }

    fn expect_exit(&self, exit: Exit) {
        match self.next() {
            Input::HypervisorEvent { run: RUN, event: VmEvent::Exited { exit: told, reason } } => {
                assert_eq!(told, exit);
                assert!(!reason.is_empty(), "an exit has a reason");
            }
            other => panic!("{other:?}"),
        }
    }

    fn reopen(&mut self) {
        self.backends = None;
        let (backends, inputs) = open(self.folder.path());
        (self.backends, self.inputs) = (Some(backends), inputs);
    }

    /// Processes of VMs, those on the way to become one too.
    fn guests(&self) -> Vec<i32> {
        let mark = format!("BENCH={}", self.folder.path().display());
        let by_env = find(|environ, _| environ.split('\0').any(|var| var == mark));
        let mut all = by_env;
        all.extend(self.processes_with(&["--guest"]));
        all
    }

    fn supervisors(&self) -> Vec<i32> {
        let guests = self.guests();
        let all = self.processes_with(&["supervise"]);
        all.into_iter().filter(|pid| !guests.contains(pid)).collect()
    }

    fn processes_with(&self, words: &[&str]) -> Vec<i32> {
        let folder = self.folder.path().display().to_string();
        find(|_, cmdline| {
            cmdline.contains(&folder) && words.iter().all(|word| cmdline.split('\0').any(|arg| arg == *word))
        })
    }

    fn dir(&self) -> PathBuf {
        let runs = Self::config(self.folder.path()).state_dir.join("runs");
        let dirs: Vec<PathBuf> = fs::read_dir(runs).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(dirs.len(), 1, "{dirs:?}");
        dirs[0].clone()
    }

    fn assert_nothing_left(&self) {
        eventually("no process, socket or lock is left", || self.rest().is_empty());
    }

    /// What is left of the VMs: processes, sockets, locks, cgroups.
    fn rest(&self) -> Vec<String> {
        let state = Self::config(self.folder.path()).state_dir;
        let paths = |folder: &str| {
            let entries = fs::read_dir(state.join(folder)).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        };
        let in_runs = |name: &str| paths("runs").into_iter().map(|dir| dir.join(name)).collect::<Vec<_>>();
        let sockets = in_runs("socket").into_iter().chain(in_runs("console")).filter(|path| path.exists());
        let cgroups = in_runs("cgroup").into_iter().filter_map(|note| fs::read_to_string(note).ok());
        let cgroups = cgroups.map(|note| PathBuf::from(note.trim())).filter(|cgroup| cgroup.exists());
        let files = paths("locks").into_iter().chain(sockets).chain(cgroups);
        let files = files.map(|path| path.display().to_string());
        let processes = self.guests().into_iter().chain(self.supervisors());
        files.chain(processes.map(|pid| format!("process {pid}"))).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.backends = None;
        for pid in self.supervisors() {
            kill(pid);
        }
        for pid in self.guests() {
            kill(pid);
        }
    }
}

fn open(folder: &Path) -> (Backends, Receiver<Input>) {
    let (sender, inputs) = channel();
    let sink: Sink = Arc::new(move |input| {
        let _ = sender.send(input);
    });
    (Backends::open(Host::config(folder), sink).unwrap(), inputs)
}

/// Living processes by their environment and command line. Zombies have neither.
fn find(fits: impl Fn(&str, &str) -> bool) -> Vec<i32> {
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

fn signal(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

fn kill(pid: i32) {
    signal(pid, Signal::KILL);
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = boot_time() + 20_000_000_000;
    while !holds() {
        assert!(boot_time() < until, "not within 20 s: {what}");
        std::thread::sleep(StdDuration::from_millis(10));
    }
}

impl Bench for Host {
    fn hypervisor(&mut self) -> &mut dyn Hypervisor {
        self.backends.as_mut().unwrap()
    }

    fn now(&self) -> Time {
        Time(boot_time())
    }

    fn pass(&mut self, span: Duration) -> Vec<Input> {
        match self.inputs.recv_timeout(StdDuration::from_nanos(span.as_nanos())) {
            Ok(input) => vec![input],
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => Vec::new(),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                std::thread::sleep(StdDuration::from_nanos(span.as_nanos()));
                Vec::new()
            }
        }
    }

    fn spec(&self, guest: Guest) -> Option<VmSpec> {
        Some(match guest {
            Guest::Obedient => self.shell("while sleep 0.1; do echo tick; done"),
            Guest::Deaf => self.shell("trap \"\" TERM; sleep 1000 & wait; sleep 1000"),
            Guest::PowersOff => self.shell("sleep 0.3"),
            Guest::Crashes => self.shell("sleep 0.3; exit 3"),
            Guest::Broken => VmSpec { payload: "command = ['/no/such/program']".into(), ..self.shell("") },
        })
    }

    fn can_pause(&self) -> bool {
        true
    }

    fn words(&self, guest: Guest) -> &'static str {
        match guest {
            Guest::PowersOff => "exit status 0",
            Guest::Crashes => "exit status 3",
            _ => "",
        }
    }

    fn agent_dies(&mut self) {
        self.backends = None;
    }

    fn agent_comes(&mut self) {
        self.reopen();
    }

    fn is_alive(&mut self, run: Run) -> bool {
        let record = format!("/{}.{}.", run.vm, run.epoch);
        let tokens: Vec<String> = fs::read_dir(Self::config(self.folder.path()).state_dir.join("runs"))
            .unwrap()
            .filter_map(|dir| Some(dir.ok()?.path().join("record.json")))
            .filter(|path| path.display().to_string().contains(&record))
            .filter_map(|path| fs::read_to_string(path).ok())
            .filter_map(|text| Some(text.split_once("\"token\": \"")?.1.split_once('"')?.0.to_owned()))
            .collect();
        let guests = self.guests();
        !find(|environ, _| tokens.iter().any(|token| environ.contains(token.as_str())))
            .into_iter()
            .filter(|pid| guests.contains(pid))
            .collect::<Vec<_>>()
            .is_empty()
    }

    fn work_done(&mut self, run: Run) -> Option<u64> {
        let prefix = format!("{}.{}.", run.vm, run.epoch);
        let runs = fs::read_dir(Self::config(self.folder.path()).state_dir.join("runs")).unwrap().flatten();
        let mut of_run = runs.filter(|dir| dir.file_name().to_string_lossy().starts_with(&prefix));
        let output = fs::read_to_string(of_run.next()?.path().join("output")).ok()?;
        Some(output.lines().count() as u64)
    }

    fn left(&mut self) -> Vec<String> {
        self.rest()
    }

    fn kept(&mut self) -> Vec<String> {
        Vec::new()
    }
}

#[test]
fn conforms() {
    std::thread::scope(|scope| {
        for part in 0..PARTS {
            scope.spawn(move || conformance_part(part, PARTS, |_| Host::new()));
        }
    });
}

#[test]
fn stop_leaves_no_process_socket_or_lock() {
    let mut host = Host::new();
    assert_eq!(host.start("exec sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    // For a moment of its exec a process has neither environment nor arguments.
    eventually("one of each", || (host.guests().len(), host.supervisors().len()) == (1, 1));
    let grace = Duration::from_secs(10);
    assert_eq!(host.call(HypervisorRequest::Stop { run: RUN, grace }), Ok(Done::Stopped));
    assert_eq!(host.guests(), NONE, "dead when it is said to be");
    host.assert_nothing_left();
}

#[test]
fn a_stop_has_its_whole_grace_while_the_lease_is_extended() {
    let mut host = Host::new();
    let deaf = "trap \"\" TERM; echo deaf; sleep 1000 & wait; sleep 1000";
    assert_eq!(host.start(deaf, Duration::from_secs(2)), Ok(Done::Started));
    eventually("it has stopped its ears", || {
        fs::read_to_string(host.dir().join("output")).is_ok_and(|output| output.contains("deaf"))
    });
    let (asked, grace) = (boot_time(), Duration::from_secs(4));
    let op = host.submit(HypervisorRequest::Stop { run: RUN, grace });
    let deadline = Time(asked) + Duration::from_secs(60);
    host.submit(HypervisorRequest::Extend { runs: vec![RUN], deadline });
    assert_eq!(host.next(), Input::HypervisorDone { op, result: Ok(Done::Stopped) });
    assert!(boot_time() - asked >= grace.0, "it was killed before its grace was over");
    let end = fs::read_to_string(host.dir().join("exit.json")).unwrap();
    assert!(end.contains("grace"), "by its supervisor: {end}");
    host.assert_nothing_left();
}

#[test]
fn descendants_die_too_also_those_in_sessions_of_their_own() {
    let mut host = Host::new();
    let script = "setsid sh -c \"sleep 1000 & sleep 1000\" & (setsid env -i /bin/sleep 1000 &) ; sleep 1000";
    assert_eq!(host.start(script, Duration::from_secs(60)), Ok(Done::Started));
    eventually("all run", || host.guests().len() >= 4);
    assert_eq!(host.call(HypervisorRequest::Kill { run: RUN }), Ok(Done::Stopped));
    assert_eq!(host.guests(), NONE);
    let bare = find(|environ, cmdline| environ.is_empty() && cmdline.starts_with("/bin/sleep\x001000"));
    assert_eq!(bare, NONE, "one that has shed its environment");
    host.assert_nothing_left();
}

#[test]
fn a_paused_process_stands_still_with_all_that_came_of_it() {
    let mut host = Host::new();
    let script = "count() { while :; do echo x >> \"$BENCH/$1\"; sleep 0.01; done; }; count a & setsid sh -c \"while :; do echo x >> $BENCH/b; sleep 0.01; done\" & wait";
    assert_eq!(host.start(script, Duration::from_secs(60)), Ok(Done::Started));
    let folder = host.folder.path().to_owned();
    let counts = || ["a", "b"].map(|name| fs::metadata(folder.join(name)).map_or(0, |file| file.len()));
    eventually("both count", || counts().into_iter().all(|count| count > 4));
    assert_eq!(host.call(HypervisorRequest::Pause { run: RUN }), Ok(Done::Paused));
    std::thread::sleep(StdDuration::from_millis(100));
    let before = counts();
    std::thread::sleep(StdDuration::from_millis(300));
    assert_eq!(counts(), before);
    assert_eq!(host.call(HypervisorRequest::Resume { run: RUN }), Ok(Done::Resumed));
    eventually("both count on", || counts().iter().zip(before).all(|(now, before)| *now > before + 2));
    assert_eq!(host.call(HypervisorRequest::Pause { run: RUN }), Ok(Done::Paused));
    assert_eq!(
        host.call(HypervisorRequest::Stop { run: RUN, grace: Duration::from_secs(10) }),
        Ok(Done::Stopped)
    );
    assert_eq!(host.start(script, Duration::from_secs(2)), Ok(Done::Started));
    assert_eq!(host.call(HypervisorRequest::Pause { run: RUN }), Ok(Done::Paused));
    host.expect_exit(Exit::DeadlinePassed);
    host.assert_nothing_left();
}

#[test]
fn a_killed_supervisor_takes_its_vm_along() {
    let mut host = Host::new();
    assert_eq!(host.start("sleep 1000 & sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    eventually("all run", || host.guests().len() == 3);
    kill(host.supervisors()[0]);
    host.expect_exit(Exit::Crashed);
    host.assert_nothing_left();
    assert_eq!(host.start("sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
}

#[test]
fn a_supervisor_killed_in_the_daemons_absence_takes_its_vm_along() {
    let mut host = Host::new();
    assert_eq!(host.start("exec sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    host.backends = None;
    kill(host.supervisors()[0]);
    eventually("the VM is dead", || host.guests().is_empty());
    host.reopen();
    host.expect_exit(Exit::Crashed);
    assert_eq!(host.call(HypervisorRequest::List), Ok(Done::Listed(vec![])));
    host.assert_nothing_left();
}

#[test]
fn what_outlives_a_killed_supervisor_is_killed_by_the_next_daemon_and_blocks_a_start_until_then() {
    let mut host = Host::new();
    assert_eq!(host.start("sleep 1000 & sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    eventually("all run", || host.guests().len() == 3);
    host.backends = None;
    kill(host.supervisors()[0]);
    eventually("the first process is dead", || host.guests().len() < 3);
    assert!(!host.guests().is_empty(), "or this tests nothing");
    host.reopen();
    host.expect_exit(Exit::Crashed);
    assert_eq!(host.guests(), NONE);
    host.assert_nothing_left();
}

#[test]
fn a_stopped_supervisor_does_not_keep_its_vm_beyond_the_deadline() {
    let mut host = Host::new();
    assert_eq!(host.start("sleep 1000", Duration::from_secs(2)), Ok(Done::Started));
    signal(host.supervisors()[0], Signal::STOP);
    host.expect_exit(Exit::Crashed);
    host.assert_nothing_left();
}

#[test]
fn two_daemons_on_one_folder_do_not_run_a_vm_twice() {
    let mut host = Host::new();
    let (mut second, inputs) = open(host.folder.path());
    assert_eq!(host.start("exec sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    let start = HypervisorRequest::Start {
        run: Run { epoch: Epoch(4), ..RUN },
        name: VmName::new("web").unwrap(),
        spec: Arc::new(host.shell("exec sleep 1000")),
        artifact: None,
        deadline: Time(boot_time()) + Duration::from_secs(60),
    };
    second.submit(OpId(1), start);
    let refused = inputs.recv_timeout(StdDuration::from_secs(20)).unwrap();
    assert!(
        matches!(
            refused,
            Input::HypervisorDone { op: OpId(1), result: Err(HypervisorError::Uncertain { .. }) }
        ),
        "{refused:?}"
    );
    // For a moment of its exec a process has neither environment nor arguments.
    eventually("one of each", || (host.guests().len(), host.supervisors().len()) == (1, 1));
}

#[test]
fn an_exit_is_told_again_until_the_agent_acts_on_it() {
    let mut host = Host::new();
    assert_eq!(host.start("exit 0", Duration::from_secs(60)), Ok(Done::Started));
    host.expect_exit(Exit::PoweredOff);
    for _ in 0..2 {
        host.reopen();
        host.expect_exit(Exit::PoweredOff);
    }
    assert_eq!(host.call(HypervisorRequest::Kill { run: RUN }), Ok(Done::Stopped));
    host.reopen();
    assert_eq!(host.call(HypervisorRequest::List), Ok(Done::Listed(vec![])), "the list alone comes in");
}

#[test]
fn after_a_reboot_nothing_is_adopted() {
    let mut host = Host::new();
    assert_eq!(host.start("exec sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    host.backends = None;
    let pid = host.supervisors()[0];
    kill(pid);
    let _ = waitpid(Pid::from_raw(pid), WaitOptions::empty());
    eventually("the VM is dead", || host.guests().is_empty());
    let record = host.dir().join("record.json");
    let text = fs::read_to_string(&record).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(text.contains(boot.trim()));
    fs::write(&record, text.replace(boot.trim(), "an-earlier-boot")).unwrap();
    host.reopen();
    host.expect_exit(Exit::Crashed);
    assert!(fs::read_to_string(host.dir().join("exit.json")).unwrap().contains("restarted"));
    host.assert_nothing_left();
}

#[test]
fn a_torn_record_is_cleared_away() {
    let mut host = Host::new();
    host.backends = None;
    let dir = Host::config(host.folder.path()).state_dir.join("runs/vm7.e3.0123abcd");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("record.json"), "{\"form").unwrap();
    host.reopen();
    assert_eq!(host.call(HypervisorRequest::List), Ok(Done::Listed(vec![])));
    assert!(!dir.exists());
    assert_eq!(host.start("sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
}

#[test]
fn output_environment_and_reasons_are_kept() {
    let mut host = Host::new();
    let script = "echo \"$BLIXARD_VM in $PWD\"; echo oops >&2; exit 3";
    assert_eq!(host.start(script, Duration::from_secs(60)), Ok(Done::Started));
    host.expect_exit(Exit::Crashed);
    assert_eq!(fs::read_to_string(host.dir().join("output")).unwrap(), "web in /\noops\n");
    assert!(fs::read_to_string(host.dir().join("exit.json")).unwrap().contains("exit status 3"));
}

#[test]
fn a_command_that_cannot_run_says_why() {
    let mut host = Host::new();
    let name = VmName::new("web").unwrap();
    let deadline = Time(boot_time()) + Duration::from_secs(60);
    for (payload, expected) in [
        (
            "command = ['/no/such/program']",
            "\"/no/such/program\" cannot be run: No such file or directory (os error 2)",
        ),
        ("command = ['/etc/passwd']", "\"/etc/passwd\" cannot be run: Permission denied (os error 13)"),
        (
            "command = ['true']\nworkdir = '/no/such'",
            "the working directory /no/such cannot be used: No such file or directory (os error 2)",
        ),
    ] {
        let spec = Arc::new(VmSpec { payload: payload.into(), ..host.shell("") });
        let start = HypervisorRequest::Start { run: RUN, name: name.clone(), spec, artifact: None, deadline };
        assert_eq!(host.call(start), Err(HypervisorError::Start { reason: expected.into() }));
    }
    host.assert_nothing_left();
}

/// What a process takes of memory, in KiB: its resident size, its share of that, and what it has written.
fn memory(pid: i32) -> (u64, u64, u64) {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let value = |key: &str| -> u64 {
        let line = rollup.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (value("Rss:"), value("Pss:"), value("Private_Dirty:"))
}

#[test]
fn a_supervisor_is_light() {
    let mut host = Host::new();
    assert_eq!(host.start("sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    // The rest is the program's file, in memory once for all who run it.
    let (rss, pss, own) = memory(host.supervisors()[0]);
    println!("supervisor: resident {rss} KiB, proportional {pss} KiB, written {own} KiB");
    assert!(own < 3 * 1024, "{own} KiB");
}

/// Starts and stops one VM after another, and counts what is left.
fn rounds(count: u64) {
    let mut host = Host::new();
    let files = || fs::read_dir("/proc/self/fd").unwrap().count();
    let (before, begun) = (files(), boot_time());
    for epoch in 1..=count {
        let run = Run { vm: VmId(7), epoch: Epoch(epoch) };
        let (name, spec) = (VmName::new("web").unwrap(), Arc::new(host.shell("exec sleep 1000")));
        let deadline = Time(boot_time()) + Duration::from_secs(60);
        let start = HypervisorRequest::Start { run, name, spec, artifact: None, deadline };
        assert_eq!(host.call(start), Ok(Done::Started), "round {epoch}");
        let stop = HypervisorRequest::Stop { run, grace: Duration::from_secs(10) };
        assert_eq!(host.call(stop), Ok(Done::Stopped), "round {epoch}");
    }
    let spent = (boot_time() - begun) / 1_000_000;
    host.assert_nothing_left();
    eventually("no file is left open", || files() <= before);
    let kept = fs::read_dir(Host::config(host.folder.path()).state_dir.join("runs")).unwrap().count();
    assert!(kept <= 1, "one ended run is kept");
    println!("{count} rounds in {spent} ms: no process, socket, lock or open file is left");
}

#[test]
fn fifty_rounds_leave_nothing() {
    rounds(50);
}

#[test]
#[ignore = "takes a minute: run it alone, with --nocapture"]
fn a_thousand_rounds_leave_nothing() {
    rounds(1_000);
}

/// Starts many VMs at once and extends them as an agent does. Prints what it costs.
#[test]
#[ignore = "a measurement: run it alone, with --nocapture"]
fn measure_many_vms() {
    const VMS: u64 = 100;
    let mut host = Host::new();
    let spec = Arc::new(host.shell("exec sleep 1000"));
    let runs: Vec<Run> = (1..=VMS).map(|vm| Run { vm: VmId(vm), epoch: Epoch(1) }).collect();
    let begun = boot_time();
    for run in &runs {
        let (run, name, spec) = (*run, VmName::new(format!("vm-{}", run.vm.0)).unwrap(), Arc::clone(&spec));
        let deadline = Time(begun) + Duration::from_secs(120);
        host.submit(HypervisorRequest::Start { run, name, spec, artifact: None, deadline });
    }
    for _ in 0..VMS {
        assert!(matches!(host.next(), Input::HypervisorDone { result: Ok(Done::Started), .. }));
    }
    println!("{VMS} VMs started in {} ms", (boot_time() - begun) / 1_000_000);
    let supervisors = host.supervisors();
    let cpu = || -> u64 {
        let of = |pid: i32| -> u64 {
            let stat = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
            stat.split_whitespace().next().unwrap().parse().unwrap()
        };
        supervisors.iter().map(|pid| of(*pid)).sum()
    };
    let before = cpu();
    let seconds = 10;
    for beat in 0..seconds {
        let deadline = Time(boot_time()) + Duration::from_secs(120 + beat);
        host.submit(HypervisorRequest::Extend { runs: runs.clone(), deadline });
        std::thread::sleep(StdDuration::from_secs(1));
    }
    let spent = (cpu() - before) / seconds / VMS;
    let all: Vec<_> = supervisors.iter().map(|pid| memory(*pid)).collect();
    let mean = |of: fn(&(u64, u64, u64)) -> u64| all.iter().map(of).sum::<u64>() / VMS;
    let most = |of: fn(&(u64, u64, u64)) -> u64| all.iter().map(of).max().unwrap();
    for (name, of) in [
        ("resident", (|it| it.0) as fn(&(u64, u64, u64)) -> u64),
        ("proportional", |it| it.1),
        ("written", |it| it.2),
    ] {
        println!("memory of a supervisor, {name}: {} KiB in the mean, {} at most", mean(of), most(of));
    }
    println!("an extension a second costs each supervisor {} us of CPU a second", spent / 1_000);
    let begun = boot_time();
    for run in &runs {
        host.submit(HypervisorRequest::Kill { run: *run });
    }
    for _ in 0..VMS {
        assert!(matches!(host.next(), Input::HypervisorDone { result: Ok(Done::Stopped), .. }));
    }
    println!("{VMS} VMs killed in {} ms", (boot_time() - begun) / 1_000_000);
    host.assert_nothing_left();
}
