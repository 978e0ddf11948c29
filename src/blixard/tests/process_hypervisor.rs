//! The process hypervisor with real processes: the suite that all hypervisors pass, and what only real processes can
//! show.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

#[expect(dead_code, reason = "a share of what all hypervisors' tests use")]
#[path = "host/mod.rs"]
mod host;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration as StdDuration;

use blixard::supervise::boot_time;
use blixard_node::hypervisor::{Done, Exit, HypervisorError, HypervisorRequest, Run};
use blixard_node::ids::{Epoch, OpId, VmId};
use blixard_node::input::Input;
use blixard_node::spec::{Resources, VmSpec};
use blixard_node::time::{Duration, Time};
use blixard_runtime::Hypervisor;
use blixard_runtime::hypervisor_conformance::Guest;
use host::{Kind, Opens, RUN, eventually, processes, signal, spec};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};

const NONE: [i32; 0] = [];

type Host = host::Host<Process>;

/// Shell scripts. Each carries the host's folder in its environment, by which its processes are found whatever the hypervisor
/// knows of them.
struct Process;

impl Opens for Process {
    fn new(_: &Path) -> Self {
        Self
    }

    /// Longer than a socket's path may be.
    fn state(folder: &Path) -> PathBuf {
        folder.join("a-folder-with-a-long-name".repeat(6))
    }
}

impl Kind for Process {
    const TICK: &'static str = "tick";

    fn guest(host: &Host, guest: Guest) -> Option<VmSpec> {
        Some(match guest {
            Guest::Obedient => host.shell("while sleep 0.1; do echo tick; done"),
            Guest::Deaf => host.shell("trap \"\" TERM; sleep 1000 & wait; sleep 1000"),
            Guest::PowersOff => host.shell("sleep 0.3"),
            Guest::Crashes => host.shell("sleep 0.3; exit 3"),
            Guest::Broken => VmSpec { payload: "command = ['/no/such/program']".into(), ..host.shell("") },
        })
    }

    fn words(guest: Guest) -> &'static str {
        match guest {
            Guest::PowersOff => "exit status 0",
            Guest::Crashes => "exit status 3",
            _ => "",
        }
    }

    fn is_vm(cmdline: &str) -> bool {
        let has = |word: &str| cmdline.split('\0').any(|arg| arg == word);
        has("--guest") || !has("supervise")
    }

    fn kept(_: &Host) -> Vec<String> {
        Vec::new()
    }
}

impl Host {
    fn shell(&self, script: &str) -> VmSpec {
        let folder = self.folder().display();
        let payload = format!("command = ['/bin/sh', '-c', '''{script}''']\n[env]\nBENCH = '{folder}'");
        VmSpec { resources: Resources { vcpus: 1, memory_mib: 1 }, ..spec("process", payload) }
    }

    fn run(&mut self, script: &str, lease: Duration) -> Result<Done, HypervisorError> {
        let spec = self.shell(script);
        self.start_for(RUN, &spec, lease)
    }

    /// Processes of VMs, those on the way to become one too.
    fn guests(&self) -> Vec<i32> {
        self.processes(|_, cmdline| Process::is_vm(cmdline))
    }

    fn supervisors(&self) -> Vec<i32> {
        self.processes(|_, cmdline| !Process::is_vm(cmdline))
    }
}

fn kill(pid: i32) {
    signal(pid, Signal::KILL);
}

#[test]
fn conforms() {
    host::conforms::<Process>();
}

