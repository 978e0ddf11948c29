//! Discovery against files, the system's resolver, and a server on a Unix socket that speaks Tailscale's LocalAPI; and real
//! nodes that find each other by it.
#![cfg(not(madsim))]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use blixard::discovery::{Discovery, Said};
use blixard_node::ids::NodeId;
use blixard_proto::v1;
use blixard_proto::v1::cluster_service_client::ClusterServiceClient;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(40);

fn discovery(specs: &[&str], socket: &Path) -> Discovery {
    Discovery {
        me: NodeId(9),
        own_addresses: BTreeSet::new(),
        port: 7001,
        fixed: Vec::new(),
        specs: specs.iter().map(|spec| spec.parse().expect("a source")).collect(),
        tailscale_socket: socket.into(),
        connect: blixard::net::connect(),
        said: Said::default(),
    }
}

async fn listed(discovery: &mut Discovery) -> Vec<String> {
    discovery.candidates().await.into_iter().map(|candidate| candidate.address).collect()
}

// ---- Tailscale

/// Serves `answer`, a whole HTTP response, to each who asks; hangs when there is none. The requests it got are in the
/// channel.
fn tailscaled(socket: &Path, answer: Option<Vec<u8>>) -> tokio::sync::mpsc::UnboundedReceiver<String> {
    let listener = UnixListener::bind(socket).expect("binds");
    let (told, requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut hanging = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => request.push(byte),
                    Err(_) => break,
                }
            }
            let _ = told.send(String::from_utf8_lossy(&request).into_owned());
            match &answer {
                Some(answer) => {
                    let _ = stream.write_all(answer).await;
                }
                None => hanging.push(stream),
            }
        }
    });
    requests
}

fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into()
}

fn status(state: &str, peers: &Value) -> Vec<u8> {
    let body = json!({
        "Version": "1.80.0-t1", "TUN": true, "BackendState": state, "AuthURL": "", "TailscaleIPs": null, "Self": null,
        "Health": null, "MagicDNSSuffix": "tail1.ts.net", "CurrentTailnet": null, "CertDomains": null, "Peer": peers, "User": null,
    });
    ok(&body.to_string())
}

fn peer(ips: &[&str], tags: Option<&[&str]>, online: bool, expired: bool) -> Value {
    let mut peer = json!({
        "ID": "n1", "HostName": "blixard", "DNSName": "blixard-1.tail1.ts.net.", "OS": "linux", "UserID": 1,
        "TailscaleIPs": ips, "Addrs": null, "Online": online, "KeyExpiry": "2026-01-01T00:00:00Z",
    });
    if let Some(tags) = tags {
        peer["Tags"] = json!(tags);
    }
    if expired {
        peer["Expired"] = json!(true);
    }
    peer
}

async fn by_tailscale(spec: &str, answer: Vec<u8>) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("tailscaled.sock");
    let mut requests = tailscaled(&socket, Some(answer));
    let found = listed(&mut discovery(&[spec], &socket)).await;
    let request = requests.recv().await.expect("was asked").to_ascii_lowercase();
    assert!(request.starts_with("get /localapi/v0/status http/1.1\r\n"), "{request}");
    assert!(request.contains("host: local-tailscaled.sock\r\n"), "{request}");
    found
}

#[tokio::test]
async fn a_tailnets_nodes_that_are_up_are_candidates() {
    let peers = json!({
        "nodekey:a": peer(&["fd7a::a", "100.64.0.1"], None, true, false),
        // The same host name, which is not unique.
        "nodekey:b": peer(&["100.64.0.2"], Some(&["tag:blixard", "tag:x"]), true, false),
        "nodekey:c": peer(&["100.64.0.3"], Some(&["tag:blixard"]), false, false),
        "nodekey:d": peer(&["100.64.0.4"], Some(&["tag:blixard"]), true, true),
        "nodekey:e": peer(&["not an address", "fd7a::e"], Some(&["tag:blixard"]), true, false),
        "nodekey:f": peer(&[], Some(&["tag:blixard"]), true, false),
        "nodekey:g": null,
        "nodekey:h": { "HostName": null, "DNSName": null, "TailscaleIPs": null, "Tags": null, "Online": true },
    });
    let all = by_tailscale("tailscale", status("Running", &peers)).await;
    assert_eq!(all, ["100.64.0.1:7001", "[fd7a::a]:7001", "100.64.0.2:7001", "[fd7a::e]:7001"]);
    for spec in ["tailscale:blixard", "tailscale:tag:blixard"] {
        let tagged = by_tailscale(spec, status("Running", &peers)).await;
        assert_eq!(tagged, ["100.64.0.2:7001", "[fd7a::e]:7001"]);
    }
    assert!(by_tailscale("tailscale:blix", status("Running", &peers)).await.is_empty(), "a tag is no prefix");
}

