//! `GuestService`: what guests print, and what they are told.
//!
//! ```text
//! client ──▶ any member ── finds the VM's host in the state ──▶ that host ──▶ files and sockets of the VM's run
//! ```
//!
//! The second arrow is taken once at most: a request that was passed on names the VM by its id, and is served from what its
//! receiver has itself.

mod console;
mod logs;
// Files and sockets of this host.
#[cfg(not(madsim))]
mod socket;
#[cfg(not(madsim))]
mod tail;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use blixard_node::error::RequestError;
use blixard_node::ids::NodeId;
use blixard_node::request::{Consistency, Read, Response, VmView};
use blixard_node::spec::VmName;
use blixard_proto::convert::BadMessage;
use blixard_proto::error::{GuestError, bad_message, status};
use blixard_proto::v1::guest_service_client::GuestServiceClient;
use blixard_proto::v1::guest_service_server::GuestService;
use blixard_proto::v1::{ConsoleInput, ConsoleOutput, LogsChunk, LogsRequest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response as Answer, Status, Streaming};

use super::{Api, mismatch};
use crate::hypervisor::run_dir::StateDir;
use crate::net::Connect;

/// The most logs and consoles that a member serves or passes on at a time. One more is refused.
const STREAMS_MAX: usize = 256;

/// Chunks between a source and its connection.
const CHUNKS_MAX: usize = 4;

/// How long a VM's host may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// What this part of the interface stands on.
#[derive(Clone)]
pub(super) struct Guests {
    /// The folder of this host's hypervisors; none where there are none that keep what their VMs print.
    state: Option<StateDir>,
    connect: Connect,
    streams: Arc<Semaphore>,
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guests").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Guests {
    pub(super) fn new(state: Option<StateDir>, connect: Connect) -> Self {
        Self { state, connect, streams: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            let what = "this member's set of open logs and consoles".into();
            status(&RequestError::Overloaded { what, max: STREAMS_MAX as u64 })
        })
    }
}

#[tonic::async_trait]
impl GuestService for Api {
    type LogsStream = ReceiverStream<Result<LogsChunk, Status>>;
    type ConsoleStream = ReceiverStream<Result<ConsoleOutput, Status>>;

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Answer<Self::LogsStream>, Status> {
        logs::open(self, request.into_inner()).await.map(Answer::new)
    }

    async fn console(
        &self,
        request: Request<Streaming<ConsoleInput>>,
    ) -> Result<Answer<Self::ConsoleStream>, Status> {
        console::open(self, request.into_inner()).await.map(Answer::new)
    }
}

impl Api {
    async fn vm(&self, name: &VmName, consistency: Consistency) -> Result<Box<VmView>, Status> {
        match self.read(Read::GetVm { name: name.clone() }, consistency).await? {
            Response::Vm { vm, .. } => Ok(vm),
            other => Err(mismatch(&other)),
        }
    }

    /// A connection to another member, for a VM that it runs or ran last.
    async fn reach(&self, node: NodeId, name: &VmName) -> Result<GuestServiceClient<Channel>, Status> {
        let unreachable =
            |reason: String| GuestError::HostUnreachable { name: name.clone(), node, reason }.status();
        let address = match self.peers.address(node) {
            Some(address) => address,
            None => {
                let cluster = self.cluster(Consistency::Stale).await?;
                let member = cluster.members.into_iter().find(|member| member.node == node);
                member.ok_or_else(|| unreachable("it is no member any more".into()))?.address
            }
        };
        match tokio::time::timeout(CONNECT_MAX, (self.guests.connect)(address)).await {
            Ok(Ok(channel)) => Ok(GuestServiceClient::new(channel)),
            Ok(Err(error)) => Err(unreachable(innermost(&*error))),
            Err(_) => Err(unreachable("it accepts no connection".into())),
        }
    }
}

/// The host that runs a VM, or ran it last.
fn host_of(vm: &VmView) -> Option<NodeId> {
    vm.assigned.map(|(node, _)| node).or(vm.last_host)
}

/// What became of a call to a VM's host: its own answer, or that it could not be reached.
fn passed_on(status: Status, name: &VmName, node: NodeId) -> Status {
    if blixard_proto::error::error_detail(&status).is_some() || status.code() == tonic::Code::Unimplemented {
        return status;
    }
    // "http2 error" says little; what is inside of it says that the host did not answer.
    let reason = status.source().map_or_else(|| status.message().to_owned(), innermost);
    GuestError::HostUnreachable { name: name.clone(), node, reason }.status()
}

/// The innermost words: those around it only say that there was an error.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn vm_name(text: &str) -> Result<VmName, Status> {
    VmName::new(text).map_err(|error| bad_message(&BadMessage::new("name", error.to_string())))
}
