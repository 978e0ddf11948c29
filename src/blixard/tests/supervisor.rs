//! What a supervisor does beyond starting and ending a program: the commands before, beside and after it, the program
//! that asks it to power off, and its console. A backend of the test's own passes plans through as they are.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

#[expect(dead_code, reason = "a share of what all hypervisors' tests use")]
#[path = "host/mod.rs"]
mod host;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration as StdDuration;

use blixard::hypervisor::backend::{Backend, Job};
use blixard::hypervisor::run_dir::{Control, Plan};
use blixard::hypervisor::{Backends, Config, Sink};
use blixard::supervise::boot_time;
use blixard_node::hypervisor::{Done, Exit, HypervisorError, HypervisorRequest};
use blixard_node::ids::OpId;
use blixard_node::input::Input;
use blixard_node::spec::VmSpec;
use blixard_node::time::{Duration, Time};
use host::{LEASE, Opens, RUN, eventually, signal, spec};
use rustix::process::Signal;

const GRACE: Duration = Duration::from_secs(10);

type Host = host::Host<Plans>;

/// Runs the plan that is the payload.
struct AsPlanned;

impl Backend for AsPlanned {
    fn name(&self) -> &'static str {
        "as-planned"
    }

    fn probe(&self) -> Result<String, String> {
        Ok("for tests".into())
    }

    fn prepare(&self, _: Job<'_>) -> Result<Option<String>, HypervisorError> {
        Ok(None)
    }

    fn plan(&self, job: Job<'_>) -> Result<Plan, HypervisorError> {
        Ok(serde_json::from_str(&job.spec.payload).unwrap())
    }
}

/// A host that runs plans as they are.
struct Plans;

impl Opens for Plans {
    const PATIENCE: StdDuration = StdDuration::from_secs(30);

    fn new(_: &Path) -> Self {
        Self
    }

    /// Longer than a socket's path may be.
    fn state(folder: &Path) -> PathBuf {
        folder.join("a-folder-with-a-long-name".repeat(6))
    }

    fn open(&self, _: &Path, config: Config, sink: Sink) -> Backends {
        Backends::with(config, sink, vec![Box::new(AsPlanned)]).unwrap()
    }
}

impl Host {
    /// A plan that runs a shell script in the host's folder. Each process writes what it does there.
    fn plan(&self, script: &str) -> Plan {
        let folder = self.folder().display().to_string();
        let env = BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into()), ("BENCH".into(), folder)]);
        Plan { command: shell(script), env, workdir: self.folder().into(), ..Plan::default() }
    }

    fn run(&mut self, plan: &Plan, lease: Duration) -> Result<Done, HypervisorError> {
        self.start_for(RUN, &planned(plan), lease)
    }

    /// What the programs have written down, in its order.
    fn story(&self) -> String {
        fs::read_to_string(self.folder().join("story")).unwrap_or_default().replace('\n', " ")
    }

    fn expect_story(&self, expected: &str) {
        eventually(expected, || self.story().trim_end() == expected);
    }

    fn console(&self) -> UnixStream {
        let dir = fs::File::open(self.dir()).unwrap();
        let console = UnixStream::connect(format!("/proc/self/fd/{}/console", dir.as_raw_fd())).unwrap();
        console.set_read_timeout(Some(StdDuration::from_secs(20))).unwrap();
        console
    }

    /// Living processes of runs, supervisors included.
    fn living(&self) -> Vec<i32> {
        self.processes(|_, _| true)
    }

    fn kill_supervisor(&self) {
        signal(self.processes(|_, cmdline| cmdline.contains("supervise"))[0], Signal::KILL);
    }
}

fn planned(plan: &Plan) -> VmSpec {
    spec("as-planned", serde_json::to_string(plan).unwrap())
}

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(String::from).to_vec()
}

/// Reads until `words` have come.
fn read_until(from: &mut UnixStream, words: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(words) {
        let len = from.read(&mut buffer).unwrap_or_else(|error| panic!("{words:?} not in {text:?}: {error}"));
        assert!(len > 0, "{words:?} not in {text:?}");
        text += &String::from_utf8_lossy(&buffer[..len]);
    }
    text
}

// ---- before, beside, after

