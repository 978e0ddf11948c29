//! Daemons with their servers and connections on real sockets, in one process; disks in memory, no hypervisor.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use blixard::daemon::{self, Config, End, HostClock, Parts};
use blixard::net::Transport;
use blixard_node::command::HostSpec;
use blixard_node::config::{NodeConfig, Settings};
use blixard_node::error::RequestError;
use blixard_node::hypervisor::{HypervisorError, HypervisorRequest};
use blixard_node::ids::{NodeId, OpId};
use blixard_node::input::Input;
use blixard_node::spec::Resources;
use blixard_proto::error::{error_detail, request_error};
use blixard_proto::v1;
use blixard_proto::v1::cluster_service_client::ClusterServiceClient;
use blixard_proto::v1::peer_service_client::PeerServiceClient;
use blixard_proto::v1::vm_service_client::VmServiceClient;
use blixard_runtime::MemoryDisk;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Request};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

static SEEDS: AtomicU64 = AtomicU64::new(1);

/// A host without any backend.
struct NoHypervisor(blixard::hypervisor::Sink);

impl blixard_runtime::Hypervisor for NoHypervisor {
    fn submit(&mut self, op: OpId, request: HypervisorRequest) {
        let result = match request {
            HypervisorRequest::Extend { .. } => return,
            HypervisorRequest::List => Ok(blixard_node::hypervisor::Done::Listed(Vec::new())),
            _ => Err(HypervisorError::NoBackend { name: "none".into() }),
        };
        (self.0)(Input::HypervisorDone { op, result });
    }
}

struct Member {
    id: u64,
    address: String,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<End, daemon::DaemonError>>,
}

