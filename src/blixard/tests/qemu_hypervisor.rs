//! The qemu hypervisor with real QEMU processes: the suite that all hypervisors pass, and what only QEMU can show. The
//! guest is the tiny one of `tests/guest`. Skipped, with a line that says so, where QEMU or binutils is missing.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration as StdDuration;

use blixard::hypervisor::{Backends, Config, Sink, qemu, tool};
use blixard::supervise::boot_time;
use blixard_node::hypervisor::{
    Done, Exit, HypervisorError, HypervisorRequest, Run, RunState, RunView, VmEvent,
};
use blixard_node::ids::{Epoch, OpId, VmId};
use blixard_node::input::Input;
use blixard_node::spec::{FailoverPolicy, Labels, Port, Protocol, Resources, RestartPolicy, VmName, VmSpec};
use blixard_node::time::{Duration, Time};
use blixard_runtime::Hypervisor;
use blixard_runtime::hypervisor_conformance::{Bench, Guest, conformance_part};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Shares of the conformance suite that run at once.
const PARTS: usize = 4;
const RUN: Run = Run { vm: VmId(7), epoch: Epoch(3) };
const LEASE: Duration = Duration::from_secs(120);
const GRACE: Duration = Duration::from_secs(20);

/// What is missing here for these tests; says so.
fn is_skipped() -> bool {
    let programs = ["qemu-system-x86_64", "as", "ld"];
    let missing: Vec<&str> = programs.into_iter().filter(|program| tool::find(program).is_none()).collect();
    let foreign = std::env::consts::ARCH != "x86_64";
    if foreign || !missing.is_empty() {
        eprintln!(
            "skipped: needs x86_64 and {}",
            if foreign { "nothing else".into() } else { missing.join(", ") }
        );
    }
    foreign || !missing.is_empty()
}

