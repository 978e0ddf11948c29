//! What guests print and are told, over daemons on real sockets, in one process. The hypervisor is played: it has a run's
//! folder as a real one has, and a console that answers.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod real;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use blixard::daemon::{self, Config, End, HostClock, Parts};
use blixard::hypervisor::Sink;
use blixard::hypervisor::run_dir::{FORMAT, Plan, Record, RunDir, StateDir};
use blixard::hypervisor::wire::{Ended, How};
use blixard::net::Transport;
use blixard_node::command::HostSpec;
use blixard_node::config::{NodeConfig, Settings};
use blixard_node::hypervisor::{
    Done, Exit, HypervisorError, HypervisorRequest, Run, RunState, RunView, VmEvent,
};
use blixard_node::ids::{NodeId, OpId};
use blixard_node::input::Input;
use blixard_node::spec::Resources;
use blixard_proto::error::{GuestError, guest_error};
use blixard_proto::v1;
use blixard_proto::v1::guest_service_client::GuestServiceClient;
use blixard_runtime::MemoryDisk;
use rustix::termios::tcgetattr;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

static SEEDS: AtomicU64 = AtomicU64::new(1);

/// The played hypervisor of one host: what it starts is a folder and a file.
#[derive(Clone)]
struct Guests {
    state: StateDir,
    alive: Arc<Mutex<BTreeMap<Run, RunDir>>>,
    sink: Arc<Mutex<Option<Sink>>>,
    attempts: Arc<AtomicU64>,
    has_console: bool,
    /// All that any console was told.
    told: Arc<Mutex<Vec<u8>>>,
}

impl Guests {
    fn start(&self, run: Run, name: &str) -> RunDir {
        for dir in self.state.attempts().unwrap().into_iter().filter(|dir| dir.run().unwrap().vm == run.vm) {
            dir.remove().unwrap();
        }
        let token = format!("{:08}", self.attempts.fetch_add(1, Ordering::Relaxed));
        let dir = self.state.attempt(run, &token);
        let record = Record {
            format: FORMAT,
            run: run.into(),
            name: name.into(),
            token,
            boot: "b".into(),
            deadline: 0,
            plan: Plan::default(),
        };
        dir.create(&record).unwrap();
        File::create(dir.output()).unwrap();
        if self.has_console {
            let listener = UnixListener::bind(dir.console()).unwrap();
            let told = Arc::clone(&self.told);
            std::thread::spawn(move || {
                for caller in listener.incoming() {
                    talk(caller.unwrap(), &told);
                }
            });
        }
        dir
    }

    fn end(&self, run: Run, how: How) {
        if let Some(dir) = self.alive.lock().unwrap().remove(&run) {
            dir.write_end(&Ended::new(how, "")).unwrap();
        }
    }

