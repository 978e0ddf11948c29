//! The qemu hypervisor with real QEMU processes: the suite that all hypervisors pass, and what only QEMU can show. The
//! guest is the tiny one of `tests/guest`. Skipped, with a line that says so, where QEMU or binutils is missing.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

#[path = "host/mod.rs"]
mod host;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use blixard::hypervisor::{qemu, tool};
use blixard::supervise::boot_time;
use blixard_node::hypervisor::{Done, Exit, HypervisorError, HypervisorRequest, RunState, RunView};
use blixard_node::spec::{Port, Protocol, VmSpec};
use blixard_node::time::Duration;
use blixard_runtime::hypervisor_conformance::Guest;
use host::{Kind, Opens, RUN, entries, eventually, name, signal, spec};
use rustix::process::Signal;

type Host = host::Host<Qemu>;

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

/// QEMU with the tiny guest.
struct Qemu {
    kernel: PathBuf,
}

impl Opens for Qemu {
    const PATIENCE: StdDuration = StdDuration::from_secs(30);

    fn new(folder: &Path) -> Self {
        let kernel = folder.join("guest.elf");
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guest/build.sh");
        let built = Command::new("/bin/sh").arg(build).arg(&kernel).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self { kernel }
    }
}

impl Kind for Qemu {
    const TICK: &'static str = "GUEST-TICK";

    fn guest(host: &Host, guest: Guest) -> Option<VmSpec> {
        Some(match guest {
            Guest::Obedient => host.vm("", "disks = [{ volume = 'data', size = '1MiB' }]"),
            Guest::PowersOff => host.vm("do=p", ""),
            Guest::Broken => host.vm("", "initrd = '/no/such/initrd'"),
            Guest::Crashes => host.vm("do=k", ""),
            Guest::Deaf => host.vm("do=h", ""),
        })
    }

    fn words(guest: Guest) -> &'static str {
        match guest {
            Guest::PowersOff => "the guest powered itself off",
            Guest::Crashes => "the guest panicked",
            _ => "",
        }
    }

    fn is_vm(cmdline: &str) -> bool {
        cmdline.contains("qemu-system")
    }

    fn kept(host: &Host) -> Vec<String> {
        let volumes = entries(&host.state().join("volumes"));
        volumes.iter().flat_map(|vm| entries(vm)).map(|file| file.display().to_string()).collect()
    }
}

impl Host {
    /// A VM whose guest's command line is `cmdline`.
    fn vm(&self, cmdline: &str, more: &str) -> VmSpec {
        let kernel = self.kind.kernel.display();
        spec("qemu", format!("kernel = '{kernel}'\ncmdline = '{cmdline}'\naccel = 'tcg'\n{more}"))
    }

    fn qemus(&self) -> Vec<i32> {
        self.processes(|_, cmdline| cmdline.starts_with("/usr") && cmdline.contains("qemu-system"))
    }
}

#[test]
fn conforms() {
    if is_skipped() {
        return;
    }
    host::conforms::<Qemu>();
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
    let console = host.dir().join("console");
    let mut consoles = [(); 2].map(|()| UnixStream::connect(&console).unwrap());
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
    host.reopen();
    assert_eq!(host.call(HypervisorRequest::List), Ok(paused), "adopted as it stands");
    assert_eq!(host.call(HypervisorRequest::Resume { run: RUN }), Ok(Done::Resumed));
    eventually("it counts on", || ticks(&host) > before + 1);
    assert_eq!(host.call(HypervisorRequest::Pause { run: RUN }), Ok(Done::Paused));
    host.stop(RUN);
    assert!(host.printed().contains("GUEST-POWERBUTTON"), "a paused guest is woken for its end");
    assert_eq!(host.start_for(RUN, &spec, Duration::from_secs(2)), Ok(Done::Started));
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
    signal(host.qemus()[0], Signal::TERM);
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
    signal(host.qemus()[0], Signal::KILL);
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
    let spec = host.vm("", "");
    host.prepare(RUN, &spec).unwrap();
    let start = host.start_request(RUN, &spec, Duration::from_secs(2));
    let HypervisorRequest::Start { deadline, .. } = start else { unreachable!() };
    assert_eq!(host.call(start), Ok(Done::Started));
    eventually("it runs", || host.qemus().len() == 1);
    signal(host.qemus()[0], Signal::STOP);
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

/// Runs `ip`; whether it could.
fn ip(words: &str) -> bool {
    let done = Command::new("ip").args(words.split(' ')).output();
    done.is_ok_and(|done| done.status.success())
}

#[test]
fn a_tap_is_used_while_it_runs_and_left_as_it_was() {
    if is_skipped() {
        return;
    }
    let tap = format!("bxt{}", std::process::id());
    if !ip(&format!("tuntap add {tap} mode tap")) {
        eprintln!("skipped: a tap cannot be made here (needs root and iproute2)");
        return;
    }
    assert!(ip(&format!("link set {tap} up")));
    let taps = || entries(Path::new("/sys/class/net")).len();
    let carrier = || fs::read_to_string(format!("/sys/class/net/{tap}/carrier")).unwrap_or_default();
    let before = taps();
    let mut host = Host::new();
    let spec = host.vm("", &format!("network = 'tap'\ninterface = '{tap}'"));
    for _ in 0..3 {
        assert_eq!(host.start(RUN, &spec), Ok(Done::Started));
        eventually("somebody holds the other end", || carrier() == "1\n");
        host.stop(RUN);
        assert_eq!(carrier(), "0\n", "nobody does any more");
    }
    host.assert_nothing_left();
    assert_eq!(taps(), before, "none was made beside it");
    assert!(ip(&format!("link delete {tap}")));
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

fn rounds(count: u64) {
    let mut host = Host::new();
    let spec = host.vm("", "");
    host.rounds(&spec, count);
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
