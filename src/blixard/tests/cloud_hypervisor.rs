//! The cloud-hypervisor backend, its controller and the supervisor with a stand-in for the program: this very test, which
//! serves the same API at the same socket and writes the same events. The suite that all hypervisors pass runs on it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration as StdDuration;

use blixard::hypervisor::backend::Backend;
use blixard::hypervisor::cloud_hypervisor::CloudHypervisor;
use blixard::hypervisor::{Backends, Config, Sink};
use blixard::supervise::boot_time;
use blixard_node::hypervisor::{Done, Exit, HypervisorError, HypervisorRequest, Run, VmEvent};
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

// ---- the stand-in

/// What the stand-in's threads share.
struct StandIn {
    runs: AtomicBool,
    paused: AtomicBool,
    deaf: bool,
    answered: AtomicU32,
    /// Held by whoever ends it, for good.
    ending: Mutex<()>,
}

/// Not a test: what the wrapper that the backend starts becomes.
#[test]
#[ignore = "a program for the other tests"]
fn stand_in() {
    let Ok(args) = std::env::var("STAND_IN") else { return };
    let words: Vec<&str> = args.split_whitespace().collect();
    let socket = words[words.iter().position(|word| *word == "--api-socket").unwrap() + 1];
    let guest = words.iter().find_map(|word| word.strip_prefix("do=")).unwrap_or_default();
    tell("vmm", "starting");
    let shared = Arc::new(StandIn {
        runs: AtomicBool::new(false),
        paused: AtomicBool::new(false),
        deaf: guest == "deaf",
        answered: AtomicU32::new(0),
        ending: Mutex::new(()),
    });
    let listener = UnixListener::bind(socket).unwrap();
    let server = Arc::clone(&shared);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let shared = Arc::clone(&server);
            std::thread::spawn(move || serve(&shared, connection));
        }
    });
    tell("vm", "booting");
    std::thread::sleep(StdDuration::from_millis(30));
    shared.runs.store(true, Ordering::SeqCst);
    tell("vm", "booted");
    for tick in 1.. {
        std::thread::sleep(StdDuration::from_millis(50));
        if !shared.paused.load(Ordering::SeqCst) {
            println!("tick {tick}");
        }
        match (tick, guest) {
            (6, "off") => end(&shared),
            (6, "panic") => tell("guest", "panic"),
            (6, "reset") => tell("vm", "rebooting"),
            (6, "abort") => std::process::abort(),
            _ => {}
        }
    }
}

/// Standard error is the event monitor's file.
fn tell(source: &str, event: &str) {
    let timestamp = "{\n    \"secs\": 0,\n    \"nanos\": 1693039\n  }";
    eprint!(
        "{{\n  \"timestamp\": {timestamp},\n  \"source\": \"{source}\",\n  \"event\": \"{event}\",\n  \"properties\": null\n}}\n\n"
    );
}

fn end(shared: &StandIn) -> ! {
    let _last = shared.ending.lock().unwrap();
    for (source, event) in [("vm", "shutdown"), ("vm", "deleted"), ("vmm", "shutdown")] {
        tell(source, event);
    }
    std::process::exit(0)
}

/// Answers in every form that HTTP/1.1 has, one after the other.
fn serve(shared: &StandIn, connection: UnixStream) {
    let mut requests = BufReader::new(connection.try_clone().unwrap());
    loop {
        let mut line = String::new();
        if requests.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let request = line.trim().to_owned();
        while line != "\r\n" {
            line.clear();
            if requests.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
        }
        let (status, body) = answer(shared, &request);
        let count = shared.answered.fetch_add(1, Ordering::SeqCst);
        let mut text = format!("HTTP/1.1 {status}\r\nServer: stand-in\r\n");
        let closes = count % 5 == 4;
        if closes {
            text += "Connection: close\r\n";
        }
        text += &match (body.as_str(), count % 3) {
            ("", _) => "\r\n".to_owned(),
            (body, 0) => format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
            (body, _) => format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        };
        // In two pieces, because the kernel may do that, too.
        let (first, second) = text.split_at(text.len() / 2);
        let mut to = &connection;
        if to.write_all(first.as_bytes()).and_then(|()| to.write_all(second.as_bytes())).is_err() || closes {
            return;
        }
        if request.starts_with("PUT /api/v1/vmm.shutdown") {
            end(shared);
        }
        if request.starts_with("PUT /api/v1/vm.power-button") && !shared.deaf {
            end(shared);
        }
    }
}

