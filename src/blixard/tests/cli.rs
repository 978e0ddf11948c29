//! The client commands as a user runs them, against a cluster that is played: what it says is chosen by the test.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::{BTreeMap, VecDeque};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use blixard_node::error::RequestError;
use blixard_node::spec::VmName;
use blixard_proto::error::status;
use blixard_proto::v1;
use blixard_proto::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use blixard_proto::v1::vm_service_server::{VmService, VmServiceServer};
use expect_test::{Expect, expect};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What the cluster knows and says.
#[derive(Default)]
struct Play {
    vms: BTreeMap<String, v1::Vm>,
    /// Whether the last deletion left what hosts keep.
    kept_volumes: bool,
    /// Failures of the next changes.
    troubles: VecDeque<Status>,
    /// The ids of all changes that came in, also the failed ones.
    ids: Vec<v1::RequestId>,
    /// What becomes of a VM that is started or stopped.
    becomes: Option<(v1::Phase, &'static str)>,
    /// Somebody stops each VM right after it was started.
    meddled: bool,
}

#[derive(Clone, Default)]
struct Cluster(Arc<Mutex<Play>>);

impl Cluster {
    fn change(&self, request: v1::ChangeVmRequest, wanted: v1::Wanted, done: v1::Phase) -> Answer {
        let mut play = self.0.lock().unwrap();
        play.ids.extend(request.id);
        if let Some(trouble) = play.troubles.pop_front() {
            return Err(trouble);
        }
        let (becomes, meddled) = (play.becomes, play.meddled);
        let vm = play.vms.get_mut(&request.name).ok_or_else(|| unknown(&request.name))?;
        vm.generation += 1;
        vm.wanted = wanted.into();
        let (phase, reason) = becomes.unwrap_or((done, ""));
        vm.phase = phase.into();
        vm.reason = reason.into();
        vm.observed_generation = vm.generation;
        // In the future: its age is 0 whenever this runs.
        vm.since_ms = 4_000_000_000_000;
        vm.assigned = Some(v1::Assignment { node: 2, epoch: 1 });
        let generation = vm.generation;
        if meddled {
            vm.generation += 1;
            vm.wanted = v1::Wanted::Stopped.into();
        }
        Ok(Response::new(v1::WriteResponse { revision: 9, generation }))
    }
}

type Answer = Result<Response<v1::WriteResponse>, Status>;

fn unknown(name: &str) -> Status {
    status(&RequestError::VmUnknown { name: VmName::new(name).unwrap() })
}

#[tonic::async_trait]
impl VmService for Cluster {
    async fn create(&self, request: Request<v1::CreateVmRequest>) -> Answer {
        let request = request.into_inner();
        let mut play = self.0.lock().unwrap();
        play.ids.extend(request.id);
        if let Some(trouble) = play.troubles.pop_front() {
            return Err(trouble);
        }
        let vm = v1::Vm {
            id: 9,
            name: request.name.clone(),
            spec: request.spec,
            generation: 1,
            wanted: v1::Wanted::Stopped.into(),
            phase: v1::Phase::Stopped.into(),
            // In the future: its age is 0 whenever this runs.
            since_ms: 4_000_000_000_000,
            observed_generation: 1,
            ..v1::Vm::default()
        };
        play.vms.insert(request.name, vm);
        Ok(Response::new(v1::WriteResponse { revision: 9, generation: 1 }))
    }

    async fn start(&self, request: Request<v1::ChangeVmRequest>) -> Answer {
        self.change(request.into_inner(), v1::Wanted::Running, v1::Phase::Running)
    }

    async fn stop(&self, request: Request<v1::ChangeVmRequest>) -> Answer {
        self.change(request.into_inner(), v1::Wanted::Stopped, v1::Phase::Stopped)
    }

    async fn delete(&self, request: Request<v1::DeleteVmRequest>) -> Answer {
        let request = request.into_inner();
        let mut play = self.0.lock().unwrap();
        play.kept_volumes = request.keep_volumes;
        let vm = play.vms.remove(&request.name).ok_or_else(|| unknown(&request.name))?;
        Ok(Response::new(v1::WriteResponse { revision: 9, generation: vm.generation + 1 }))
    }

