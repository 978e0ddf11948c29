//! Supervisors as units of a systemd that the test starts: a user's, with a bus of its own, in a mount namespace where the host seems
//! booted by systemd. Skipped, with a line that says so, where that cannot be.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration as StdDuration;

use blixard::hypervisor::{Backends, Config, Manager, Options, Sink, tool};
use blixard::supervise::boot_time;
use blixard_node::hypervisor::{
    Done, Exit, HypervisorError, HypervisorRequest, Run, RunState, RunView, VmEvent,
};
use blixard_node::ids::{Epoch, OpId, VmId};
use blixard_node::input::Input;
use blixard_node::spec::{FailoverPolicy, Labels, Resources, RestartPolicy, VmName, VmSpec};
use blixard_node::time::{Duration, Time};
use blixard_runtime::Hypervisor;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const RUN: Run = Run { vm: VmId(7), epoch: Epoch(3) };

/// What runs in the mount namespace. The bus goes first, for systemd to appear on.
const SCRIPT: &str = "
mkdir -p /run/systemd && mount -t tmpfs none /run/systemd && mkdir /run/systemd/system || exit 9
for root in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup; do
  if [ -e $root/cgroup.procs ]; then
    mkdir -p $root/blixard-test-$$ && echo $$ > $root/blixard-test-$$/cgroup.procs
  fi
done
dbus-daemon --session --nofork --address=$DBUS_SESSION_BUS_ADDRESS &
exec systemd --user --log-target=console
";

/// A systemd of the test's own.
struct Systemd {
    folder: TempDir,
    process: Child,
}

