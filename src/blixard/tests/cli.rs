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
        let vm = play.vms.remove(&request.name).ok_or_else(|| unknown(&request.name))?;
        Ok(Response::new(v1::WriteResponse { revision: 9, generation: vm.generation + 1 }))
    }

    async fn get(&self, request: Request<v1::GetVmRequest>) -> Result<Response<v1::GetVmResponse>, Status> {
        let name = request.into_inner().name;
        let vm = self.0.lock().unwrap().vms.get(&name).cloned().ok_or_else(|| unknown(&name))?;
        Ok(Response::new(v1::GetVmResponse { revision: 9, vm: Some(vm) }))
    }

    async fn update(&self, _: Request<v1::UpdateVmRequest>) -> Answer {
        Err(Status::unimplemented("not played"))
    }

    async fn events(&self, _: Request<v1::EventsRequest>) -> Result<Response<v1::EventsResponse>, Status> {
        Err(Status::unimplemented("not played"))
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
        Err(Status::unimplemented("not played"))
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