#[test]
fn commands_run_before_beside_and_after_in_their_order() {
    let mut host = Host::new();
    let plan = Plan {
        before: vec![shell("sleep 0.1; echo first >> story"), shell("echo second >> story")],
        beside: vec![shell("echo beside > beside; exec sleep 1000")],
        after: vec![shell("echo third >> story; exit 1"), shell("sleep 0.1; echo last >> story")],
        ..host.plan("echo vm >> story; exec sleep 1000")
    };
    assert_eq!(host.run(&plan, LEASE), Ok(Done::Started));
    host.expect_story("first second vm");
    eventually("it runs beside", || host.folder().join("beside").exists());
    host.stop(RUN);
    assert_eq!(host.story(), "first second vm third last ", "all of it is over when a stop is completed");
    let said = fs::read_to_string(host.dir().join("supervisor")).unwrap();
    assert!(said.contains("exit status 1"), "{said}");
    host.assert_nothing_left();
}

#[test]
fn what_comes_after_comes_after_every_kind_of_end() {
    let mut host = Host::new();
    let after = vec![shell("echo after >> story")];
    let plan = Plan { after: after.clone(), ..host.plan("exit 3") };
    assert_eq!(host.run(&plan, LEASE), Ok(Done::Started));
    host.expect_exit(Exit::Crashed, "exit status 3");
    let plan = Plan { after: after.clone(), ..host.plan("exec sleep 1000") };
    assert_eq!(host.run(&plan, Duration::from_secs(2)), Ok(Done::Started));
    host.expect_exit(Exit::DeadlinePassed, "deadline");
    let plan = Plan { command: vec!["/no/such/program".into()], after, ..host.plan("") };
    let failed = host.run(&plan, LEASE);
    assert!(matches!(failed, Err(HypervisorError::Start { .. })), "{failed:?}");
    assert_eq!(host.story(), "after after after ");
    host.assert_nothing_left();
}

#[test]
fn what_comes_after_comes_also_after_a_killed_supervisor() {
    let mut host = Host::new();
    let after = vec![shell("echo after >> story"), shell("exit 3")];
    let plan = Plan { after, ..host.plan("exec sleep 1000") };
    for daemon_lives in [true, false] {
        let _ = fs::remove_file(host.folder().join("story"));
        assert_eq!(host.run(&plan, LEASE), Ok(Done::Started));
        if !daemon_lives {
            host.close();
        }
        host.kill_supervisor();
        if !daemon_lives {
            eventually("the VM is dead", || host.living().is_empty());
            host.reopen();
        }
        host.expect_exit(Exit::Crashed, "supervisor was killed");
        assert_eq!(host.story(), "after ");
        host.assert_nothing_left();
    }
    assert_eq!(host.run(&host.plan("exec sleep 1000"), LEASE), Ok(Done::Started));
}

#[test]
fn what_comes_after_has_its_time_and_no_more() {
    let mut host = Host::new();
    let plan = Plan {
        after: vec![shell("sleep 2; echo slow >> story"), shell("sleep 1000"), shell("echo last >> story")],
        ..host.plan("exec sleep 1000")
    };
    assert_eq!(host.run(&plan, Duration::from_secs(2)), Ok(Done::Started));
    host.expect_exit(Exit::DeadlinePassed, "deadline");
    assert_eq!(host.story(), "slow last ", "the daemon leaves it its time beyond the deadline");
    host.assert_nothing_left();
}

#[test]
fn a_command_before_that_fails_is_a_failed_start() {
    let mut host = Host::new();
    let after = vec![shell("echo after >> story")];
    let plan = |host: &Host, before: Vec<String>| Plan {
        before: vec![before, shell("echo second >> story")],
        after: after.clone(),
        ..host.plan("echo vm >> story; exec sleep 1000")
    };
    for (before, expected) in [
        (
            shell("echo one; echo 'tap0: no such device' >&2; exit 7"),
            "/bin/sh: exit status 7: tap0: no such device",
        ),
        (
            vec!["/no/such".into()],
            "/no/such: \"/no/such\" cannot be run: No such file or directory (os error 2)",
        ),
        (Vec::new(), ": the command is empty"),
    ] {
        let plan = plan(&host, before);
        assert_eq!(host.run(&plan, LEASE), Err(HypervisorError::Start { reason: expected.into() }));
    }
    assert_eq!(host.story(), "after after after ");
    host.assert_nothing_left();
}