    /// Prints as the one VM that runs here.
    fn print(&self, text: &str) {
        let alive = self.alive.lock().unwrap();
        let dir = alive.values().next().expect("a VM runs here");
        let mut file = File::options().append(true).open(dir.output()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Begins a new file, as a supervisor does when one is full.
    fn turn(&self) {
        let alive = self.alive.lock().unwrap();
        let dir = alive.values().next().expect("a VM runs here");
        fs::rename(dir.output(), dir.older_output()).unwrap();
        File::create(dir.output()).unwrap();
    }

    fn runs(&self) -> bool {
        !self.alive.lock().unwrap().is_empty()
    }

    /// Has the one VM that runs here crash.
    fn crash(&self) {
        let run = *self.alive.lock().unwrap().keys().next().expect("a VM runs here");
        self.end(run, How::Crashed);
        let event = VmEvent::Exited { exit: Exit::Crashed, reason: "it crashed".into() };
        (self.sink.lock().unwrap().as_ref().unwrap())(Input::HypervisorEvent { run, event });
    }
}

/// A guest's side of a console: greets, and says back what it is told, in capitals. Hangs up on "bye".
fn talk(mut caller: UnixStream, told: &Mutex<Vec<u8>>) {
    caller.write_all(b"login: ").unwrap();
    let mut buffer = [0; 64];
    while let Ok(count @ 1..) = caller.read(&mut buffer) {
        told.lock().unwrap().extend_from_slice(&buffer[..count]);
        let said = buffer[..count].to_ascii_uppercase();
        if caller.write_all(&said).is_err() || said.ends_with(b"BYE\n") {
            return;
        }
    }
}

struct Hypervisor(Guests, Sink);

impl blixard_runtime::Hypervisor for Hypervisor {
    fn submit(&mut self, op: OpId, request: HypervisorRequest) {
        let Self(guests, sink) = self;
        let result = match request {
            HypervisorRequest::Extend { .. } => return,
            HypervisorRequest::Prepare { .. } => Ok(Done::Prepared { artifact: None }),
            HypervisorRequest::Start { run, name, .. } => {
                let dir = guests.start(run, name.as_str());
                guests.alive.lock().unwrap().insert(run, dir);
                Ok(Done::Started)
            }
            HypervisorRequest::Stop { run, .. } | HypervisorRequest::Kill { run } => {
                guests.end(run, How::Stopped);
                Ok(Done::Stopped)
            }
            HypervisorRequest::Purge { .. } => Ok(Done::Purged),
            HypervisorRequest::List => {
                let alive = guests.alive.lock().unwrap();
                let view = |run: &Run| RunView { run: *run, state: RunState::Running };
                Ok(Done::Listed(alive.keys().map(view).collect()))
            }
            _ => Err(HypervisorError::Unsupported { what: "do that".into() }),
        };
        sink(Input::HypervisorDone { op, result });
    }
}

struct Member {
    id: u64,
    address: String,
    guests: Guests,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<End, daemon::DaemonError>>,
    folder: tempfile::TempDir,
}

impl Member {
    /// A member that takes VMs which ask for the label `host = ID`.
    async fn start(id: u64, through: Option<&Member>, has_console: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let host = HostSpec {
            address: address.clone(),
            capacity: Resources { vcpus: 4, memory_mib: 1_024 },
            labels: [
                ("hypervisor.process".to_owned(), "true".to_owned()),
                ("host".to_owned(), id.to_string()),
            ]
            .into(),
        };
        let peers: Vec<_> = through.iter().map(|peer| (NodeId(peer.id), peer.address.clone())).collect();
        let config = Config {
            bootstrap: peers.is_empty(),
            node: NodeConfig::new(NodeId(id), host, peers),
            settings: Settings::default(),
            seed: SEEDS.fetch_add(1, Ordering::Relaxed),
            own_thread: true,
        };
        let guests = Guests {
            state: StateDir::open(folder.path()).unwrap(),
            alive: Arc::default(),
            sink: Arc::default(),
            attempts: Arc::default(),
            has_console,
            told: Arc::default(),
        };
        let played = guests.clone();
        let parts = Parts {
            clock: HostClock,
            open_disk: || Ok(MemoryDisk::default()),
            open_hypervisor: move |sink: Sink| {
                *played.sink.lock().unwrap() = Some(Arc::clone(&sink));
                Ok(Hypervisor(played, sink))
            },
            transport: Transport::tcp(listener),
            runs: Some(guests.state.clone()),
        };
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(daemon::run(config, parts, shutdown));
        Self { id, address, guests, stop: Some(stop), task, folder }
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blixard"));
        command.args(args.split_whitespace()).env_clear().env("BLIXARD_SERVER", &self.address);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    fn ok(&self, args: &str) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A VM that runs on the host of that id.
    fn start_vm(&self, name: &str, host: u64) {
        let text = format!(
            "memory = 64\nhypervisor = 'process'\n[requires]\nhost = '{host}'\n[process]\ncommand = ['x']\n"
        );
        let file = self.folder.path().join("vm.toml");
        fs::write(&file, text).unwrap();
        self.ok(&format!("vm create {name} --config vm.toml"));
        self.ok(&format!("vm start {name}"));
    }

    async fn client(&self) -> GuestServiceClient<Channel> {
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        GuestServiceClient::new(channel.connect().await.unwrap())
    }

    async fn retire(mut self) {
        let _ = self.stop.take().unwrap().send(());
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

/// Two members: the first leads, the second is asked to run the VMs or to ask for them.
async fn two(has_console: bool) -> [Member; 2] {
    let first = Member::start(1, None, has_console).await;
    let second = Member::start(2, Some(&first), has_console).await;
    until("both are members", || {
        first.ok("cluster status --format json").matches("\"address\"").count() == 2
    });
    [first, second]
}

fn until(what: &str, mut fits: impl FnMut() -> bool) {
    let began = Instant::now();
    while !fits() {
        assert!(began.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A command under way, with what it has printed so far.
struct Running {
    child: Child,
    out: Arc<Mutex<Vec<u8>>>,
    err: Arc<Mutex<Vec<u8>>>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    fn out(&self) -> String {
        said(&self.out.lock().unwrap())
    }

    fn err(&self) -> String {
        said(&self.err.lock().unwrap())
    }

    fn until_out(&self, expected: &str) {
        let began = Instant::now();
        while self.out() != expected {
            assert!(began.elapsed() < PATIENCE, "{:?} instead of {expected:?}; {}", self.out(), self.err());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn exit(&mut self) -> Option<i32> {
        let mut ended = None;
        until("the command ends", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl Read + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let all = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&all);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            into.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_read_through_any_member() {
    let [first, second] = two(true).await;
    second.start_vm("web", 2);
    second.guests.print("one\ntwo\nthree\n");
    for member in [&first, &second] {
        assert_eq!(member.ok("vm logs web"), "one\ntwo\nthree\n");
        assert_eq!(member.ok("vm logs --name web -n 2"), "two\nthree\n");
        assert_eq!(member.ok("vm logs web --tail 0 --stale"), "");
    }
    second.guests.turn();
    let odd = "x".repeat(100_000) + "\n\u{1b}[31mred\n";
    second.guests.print(&odd);
    assert_eq!(first.ok("vm logs web"), "one\ntwo\nthree\n".to_owned() + &odd);

    // In pieces, however much there is; and served by the asked member alone when the call was passed on.
    let mut client = first.client().await;
    let request = v1::LogsRequest { name: "web".into(), ..v1::LogsRequest::default() };
    let mut stream = client.logs(request.clone()).await.unwrap().into_inner();
    let mut len = 0;
    while let Some(chunk) = stream.message().await.unwrap() {
        assert!(chunk.data.len() <= 32 << 10);
        len += chunk.data.len();
    }
    assert_eq!(len, odd.len() + 14);
    let status = client.logs(v1::LogsRequest { vm: Some(1), ..request }).await.unwrap_err();
    assert!(
        matches!(guest_error(&status), Some(GuestError::NoOutput { node: Some(NodeId(1)), .. })),
        "{status:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_sees_full_files_restarts_and_the_end() {
    let [first, second] = two(true).await;
    second.start_vm("web", 2);
    second.guests.print("zero\none\n");
    let mut follower = Running::start(&mut first.command("vm logs web -f -n 1"));
    follower.until_out("one\n");
    second.guests.print("two\n");
    second.guests.turn();
    second.guests.print("three\n");
    follower.until_out("one\ntwo\nthree\n");
    second.guests.print("last words\n");
    second.guests.crash();
    until("it runs again", || second.guests.runs());
    second.guests.print("again\n");
    follower.until_out("one\ntwo\nthree\nlast words\nagain\n");
    assert!(follower.err().contains("web: started anew"), "{}", follower.err());
    first.ok("vm delete web");
    assert_eq!(follower.exit(), Some(0));
    assert!(follower.err().contains("web: was deleted"), "{}", follower.err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_waits_for_the_first_run() {
    let [first, second] = two(true).await;
    second.start_vm("other", 1);
    second.ok("vm create web --config vm.toml");
    let follower = Running::start(&mut second.command("vm logs web -f"));
    until("it says so", || follower.err().contains("web: stopped"));
    first.ok("vm delete other");
    first.ok("vm start web");
    first.guests.print("up\n");
    follower.until_out("up\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_is_spoken_to_through_any_member() {
    let [first, second] = two(true).await;
    second.start_vm("web", 2);
    for member in [&first, &second] {
        let mut console =
            Running::start(member.command("vm console web --linger 300ms").stdin(Stdio::piped()));
        console.until_out("login: ");
        // The key that detaches is one on a terminal alone.
        console.child.stdin.as_mut().unwrap().write_all(b"hello\x1d\n").unwrap();
        console.until_out("login: HELLO\x1d\n");
        drop(console.child.stdin.take());
        assert_eq!(console.exit(), Some(0));
        assert_eq!(console.err(), "");
    }
    let mut console = Running::start(first.command("vm console web --linger 1h").stdin(Stdio::piped()));
    console.child.stdin.as_mut().unwrap().write_all(b"bye\n").unwrap();
    assert_eq!(console.exit(), Some(0));
    console.until_out("login: BYE\n");
    assert!(console.err().contains("the console of web was closed"), "{}", console.err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_terminal_a_key_detaches_and_the_terminal_is_as_before() {
    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let [first, second] = two(true).await;
    second.start_vm("web", 2);
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let before = format!("{:?}", tcgetattr(&theirs).unwrap());
    for end in ["key", "signal"] {
        let stdin = Stdio::from(theirs.try_clone().unwrap());
        let mut console = Running::start(first.command("vm console web").stdin(stdin));
        console.until_out("login: ");
        assert!(console.err().contains("attached to web; Ctrl-] detaches"), "{}", console.err());
        rustix::io::write(&ours, b"ls\x03\r").unwrap();
        console.until_out("login: LS\x03\r");
        assert_ne!(format!("{:?}", tcgetattr(&theirs).unwrap()), before, "every key goes through");
        if end == "key" {
            rustix::io::write(&ours, b"x\x1dnever sent").unwrap();
            assert_eq!(console.exit(), Some(0));
            until("all that was typed has come", || {
                said(&second.guests.told.lock().unwrap()) == "ls\u{3}\rx"
            });
            assert!(console.err().contains("detached from web"), "{}", console.err());
        } else {
            let pid = rustix::process::Pid::from_child(&console.child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            assert_eq!(console.exit(), Some(0));
        }
        assert_eq!(format!("{:?}", tcgetattr(&theirs).unwrap()), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_to_be_had_is_refused_with_a_code() {
    let [first, second] = two(false).await;
    second.start_vm("web", 2);
    let refused = |member: &Member, args: &str, code: &str, exit: i32| {
        let output = member.run(args);
        let text = said(&output.stderr);
        assert!(text.contains(&format!("error[{code}]")), "{args}: {text}");
        assert_eq!(output.status.code(), Some(exit), "{args}");
        assert_eq!(said(&output.stdout), "");
    };
    refused(&first, "vm console web", "BLX-VM-013", 4);
    refused(&first, "vm logs none", "BLX-VM-002", 3);
    refused(&first, "vm console none", "BLX-VM-002", 3);
    second.ok("vm create idle --config vm.toml");
    refused(&first, "vm logs idle", "BLX-VM-011", 3);
    refused(&first, "vm console idle", "BLX-VM-010", 4);
    second.guests.print("on the lost host\n");
    second.retire().await;
    refused(&first, "vm logs web", "BLX-VM-012", 6);
    refused(&first, "vm console web", "BLX-VM-012", 6);
    // A follower waits for the host.
    let follower = Running::start(&mut first.command("vm logs web -f"));
    until("it says so", || follower.err().contains("cannot be reached"));
}
