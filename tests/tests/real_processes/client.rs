//! Clients over gRPC.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blixard_node::error::RequestError;
use blixard_node::ids::{ClientId, Generation, NodeId, RequestId, Revision};
use blixard_node::request::{ClusterView, Consistency, Read, Reply, Request, Response, VmView, Write};
use blixard_node::rng::Rng;
use blixard_node::spec::{Resources, VmName, VmSpec};
use blixard_proto::error::request_error;
use blixard_proto::v1;
use blixard_proto::v1::cluster_service_client::ClusterServiceClient;
use blixard_proto::v1::vm_service_client::VmServiceClient;
use blixard_sim::history::Outcome;
use tonic::transport::{Channel, Endpoint};

use super::cluster::draw;
use super::history::History;

/// How long an attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long a client tries to get an answer.
const GIVE_UP: Duration = Duration::from_secs(45);

/// Connections to all members. They mend themselves.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    members: BTreeMap<u64, Channel>,
}

impl Caller {
    pub(crate) fn new<'a>(members: impl Iterator<Item = (u64, &'a str)>) -> Self {
        let connect = |(id, address): (u64, &str)| {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            (id, endpoint.connect_timeout(Duration::from_millis(500)).connect_lazy())
        };
        Self { members: members.map(connect).collect() }
    }

    /// Sends a request to a member; none when no answer of Blixard's came back.
    pub(crate) async fn call(&self, member: u64, request: &Request) -> Option<Reply> {
        let answered = tokio::time::timeout(ATTEMPT, self.send(member, request)).await.ok()?;
        match answered {
            Ok(response) => Some(Ok(response)),
            Err(status) => request_error(&status).map(Err),
        }
    }

    async fn send(&self, member: u64, request: &Request) -> Result<Response, tonic::Status> {
        let channel = self.members[&member].clone();
        let mut vms = VmServiceClient::new(channel.clone());
        let mut cluster = ClusterServiceClient::new(channel);
        Ok(match request {
            Request::Write { id, write } => {
                let written = send_write(&mut vms, *id, write).await?;
                let (revision, generation) = (Revision(written.revision), Generation(written.generation));
                Response::Written { revision, generation }
            }
            Request::Read { read, consistency } => {
                let stale = *consistency == Consistency::Stale;
                match read {
                    Read::GetVm { name } => {
                        let request = v1::GetVmRequest { name: name.to_string(), stale };
                        let got = vms.get(request).await?.into_inner();
                        let vm = VmView::try_from(got.vm.unwrap()).unwrap();
                        Response::Vm { revision: Revision(got.revision), vm: Box::new(vm) }
                    }
                    Read::ListVms => {
                        let listed = vms.list(v1::ListVmsRequest { stale }).await?.into_inner();
                        let vms = listed.vms.into_iter().map(|vm| VmView::try_from(vm).unwrap()).collect();
                        Response::Vms { revision: Revision(listed.revision), vms }
                    }
                    Read::VmEvents { .. } => unreachable!("no test reads that"),
                    Read::ClusterStatus => {
                        let view = cluster.status(v1::StatusRequest { stale }).await?.into_inner();
                        Response::Cluster(Box::new(ClusterView::try_from(view).unwrap()))
                    }
                }
            }
            Request::TransferLeader { to } => {
                let request = v1::TransferLeaderRequest { to: to.map(|node| node.0) };
                let to = cluster.transfer_leader(request).await?.into_inner().to;
                Response::Transferring { to: NodeId(to) }
            }
        })
    }

    /// The cluster as `member` sees it.
    pub(crate) async fn status(&self, member: u64, stale: bool) -> Option<ClusterView> {
        let consistency = if stale { Consistency::Stale } else { Consistency::Linearizable };
        match self.call(member, &Request::Read { read: Read::ClusterStatus, consistency }).await {
            Some(Ok(Response::Cluster(view))) => Some(*view),
            _ => None,
        }
    }

    /// All VMs.
    pub(crate) async fn list(&self, member: u64) -> Option<Vec<VmView>> {
        match self.call(member, &list()).await {
            Some(Ok(Response::Vms { vms, .. })) => Some(vms),
            _ => None,
        }
    }

    /// Creates and starts a VM of a test without faults.
    pub(crate) async fn create_and_start(&self, name: &str, spec: VmSpec) {
        let name = VmName::new(name).unwrap();
        let spec = Arc::new(spec);
        let start = Write::StartVm { name: name.clone(), generation: None };
        self.change(&[Write::CreateVm { name, spec }, start]).await;
    }

    /// Makes changes of a test without faults, one after the other, through the first member.
    pub(crate) async fn change(&self, writes: &[Write]) {
        let mut session = Session { client: ClientId(draw()), sequence: 0, born: Revision(0) };
        for write in writes {
            let request = Request::Write { id: session.next(), write: write.clone() };
            let began = Instant::now();
            loop {
                match self.call(*self.members.keys().next().unwrap(), &request).await {
                    Some(Ok(_)) => break,
                    Some(Err(error)) if !error.is_transient() => panic!("{write:?}: {error}"),
                    _ => assert!(began.elapsed() < GIVE_UP, "not taken: {write:?}"),
                }
            }
        }
    }
}