#[test]
fn a_stop_a_kill_and_the_deadline_cut_off_what_comes_before() {
    let mut host = Host::new();
    let plan =
        Plan { before: vec![shell("setsid sleep 1000 & sleep 1000")], ..host.plan("echo vm >> story") };
    assert_eq!(host.run(&plan, Duration::from_secs(1)), Err(HypervisorError::DeadlinePassed));
    for end in [HypervisorRequest::Kill { run: RUN }, HypervisorRequest::Stop { run: RUN, grace: GRACE }] {
        let start = host.start_request(RUN, &planned(&plan), LEASE);
        let start_op = host.submit(start);
        eventually("it runs", || host.living().len() >= 4);
        let end_op = host.submit(end);
        let mut done: Vec<OpId> = Vec::new();
        for _ in 0..2 {
            match host.next() {
                Input::HypervisorDone { op, result: Err(HypervisorError::Start { .. }) }
                    if op == start_op =>
                {
                    done.push(op);
                }
                Input::HypervisorDone { op, result: Ok(Done::Stopped) } if op == end_op => done.push(op),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(host.story(), "");
    host.assert_nothing_left();
}

#[test]
fn a_deadline_that_moves_while_something_comes_before_is_kept() {
    let mut host = Host::new();
    let plan = Plan { before: vec![shell("sleep 2")], ..host.plan("echo vm >> story; exec sleep 1000") };
    let start = host.start_request(RUN, &planned(&plan), Duration::from_secs(1));
    let op = host.submit(start);
    let deadline = Time(boot_time()) + LEASE;
    host.submit(HypervisorRequest::Extend { runs: vec![RUN], deadline });
    assert_eq!(host.next(), Input::HypervisorDone { op, result: Ok(Done::Started) });
    host.expect_story("vm");
}

#[test]
fn what_runs_beside_dies_with_the_supervisor() {
    let mut host = Host::new();
    let plan = Plan { beside: vec![shell("exec sleep 1000")], ..host.plan("exec sleep 1000") };
    assert_eq!(host.run(&plan, LEASE), Ok(Done::Started));
    eventually("all run", || host.living().len() == 3);
    host.close();
    host.kill_supervisor();
    eventually("no process is left, without a daemon", || host.living().is_empty());
    host.reopen();
    host.expect_exit(Exit::Crashed, "supervisor was killed");
    host.assert_nothing_left();
    let plan = Plan { beside: vec![vec!["/no/such".into()]], ..host.plan("exec sleep 1000") };
    match host.run(&plan, LEASE) {
        Err(HypervisorError::Start { reason }) => assert!(reason.contains("/no/such"), "{reason}"),
        other => panic!("{other:?}"),
    }
    host.assert_nothing_left();
}

// ---- a stop by another program

const OBEDIENT: &str = "trap 'echo off >> story; exit 0' USR1; trap 'echo term >> story' TERM; echo up >> story; while :; do sleep 0.05; done";

#[test]
fn a_program_of_its_own_asks_for_the_end() {
    let mut host = Host::new();
    let control = |script: &str| Control::Command { shutdown: shell(script) };
    let plan = Plan { control: control("kill -USR1 $MAINPID"), ..host.plan(OBEDIENT) };
    assert_eq!(host.run(&plan, LEASE), Ok(Done::Started));
    host.expect_story("up");
    host.stop(RUN);
    assert_eq!(host.story(), "up off ");
    host.assert_nothing_left();
}

#[test]
fn where_that_program_fails_signals_follow_and_then_a_kill() {
    let mut host = Host::new();
    for shutdown in [shell("exit 1"), vec!["/no/such".into()]] {
        let _ = fs::remove_file(host.folder().join("story"));
        let plan = Plan { control: Control::Command { shutdown }, ..host.plan(OBEDIENT) };
        assert_eq!(host.run(&plan, LEASE), Ok(Done::Started));
        host.expect_story("up");
        let (asked, grace) = (boot_time(), Duration::from_millis(500));
        assert_eq!(host.call(HypervisorRequest::Stop { run: RUN, grace }), Ok(Done::Stopped));
        let took = (boot_time() - asked) / 1_000_000;
        assert!((500..1_600).contains(&took), "{took} ms");
        assert_eq!(host.story(), "up term ");
    }
    host.assert_nothing_left();
}

// ---- the console

#[test]
fn a_console_is_read_and_written_by_several_at_once() {
    let mut host = Host::new();
    let plan = host.plan("echo hello; while read line; do echo \"got $line\"; done; echo eof");
    assert_eq!(host.run(&plan, LEASE), Ok(Done::Started));
    let socket = fs::metadata(host.dir().join("console")).unwrap().permissions().mode();
    assert_eq!(socket & 0o077, 0, "{socket:o}: for this user alone");
    let (mut one, mut two) = (host.console(), host.console());
    read_until(&mut one, "hello\n");
    read_until(&mut two, "hello\n");
    one.write_all(b"one\n").unwrap();
    assert_eq!(read_until(&mut two, "\n"), "got one\n");
    two.write_all(b"two\n").unwrap();
    read_until(&mut two, "got two\n");
    read_until(&mut one, "got two\n");
    let mut late = host.console();
    assert_eq!(read_until(&mut late, "two\n"), "hello\ngot one\ngot two\n", "the newest first");
    // One that is gone at once is heard all the same, and one that only reads goes on reading.
    let mut short = host.console();
    short.write_all(b"short\n").unwrap();
    drop(short);
    late.shutdown(Shutdown::Write).unwrap();
    read_until(&mut late, "got short\n");
    drop((one, two));
    host.reopen();
    let mut next = host.console();
    next.write_all(b"later\n").unwrap();
    read_until(&mut late, "got later\n");
    host.stop(RUN);
    let mut rest = String::new();
    late.read_to_string(&mut rest).unwrap();
    let output = fs::read_to_string(host.dir().join("output")).unwrap();
    assert_eq!(output, "hello\ngot one\ngot two\ngot short\ngot later\n");
    host.assert_nothing_left();
}

#[test]
fn a_console_begins_with_the_newest_output_alone() {
    let mut host = Host::new();
    let plan =
        host.plan("i=0; while [ $i -lt 5000 ]; do i=$((i+1)); echo \"line $i\"; done; exec sleep 1000");
    assert_eq!(host.run(&plan, LEASE), Ok(Done::Started));
    eventually("all is printed", || {
        fs::read_to_string(host.dir().join("output")).is_ok_and(|output| output.ends_with("line 5000\n"))
    });
    let text = read_until(&mut host.console(), "line 5000\n");
    assert_eq!(text.len(), 16 << 10);
    host.stop(RUN);
}

#[test]
fn who_does_not_read_holds_up_nobody_and_is_dropped() {
    let mut host = Host::new();
    let chunk = "head -c 100000 /dev/zero | tr '\\0' x; sleep 0.02; i=$((i+1))";
    let plan =
        host.plan(&format!("read go; i=0; while [ $i -lt 40 ]; do {chunk}; done; read again; echo more"));
    assert_eq!(host.run(&plan, LEASE), Ok(Done::Started));
    let (mut lazy, mut eager) = (host.console(), host.console());
    eager.write_all(b"go\n").unwrap();
    let (mut count, mut buffer) = (0, vec![0; 64 << 10]);
    while count < 4_000_000 {
        let len = eager.read(&mut buffer).unwrap();
        assert!(len > 0, "dropped after {count} bytes");
        count += buffer[..len].iter().filter(|byte| **byte == b'x').count();
    }
    eager.write_all(b"again\n").unwrap();
    host.expect_exit(Exit::PoweredOff, "status 0");
    let mut all = Vec::new();
    let _ = lazy.read_to_end(&mut all);
    assert!(all.len() < 3_000_000, "{} bytes", all.len());
    host.assert_nothing_left();
}

#[test]
fn what_is_typed_and_not_read_waits_with_its_writer() {
    let mut host = Host::new();
    let plan = host.plan("read go < go; head -c 1000000 | wc -c; exec sleep 1000");
    let fifo = host.folder().join("go");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(host.run(&plan, LEASE), Ok(Done::Started));
    let mut console = host.console();
    let mut typist = console.try_clone().unwrap();
    let typing = std::thread::spawn(move || typist.write_all(&vec![b'x'; 1_000_000]));
    std::thread::sleep(StdDuration::from_millis(300));
    assert!(!typing.is_finished(), "no more is taken than the VM reads");
    host.call(HypervisorRequest::List).unwrap();
    fs::write(&fifo, "go\n").unwrap();
    typing.join().unwrap().unwrap();
    read_until(&mut console, "1000000\n");
    host.stop(RUN);
}

/// As a hypervisor without a buffer writes them.
#[test]
fn letters_that_come_one_by_one_are_gathered() {
    let mut host = Host::new();
    let plan = host.plan("while :; do printf x; done");
    assert_eq!(host.run(&plan, LEASE), Ok(Done::Started));
    let output = host.dir().join("output");
    let printed = || fs::metadata(&output).map_or(0, |file| file.len());
    eventually("it prints", || printed() > 1_000);
    let supervisor = host.processes(|_, cmdline| cmdline.contains("supervise"))[0];
    let reads = || -> u64 {
        let io = fs::read_to_string(format!("/proc/{supervisor}/io")).unwrap();
        let line = io.lines().find(|line| line.starts_with("syscr")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let (reads_before, printed_before) = (reads(), printed());
    std::thread::sleep(StdDuration::from_secs(1));
    let (reads, letters) = (reads() - reads_before, printed() - printed_before);
    assert!(letters > 5_000, "or this tests nothing: {letters}");
    assert!(reads < letters / 4, "{reads} reads for {letters} letters");
    host.stop(RUN);
    host.assert_nothing_left();
}

// ---- cgroups

#[test]
fn a_run_that_lasts_has_a_cgroup_by_which_all_of_it_is_found() {
    let mut host = Host::new();
    if !Path::new("/bin/bash").exists() {
        eprintln!("skipped: needs /bin/bash, whose scripts can close any open file");
        return;
    }
    // One that sheds all by which it could be found otherwise: environment, lock and parents.
    let script = "(setsid env -i /bin/bash -c 'for fd in /proc/self/fd/*; do eval \"exec ${fd##*/}>&-\"; done; exec env -i /bin/sleep 997' &); exec sleep 1000";
    let plan = host.plan(script);
    assert_eq!(host.run(&plan, LEASE), Ok(Done::Started));
    let note = host.dir().join("cgroup");
    let until = boot_time() + 20_000_000_000;
    while !note.exists() && boot_time() < until {
        std::thread::sleep(StdDuration::from_millis(50));
    }
    let Ok(cgroup) = fs::read_to_string(&note) else {
        let report = blixard::doctor::examine(host.folder());
        let check = report.checks.iter().find(|check| check.name == "cgroup").unwrap();
        assert_ne!(check.status, blixard::doctor::Status::Ok, "it could have one: {}", check.found);
        eprintln!("skipped: {}", check.found);
        return;
    };
    let inside = || -> Vec<i32> {
        let procs = fs::read_to_string(Path::new(&cgroup).join("cgroup.procs")).unwrap_or_default();
        procs.lines().map(|pid| pid.parse().unwrap()).collect()
    };
    eventually("supervisor, VM and the one that hides", || inside().len() == 3);
    host.stop(RUN);
    eventually("it is removed", || !Path::new(&cgroup).exists());
    host.assert_nothing_left();

    assert_eq!(host.run(&plan, LEASE), Ok(Done::Started));
    let note = host.dir().join("cgroup");
    eventually("it has one again", || note.exists());
    let cgroup = fs::read_to_string(&note).unwrap();
    let procs = Path::new(&cgroup).join("cgroup.procs");
    eventually("all are in it", || fs::read_to_string(&procs).is_ok_and(|pids| pids.lines().count() == 3));
    host.close();
    let cmdline = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let all: Vec<i32> = fs::read_to_string(&procs).unwrap().lines().map(|pid| pid.parse().unwrap()).collect();
    let supervisor = *all.iter().find(|pid| cmdline(pid).contains("supervise")).unwrap();
    let hidden = *all.iter().find(|pid| cmdline(pid).contains("997")).unwrap();
    signal(supervisor, Signal::KILL);
    eventually("the kernel kills the first process", || host.living().is_empty());
    assert!(cmdline(&hidden).contains("997"), "or this tests nothing");
    host.reopen();
    host.expect_exit(Exit::Crashed, "supervisor was killed");
    assert_eq!(cmdline(&hidden), "");
    assert!(!Path::new(&cgroup).exists());
    host.assert_nothing_left();
}
