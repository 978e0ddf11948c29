//! A daemon and supervisors that are not of its own version. The supervisor is played: it speaks as those did that were built before
//! pauses, consoles and identities, word for word.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration as StdDuration;

use blixard::hypervisor::{Backends, Config, Options, Sink};
use blixard::supervise::boot_time;
use blixard::watchdog::Vitals;
use blixard_node::hypervisor::{
    Done, Exit, HypervisorError, HypervisorRequest, Run, RunState, RunView, VmEvent,
};
use blixard_node::ids::{Epoch, OpId, VmId};
use blixard_node::input::Input;
use blixard_node::time::{Duration, Time};
use blixard_runtime::Hypervisor;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind, listen, recv,
    send, socket_with,
};
use serde_json::{Value, json};

const RUN: Run = Run { vm: VmId(7), epoch: Epoch(3) };
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SECOND: u64 = 1_000_000_000;

/// The supervisor, on a thread. Ends with its VM, that is, when it is told to stop or to kill.
struct Played {
    dir: PathBuf,
    lock: PathBuf,
    held: Arc<Mutex<Option<File>>>,
    /// All that it was told.
    told: Receiver<Value>,
}

impl Played {
    /// In the folder of a hypervisor, as an earlier daemon has left it. `more` is added to what it says of itself.
    fn begin(state: &Path, deadline: u64, more: Value) -> Self {
        let (dir, lock) = (state.join("runs/vm7.e3.01234567"), state.join("locks/vm7.lock"));
        fs::create_dir_all(&dir).unwrap();
        fs::create_dir_all(state.join("locks")).unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let record = json!({
            "format": 1,
            "run": { "vm": 7, "epoch": 3 },
            "name": "web",
            "token": TOKEN,
            "boot": boot.trim(),
            "deadline": deadline,
            "plan": { "command": ["sleep", "1000"], "env": {}, "workdir": "/" }
        });
        fs::write(dir.join("record.json"), record.to_string()).unwrap();
        let file = File::create(&lock).unwrap();
        file.try_lock().unwrap();
        let held = Arc::new(Mutex::new(Some(file)));
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(dir.join("socket")).unwrap()).unwrap();
        listen(&listener, 8).unwrap();
        let (sender, told) = channel();
        let (its_dir, its_lock, its_held) = (dir.clone(), lock.clone(), Arc::clone(&held));
        std::thread::spawn(move || {
            while let Ok(line) = accept(&listener) {
                if serve(&line, deadline, &more, &sender) {
                    let ended = json!({ "how": "stopped", "detail": "exit status 0" });
                    fs::write(its_dir.join("exit.json"), ended.to_string()).unwrap();
                    fs::remove_file(its_dir.join("socket")).unwrap();
                    fs::remove_file(&its_lock).unwrap();
                    drop(its_held.lock().unwrap().take());
                    say(&line, &json!({ "ended": ended }));
                    return;
                }
            }
        });
        Self { dir, lock, held, told }
    }

    fn next(&self) -> Value {
        self.told.recv_timeout(StdDuration::from_secs(20)).unwrap()
    }
}

/// Hears one daemon. True when its VM was to end.
fn serve(line: &OwnedFd, deadline: u64, more: &Value, told: &Sender<Value>) -> bool {
    let mut buffer = [0_u8; 4096];
    loop {
        let len = match recv(line, &mut buffer[..], RecvFlags::empty()) {
            Ok((0, _)) | Err(_) => return false,
            Ok((len, _)) => len,
        };
        let order: Value = serde_json::from_slice(&buffer[..len]).unwrap();
        let _ = told.send(order.clone());
        if order == json!("status") {
            let mut is = json!({ "token": TOKEN, "state": "running", "deadline": deadline });
            is.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            say(line, &json!({ "is": is }));
        }
        // Whatever else it is told it does not understand, and leaves.
        if order == json!("kill") || order.get("stop").is_some() {
            return true;
        }
    }
}

fn say(line: &OwnedFd, what: &Value) {
    let _ = send(line, what.to_string().as_bytes(), SendFlags::NOSIGNAL);
}

/// The daemon of today.
struct Daemon {
    backends: Backends,
    inputs: Receiver<Input>,
    op: u64,
}

impl Daemon {
    fn open(state: &Path) -> Self {
        let (sender, inputs) = channel();
        let sink: Sink = Arc::new(move |input| {
            let _ = sender.send(input);
        });
        let config =
            Config { state_dir: state.into(), program: PathBuf::from(env!("CARGO_BIN_EXE_blixard")) };
        Self { backends: Backends::open(config, sink).unwrap(), inputs, op: 0 }
    }

    fn call(&mut self, request: HypervisorRequest) -> Result<Done, HypervisorError> {
        self.op += 1;
        self.backends.submit(OpId(self.op), request);
        match self.inputs.recv_timeout(StdDuration::from_secs(20)).unwrap() {
            Input::HypervisorDone { op, result } if op == OpId(self.op) => result,
            other => panic!("{other:?}"),
        }
    }