impl Member {
    async fn start(id: u64, through: Option<&Member>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let host = HostSpec {
            address: address.clone(),
            capacity: Resources { vcpus: 4, memory_mib: 1_024 },
            labels: [("hypervisor.none".to_owned(), "true".to_owned())].into(),
        };
        let peers: Vec<_> = through.iter().map(|peer| (NodeId(peer.id), peer.address.clone())).collect();
        let config = Config {
            bootstrap: peers.is_empty(),
            node: NodeConfig::new(NodeId(id), host, peers),
            settings: Settings::default(),
            // Never the same twice: a disk's identity is drawn from it.
            seed: SEEDS.fetch_add(1, Ordering::Relaxed),
            own_thread: id.is_multiple_of(2),
        };
        let parts = Parts {
            clock: HostClock,
            open_disk: || Ok(MemoryDisk::default()),
            open_hypervisor: |sink| Ok(NoHypervisor(sink)),
            transport: Transport::tcp(listener),
            runs: None,
        };
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        Self { id, address, stop: Some(stop), task: tokio::spawn(daemon::run(config, parts, shutdown)) }
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address))
            .expect("an address")
            .connect()
            .await
            .expect("connects")
    }

    async fn status(&self) -> Option<v1::StatusResponse> {
        let mut client = ClusterServiceClient::new(self.channel().await);
        client.status(v1::StatusRequest { stale: false }).await.ok().map(tonic::Response::into_inner)
    }

    /// Waits until the cluster, asked here, is as wanted.
    async fn until(&self, what: &str, fits: impl Fn(&v1::StatusResponse) -> bool) -> v1::StatusResponse {
        let mut last = None;
        let waits = async {
            loop {
                last = self.status().await;
                if let Some(status) = last.as_ref().filter(|status| fits(status)) {
                    break status.clone();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waits).await {
            Ok(status) => status,
            Err(_) => panic!("waited too long until {what}; the last answer was {last:?}"),
        }
    }

    async fn retire(mut self) -> End {
        let _ = self.stop.take().expect("not stopped yet").send(());
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("ends in time");
        ended.expect("no panic").expect("no failure")
    }
}

fn voters(status: &v1::StatusResponse) -> usize {
    let votes = |member: &&v1::Member| matches!(member.role(), v1::Role::Leader | v1::Role::Voter);
    status.members.iter().filter(votes).count()
}

fn create(name: &str, id: Option<v1::RequestId>) -> v1::CreateVmRequest {
    let spec = v1::VmSpec {
        resources: Some(v1::Resources { vcpus: 1, memory_mib: 64 }),
        hypervisor: "none".into(),
        payload: "{}".into(),
        ..v1::VmSpec::default()
    };
    v1::CreateVmRequest { id, name: name.into(), spec: Some(spec) }
}

async fn three() -> Vec<Member> {
    let first = Member::start(1, None).await;
    first.until("it leads", |status| status.leader == Some(1)).await;
    let second = Member::start(2, Some(&first)).await;
    let third = Member::start(3, Some(&first)).await;
    first.until("all vote", |status| voters(status) == 3).await;
    vec![first, second, third]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_member_serves_and_a_retry_gets_the_first_answer() {
    let members = three().await;
    let mut follower = VmServiceClient::new(members[1].channel().await);
    let mut hello = ClusterServiceClient::new(members[2].channel().await);
    let hello = hello.hello(v1::HelloRequest {}).await.expect("answers").into_inner();
    assert_eq!(hello.node, 3);
    let id = Some(v1::RequestId { client: 77, sequence: 1, born: hello.revision });

    let first = follower.create(create("web", id)).await.expect("is created").into_inner();
    let again = follower.create(create("web", id)).await.expect("is answered again").into_inner();
    assert_eq!(first, again);
    let status = follower.create(create("other", id)).await.expect_err("the id is used");
    assert_eq!(request_error(&status), Some(RequestError::IdReused { sequence: 1 }));

    // Without an id it is another request.
    let status = follower.create(create("web", None)).await.expect_err("it exists");
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(
        error_detail(&status).map(|detail| (detail.code, detail.vm)),
        Some(("BLX-VM-001".into(), "web".into()))
    );

    let mut third = VmServiceClient::new(members[2].channel().await);
    let vms = third.list(v1::ListVmsRequest { stale: false }).await.expect("lists").into_inner();
    assert_eq!(vms.vms.iter().map(|vm| vm.name.as_str()).collect::<Vec<_>>(), ["web"]);
    assert!(vms.revision >= first.revision);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_without_ids_write_at_once() {
    let member = Member::start(1, None).await;
    member.until("it leads", |status| status.leader == Some(1)).await;
    let channel = member.channel().await;
    let tasks: Vec<_> = (0..64)
        .map(|vm| {
            let mut client = VmServiceClient::new(channel.clone());
            tokio::spawn(async move { client.create(create(&format!("vm-{vm}"), None)).await })
        })
        .collect();
    let mut revisions = BTreeMap::new();
    for task in tasks {
        let written = task.await.expect("no panic").expect("is created").into_inner();
        revisions.insert(written.revision, ());
    }
    assert_eq!(revisions.len(), 64, "each took effect at a revision of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_retires_hands_over() {
    let mut members = three().await;
    let before = members[1].until("there is a leader", |status| status.leader.is_some()).await;
    let at = members.iter().position(|member| Some(member.id) == before.leader).expect("a member leads");
    let leader = members.remove(at);
    let old = leader.id;
    let began = tokio::time::Instant::now();
    assert_eq!(leader.retire().await, End::Retired);
    members[0].until("another leads", |status| status.leader.is_some_and(|id| id != old)).await;
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "took {:?}: an election, not a handover",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_disk_is_refused_under_its_old_id() {
    let mut members = three().await;
    let third = members.remove(2);
    assert_eq!(third.retire().await, End::Retired);
    let impostor = Member::start(3, Some(&members[0])).await;
    let ended = tokio::time::timeout(PATIENCE, impostor.task).await.expect("ends in time");
    let Ok(Ok(End::Refused { reason })) = ended else { panic!("not refused: {ended:?}") };
    assert!(reason.contains("n3"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_on_the_peer_stream_are_turned_away() {
    let member = Member::start(1, None).await;
    let mut client = PeerServiceClient::new(member.channel().await);
    let frames = |bytes: &'static [u8]| {
        tokio_stream::iter([v1::PeerFrame { message: bytes::Bytes::from_static(bytes) }])
    };
    let status = client.exchange(frames(b"")).await.expect_err("says not who it is");
    assert_eq!(status.code(), Code::InvalidArgument);
    let mut request = Request::new(frames(b"\xff\xff\xff"));
    request.metadata_mut().insert("blixard-node", "9".parse().expect("ascii"));
    request.metadata_mut().insert("blixard-address", "127.0.0.1:1".parse().expect("ascii"));
    let status = client.exchange(request).await.expect_err("sends what is no message");
    assert_eq!(status.code(), Code::InvalidArgument);
    member.until("it goes on", |status| status.leader == Some(1)).await;
}