#[tokio::test]
async fn an_answer_without_nodes_or_sense_gives_no_candidates() {
    let up = json!({ "nodekey:a": peer(&["100.64.0.1"], None, true, false) });
    let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\ndenied".to_vec();
    let long = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"BackendState\":".to_vec();
    for (what, answer) in [
        ("no peers", status("Running", &Value::Null)),
        ("logged out", status("NeedsLogin", &up)),
        ("stopped", status("Stopped", &up)),
        ("an empty object", ok("{}")),
        ("no object", ok("[1, 2]")),
        ("garbage", ok("\u{1}\u{2}<html>")),
        ("wrong types", ok(r#"{"BackendState":"Running","Peer":{"a":{"TailscaleIPs":7}}}"#)),
        ("no HTTP", b"\x00\x01\x02\x03 what?\r\n\r\n".to_vec()),
        ("a refusal", refused),
        ("an answer that breaks off", long),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("tailscaled.sock");
        // Another source goes on all the same.
        let file = folder.path().join("peers");
        fs::write(&file, "10.0.0.1:7001\n").expect("writes");
        // One request only: a stand-in that keeps the connection open would be waited for.
        let served = one_answer(&socket, answer);
        let from_file = format!("file:{}", file.display());
        let found = listed(&mut discovery(&["tailscale", &from_file], &socket)).await;
        assert_eq!(found, ["10.0.0.1:7001"], "{what}");
        served.await.expect("no panic");
    }
}

/// Serves one connection and closes it.
fn one_answer(socket: &Path, answer: Vec<u8>) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(socket).expect("binds");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("is asked");
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await.expect("reads");
        let _ = stream.write_all(&answer).await;
    })
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_is_missing_or_hangs_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("tailscaled.sock");
    assert!(listed(&mut discovery(&["tailscale"], &socket)).await.is_empty());
    let _requests = tailscaled(&socket, None);
    let began = tokio::time::Instant::now();
    assert!(listed(&mut discovery(&["tailscale"], &socket)).await.is_empty());
    assert!((4..=6).contains(&began.elapsed().as_secs()), "given up after {:?}", began.elapsed());
}

// ---- files and names

#[tokio::test]
async fn a_file_is_read_anew_and_never_by_half() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("peers");
    let mut discovery = discovery(&[&format!("file:{}", path.display())], Path::new("/none"));
    assert!(listed(&mut discovery).await.is_empty(), "a file that is not there lists nothing");
    fs::write(&path, "10.0.0.1:7001\n2:10.0.0.2:7001\n9:10.0.0.9:7001\n10.0.0.1:7001\n").expect("writes");
    assert_eq!(listed(&mut discovery).await, ["10.0.0.1:7001", "10.0.0.2:7001"], "each once, not this node");
    fs::write(&path, "10.0.0.3:7001\n").expect("writes");
    assert_eq!(listed(&mut discovery).await, ["10.0.0.3:7001"]);
    fs::write(&path, "10.0.0.3:7001\nhalf a li").expect("writes");
    assert!(listed(&mut discovery).await.is_empty());
}

#[tokio::test]
async fn names_are_resolved_by_the_system() {
    let found = listed(&mut discovery(&["dns:localhost:7009", "dns:localhost"], Path::new("/none"))).await;
    assert!(found.contains(&"127.0.0.1:7009".to_owned()), "{found:?}");
    assert!(found.contains(&"127.0.0.1:7001".to_owned()), "this node's own port: {found:?}");
}

