//! The cloud-hypervisor backend, its controller and the supervisor with a stand-in for the program: this very test, which
//! serves the same API at the same socket and writes the same events. The suite that all hypervisors pass runs on it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

#[expect(dead_code, reason = "a share of what all hypervisors' tests use")]
#[path = "host/mod.rs"]
mod host;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration as StdDuration;

use blixard::hypervisor::backend::Backend;
use blixard::hypervisor::cloud_hypervisor::CloudHypervisor;
use blixard::hypervisor::{Backends, Config, Sink};
use blixard::supervise::boot_time;
use blixard_node::hypervisor::{Done, Exit, HypervisorError, HypervisorRequest};
use blixard_node::spec::{Port, Protocol, VmSpec};
use blixard_node::time::Duration;
use blixard_runtime::hypervisor_conformance::Guest;
use host::{Kind, Opens, RUN, entries, signal, spec};
use rustix::process::Signal;

type Host = host::Host<StandInHost>;

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

// ---- the host

/// A host on which the stand-in is installed.
struct StandInHost {
    kernel: PathBuf,
    program: PathBuf,
}

impl Opens for StandInHost {
    const PATIENCE: StdDuration = StdDuration::from_secs(30);

    fn new(folder: &Path) -> Self {
        let (kernel, program) = (folder.join("kernel"), folder.join("cloud-hypervisor"));
        let exe = std::env::current_exe().unwrap();
        let script = format!(
            "#!/bin/sh\nexport STAND_IN=\"$*\" BENCH='{}'\n\
             exec '{}' --exact stand_in --ignored --nocapture --test-threads=1 2>&3\n",
            folder.display(),
            exe.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&kernel, "a kernel").unwrap();
        Self { kernel, program }
    }

    fn open(&self, _: &Path, config: Config, sink: Sink) -> Backends {
        let backend = CloudHypervisor::new(&config.state_dir).with_program(self.program.clone());
        let backends: Vec<Box<dyn Backend>> = vec![Box::new(backend)];
        Backends::with(config, sink, backends).unwrap()
    }
}

impl Kind for StandInHost {
    const TICK: &'static str = "tick";

    fn guest(host: &Host, guest: Guest) -> Option<VmSpec> {
        Some(match guest {
            Guest::Obedient => host.vm(""),
            Guest::Deaf => host.vm("do=deaf"),
            Guest::PowersOff => host.vm("do=off"),
            Guest::Crashes => host.vm("do=panic"),
            Guest::Broken => VmSpec { payload: "kernel = '/no/such/kernel'".into(), ..host.vm("") },
        })
    }

    fn words(guest: Guest) -> &'static str {
        match guest {
            Guest::PowersOff => "powered itself off",
            Guest::Crashes => "panicked",
            _ => "",
        }
    }

    fn is_vm(cmdline: &str) -> bool {
        cmdline.contains("stand_in")
    }

    fn kept(host: &Host) -> Vec<String> {
        let is_socket =
            |path: &PathBuf| path.symlink_metadata().is_ok_and(|data| data.file_type().is_socket());
        let files = entries(&host.state().join("volumes")).into_iter().flat_map(|vm| entries(&vm));
        files.filter(|path| !is_socket(path)).map(|path| path.display().to_string()).collect()
    }
}

impl Host {
    fn vm(&self, cmdline: &str) -> VmSpec {
        let kernel = self.kind.kernel.display();
        let disks = "disks = [{ volume = 'data', size = '1MiB' }]";
        spec("cloud-hypervisor", format!("kernel = '{kernel}'\ncmdline = '{cmdline}'\n{disks}"))
    }

    fn stand_ins(&self) -> Vec<i32> {
        self.processes(|_, cmdline| StandInHost::is_vm(cmdline))
    }
}

#[test]
fn conforms() {
    host::conforms::<StandInHost>();
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
        assert_eq!(host.start(RUN, &spec), Ok(Done::Started));
        host.expect_exit(exit, words);
        host.assert_nothing_left();
    }
}

#[test]
fn a_killed_one_leaves_no_socket_that_the_next_is_mistaken_by() {
    let mut host = Host::new();
    let spec = host.vm("");
    assert_eq!(host.start(RUN, &spec), Ok(Done::Started));
    assert!(host.state().join("volumes/web-7/api.sock").exists());
    signal(host.stand_ins()[0], Signal::KILL);
    host.expect_exit(Exit::Crashed, "signal 9");
    host.assert_nothing_left();
    // As after a power loss.
    fs::write(host.state().join("volumes/web-7/api.sock"), "").unwrap();
    assert_eq!(host.start(RUN, &spec), Ok(Done::Started));
    host.stop(RUN);
    host.assert_nothing_left();
}

#[test]
fn a_stopped_one_does_not_outlive_its_deadline() {
    let mut host = Host::new();
    let spec = host.vm("");
    host.prepare(RUN, &spec).unwrap();
    let start = host.start_request(RUN, &spec, Duration::from_secs(3));
    let HypervisorRequest::Start { deadline, .. } = start else { unreachable!() };
    assert_eq!(host.call(start), Ok(Done::Started));
    signal(host.stand_ins()[0], Signal::STOP);
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
        match host.start(RUN, &spec) {
            Err(HypervisorError::Prepare { reason }) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    host.assert_nothing_left();
}