    fn listed(&mut self) -> Vec<RunView> {
        match self.call(HypervisorRequest::List) {
            Ok(Done::Listed(runs)) => runs,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_older_supervisor_is_adopted_extended_and_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let deadline = boot_time() + 60 * SECOND;
    let played = Played::begin(folder.path(), deadline, json!({}));
    let mut daemon = Daemon::open(folder.path());
    assert_eq!(daemon.listed(), [RunView { run: RUN, state: RunState::Running }]);
    assert_eq!(played.next(), json!("status"));
    let later = deadline + 60 * SECOND;
    daemon.backends.submit(OpId(0), HypervisorRequest::Extend { runs: vec![RUN], deadline: Time(later) });
    assert_eq!(played.next(), json!({ "extend": { "deadline": later } }));
    for (request, order) in [
        (HypervisorRequest::Pause { run: RUN }, json!("pause")),
        (HypervisorRequest::Resume { run: RUN }, json!("resume")),
    ] {
        let asked = boot_time();
        let answer = daemon.call(request);
        assert!(matches!(answer, Err(HypervisorError::Unsupported { .. })), "{answer:?}");
        assert!(boot_time() < asked + 10 * SECOND, "the wait for it has a bound");
        assert_eq!(played.next(), order);
    }
    assert_eq!(daemon.listed(), [RunView { run: RUN, state: RunState::Running }], "as it was");
    // The daemon of yet another version finds it as this one did.
    drop(daemon);
    let mut daemon = Daemon::open(folder.path());
    assert_eq!(daemon.listed(), [RunView { run: RUN, state: RunState::Running }]);
    assert_eq!(played.next(), json!("status"));
    let stop = HypervisorRequest::Stop { run: RUN, grace: Duration::from_secs(5) };
    assert_eq!(daemon.call(stop), Ok(Done::Stopped));
    assert_eq!(played.next(), json!({ "stop": { "grace": 5 * SECOND } }));
    assert_eq!(daemon.listed(), []);
    assert!(!played.lock.exists() && !played.dir.join("socket").exists());
}

#[test]
fn a_vm_that_nobody_can_kill_is_told_to_the_watchdog() {
    let folder = tempfile::tempdir().unwrap();
    // No process of its own has the lock, so no daemon finds anybody to kill.
    let deadline = boot_time() + SECOND;
    let played = Played::begin(folder.path(), deadline, json!({}));
    let vitals = Arc::<Vitals>::default();
    let (sender, inputs) = channel();
    let sink: Sink = Arc::new(move |input| {
        let _ = sender.send(input);
    });
    let program = PathBuf::from(env!("CARGO_BIN_EXE_blixard"));
    let config = Config { state_dir: folder.path().into(), program };
    let options = Options { vitals: Arc::clone(&vitals), ..Options::default() };
    let backends = Backends::open_with(config, sink, options).unwrap();
    let mut daemon = Daemon { backends, inputs, op: 0 };
    assert_eq!(daemon.listed().len(), 1);
    let ail = || vitals.ail(boot_time(), 3_600 * SECOND);
    while boot_time() < deadline + 1_500_000_000 {
        assert_eq!(ail(), None, "whoever is to kill it has two seconds");
        std::thread::sleep(StdDuration::from_millis(100));
    }
    while ail().is_none() {
        assert!(boot_time() < deadline + 20 * SECOND);
        std::thread::sleep(StdDuration::from_millis(100));
    }
    assert_eq!(daemon.call(HypervisorRequest::Kill { run: RUN }), Ok(Done::Stopped));
    while ail().is_some() {
        std::thread::sleep(StdDuration::from_millis(100));
    }
    drop(played);
}

#[test]
fn a_newer_supervisor_is_understood_as_far_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let more = json!({ "paused": true, "mood": "good" });
    let _played = Played::begin(folder.path(), boot_time() + 60 * SECOND, more);
    let mut daemon = Daemon::open(folder.path());
    assert_eq!(daemon.listed(), [RunView { run: RUN, state: RunState::Paused }]);
    assert_eq!(daemon.call(HypervisorRequest::Kill { run: RUN }), Ok(Done::Stopped));
}

#[test]
fn who_is_not_the_supervisor_of_the_run_is_not_taken_for_it() {
    let me = std::process::id();
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let born: u64 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    let run = |epoch: u64| json!({ "vm": 7, "epoch": epoch });
    for (who, is_it) in [
        (json!({ "run": run(3), "pid": me, "born": born }), true),
        (json!({ "run": run(2), "pid": me, "born": born }), false),
        // An id that was given to another process since.
        (json!({ "run": run(3), "pid": me, "born": born - 1 }), false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let played = Played::begin(folder.path(), boot_time() + 60 * SECOND, json!({ "who": who }));
        let mut daemon = Daemon::open(folder.path());
        assert_eq!(played.next(), json!("status"));
        if is_it {
            assert_eq!(daemon.listed(), [RunView { run: RUN, state: RunState::Running }]);
            assert_eq!(daemon.call(HypervisorRequest::Kill { run: RUN }), Ok(Done::Stopped));
            continue;
        }
        // While the lock is held something of the run lives: it is neither given up nor started again.
        assert_eq!(daemon.listed(), [RunView { run: RUN, state: RunState::Starting }], "{who}");
        assert_eq!(daemon.inputs.recv_timeout(StdDuration::from_millis(300)), Err(RecvTimeoutError::Timeout));
        drop(played.held.lock().unwrap().take());
        match daemon.inputs.recv_timeout(StdDuration::from_secs(20)).unwrap() {
            Input::HypervisorEvent { run: RUN, event: VmEvent::Exited { exit: Exit::Crashed, .. } } => {}
            other => panic!("{other:?}"),
        }
    }
}
