//! What the node says comes back from the wire as it was; what a client may get wrong is refused by name.

use std::sync::Arc;

use blixard_node::ids::{ClusterId, Epoch, Generation, Incarnation, NodeId, Revision, VmId};
use blixard_node::level::Level;
use blixard_node::request::{ClusterView, MemberView, Role, VmView, Write};
use blixard_node::spec::{FailoverPolicy, Phase, Resources, RestartPolicy, VmName, VmSpec, Wanted};
use blixard_node::time::{Duration, WallMs};
use blixard_proto::convert::{BadMessage, Change};
use blixard_proto::v1;

fn spec() -> VmSpec {
    VmSpec {
        resources: Resources { vcpus: 2, memory_mib: 512 },
        requires: [("zone".to_owned(), "a".to_owned())].into(),
        restart: RestartPolicy::OnFailure,
        failover: FailoverPolicy::Wait,
        local_volume: true,
        hypervisor: "process".into(),
        payload: "command = [\"sleep\"]".into(),
        ports: Vec::new(),
    }
}

fn vm(phase: Phase, wanted: Wanted) -> VmView {
    VmView {
        id: VmId(7),
        name: VmName::new("web").expect("a name"),
        spec: Arc::new(spec()),
        generation: Generation(3),
        wanted,
        deleting: true,
        assigned: Some((NodeId(2), Epoch(4))),
        phase,
        reason: "because".into(),
        since: WallMs(1_700_000_000_000),
        restarts: 5,
        observed_generation: Generation(2),
        artifact: None,
        last_host: None,
    }
}

#[test]
fn vms_come_back() {
    let phases = [
        Phase::Stopped,
        Phase::Pending,
        Phase::Preparing,
        Phase::Starting,
        Phase::Running,
        Phase::Stopping,
        Phase::Failed,
        Phase::Exited,
        Phase::Lost,
    ];
    for phase in phases {
        for wanted in [Wanted::Running, Wanted::Stopped] {
            let view = vm(phase, wanted);
            assert_eq!(VmView::try_from(v1::Vm::from(&view)), Ok(view));
        }
    }
}

#[test]
fn clusters_come_back() {
    for role in [Role::Leader, Role::Voter, Role::Learner, Role::Worker] {
        let member = MemberView {
            node: NodeId(1),
            incarnation: Incarnation(u64::MAX),
            address: "127.0.0.1:7001".into(),
            role,
            healthy: true,
            cordoned: true,
            cordon_reason: "new disks".into(),
            level: Level(2),
            leaving: true,
            capacity: Resources { vcpus: 8, memory_mib: 4_096 },
            used: Resources { vcpus: 2, memory_mib: 512 },
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            last_contact: Some(Duration::from_millis(40)),
            lag: Some(0),
            vms: 3,
        };
        let view = ClusterView {
            cluster: ClusterId(u64::MAX),
            answered_by: NodeId(2),
            leader: None,
            term: 9,
            revision: Revision(12),
            level: Level(1),
            members: vec![member],
        };
        assert_eq!(ClusterView::try_from(v1::StatusResponse::from(&view)), Ok(view));
    }
}

fn create() -> v1::CreateVmRequest {
    v1::CreateVmRequest { id: None, name: "web".into(), spec: Some((&spec()).into()) }
}

#[test]
fn policies_may_be_left_out_and_get_their_defaults() {
    let mut request = create();
    let sent = request.spec.as_mut().expect("a spec");
    sent.restart = 0;
    sent.failover = 0;
    let Ok(Change { id: None, write: Write::CreateVm { spec, .. } }) = Change::create(request) else {
        panic!("not a create");
    };
    assert_eq!((spec.restart, spec.failover), (RestartPolicy::Always, FailoverPolicy::Move));
}

#[test]
fn what_a_client_gets_wrong_is_refused_by_name() {
    let field = |change: Result<Change, BadMessage>| change.map_err(|error| error.field);
    assert_eq!(field(Change::create(v1::CreateVmRequest { name: "Web!".into(), ..create() })), Err("name"));
    assert_eq!(field(Change::create(v1::CreateVmRequest { spec: None, ..create() })), Err("spec"));
    let id = Some(v1::RequestId { client: 1, sequence: 0, born: 0 });
    assert_eq!(field(Change::create(v1::CreateVmRequest { id, ..create() })), Err("id"));
    let mut request = create();
    request.spec.as_mut().expect("a spec").restart = 99;
    assert_eq!(field(Change::create(request)), Err("spec.restart"));
}
