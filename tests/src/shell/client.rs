//! A client that any member serves: it goes on to the next when one does not answer, and repeats changes under their ids.

use std::time::Duration;

use blixard::net::Connect;
use blixard_proto::error::request_error;
use blixard_proto::v1::cluster_service_client::ClusterServiceClient;
use blixard_proto::v1::vm_service_client::VmServiceClient;
use blixard_proto::v1::{self, ChangeVmRequest, CreateVmRequest, DeleteVmRequest, WriteResponse};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::HYPERVISOR;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);
/// How long anything may take. More than a lost host's VMs need to come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client with a session.
pub struct Client {
    connect: Connect,
    servers: Vec<String>,
    at: usize,
    channel: Option<Channel>,
    client: u64,
    born: Option<u64>,
    sequence: u64,
    /// Attempts beyond the first, over all requests.
    pub retries: u64,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Client {
    /// The client `client`, an id of its own, of the members at `servers`.
    #[must_use]
    pub fn new(client: u64, connect: Connect, servers: Vec<String>) -> Self {
        Self { connect, servers, at: 0, channel: None, client, born: None, sequence: 0, retries: 0 }
    }

    /// The member that is asked next.
    #[must_use]
    pub fn asks(&self) -> &str {
        &self.servers[self.at]
    }

    /// Lists a new VM.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn create(&mut self, name: &str) -> Result<WriteResponse, Status> {
        let spec = v1::VmSpec {
            resources: Some(v1::Resources { vcpus: 1, memory_mib: 64 }),
            hypervisor: HYPERVISOR.into(),
            ..v1::VmSpec::default()
        };
        let request = CreateVmRequest { id: self.next_id().await, name: name.into(), spec: Some(spec) };
        self.call(async |channel| VmServiceClient::new(channel).create(request.clone()).await).await
    }

    /// Wants a VM running.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn start(&mut self, name: &str) -> Result<WriteResponse, Status> {
        let request = self.change(name).await;
        self.call(async |channel| VmServiceClient::new(channel).start(request.clone()).await).await
    }

    /// Wants a VM stopped.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn stop(&mut self, name: &str) -> Result<WriteResponse, Status> {
        let request = self.change(name).await;
        self.call(async |channel| VmServiceClient::new(channel).stop(request.clone()).await).await
    }

    /// Removes a VM.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn delete(&mut self, name: &str) -> Result<WriteResponse, Status> {
        let ChangeVmRequest { id, name, generation } = self.change(name).await;
        let request = DeleteVmRequest { id, name, generation, keep_volumes: false };
        self.call(async |channel| VmServiceClient::new(channel).delete(request.clone()).await).await
    }

    async fn change(&mut self, name: &str) -> ChangeVmRequest {
        ChangeVmRequest { id: self.next_id().await, name: name.into(), generation: None }
    }

    /// All VMs.
    ///
    /// # Panics
    /// When the cluster refuses a read.
    pub async fn list(&mut self) -> Vec<v1::Vm> {
        let request = v1::ListVmsRequest { stale: false };
        let listed = self.call(async |channel| VmServiceClient::new(channel).list(request).await).await;
        listed.expect("a list is not refused").vms
    }

    /// The members.
    ///
    /// # Panics
    /// When the cluster refuses a read.
    pub async fn status(&mut self) -> v1::StatusResponse {
        let request = v1::StatusRequest { stale: false };
        let status =
            self.call(async |channel| ClusterServiceClient::new(channel).status(request).await).await;
        status.expect("a look at the members is not refused")
    }

    /// Waits until the members are as wanted.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn until(
        &mut self,
        what: &str,
        fits: impl Fn(&v1::StatusResponse) -> bool,
    ) -> v1::StatusResponse {
        let mut last = None;
        let waits = async {
            loop {
                let status = self.status().await;
                if fits(&status) {
                    return status;
                }
                last = Some(status);
                sleep(PAUSE).await;
            }
        };
        let fitting = timeout(PATIENCE, waits).await;
        fitting.unwrap_or_else(|_| panic!("waited too long until {what}; the last was {last:?}"))
    }

    /// Waits until all VMs are listed as wanted.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn until_vms(&mut self, what: &str, fits: impl Fn(&[v1::Vm]) -> bool) -> Vec<v1::Vm> {
        let mut last = Vec::new();
        let waits = async {
            loop {
                last = self.list().await;
                if fits(&last) {
                    return last.clone();
                }
                sleep(PAUSE).await;
            }
        };
        let fitting = timeout(PATIENCE, waits).await;
        fitting.unwrap_or_else(|_| panic!("waited too long until {what}; the last were {last:?}"))
    }

    async fn next_id(&mut self) -> Option<v1::RequestId> {
        let born = match self.born {
            Some(born) => born,
            None => {
                let hello =
                    async |channel| ClusterServiceClient::new(channel).hello(v1::HelloRequest {}).await;
                let hello = self.call(hello).await.expect("a greeting is not refused");
                *self.born.insert(hello.revision)
            }
        };
        self.sequence += 1;
        Some(v1::RequestId { client: self.client, sequence: self.sequence, born })
    }

    /// Asks member after member until one answers.
    async fn call<R>(
        &mut self,
        ask: impl AsyncFn(Channel) -> Result<Response<R>, Status>,
    ) -> Result<R, Status> {
        let mut troubles = Vec::new();
        let answered = timeout(PATIENCE, async {
            loop {
                let trouble = match timeout(ATTEMPT, self.attempt(&ask)).await {
                    Ok(Ok(answer)) => return answer,
                    Ok(Err(trouble)) => trouble,
                    Err(_) => "does not answer".to_owned(),
                };
                troubles.push(format!("{}: {trouble}", self.servers[self.at]));
                self.channel = None;
                self.retries += 1;
                self.at = (self.at + 1) % self.servers.len();
                sleep(PAUSE).await;
            }
        })
        .await;
        answered.unwrap_or_else(|_| panic!("nobody answers: {troubles:#?}"))
    }

    /// The final answer of the present member, or why another attempt may give another.
    async fn attempt<R, A>(&mut self, ask: &A) -> Result<Result<R, Status>, String>
    where
        A: AsyncFn(Channel) -> Result<Response<R>, Status>,
    {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => {
                let server = self.servers[self.at].clone();
                let connected = (self.connect)(server).await.map_err(|error| error.to_string())?;
                self.channel.insert(connected).clone()
            }
        };
        let status = match ask(channel).await {
            Ok(answer) => return Ok(Ok(answer.into_inner())),
            Err(status) => status,
        };
        let transient = match request_error(&status) {
            Some(error) => error.is_transient(),
            // Not the cluster's word: the way's.
            None => {
                matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
            }
        };
        if transient { Err(status.to_string()) } else { Ok(Err(status)) }
    }
}

/// How many members vote.
#[must_use]
pub fn vote(status: &v1::StatusResponse) -> usize {
    let votes = |member: &&v1::Member| matches!(member.role(), v1::Role::Leader | v1::Role::Voter);
    status.members.iter().filter(votes).count()
}

/// Whether `voters` members vote, and each is healthy and has all of the log.
#[must_use]
pub fn is_settled(status: &v1::StatusResponse, voters: usize) -> bool {
    let fine = |member: &v1::Member| member.healthy && member.lag == Some(0);
    vote(status) == voters && status.members.iter().all(fine)
}

/// Whether there are `count` VMs and each runs.
#[must_use]
pub fn all_run(vms: &[v1::Vm], count: usize) -> bool {
    vms.len() == count && vms.iter().all(|vm| vm.phase() == v1::Phase::Running && vm.assigned.is_some())
}