impl Systemd {
    /// None where there can be none; says so.
    fn start() -> Option<Self> {
        let programs = ["systemd", "dbus-daemon", "unshare", "busctl", "sh"];
        let missing: Vec<&str> = programs.into_iter().filter(|name| tool::find(name).is_none()).collect();
        if !missing.is_empty() || !rustix::process::geteuid().is_root() {
            eprintln!(
                "skipped: needs root and systemd, dbus-daemon, unshare; missing: {}",
                missing.join(", ")
            );
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new("unshare")
            .args(["--mount", "--kill-child", "sh", "-c", SCRIPT])
            .env("XDG_RUNTIME_DIR", folder.path())
            .env("HOME", folder.path())
            .env("DBUS_SESSION_BUS_ADDRESS", address(folder.path()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let systemd = Self { folder, process };
        let until = boot_time() + 20_000_000_000;
        while boot_time() < until {
            if systemd.busctl(&["status", "org.freedesktop.systemd1"]).is_some() {
                return Some(systemd);
            }
            std::thread::sleep(StdDuration::from_millis(50));
        }
        let log = fs::read_to_string(systemd.folder.path().join("log")).unwrap();
        eprintln!("skipped: systemd --user does not run here: {}", log.lines().last().unwrap_or_default());
        None
    }

    fn busctl(&self, args: &[&str]) -> Option<String> {
        let mut command = Command::new("busctl");
        command.arg(format!("--address={}", address(self.folder.path()))).args(args);
        let output = command.output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The units of runs that it has.
    fn units(&self) -> Vec<String> {
        let list = ["call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"];
        let list = [&list[..], &["org.freedesktop.systemd1.Manager", "ListUnits"]].concat();
        let text = self.busctl(&list).unwrap();
        let quoted =
            text.split('"').filter(|word| word.starts_with("blixard-vm") && word.ends_with(".service"));
        quoted.map(String::from).collect()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let mine = self.folder.path().display().to_string();
        for pid in processes(&mine) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        std::thread::sleep(StdDuration::from_millis(200));
        for root in ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup"] {
            let folders = fs::read_dir(root).into_iter().flatten().flatten();
            for folder in folders.filter(|one| one.file_name().to_string_lossy().starts_with("blixard-test-"))
            {
                remove_cgroups(&folder.path());
            }
        }
    }
}

fn remove_cgroups(path: &Path) {
    for below in fs::read_dir(path).into_iter().flatten().flatten().filter(|one| one.path().is_dir()) {
        remove_cgroups(&below.path());
    }
    let _ = fs::remove_dir(path);
}

fn address(folder: &Path) -> String {
    format!("unix:path={}/bus", folder.display())
}

/// Living processes that name the folder in their environment or arguments.
fn processes(folder: &str) -> Vec<i32> {
    let read = |path: PathBuf| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let names = |pid: &i32| {
        let proc = Path::new("/proc").join(pid.to_string());
        ["environ", "cmdline"].iter().any(|file| read(proc.join(file)).is_ok_and(|it| it.contains(folder)))
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(names).collect()
}

struct Host {
    folder: TempDir,
    manager: Manager,
    backends: Option<Backends>,
    inputs: Receiver<Input>,
    op: u64,
}

impl Host {
    fn new(manager: Manager) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (backends, inputs) = open(folder.path(), &manager);
        Self { folder, manager, backends: Some(backends), inputs, op: 0 }
    }

    fn reopen(&mut self) {
        self.backends = None;
        let (backends, inputs) = open(self.folder.path(), &self.manager);
        (self.backends, self.inputs) = (Some(backends), inputs);
    }

    fn call(&mut self, request: HypervisorRequest) -> Result<Done, HypervisorError> {
        self.op += 1;
        self.backends.as_mut().unwrap().submit(OpId(self.op), request);
        match self.inputs.recv_timeout(StdDuration::from_secs(30)).unwrap() {
            Input::HypervisorDone { op, result } if op == OpId(self.op) => result,
            other => panic!("{other:?}"),
        }
    }

    fn start(&mut self, script: &str, lease: Duration) -> Result<Done, HypervisorError> {
        let folder = self.folder.path().display();
        let spec = VmSpec {
            resources: Resources { vcpus: 1, memory_mib: 1 },
            requires: Labels::new(),
            restart: RestartPolicy::Always,
            failover: FailoverPolicy::Move,
            local_volume: false,
            hypervisor: "process".into(),
            payload: format!("command = ['/bin/sh', '-c', '''{script}''']\nenv = {{ BENCH = '{folder}' }}"),
            ports: Vec::new(),
        };
        let (name, spec, deadline) = (VmName::new("web").unwrap(), Arc::new(spec), Time(boot_time()) + lease);
        self.call(HypervisorRequest::Start { run: RUN, name, spec, artifact: None, deadline })
    }

    fn expect_exit(&self, exit: Exit) {
        match self.inputs.recv_timeout(StdDuration::from_secs(30)).unwrap() {
            Input::HypervisorEvent { run: RUN, event: VmEvent::Exited { exit: told, reason } } => {
                assert_eq!(told, exit, "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

fn open(folder: &Path, manager: &Manager) -> (Backends, Receiver<Input>) {
    let (sender, inputs) = channel();
    let sink: Sink = Arc::new(move |input| {
        let _ = sender.send(input);
    });
    let config =
        Config { state_dir: folder.join("state"), program: PathBuf::from(env!("CARGO_BIN_EXE_blixard")) };
    let options = Options { units: Some(manager.clone()), ..Options::default() };
    (Backends::open_with(config, sink, options).unwrap(), inputs)
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = boot_time() + 20_000_000_000;
    while !holds() {
        assert!(boot_time() < until, "not within 20 s: {what}");
        std::thread::sleep(StdDuration::from_millis(20));
    }
}

#[test]
fn a_supervisor_is_a_unit_that_the_daemon_rules_as_its_child() {
    let Some(systemd) = Systemd::start() else { return };
    let mut host = Host::new(Manager::At(address(systemd.folder.path())));
    let begun = boot_time();
    assert_eq!(host.start("echo hello; exec sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    println!("started as a unit in {} ms", (boot_time() - begun) / 1_000_000);
    let units = systemd.units();
    assert_eq!(units.len(), 1, "{units:?}");
    assert!(units[0].starts_with("blixard-vm7.e3."), "{units:?}");
    assert_eq!(processes(&host.folder.path().display().to_string()).len(), 2, "supervisor and VM");
    host.reopen();
    let running = Done::Listed(vec![RunView { run: RUN, state: RunState::Running }]);
    assert_eq!(host.call(HypervisorRequest::List), Ok(running));
    let grace = Duration::from_secs(10);
    assert_eq!(host.call(HypervisorRequest::Stop { run: RUN, grace }), Ok(Done::Stopped));
    eventually("the unit is gone", || systemd.units().is_empty());

    assert_eq!(host.start("exec sleep 1000", Duration::from_secs(2)), Ok(Done::Started));
    host.expect_exit(Exit::DeadlinePassed);

    assert_eq!(host.start("exec sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    let unit = systemd.units().remove(0);
    let manager =
        ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];
    let stop = [&["call"], &manager[..], &["StopUnit", "ss", &unit, "fail"]].concat();
    systemd.busctl(&stop).unwrap();
    host.expect_exit(Exit::Crashed);
    eventually("nothing is left", || processes(&host.folder.path().display().to_string()).is_empty());
}

#[test]
fn without_that_systemd_a_start_fails_and_says_why() {
    let mut host = Host::new(Manager::At("unix:path=/no/such/bus".into()));
    match host.start("exec sleep 1000", Duration::from_secs(60)) {
        Err(HypervisorError::Start { reason }) => assert!(reason.contains("systemd"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(host.call(HypervisorRequest::List), Ok(Done::Listed(vec![])));
    assert_eq!(fs::read_dir(host.folder.path().join("state/locks")).unwrap().count(), 0);
}
