//! The client commands as a user runs them, against a cluster that is played: what it says is chosen by the test.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod played;
mod sources;

use std::process::{Command, Output};

use blixard_node::error::RequestError;
use blixard_node::spec::VmName;
use blixard_proto::error::status;
use blixard_proto::v1;
use blixard_proto::v1::cluster_service_server::ClusterServiceServer;
use blixard_proto::v1::vm_service_server::VmServiceServer;
use expect_test::{Expect, expect};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;

use played::{Cluster, Play};

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

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
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