    async fn get(&self, request: Request<v1::GetVmRequest>) -> Result<Response<v1::GetVmResponse>, Status> {
        let name = request.into_inner().name;
        let vm = self.0.lock().unwrap().vms.get(&name).cloned().ok_or_else(|| unknown(&name))?;
        Ok(Response::new(v1::GetVmResponse { revision: 9, vm: Some(vm) }))
    }

    async fn update(&self, request: Request<v1::UpdateVmRequest>) -> Answer {
        let request = request.into_inner();
        let mut play = self.0.lock().unwrap();
        if let Some(trouble) = play.troubles.pop_front() {
            return Err(trouble);
        }
        let vm = play.vms.get_mut(&request.name).ok_or_else(|| unknown(&request.name))?;
        assert_eq!(request.generation, Some(vm.generation), "what was shown is what is changed");
        vm.generation += 1;
        vm.spec = request.spec;
        Ok(Response::new(v1::WriteResponse { revision: 9, generation: vm.generation }))
    }

    async fn events(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Response<v1::EventsResponse>, Status> {
        let play = self.0.lock().unwrap();
        let name = request.into_inner().name;
        let vm = play.vms.get(&name).ok_or_else(|| unknown(&name))?;
        let event = |revision, phase: v1::Phase| v1::Transition {
            revision,
            at_ms: 1_800_000_000_000 + revision,
            phase: phase.into(),
            reason: String::new(),
            host: Some(2),
        };
        // The names' order is not the log's.
        let first = if name == "web" { 5 } else { 4 };
        let events = vec![event(first, v1::Phase::Pending), event(first + 2, vm.phase())];
        Ok(Response::new(v1::EventsResponse { revision: 9, events }))
    }

    async fn list(&self, _: Request<v1::ListVmsRequest>) -> Result<Response<v1::ListVmsResponse>, Status> {
        let vms = self.0.lock().unwrap().vms.values().cloned().collect();
        Ok(Response::new(v1::ListVmsResponse { revision: 9, vms }))
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn hello(&self, _: Request<v1::HelloRequest>) -> Result<Response<v1::HelloResponse>, Status> {
        Ok(Response::new(v1::HelloResponse { cluster: 1, node: 1, revision: 8, version: String::new() }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let member = v1::Member {
            node: 2,
            address: "10.0.0.2:7001".into(),
            role: v1::Role::Leader.into(),
            healthy: true,
            capacity: Some(v1::Resources::default()),
            used: Some(v1::Resources::default()),
            ..v1::Member::default()
        };
        Ok(Response::new(v1::StatusResponse { members: vec![member], ..v1::StatusResponse::default() }))
    }

    async fn cordon(&self, _: Request<v1::CordonRequest>) -> Answer {
        Err(Status::unimplemented("not played"))
    }

    async fn remove_host(&self, _: Request<v1::RemoveHostRequest>) -> Answer {
        Err(Status::unimplemented("not played"))
    }

    async fn transfer_leader(
        &self,
        _: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        Err(Status::unimplemented("not played"))
    }
}

/// A stage: the played cluster behind a port of its own.
struct Stage {
    cluster: Cluster,
    address: String,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let cluster = Cluster::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tonic::transport::Server::builder()
            .add_service(VmServiceServer::new(cluster.clone()))
            .add_service(ClusterServiceServer::new(cluster.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(server);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("vm.toml"), "memory = 64\n[process]\ncommand = ['true']\n")
            .unwrap();
        Self { cluster, address, folder, _runtime: runtime }
    }

    fn play(&self, change: impl FnOnce(&mut Play)) {
        change(&mut self.cluster.0.lock().unwrap());
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blixard"));
        command.args(args.split_whitespace()).current_dir(self.folder.path()).env_clear();
        command.env("BLIXARD_SERVER", &self.address);
        command
    }

    /// Runs a command; what it printed with its exit code.
    fn check(&self, args: &str, expected: Expect) {
        expected.assert_eq(&told(&self.command(args).output().unwrap()));
    }

    fn run(&self, args: &str) {
        let output = self.command(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args}: {}", told(&output));
    }
}

fn told(output: &Output) -> String {
    let mut text = String::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        text += &format!("out: {line}\n");
    }
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        text += &format!("err: {line}\n");
    }
    text + &format!("exit: {}\n", output.status.code().unwrap())
}

#[test]
fn a_round_with_a_vm() {
    let stage = Stage::new();
    stage.run("vm create web --config vm.toml");
    stage.check(
        "vm start web --format json --no-wait",
        expect![[r#"
        out: {
        out:   "name": "web",
        out:   "revision": 9,
        out:   "generation": 2,
        out:   "deleted": false
        out: }
        exit: 0
    "#]],
    );
    stage.run("vm start --name web");
    stage.run("vm stop web");
    stage.check(
        "vm delete web",
        expect![[r#"
        out: web: deleted
        exit: 0
    "#]],
    );
    stage.check(
        "vm list",
        expect![[r#"
        out: There are no VMs.
        exit: 0
    "#]],
    );
}

#[test]
fn a_change_is_retried_under_its_id() {
    let stage = Stage::new();
    stage.run("vm create web --config vm.toml");
    stage.play(|play| {
        play.ids.clear();
        play.troubles = [
            status(&RequestError::NoLeader),
            Status::unavailable("the connection broke"),
            status(&RequestError::Unknown { reason: "the leader changed".into() }),
        ]
        .into();
    });
    stage.run("vm start web");
    stage.play(|play| {
        assert_eq!(play.ids.len(), 4);
        assert!(play.ids.iter().all(|id| *id == play.ids[0]), "{:?}", play.ids);
        assert_eq!((play.ids[0].sequence, play.ids[0].born), (1, 8));
    });
}

#[test]
fn the_next_server_is_tried() {
    let stage = Stage::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let args = format!("vm list --server {closed} --server {}", stage.address);
    stage.run(&args);
    let output = stage.command(&format!("vm list --timeout 300ms --server {closed}")).output().unwrap();
    let text = told(&output).replace(&closed.to_string(), "CLOSED");
    expect![[r#"
        err: error[BLX-CLI-002]: no answer (CLOSED: Connection refused (os error 111)): is `blixard node` running there, and is --server right?
        exit: 6
    "#]].assert_eq(&text);
}

#[test]
fn failures_have_their_exit_codes() {
    let stage = Stage::new();
    stage.check(
        "vm status web",
        expect![[r#"
        err: error[BLX-VM-002]: there is no VM web; `blixard vm list` shows those there are
        exit: 3
    "#]],
    );
    stage.check("vm start Web", expect![[r#"
        err: error[BLX-CLI-001]: "Web" is not a VM name: use 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit
        exit: 2
    "#]]);
    stage.check(
        "vm create web --config none.toml",
        expect![[r#"
        err: error[BLX-CLI-001]: none.toml cannot be read: No such file or directory (os error 2)
        exit: 2
    "#]],
    );
    stage.run("vm create web --config vm.toml");
    let fail = |error: RequestError| stage.play(|play| play.troubles = [status(&error)].into());
    let name = || VmName::new("web").unwrap();
    fail(RequestError::VmExists { name: name() });
    stage.check(
        "vm create web --config vm.toml",
        expect![[r#"
        err: error[BLX-VM-001]: VM web exists already; choose another name, or delete it first
        exit: 4
    "#]],
    );
    let full = (blixard_node::ids::NodeId(1), "has 0 of 1 vCPUs free".to_owned());
    fail(RequestError::NoRoom { name: name(), hosts: vec![full] });
    stage.check(
        "vm start web",
        expect![[r#"
        err: error[BLX-VM-005]: no host can take VM web: n1: has 0 of 1 vCPUs free
        exit: 5
    "#]],
    );
    stage.check(
        "vm start web none",
        expect![[r#"
        out: web: running on node 2 for 0s
        err: error[BLX-VM-002]: there is no VM none; `blixard vm list` shows those there are
        exit: 3
    "#]],
    );
}

#[test]
fn waiting_says_why_and_ends() {
    let stage = Stage::new();
    stage.run("vm create web --config vm.toml");
    stage.play(|play| play.becomes = Some((v1::Phase::Preparing, "building the image")));
    stage.check("vm start web --timeout 300ms", expect![[r#"
        err: web: preparing on node 2 (building the image)
        err: error[BLX-CLI-003]: VM web does not run: not within the time allowed (--timeout); it goes on in the cluster, at the moment it is preparing on node 2 (building the image)
        exit: 6
    "#]]);
    stage.play(|play| play.becomes = Some((v1::Phase::Exited, "exit status 0")));
    stage.check(
        "vm start web",
        expect![[r#"
            err: error[BLX-CLI-004]: VM web has ended, and its restart policy leaves it so: exit status 0; to run it again, stop and start it
            exit: 1
        "#]],
    );
    stage.play(|play| {
        play.becomes = Some((v1::Phase::Starting, ""));
        play.meddled = true;
    });
    stage.check(
        "vm start web",
        expect![[r#"
        err: error[BLX-CLI-005]: VM web was stopped by another command meanwhile
        exit: 4
    "#]],
    );
}

impl Stage {
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn payload(&self, name: &str) -> String {
        self.cluster.0.lock().unwrap().vms[name].spec.clone().unwrap().payload
    }

    /// As [`Stage::check`], with the folder's path left out.
    fn check_here(&self, args: &str, expected: Expect) {
        let folder = self.folder.path().canonicalize().unwrap().display().to_string();
        expected.assert_eq(&told(&self.command(args).output().unwrap()).replace(&folder, "HERE"));
    }
}

#[test]
fn a_vm_is_made_of_a_nix_file_or_a_flake() {
    let stage = Stage::new();
    stage.write("web.nix", "{ ... }: { }\n");
    stage.check(
        "vm create --config web.nix",
        expect![[r#"
            out: web: stopped for 0s
            exit: 0
        "#]],
    );
    assert_eq!(stage.payload("web"), "file = \"\"\"\n{ ... }: { }\n\"\"\"\n");
    stage.check(
        "vm create db --config web.nix --vcpus 2 --memory 2GiB --format json",
        expect![[r#"
        out: {
        out:   "name": "db",
        out:   "id": 9,
        out:   "phase": "stopped",
        out:   "reason": "",
        out:   "wanted": "stopped",
        out:   "deleting": false,
        out:   "node": null,
        out:   "epoch": null,
        out:   "last_node": null,
        out:   "generation": 1,
        out:   "observed_generation": 1,
        out:   "restarts": 0,
        out:   "since": "2096-10-02T07:06:40.000Z",
        out:   "artifact": null,
        out:   "spec": {
        out:     "vcpus": 2,
        out:     "memory_mib": 2048,
        out:     "hypervisor": "microvm-nix",
        out:     "restart": "always",
        out:     "failover": "move",
        out:     "local_volume": false,
        out:     "requires": {},
        out:     "ports": [],
        out:     "payload": "file = \"\"\"\n{ ... }: { }\n\"\"\"\n"
        out:   }
        out: }
        exit: 0
    "#]],
    );
    stage.check_here(
        "vm create --flake .#proxy",
        expect![[r#"
            out: proxy: stopped for 0s
            err: note: each host that runs the VM builds it from its own HERE; a git URL means the same everywhere
            exit: 0
        "#]],
    );
    stage.run("vm create other --flake git+https://example.org/vms#web");
    assert_eq!(stage.payload("other"), "flake = \"git+https://example.org/vms#web\"\n");
    stage.write(
        "flake.toml",
        "name = 'dns'\nmemory = 512\nports = ['53:53/udp']\n[microvm-nix]\nflake = 'path:.#dns'\n",
    );
    stage.check_here(
        "vm create --config flake.toml",
        expect![[r#"
            out: dns: stopped for 0s
            err: note: each host that runs the VM builds it from its own HERE; a git URL means the same everywhere
            exit: 0
        "#]],
    );
}

#[test]
fn wrong_sources_are_refused_before_anything_is_sent() {
    let stage = Stage::new();
    stage.write("My VM.nix", "{ }");
    stage.write("empty.nix", " ");
    stage.write("Web.nix", "{ }");
    stage.check(
        "vm create web",
        expect![[r#"
            err: error[BLX-CLI-001]: say what the VM is made of: --config FILE (TOML or .nix) or --flake REF#NAME
            exit: 2
        "#]],
    );
    stage.check(
        "vm create web --config vm.toml --flake .#web",
        expect![[r#"
        err: error: the argument '--config <FILE>' cannot be used with '--flake <REF[#NAME]>'
        err: 
        err: Usage: blixard vm create --config <FILE> --server <ADDR> <NAME>...
        err: 
        err: For more information, try '--help'.
        exit: 2
    "#]],
    );
    stage.check(
        "vm create --config Web.nix",
        expect![[r#"
        err: error[BLX-CLI-001]: "Web", the file's name, is no VM name: add --name
        exit: 2
    "#]],
    );
    stage.check(
        "vm create --config empty.nix",
        expect![[r#"
            err: error[BLX-CLI-001]: empty.nix: file is empty or holds a NUL byte: it is the text of a NixOS module
            exit: 2
        "#]],
    );
    stage.check(
        "vm create --config none.nix",
        expect![[r#"
        err: error[BLX-CLI-001]: none.nix cannot be read: No such file or directory (os error 2)
        exit: 2
    "#]],
    );
    stage.check(
        "vm create --flake github:me/vms",
        expect![[r#"
        err: error[BLX-CLI-001]: the VM has no name: add --name, or #NAME to the flake
        exit: 2
    "#]],
    );
    stage.check(
        "vm create --flake github:me/vms#My_VM",
        expect![[r#"
        err: error[BLX-CLI-001]: "My_VM", the flake's configuration, is no VM name: add --name
        exit: 2
    "#]],
    );
    stage.check("vm create web --flake vms#web", expect![[r#"
        err: error[BLX-CLI-001]: flake "vms" is not absolute, and other hosts would look for it elsewhere: write github:OWNER/REPO, git+https://… or path:/FOLDER; `blixard vm create --flake` makes relative ones absolute
        exit: 2
    "#]]);
    std::fs::create_dir(stage.folder.path().join("vms")).unwrap();
    stage.check("vm create web --flake vms#web", expect![[r#"
        err: error[BLX-CLI-001]: vms is a name of nix's registry, which hosts do not share: for the folder write ./vms#web
        exit: 2
    "#]]);
    stage.check(
        "vm create web --config vm.toml --memory 2GiB",
        expect![[r#"
        err: error[BLX-CLI-001]: --vcpus and --memory are for .nix files and flakes: vm.toml says both itself
        exit: 2
    "#]],
    );
    stage.check("vm create web --config web.nix --memory 2GB", expect![[r#"
        err: error: invalid value '2GB' for '--memory <SIZE>': write a size such as 512MiB or 2GiB, or a whole number of MiB
        err: 
        err: For more information, try '--help'.
        exit: 2
    "#]]);
    stage.play(|play| assert!(play.ids.is_empty()));
}

#[test]
fn an_update_shows_what_changes() {
    let stage = Stage::new();
    stage.run("vm create web --config vm.toml");
    stage.check(
        "vm update web --config vm.toml",
        expect![[r#"
        out: web: nothing changes
        exit: 0
    "#]],
    );
    stage.write("vm.toml", "memory = 128\n[process]\ncommand = ['false']\n");
    stage.check(
        "vm update web --config vm.toml --dry-run",
        expect![[r#"
        out: web: would change
        out:   memory: 64MiB -> 128MiB
        out:   process.command: ["true"] -> ["false"]
        exit: 0
    "#]],
    );
    stage.check(
        "vm update web --config vm.toml --generation 7",
        expect![[r#"
        err: error[BLX-VM-003]: VM web is at generation 1, not at 7: look at it again, then repeat
        exit: 4
    "#]],
    );
    let stopped = RequestError::VmNotStopped { name: VmName::new("web").unwrap() };
    stage.play(|play| play.troubles = [status(&stopped)].into());
    stage.check(
        "vm update web --config vm.toml",
        expect![[r#"
        err: error[BLX-VM-008]: VM web is not stopped; stop it first: blixard vm stop web
        exit: 4
    "#]],
    );
    stage.check(
        "vm update web --config vm.toml --format json",
        expect![[r#"
        out: {
        out:   "name": "web",
        out:   "updated": true,
        out:   "generation": 2,
        out:   "changes": [
        out:     {
        out:       "field": "memory",
        out:       "before": "64MiB",
        out:       "after": "128MiB"
        out:     },
        out:     {
        out:       "field": "process.command",
        out:       "before": "[\"true\"]",
        out:       "after": "[\"false\"]"
        out:     }
        out:   ],
        out:   "packages": null
        out: }
        exit: 0
    "#]],
    );
    stage.check(
        "vm update none --config vm.toml",
        expect![[r#"
        err: error[BLX-VM-002]: there is no VM none; `blixard vm list` shows those there are
        exit: 3
    "#]],
    );
}

#[test]
fn events_and_ports_of_vms() {
    let stage = Stage::new();
    stage.write("vm.toml", "memory = 64\nports = ['8080:80']\n[process]\ncommand = ['true']\n");
    stage.run("vm create web --config vm.toml");
    stage.run("vm create db --config vm.toml");
    stage.check(
        "vm ports web",
        expect![[r#"
        out: VM   ADDRESS   GUEST  NODE  PHASE    REACHED
        out: web  8080/tcp  80     -     stopped  nowhere: no host has the VM
        exit: 0
    "#]],
    );
    stage.run("vm start web");
    stage.check(
        "vm ports",
        expect![[r#"
        out: VM   ADDRESS            GUEST  NODE  PHASE    REACHED
        out: db   8080/tcp           80     -     stopped  nowhere: no host has the VM
        out: web  10.0.0.2:8080/tcp  80     2     running  wherever node 2 is
        exit: 0
    "#]],
    );
    stage.check(
        "vm ports none",
        expect![[r#"
        err: error[BLX-VM-002]: there is no VM none; `blixard vm list` shows those there are
        exit: 3
    "#]],
    );
    stage.check(
        "vm events --all",
        expect![[r#"
        out: 2027-01-15T08:00:00.004Z  db: pending on node 2
        out: 2027-01-15T08:00:00.005Z  web: pending on node 2
        out: 2027-01-15T08:00:00.006Z  db: stopped on node 2
        out: 2027-01-15T08:00:00.007Z  web: running on node 2
        exit: 0
    "#]],
    );
    stage.check(
        "vm events db --format json",
        expect![[r#"
        out: {
        out:   "revision": 9,
        out:   "events": [
        out:     {
        out:       "vm": "db",
        out:       "revision": 4,
        out:       "at": "2027-01-15T08:00:00.004Z",
        out:       "phase": "pending",
        out:       "reason": "",
        out:       "node": 2
        out:     },
        out:     {
        out:       "vm": "db",
        out:       "revision": 6,
        out:       "at": "2027-01-15T08:00:00.006Z",
        out:       "phase": "stopped",
        out:       "reason": "",
        out:       "node": 2
        out:     }
        out:   ]
        out: }
        exit: 0
    "#]],
    );
    stage.check(
        "vm events",
        expect![[r#"
        err: error[BLX-CLI-001]: name VMs, or give --all
        exit: 2
    "#]],
    );
    stage.check(
        "vm events web none",
        expect![[r#"
        err: error[BLX-VM-002]: there is no VM none; `blixard vm list` shows those there are
        exit: 3
    "#]],
    );
}

#[test]
fn volumes_are_kept_when_asked_for() {
    let stage = Stage::new();
    for (args, kept) in [("vm delete web", false), ("vm delete web --keep-volumes", true)] {
        stage.run("vm create web --config vm.toml");
        stage.run(args);
        stage.play(|play| assert_eq!(play.kept_volumes, kept, "{args}"));
    }
}