#[test]
fn stop_leaves_no_process_socket_or_lock() {
    let mut host = Host::new();
    assert_eq!(host.run("exec sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
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
    assert_eq!(host.run(deaf, Duration::from_secs(2)), Ok(Done::Started));
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
    assert_eq!(host.run(script, Duration::from_secs(60)), Ok(Done::Started));
    eventually("all run", || host.guests().len() >= 4);
    assert_eq!(host.call(HypervisorRequest::Kill { run: RUN }), Ok(Done::Stopped));
    assert_eq!(host.guests(), NONE);
    let bare = processes(|environ, cmdline| environ.is_empty() && cmdline.starts_with("/bin/sleep\x001000"));
    assert_eq!(bare, NONE, "one that has shed its environment");
    host.assert_nothing_left();
}

#[test]
fn a_paused_process_stands_still_with_all_that_came_of_it() {
    let mut host = Host::new();
    let script = "count() { while :; do echo x >> \"$BENCH/$1\"; sleep 0.01; done; }; count a & setsid sh -c \"while :; do echo x >> $BENCH/b; sleep 0.01; done\" & wait";
    assert_eq!(host.run(script, Duration::from_secs(60)), Ok(Done::Started));
    let folder = host.folder().to_owned();
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
    assert_eq!(host.run(script, Duration::from_secs(2)), Ok(Done::Started));
    assert_eq!(host.call(HypervisorRequest::Pause { run: RUN }), Ok(Done::Paused));
    host.expect_exit(Exit::DeadlinePassed, "");
    host.assert_nothing_left();
}

#[test]
fn a_killed_supervisor_takes_its_vm_along() {
    let mut host = Host::new();
    assert_eq!(host.run("sleep 1000 & sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    eventually("all run", || host.guests().len() == 3);
    kill(host.supervisors()[0]);
    host.expect_exit(Exit::Crashed, "");
    host.assert_nothing_left();
    assert_eq!(host.run("sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
}

#[test]
fn a_supervisor_killed_in_the_daemons_absence_takes_its_vm_along() {
    let mut host = Host::new();
    assert_eq!(host.run("exec sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    host.close();
    kill(host.supervisors()[0]);
    eventually("the VM is dead", || host.guests().is_empty());
    host.reopen();
    host.expect_exit(Exit::Crashed, "");
    assert_eq!(host.call(HypervisorRequest::List), Ok(Done::Listed(vec![])));
    host.assert_nothing_left();
}

#[test]
fn what_outlives_a_killed_supervisor_is_killed_by_the_next_daemon_and_blocks_a_start_until_then() {
    let mut host = Host::new();
    assert_eq!(host.run("sleep 1000 & sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    eventually("all run", || host.guests().len() == 3);
    host.close();
    kill(host.supervisors()[0]);
    eventually("the first process is dead", || host.guests().len() < 3);
    assert!(!host.guests().is_empty(), "or this tests nothing");
    host.reopen();
    host.expect_exit(Exit::Crashed, "");
    assert_eq!(host.guests(), NONE);
    host.assert_nothing_left();
}

#[test]
fn a_stopped_supervisor_does_not_keep_its_vm_beyond_the_deadline() {
    let mut host = Host::new();
    assert_eq!(host.run("sleep 1000", Duration::from_secs(2)), Ok(Done::Started));
    signal(host.supervisors()[0], Signal::STOP);
    host.expect_exit(Exit::Crashed, "");
    host.assert_nothing_left();
}

#[test]
fn two_daemons_on_one_folder_do_not_run_a_vm_twice() {
    let mut host = Host::new();
    let (mut second, inputs) = host.another();
    assert_eq!(host.run("exec sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    let run = Run { epoch: Epoch(4), ..RUN };
    let start = host.start_request(run, &host.shell("exec sleep 1000"), Duration::from_secs(60));
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
    assert_eq!(host.run("exit 0", Duration::from_secs(60)), Ok(Done::Started));
    host.expect_exit(Exit::PoweredOff, "");
    for _ in 0..2 {
        host.reopen();
        host.expect_exit(Exit::PoweredOff, "");
    }
    assert_eq!(host.call(HypervisorRequest::Kill { run: RUN }), Ok(Done::Stopped));
    host.reopen();
    assert_eq!(host.call(HypervisorRequest::List), Ok(Done::Listed(vec![])), "the list alone comes in");
}

#[test]
fn after_a_reboot_nothing_is_adopted() {
    let mut host = Host::new();
    assert_eq!(host.run("exec sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    host.close();
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
    host.expect_exit(Exit::Crashed, "");
    assert!(fs::read_to_string(host.dir().join("exit.json")).unwrap().contains("restarted"));
    host.assert_nothing_left();
}

#[test]
fn a_torn_record_is_cleared_away() {
    let mut host = Host::new();
    host.close();
    let dir = host.state().join("runs/vm7.e3.0123abcd");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("record.json"), "{\"form").unwrap();
    host.reopen();
    assert_eq!(host.call(HypervisorRequest::List), Ok(Done::Listed(vec![])));
    assert!(!dir.exists());
    assert_eq!(host.run("sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
}

#[test]
fn output_environment_and_reasons_are_kept() {
    let mut host = Host::new();
    let script = "echo \"$BLIXARD_VM in $PWD\"; echo oops >&2; exit 3";
    assert_eq!(host.run(script, Duration::from_secs(60)), Ok(Done::Started));
    host.expect_exit(Exit::Crashed, "");
    assert_eq!(fs::read_to_string(host.dir().join("output")).unwrap(), "web-7 in /\noops\n");
    assert!(fs::read_to_string(host.dir().join("exit.json")).unwrap().contains("exit status 3"));
}

#[test]
fn a_command_that_cannot_run_says_why() {
    let mut host = Host::new();
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
        let spec = VmSpec { payload: payload.into(), ..host.shell("") };
        assert_eq!(host.start(RUN, &spec), Err(HypervisorError::Start { reason: expected.into() }));
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
    assert_eq!(host.run("sleep 1000", Duration::from_secs(60)), Ok(Done::Started));
    // The rest is the program's file, in memory once for all who run it.
    let (rss, pss, own) = memory(host.supervisors()[0]);
    println!("supervisor: resident {rss} KiB, proportional {pss} KiB, written {own} KiB");
    assert!(own < 3 * 1024, "{own} KiB");
}

fn rounds(count: u64) {
    let mut host = Host::new();
    let spec = host.shell("exec sleep 1000");
    host.rounds(&spec, count);
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
    let spec = host.shell("exec sleep 1000");
    let runs: Vec<Run> = (1..=VMS).map(|vm| Run { vm: VmId(vm), epoch: Epoch(1) }).collect();
    let begun = boot_time();
    for run in &runs {
        let start = host.start_request(*run, &spec, Duration::from_secs(120));
        host.submit(start);
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