async fn send_write(
    vms: &mut VmServiceClient<Channel>,
    id: RequestId,
    write: &Write,
) -> Result<v1::WriteResponse, tonic::Status> {
    let change = |name: &VmName, generation: &Option<Generation>| v1::ChangeVmRequest {
        id: Some(id.into()),
        name: name.to_string(),
        generation: generation.map(|generation| generation.0),
    };
    let written = match write {
        Write::CreateVm { name, spec } => {
            let spec = Some(spec.as_ref().into());
            vms.create(v1::CreateVmRequest { id: Some(id.into()), name: name.to_string(), spec }).await
        }
        Write::StartVm { name, generation } => vms.start(change(name, generation)).await,
        Write::StopVm { name, generation } => vms.stop(change(name, generation)).await,
        Write::DeleteVm { name, generation, keep_volumes } => {
            let v1::ChangeVmRequest { id, name, generation } = change(name, generation);
            vms.delete(v1::DeleteVmRequest { id, name, generation, keep_volumes: *keep_volumes }).await
        }
        Write::UpdateVm { .. } | Write::CordonHost { .. } | Write::RemoveHost { .. } => {
            unreachable!("no test writes that")
        }
    };
    written.map(tonic::Response::into_inner)
}

/// A small VM of the `process` backend.
pub(crate) fn spec(payload: &str) -> VmSpec {
    spec_of("process", payload.into(), 64)
}

/// A tiny guest of the `qemu` backend.
pub(crate) fn qemu_spec(kernel: &Path, name: &str) -> VmSpec {
    qemu_vm(&format!("kernel = {kernel:?}\ncmdline = \"name={name}\"\naccel = \"tcg\"\n"), 32)
}

/// A VM of the `qemu` backend.
pub(crate) fn qemu_vm(payload: &str, memory_mib: u64) -> VmSpec {
    spec_of("qemu", payload.into(), memory_mib)
}

fn spec_of(hypervisor: &str, payload: String, memory_mib: u64) -> VmSpec {
    let v1_spec = v1::VmSpec {
        resources: Some(Resources { vcpus: 1, memory_mib }.into()),
        hypervisor: hypervisor.into(),
        payload,
        ..v1::VmSpec::default()
    };
    VmSpec::try_from(v1_spec).unwrap()
}

pub(crate) fn list() -> Request {
    Request::Read { read: Read::ListVms, consistency: Consistency::Linearizable }
}

pub(crate) fn get(name: VmName) -> Request {
    Request::Read { read: Read::GetVm { name }, consistency: Consistency::Linearizable }
}

#[derive(Clone, Copy, Debug)]
struct Session {
    client: ClientId,
    sequence: u64,
    born: Revision,
}

impl Session {
    fn next(&mut self) -> RequestId {
        self.sequence += 1;
        RequestId { client: self.client, sequence: self.sequence, born: self.born }
    }
}

/// A client whose operations are recorded. It repeats a request under its id until it has an answer.
#[derive(Debug)]
pub(crate) struct Client {
    number: usize,
    caller: Caller,
    history: Arc<History>,
    rng: Rng,
    session: Session,
}

impl Client {
    pub(crate) fn new(number: usize, seed: u64, caller: Caller, history: Arc<History>) -> Self {
        let mut rng = Rng::new(seed, number as u64);
        let session = Session { client: ClientId(rng.u64().max(1)), sequence: 0, born: Revision(0) };
        Self { number, caller, history, rng, session }
    }

    pub(crate) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Has a change made. Now and then its id is sent again after the answer: the answer must be the same.
    pub(crate) async fn write(&mut self, write: Write) -> Outcome {
        let request = Request::Write { id: self.session.next(), write };
        let outcome = self.perform(request.clone()).await;
        if let Outcome::Answered(first) = &outcome
            && self.rng.ratio(1, 8)
            && let Outcome::Answered(second) = self.ask(&request).await.0
        {
            assert_eq!(*first, second, "{request:?} was answered twice, and not the same");
        }
        outcome
    }

    /// Performs a request and records it.
    pub(crate) async fn perform(&mut self, request: Request) -> Outcome {
        let (invoked, floor) = self.history.invoke();
        let (outcome, attempts) = self.ask(&request).await;
        self.history.end(self.number, request, invoked, floor, attempts, outcome.clone());
        outcome
    }

    async fn ask(&mut self, request: &Request) -> (Outcome, u32) {
        let members: Vec<u64> = self.caller.members.keys().copied().collect();
        let (mut attempts, mut maybe) = (0, false);
        let began = Instant::now();
        while began.elapsed() < GIVE_UP {
            attempts += 1;
            let member = *self.rng.pick(&members).unwrap();
            match self.caller.call(member, request).await {
                Some(Err(error)) if error.is_transient() => maybe |= !error.had_no_effect(),
                Some(Err(RequestError::SessionExpired { floor })) => {
                    panic!("a session in use was expired: floor {floor}, request {request:?}");
                }
                Some(reply) => return (Outcome::Answered(reply), attempts),
                None => maybe = true,
            }
            let pause = Duration::from_millis(self.rng.between(20, 200));
            tokio::time::sleep(pause).await;
        }
        (if maybe { Outcome::Unknown } else { Outcome::Refused }, attempts)
    }
}