fn answer(shared: &StandIn, request: &str) -> (&'static str, String) {
    let done = ("204 No Content", String::new());
    let refused =
        ("500 Internal Server Error", r#"["Error from API","Invalid VM state transition"]"#.to_owned());
    let runs = shared.runs.load(Ordering::SeqCst);
    match request.strip_suffix(" HTTP/1.1").unwrap_or_default() {
        "GET /api/v1/vm.info" => {
            let paused = shared.paused.load(Ordering::SeqCst);
            let state = if paused {
                "Paused"
            } else if runs {
                "Running"
            } else {
                "Created"
            };
            ("200 OK", format!(r#"{{"config": {{"cpus": {{"boot_vcpus": 1}}}}, "state": "{state}"}}"#))
        }
        "PUT /api/v1/vm.pause" => {
            if runs && !shared.paused.swap(true, Ordering::SeqCst) {
                done
            } else {
                refused
            }
        }
        "PUT /api/v1/vm.resume" => {
            if shared.paused.swap(false, Ordering::SeqCst) {
                done
            } else {
                refused
            }
        }
        "PUT /api/v1/vm.power-button" | "PUT /api/v1/vmm.shutdown" => done,
        _ => ("404 Not Found", String::new()),
    }
}

// ---- the bench

struct Host {
    folder: TempDir,
    backends: Option<Backends>,
    inputs: Receiver<Input>,
    op: u64,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("cloud-hypervisor");
        let exe = std::env::current_exe().unwrap();
        let script = format!(
            "#!/bin/sh\nexport STAND_IN=\"$*\" BENCH='{}'\n\
             exec '{}' --exact stand_in --ignored --nocapture --test-threads=1 2>&3\n",
            folder.path().display(),
            exe.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("kernel"), "a kernel").unwrap();
        let (backends, inputs) = open(folder.path());
        Self { folder, backends: Some(backends), inputs, op: 0 }
    }

    fn state(&self) -> PathBuf {
        config(self.folder.path()).state_dir
    }

    fn vm(&self, cmdline: &str) -> VmSpec {
        let kernel = self.folder.path().join("kernel");
        VmSpec {
            resources: Resources { vcpus: 1, memory_mib: 32 },
            requires: Labels::new(),
            restart: RestartPolicy::Always,
            failover: FailoverPolicy::Move,
            local_volume: false,
            ports: Vec::new(),
            hypervisor: "cloud-hypervisor".into(),
            payload: format!(
                "kernel = '{}'\ncmdline = '{cmdline}'\ndisks = [{{ volume = 'data', size = '1MiB' }}]",
                kernel.display()
            ),
        }
    }

    fn call(&mut self, request: HypervisorRequest) -> Result<Done, HypervisorError> {
        self.op += 1;
        self.backends.as_mut().unwrap().submit(OpId(self.op), request);
        match self.inputs.recv_timeout(StdDuration::from_secs(30)).unwrap() {
            Input::HypervisorDone { op, result } if op.0 == self.op => result,
            other => panic!("{other:?}"),
        }
    }

    fn start(&mut self, spec: &VmSpec) -> Result<Done, HypervisorError> {
        let (spec, name) = (Arc::new(spec.clone()), VmName::new("web").unwrap());
        let prepare = HypervisorRequest::Prepare {
            run: RUN,
            name: name.clone(),
            spec: Arc::clone(&spec),
            artifact: None,
        };
        self.call(prepare)?;
        let deadline = Time(boot_time()) + Duration::from_secs(60);
        self.call(HypervisorRequest::Start { run: RUN, name, spec, artifact: None, deadline })
    }

    fn expect_exit(&self, exit: Exit, words: &str) {
        match self.inputs.recv_timeout(StdDuration::from_secs(30)).unwrap() {
            Input::HypervisorEvent { run: RUN, event: VmEvent::Exited { exit: told, reason } } => {
                assert_eq!(told, exit, "{reason}");
                assert!(reason.contains(words), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }

    fn processes(&self, fits: impl Fn(&str, &str) -> bool) -> Vec<i32> {
        let folder = self.folder.path().display().to_string();
        let read = |path: PathBuf| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let (Ok(environ), Ok(cmdline)) =
                (read(entry.path().join("environ")), read(entry.path().join("cmdline")))
                && (environ.contains(&folder) || cmdline.contains(&folder))
                && fits(&environ, &cmdline)
            {
                found.push(pid);
            }
        }
        found
    }

    fn stand_ins(&self) -> Vec<i32> {
        self.processes(|_, cmdline| cmdline.contains("stand_in"))
    }

    /// What is left of the VMs: processes, sockets, locks, cgroups.
    fn rest(&self) -> Vec<String> {
        let living = self.processes(|_, _| true);
        let mut rest: Vec<String> = living.into_iter().map(|pid| format!("process {pid}")).collect();
        let listed = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
        rest.extend(listed(self.state().join("locks")).map(|entry| entry.path().display().to_string()));
        let folders = listed(self.state().join("runs")).chain(listed(self.state().join("volumes")));
        let sockets = folders.flat_map(|folder| listed(folder.path()));
        let sockets = sockets.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()));
        rest.extend(sockets.map(|entry| entry.path().display().to_string()));
        let cgroups = listed(self.state().join("runs")).map(|run| run.path().join("cgroup"));
        let cgroups = cgroups.filter_map(|note| fs::read_to_string(note).ok());
        rest.extend(cgroups.filter(|cgroup| Path::new(cgroup.trim()).exists()));
        rest
    }

    fn assert_nothing_left(&self) {
        let until = boot_time() + 30_000_000_000;
        while !self.rest().is_empty() {
            assert!(boot_time() < until, "{:?}", self.rest());
            std::thread::sleep(StdDuration::from_millis(10));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.backends = None;
        for pid in self.processes(|_, _| true) {
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
    let config = config(folder);
    let backend = CloudHypervisor::new(&config.state_dir).with_program(folder.join("cloud-hypervisor"));
    let backends: Vec<Box<dyn Backend>> = vec![Box::new(backend)];
    (Backends::with(config, sink, backends).unwrap(), inputs)
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
        let broken = VmSpec { payload: "kernel = '/no/such/kernel'".into(), ..self.vm("") };
        Some(match guest {
            Guest::Obedient => self.vm(""),
            Guest::Deaf => self.vm("do=deaf"),
            Guest::PowersOff => self.vm("do=off"),
            Guest::Crashes => self.vm("do=panic"),
            Guest::Broken => broken,
        })
    }

    fn can_pause(&self) -> bool {
        true
    }

    fn words(&self, guest: Guest) -> &'static str {
        match guest {
            Guest::PowersOff => "powered itself off",
            Guest::Crashes => "panicked",
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
        !self.processes(|environ, cmdline| cmdline.contains("stand_in") && of_run(environ)).is_empty()
    }

    fn work_done(&mut self, run: Run) -> Option<u64> {
        let prefix = format!("{}.{}.", run.vm, run.epoch);
        let runs = fs::read_dir(self.state().join("runs")).unwrap().flatten();
        let mut of_run = runs.filter(|dir| dir.file_name().to_string_lossy().starts_with(&prefix));
        let output = fs::read_to_string(of_run.next()?.path().join("output")).ok()?;
        Some(output.lines().filter(|line| line.starts_with("tick")).count() as u64)
    }

    fn left(&mut self) -> Vec<String> {
        self.rest()
    }

    fn kept(&mut self) -> Vec<String> {
        let volumes = fs::read_dir(self.state().join("volumes")).into_iter().flatten().flatten();
        let files = volumes.flat_map(|vm| fs::read_dir(vm.path()).unwrap().flatten());
        let files = files.filter(|file| !file.file_type().is_ok_and(|kind| kind.is_socket()));
        files.map(|file| file.path().display().to_string()).collect()
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
fn the_reasons_of_ends_are_told() {
    for (guest, exit, words) in [
        ("off", Exit::PoweredOff, "the guest powered itself off"),
        ("panic", Exit::Crashed, "the guest panicked"),
        ("reset", Exit::Crashed, "the guest reset itself"),
        ("abort", Exit::Crashed, "signal 6"),
    ] {
        let mut host = Host::new();
        let spec = host.vm(&format!("do={guest}"));
        assert_eq!(host.start(&spec), Ok(Done::Started));
        host.expect_exit(exit, words);
        host.assert_nothing_left();
    }
}

#[test]
fn a_killed_one_leaves_no_socket_that_the_next_is_mistaken_by() {
    let mut host = Host::new();
    let spec = host.vm("");
    assert_eq!(host.start(&spec), Ok(Done::Started));
    assert!(host.state().join("volumes/web/api.sock").exists());
    kill_process(Pid::from_raw(host.stand_ins()[0]).unwrap(), Signal::KILL).unwrap();
    host.expect_exit(Exit::Crashed, "signal 9");
    host.assert_nothing_left();
    // As after a power loss.
    fs::write(host.state().join("volumes/web/api.sock"), "").unwrap();
    assert_eq!(host.start(&spec), Ok(Done::Started));
    let stop = HypervisorRequest::Stop { run: RUN, grace: Duration::from_secs(20) };
    assert_eq!(host.call(stop), Ok(Done::Stopped));
    host.assert_nothing_left();
}

#[test]
fn a_stopped_one_does_not_outlive_its_deadline() {
    let mut host = Host::new();
    let (name, spec) = (VmName::new("web").unwrap(), Arc::new(host.vm("")));
    let prepare =
        HypervisorRequest::Prepare { run: RUN, name: name.clone(), spec: Arc::clone(&spec), artifact: None };
    host.call(prepare).unwrap();
    let deadline = Time(boot_time()) + Duration::from_secs(3);
    let start = HypervisorRequest::Start { run: RUN, name, spec, artifact: None, deadline };
    assert_eq!(host.call(start), Ok(Done::Started));
    kill_process(Pid::from_raw(host.stand_ins()[0]).unwrap(), Signal::STOP).unwrap();
    host.expect_exit(Exit::DeadlinePassed, "deadline");
    assert!(boot_time() >= deadline.0);
    host.assert_nothing_left();
}

#[test]
fn what_cannot_run_says_why() {
    let mut host = Host::new();
    let with_ports =
        VmSpec { ports: vec![Port { protocol: Protocol::Tcp, host: 8080, guest: 80 }], ..host.vm("") };
    let with = |more: &str| VmSpec { payload: format!("{}\n{more}", host.vm("").payload), ..host.vm("") };
    for (spec, expected) in [
        (with_ports, "forwards no ports"),
        (with("tap = 'no-such-tap'"), "there is no tap \"no-such-tap\" on this host"),
        (with("initramfs = '/no/such/initramfs'"), "initramfs /no/such/initramfs: No such file"),
        (with("firmware = '/f'"), "give either kernel or firmware"),
    ] {
        match host.start(&spec) {
            Err(HypervisorError::Prepare { reason }) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    host.assert_nothing_left();
}