#[tokio::test]
async fn who_does_not_answer_is_no_member() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("peers");
    // One takes connections and says nothing; nobody listens at the other.
    fs::write(&path, format!("{}\n127.0.0.1:1\n", silent.local_addr().expect("bound"))).expect("writes");
    let began = Instant::now();
    let found = discovery(&[&format!("file:{}", path.display())], Path::new("/none")).members(None).await;
    assert!(found.is_empty(), "{found:?}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

// ---- real nodes

/// Real nodes; dead once this is dropped.
struct Nodes {
    folder: TempDir,
    net: String,
    running: BTreeMap<u64, Child>,
}

impl Nodes {
    fn new() -> Self {
        let [a, b, ..] = RandomState::new().hash_one(std::process::id()).to_le_bytes();
        let net = format!("127.{}.{b}", 1 + a % 250);
        Self { folder: tempfile::tempdir().expect("a folder"), net, running: BTreeMap::new() }
    }

    fn address(&self, host: u64) -> String {
        format!("{}.{host}:7001", self.net)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts node `id` on the address of `host`.
    fn start(&mut self, id: u64, host: u64, more: &[&str]) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path(&format!("log-{id}")))
            .expect("opens");
        let child = Command::new(env!("CARGO_BIN_EXE_blixard"))
            .env_clear()
            .args(["node", "--id", &id.to_string(), "--bind", &self.address(host), "--data-dir"])
            .arg(self.path(&format!("data-{id}")))
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a copy"))
            .stderr(log)
            .spawn()
            .expect("starts");
        assert!(self.running.insert(id, child).is_none(), "node {id} runs already");
    }

    fn stop_all(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.running.clear();
    }

    fn logged(&self, id: u64) -> String {
        fs::read_to_string(self.path(&format!("log-{id}"))).unwrap_or_default()
    }

    async fn status(&self, host: u64) -> Option<v1::StatusResponse> {
        let channel = blixard::net::connect()(self.address(host)).await.ok()?;
        let request = v1::StatusRequest { stale: false };
        ClusterServiceClient::new(channel).status(request).await.ok().map(tonic::Response::into_inner)
    }

    /// Waits until the member on `host` says that there are `count` members and a leader.
    async fn until_members(&self, host: u64, count: usize) -> v1::StatusResponse {
        let began = Instant::now();
        let mut last = None;
        while began.elapsed() < PATIENCE {
            last = self.status(host).await.or(last);
            if let Some(status) =
                last.as_ref().filter(|status| status.members.len() == count && status.leader.is_some())
            {
                return status.clone();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let logs: String = (1..=3).map(|id| format!("---- node {id}\n{}", self.logged(id))).collect();
        panic!("no {count} members in time; the last answer was {last:?}\n{logs}");
    }

    async fn until_logged(&self, id: u64, words: &str) {
        let began = Instant::now();
        while !self.logged(id).contains(words) {
            assert!(began.elapsed() < PATIENCE, "node {id} did not say {words:?}:\n{}", self.logged(id));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stop_all();
    }
}

#[tokio::test]
async fn nodes_find_a_cluster_by_file_and_by_tailscale_and_find_each_other_again() {
    let mut nodes = Nodes::new();
    let (file, socket) = (nodes.path("peers"), nodes.path("tailscaled.sock"));
    let by_file = format!("file:{}", file.display());
    // Nothing there yet: node 2 waits, and begins no cluster of its own.
    nodes.start(2, 2, &["--discover", &by_file]);
    nodes.until_logged(2, "waits until discovery finds a member").await;
    nodes.until_logged(2, "cannot read").await;
    assert!(nodes.status(2).await.is_none(), "node 2 serves a cluster of its own");

    let one = ["--discover", by_file.as_str()];
    nodes.start(1, 1, &[one[0], one[1], "--bootstrap"]);
    nodes.until_members(1, 1).await;
    fs::write(&file, format!("1:{}\n", nodes.address(1))).expect("writes");
    nodes.until_members(2, 2).await;

    let ip = format!("{}.1", nodes.net);
    let peers = json!({ "nodekey:a": peer(&[&ip], Some(&["tag:blixard"]), true, false) });
    let _requests = tailscaled(&socket, Some(status("Running", &peers)));
    let through = socket.to_str().expect("UTF-8").to_owned();
    nodes.start(
        3,
        3,
        &["--discover", "tailscale:blixard", "--discover", &by_file, "--tailscale-socket", &through],
    );
    let joined = nodes.until_members(3, 3).await;

    // All of them move at once: nobody is where another would look for it.
    nodes.stop_all();
    let moved: String = (1..=3).map(|id| format!("{}\n", nodes.address(id + 10))).collect();
    fs::write(&file, moved).expect("writes");
    for id in 1..=3 {
        nodes.start(id, id + 10, &["--discover", &by_file]);
    }
    let again = nodes.until_members(11, 3).await;
    assert_eq!(again.cluster, joined.cluster);
}

#[tokio::test]
async fn a_peer_may_be_given_without_its_id() {
    let mut nodes = Nodes::new();
    nodes.start(1, 1, &[]);
    nodes.until_members(1, 1).await;
    let peer = nodes.address(1);
    nodes.start(2, 2, &["--peer", &peer]);
    nodes.until_members(2, 2).await;
}

/// It goes on asking the one that it was told of, and is told of others.
#[tokio::test]
async fn a_newcomer_whose_only_peer_is_gone_joins_through_a_member_that_is_found() {
    let mut nodes = Nodes::new();
    let file = nodes.path("peers");
    nodes.start(1, 1, &[]);
    nodes.until_members(1, 1).await;
    fs::write(&file, format!("1:{}\n", nodes.address(1))).expect("writes");
    let (gone, by_file) = (format!("9={}", nodes.address(9)), format!("file:{}", file.display()));
    nodes.start(2, 2, &["--peer", &gone, "--discover", &by_file]);
    nodes.until_members(2, 2).await;
}

#[test]
fn a_source_of_no_kind_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_blixard"))
        .args(["node", "--id", "1", "--discover", "consul:x"])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("\"consul:x\" names no source") && words.contains("tailscale[:TAG]"), "{words}");
}