/// A host with the qemu hypervisor.
struct Host {
    folder: TempDir,
    kernel: PathBuf,
    backends: Option<Backends>,
    inputs: Receiver<Input>,
    op: u64,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("guest.elf");
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guest/build.sh");
        let built = Command::new("/bin/sh").arg(build).arg(&kernel).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let (backends, inputs) = open(folder.path());
        Self { folder, kernel, backends: Some(backends), inputs, op: 0 }
    }

    fn state(&self) -> PathBuf {
        config(self.folder.path()).state_dir
    }

    /// A VM whose guest's command line is `cmdline`.
    fn vm(&self, cmdline: &str, more: &str) -> VmSpec {
        let kernel = self.kernel.display();
        VmSpec {
            resources: Resources { vcpus: 1, memory_mib: 32 },
            requires: Labels::new(),
            restart: RestartPolicy::Always,
            failover: FailoverPolicy::Move,
            local_volume: false,
            ports: Vec::new(),
            hypervisor: "qemu".into(),
            payload: format!("kernel = '{kernel}'\ncmdline = '{cmdline}'\naccel = 'tcg'\n{more}"),
        }
    }

    fn submit(&mut self, request: HypervisorRequest) -> OpId {
        self.op += 1;
        self.backends.as_mut().unwrap().submit(OpId(self.op), request);
        OpId(self.op)
    }

    fn next(&self) -> Input {
        self.inputs.recv_timeout(StdDuration::from_secs(30)).expect("an input within 30 s")
    }

    fn call(&mut self, request: HypervisorRequest) -> Result<Done, HypervisorError> {
        let op = self.submit(request);
        match self.next() {
            Input::HypervisorDone { op: done, result } if done == op => result,
            other => panic!("{other:?}"),
        }
    }

    fn prepare(&mut self, run: Run, spec: &VmSpec) -> Result<Done, HypervisorError> {
        let spec = Arc::new(spec.clone());
        self.call(HypervisorRequest::Prepare { run, name: name(run), spec, artifact: None })
    }

    fn start(&mut self, run: Run, spec: &VmSpec) -> Result<Done, HypervisorError> {
        self.prepare(run, spec)?;
        let (spec, deadline) = (Arc::new(spec.clone()), Time(boot_time()) + LEASE);
        self.call(HypervisorRequest::Start { run, name: name(run), spec, artifact: None, deadline })
    }

    fn stop(&mut self, run: Run) {
        assert_eq!(self.call(HypervisorRequest::Stop { run, grace: GRACE }), Ok(Done::Stopped));
    }

    fn expect_exit(&self, exit: Exit, words: &str) {
        match self.next() {
            Input::HypervisorEvent { run: RUN, event: VmEvent::Exited { exit: told, reason } } => {
                assert_eq!(told, exit, "{reason}");
                assert!(reason.contains(words), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }

    /// What the guest of the only run has printed so far.
    fn printed(&self) -> String {
        let runs = fs::read_dir(self.state().join("runs")).unwrap();
        let outputs = runs.filter_map(|dir| fs::read_to_string(dir.ok()?.path().join("output")).ok());
        outputs.collect()
    }

    fn qemus(&self) -> Vec<i32> {
        let kernel = self.kernel.display().to_string();
        processes(|_, cmdline| {
            cmdline.starts_with("/usr") && cmdline.contains("qemu-system") && cmdline.contains(&kernel)
        })
    }

    /// What is left of the VMs: processes, sockets, locks, cgroups.
    fn rest(&self) -> Vec<String> {
        let folder = self.folder.path().display().to_string();
        let living = processes(|_, cmdline| cmdline.contains(&folder));
        let mut left: Vec<String> = living.into_iter().map(|pid| format!("process {pid}")).collect();
        let listed = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
        left.extend(listed(self.state().join("locks")).map(|entry| entry.path().display().to_string()));
        let sockets = listed(self.state().join("runs")).flat_map(|run| listed(run.path())).filter(|entry| {
            use std::os::unix::fs::FileTypeExt;
            entry.file_type().is_ok_and(|kind| kind.is_socket())
        });
        left.extend(sockets.map(|entry| entry.path().display().to_string()));
        let cgroups = listed(self.state().join("runs")).map(|run| run.path().join("cgroup"));
        let cgroups = cgroups.filter_map(|note| fs::read_to_string(note).ok());
        left.extend(cgroups.filter(|cgroup| Path::new(cgroup.trim()).exists()));
        left
    }

    fn assert_nothing_left(&self) {
        eventually("no process, socket or lock is left", || self.rest().is_empty());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.backends = None;
        let folder = self.folder.path().display().to_string();
        for pid in processes(|_, cmdline| cmdline.contains(&folder)) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }
}

fn config(folder: &Path) -> Config {
    Config { state_dir: folder.join("state"), program: PathBuf::from(env!("CARGO_BIN_EXE_blixard")) }
}

fn open(folder: &Path) -> (Backends, Receiver<Input>) {
    let (sender, inputs) = channel();
    let sink: Sink = Arc::new(move |input| {
        let _ = sender.send(input);
    });
    (Backends::open(config(folder), sink).unwrap(), inputs)
}

fn name(run: Run) -> VmName {
    VmName::new(format!("web-{}", run.vm.0)).unwrap()
}

/// Living processes by their environment and command line, its arguments separated by NULs.
fn processes(fits: impl Fn(&str, &str) -> bool) -> Vec<i32> {
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

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = boot_time() + 30_000_000_000;
    while !holds() {
        assert!(boot_time() < until, "not within 30 s: {what}");
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
        match guest {
            Guest::Obedient => Some(self.vm("", "disks = [{ volume = 'data', size = '1MiB' }]")),
            Guest::PowersOff => Some(self.vm("do=p", "")),
            Guest::Broken => Some(self.vm("", "initrd = '/no/such/initrd'")),
            Guest::Crashes => Some(self.vm("do=k", "")),
            Guest::Deaf => Some(self.vm("do=h", "")),
        }
    }

    fn can_pause(&self) -> bool {
        true
    }

    fn words(&self, guest: Guest) -> &'static str {
        match guest {
            Guest::PowersOff => "the guest powered itself off",
            Guest::Crashes => "the guest panicked",
            _ => "",
        }
    }

    fn agent_dies(&mut self) {
        self.backends = None;
    }

    fn agent_comes(&mut self) {
        self.backends = None;
        let (backends, inputs) = open(self.folder.path());
        (self.backends, self.inputs) = (Some(backends), inputs);
    }

    fn is_alive(&mut self, run: Run) -> bool {
        let record = format!("/{}.{}.", run.vm, run.epoch);
        let runs = fs::read_dir(self.state().join("runs")).unwrap().flatten().map(|dir| dir.path());
        let runs = runs.filter(|path| path.display().to_string().contains(&record));
        let tokens: Vec<String> = runs
            .filter_map(|path| fs::read_to_string(path.join("record.json")).ok())
            .filter_map(|text| Some(text.split_once("\"token\": \"")?.1.split_once('"')?.0.to_owned()))
            .collect();
        let of_run = |environ: &str| tokens.iter().any(|token| environ.contains(token.as_str()));
        !processes(|environ, cmdline| cmdline.contains("qemu-system") && of_run(environ)).is_empty()
    }

    fn work_done(&mut self, run: Run) -> Option<u64> {
        let prefix = format!("{}.{}.", run.vm, run.epoch);
        let runs = fs::read_dir(self.state().join("runs")).unwrap().flatten();
        let mut of_run = runs.filter(|dir| dir.file_name().to_string_lossy().starts_with(&prefix));
        let output = fs::read_to_string(of_run.next()?.path().join("output")).ok()?;
        Some(output.lines().filter(|line| line.starts_with("GUEST-TICK")).count() as u64)
    }

    fn left(&mut self) -> Vec<String> {
        self.rest()
    }

    fn kept(&mut self) -> Vec<String> {
        let volumes = fs::read_dir(self.state().join("volumes")).into_iter().flatten().flatten();
        let files = volumes.flat_map(|vm| fs::read_dir(vm.path()).unwrap().flatten());
        files.map(|file| file.path().display().to_string()).collect()
    }
}

#[test]
fn conforms() {
    if is_skipped() {
        return;
    }
    std::thread::scope(|scope| {
        for part in 0..PARTS {
            scope.spawn(move || conformance_part(part, PARTS, |_| Host::new()));
        }
    });
}

#[test]
fn a_guest_runs_and_a_stop_leaves_nothing() {
    if is_skipped() {
        return;
    }
    let mut host = Host::new();
    let spec = host.vm("hello=world", "");
    assert_eq!(host.start(RUN, &spec), Ok(Done::Started));
    eventually("the guest counts", || host.printed().contains("GUEST-TICK 00000003"));
    assert!(host.printed().starts_with("GUEST-CMDLINE hello=world\nGUEST-READY\n"), "{}", host.printed());
    assert_eq!(host.qemus().len(), 1);
    host.stop(RUN);
    assert_eq!(host.qemus(), [0_i32; 0], "dead when it is said to be");
    host.assert_nothing_left();
}

/// How often the only run's guest has counted.
fn ticks(host: &Host) -> usize {
    host.printed().matches("GUEST-TICK").count()
}

#[test]
fn a_stop_is_the_power_button_and_then_a_kill() {
    if is_skipped() {
        return;
    }
    let mut host = Host::new();
    let obedient = host.vm("", "");
    assert_eq!(host.start(RUN, &obedient), Ok(Done::Started));
    eventually("the guest counts", || ticks(&host) > 1);
    let asked = boot_time();
    host.stop(RUN);
    assert!(boot_time() - asked < 5_000_000_000, "it does not wait for the grace's end");
    let printed = host.printed();
    assert!(printed.contains("GUEST-POWERBUTTON\nGUEST-POWEROFF"), "{printed}");
    let deaf = host.vm("do=h", "");
    assert_eq!(host.start(RUN, &deaf), Ok(Done::Started));
    let asked = boot_time();
    let grace = Duration::from_millis(400);
    assert_eq!(host.call(HypervisorRequest::Stop { run: RUN, grace }), Ok(Done::Stopped));
    let took = (boot_time() - asked) / 1_000_000;
    assert!((400..1_500).contains(&took), "{took} ms: QEMU quits when the grace is over");
    host.assert_nothing_left();
}

#[test]
fn a_console_reaches_the_guest() {
    if is_skipped() {
        return;
    }
    let mut host = Host::new();
    let spec = host.vm("", "");
    assert_eq!(host.start(RUN, &spec), Ok(Done::Started));
    let run = fs::read_dir(host.state().join("runs")).unwrap().next().unwrap().unwrap().path();
    let mut consoles = [(); 2].map(|()| UnixStream::connect(run.join("console")).unwrap());
    consoles[0].write_all(b".").unwrap();
    for console in &mut consoles {
        console.set_read_timeout(Some(StdDuration::from_secs(20))).unwrap();
        let (mut text, mut buffer) = (String::new(), [0; 512]);
        while !text.contains("!\n") {
            let len = console.read(&mut buffer).unwrap();
            text += &String::from_utf8_lossy(&buffer[..len]);
        }
        assert!(text.starts_with("GUEST-CMDLINE"), "{text}");
    }
    consoles[1].write_all(b"p").unwrap();
    host.expect_exit(Exit::PoweredOff, "powered itself off");
    host.assert_nothing_left();
}

#[test]
fn a_paused_guest_stands_still_and_its_deadline_does_not() {
    if is_skipped() {
        return;
    }
    let mut host = Host::new();
    let spec = host.vm("", "");
    assert_eq!(host.start(RUN, &spec), Ok(Done::Started));
    eventually("the guest counts", || ticks(&host) > 1);
    for _ in 0..2 {
        assert_eq!(host.call(HypervisorRequest::Pause { run: RUN }), Ok(Done::Paused), "once or twice");
    }
    let paused = Done::Listed(vec![RunView { run: RUN, state: RunState::Paused }]);
    assert_eq!(host.call(HypervisorRequest::List), Ok(paused.clone()));
    std::thread::sleep(StdDuration::from_millis(200));
    let before = ticks(&host);
    std::thread::sleep(StdDuration::from_millis(500));
    assert_eq!(ticks(&host), before);
    host.agent_comes();
    assert_eq!(host.call(HypervisorRequest::List), Ok(paused), "adopted as it stands");
    assert_eq!(host.call(HypervisorRequest::Resume { run: RUN }), Ok(Done::Resumed));
    eventually("it counts on", || ticks(&host) > before + 1);
    assert_eq!(host.call(HypervisorRequest::Pause { run: RUN }), Ok(Done::Paused));
    host.stop(RUN);
    assert!(host.printed().contains("GUEST-POWERBUTTON"), "a paused guest is woken for its end");
    let deadline = Time(boot_time()) + Duration::from_secs(2);
    let start = HypervisorRequest::Start {
        run: RUN,
        name: name(RUN),
        spec: Arc::new(spec),
        artifact: None,
        deadline,
    };
    assert_eq!(host.call(start), Ok(Done::Started));
    assert_eq!(host.call(HypervisorRequest::Pause { run: RUN }), Ok(Done::Paused));
    host.expect_exit(Exit::DeadlinePassed, "deadline");
    let gone = host.call(HypervisorRequest::Pause { run: RUN });
    assert!(matches!(gone, Err(HypervisorError::Uncertain { .. })), "{gone:?}");
    host.assert_nothing_left();
}

#[test]
fn an_end_is_told_in_the_guests_own_terms() {
    if is_skipped() {
        return;
    }
    let mut host = Host::new();
    for (cmdline, exit, words) in [
        ("do=p", Exit::PoweredOff, "the guest powered itself off"),
        ("do=r", Exit::Crashed, "the guest reset itself"),
        ("do=c", Exit::Crashed, "the guest reset itself"),
        ("do=k", Exit::Crashed, "the guest panicked"),
    ] {
        let spec = host.vm(cmdline, "");
        assert_eq!(host.start(RUN, &spec), Ok(Done::Started), "{cmdline}");
        host.expect_exit(exit, words);
    }
    let spec = host.vm("", "");
    assert_eq!(host.start(RUN, &spec), Ok(Done::Started));
    eventually("it runs", || host.qemus().len() == 1);
    kill_process(Pid::from_raw(host.qemus()[0]).unwrap(), Signal::TERM).unwrap();
    host.expect_exit(Exit::Crashed, "told to end by a signal");
    host.assert_nothing_left();
}

#[test]
fn a_killed_qemu_is_told_and_leaves_nothing() {
    if is_skipped() {
        return;
    }
    let mut host = Host::new();
    let spec = host.vm("", "");
    assert_eq!(host.start(RUN, &spec), Ok(Done::Started));
    eventually("it runs", || host.qemus().len() == 1);
    kill_process(Pid::from_raw(host.qemus()[0]).unwrap(), Signal::KILL).unwrap();
    host.expect_exit(Exit::Crashed, "signal 9");
    host.assert_nothing_left();
    assert_eq!(host.start(RUN, &spec), Ok(Done::Started));
    host.stop(RUN);
}

#[test]
fn a_stopped_qemu_does_not_outlive_its_deadline() {
    if is_skipped() {
        return;
    }
    let mut host = Host::new();
    let spec = Arc::new(host.vm("", ""));
    host.prepare(RUN, &spec).unwrap();
    let deadline = Time(boot_time()) + Duration::from_secs(2);
    let start = HypervisorRequest::Start { run: RUN, name: name(RUN), spec, artifact: None, deadline };
    assert_eq!(host.call(start), Ok(Done::Started));
    eventually("it runs", || host.qemus().len() == 1);
    kill_process(Pid::from_raw(host.qemus()[0]).unwrap(), Signal::STOP).unwrap();
    host.expect_exit(Exit::DeadlinePassed, "deadline");
    assert!(boot_time() >= deadline.0);
    host.assert_nothing_left();
}

#[test]
fn a_disk_survives_runs_and_a_purge_removes_it() {
    if is_skipped() {
        return;
    }
    let mut host = Host::new();
    let disks = |size: &str| format!("disks = [{{ volume = 'data', size = '{size}' }}]");
    let spec = host.vm("", &disks("1MiB"));
    assert_eq!(host.start(RUN, &spec), Ok(Done::Started));
    let file = host.state().join("volumes/web-7/data.raw");
    let purge =
        |spec: &VmSpec| HypervisorRequest::Purge { run: RUN, name: name(RUN), spec: Arc::new(spec.clone()) };
    assert_eq!(host.call(purge(&spec)), Err(HypervisorError::AlreadyRunning { epoch: RUN.epoch }));
    host.stop(RUN);
    let mut content = b"what the guest wrote".to_vec();
    content.resize(1 << 20, 7);
    fs::write(&file, &content).unwrap();
    let grown = host.vm("", &disks("2MiB"));
    assert_eq!(host.start(RUN, &grown), Ok(Done::Started));
    host.stop(RUN);
    content.resize(2 << 20, 0);
    assert!(fs::read(&file).unwrap() == content, "grown, and nothing overwritten");
    let other = host.vm("", "disks = [{ volume = 'data', size = '2MiB', format = 'qcow2' }]");
    match host.start(RUN, &other) {
        Err(HypervisorError::Prepare { reason }) => {
            assert!(reason.contains("is a raw disk already"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(host.call(purge(&grown)), Ok(Done::Purged));
    assert!(!file.exists() && !file.parent().unwrap().exists());
    assert_eq!(host.call(purge(&grown)), Ok(Done::Purged), "twice is as once");
    host.assert_nothing_left();
}

#[test]
fn its_ports_are_listened_on_while_it_runs() {
    if is_skipped() {
        return;
    }
    let mut host = Host::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ports = vec![Port { protocol: Protocol::Tcp, host: free.port(), guest: 80 }];
    let spec = VmSpec { ports, ..host.vm("", "network = 'user'") };
    assert_eq!(host.start(RUN, &spec), Ok(Done::Started));
    eventually("somebody listens", || TcpStream::connect(free).is_ok());
    host.stop(RUN);
    assert!(TcpStream::connect(free).is_err(), "nobody listens any more");
    let without = VmSpec { payload: spec.payload.replace("'user'", "'none'"), ..spec };
    match host.start(RUN, &without) {
        Err(HypervisorError::Prepare { reason }) => {
            assert!(reason.contains("network = \"user\""), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    host.assert_nothing_left();
}

#[test]
fn what_cannot_run_says_why() {
    if is_skipped() {
        return;
    }
    let mut host = Host::new();
    for (more, expected) in [
        ("network = 'tap'\ninterface = 'no-such-tap'", "there is no tap \"no-such-tap\" on this host"),
        ("network = 'bridge'\ninterface = 'no-such-br'", "there is no bridge \"no-such-br\" on this host"),
        ("initrd = '/no/such/initrd'", "initrd /no/such/initrd: No such file"),
        ("kernal = '/k'", "unknown field `kernal`"),
    ] {
        let spec = host.vm("", more);
        match host.start(RUN, &spec) {
            Err(HypervisorError::Prepare { reason }) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    host.assert_nothing_left();
    assert!(!Path::new("/sys/class/net/no-such-tap").exists(), "none is made on the way");
}

#[test]
fn a_refused_kvm_says_why_and_auto_runs_anyway() {
    if is_skipped() {
        return;
    }
    let mut host = Host::new();
    let by = |host: &Host, accel: &str| {
        let spec = host.vm("", "");
        VmSpec { payload: spec.payload.replace("'tcg'", &format!("'{accel}'")), ..spec }
    };
    let auto = by(&host, "auto");
    assert_eq!(host.start(RUN, &auto), Ok(Done::Started));
    eventually("the guest counts", || host.printed().contains("GUEST-TICK 00000002"));
    host.stop(RUN);
    let kvm = by(&host, "kvm");
    let program = tool::find(&qemu::program()).unwrap();
    match (qemu::probe_kvm(&program), host.prepare(RUN, &kvm)) {
        (Ok(()), prepared) => assert_eq!(prepared, Ok(Done::Prepared { artifact: None })),
        (Err(why), Err(HypervisorError::Prepare { reason })) => assert!(reason.contains(&why), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// Starts and stops one VM after another, and counts what is left.
fn rounds(count: u32) {
    let mut host = Host::new();
    let spec = host.vm("", "");
    let files = || fs::read_dir("/proc/self/fd").unwrap().count();
    let (before, begun) = (files(), boot_time());
    for round in 0..count {
        let run = Run { vm: VmId(7), epoch: Epoch(u64::from(round) + 1) };
        assert_eq!(host.start(run, &spec), Ok(Done::Started), "round {round}");
        host.stop(run);
    }
    let spent = (boot_time() - begun) / 1_000_000;
    host.assert_nothing_left();
    eventually("no file is left open", || files() <= before);
    assert!(fs::read_dir(host.state().join("runs")).unwrap().count() <= 1, "one ended run is kept");
    println!("{count} rounds in {spent} ms: no process, socket, lock or open file is left");
}

#[test]
fn twenty_rounds_leave_nothing() {
    if !is_skipped() {
        rounds(20);
    }
}

#[test]
#[ignore = "takes minutes: run it alone, with --nocapture"]
fn a_thousand_rounds_leave_nothing() {
    if !is_skipped() {
        rounds(1_000);
    }
}
