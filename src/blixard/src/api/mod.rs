//! The gRPC server: what clients and peers call.

mod cluster;
mod guest;
mod peer;
mod sessions;
mod vm;

use std::sync::Arc;

use blixard_node::codec::MESSAGE_LEN_MAX;
use blixard_node::ids::{ClusterId, NodeId, Revision};
use blixard_node::request::{ClusterView, Consistency, Read, Request, Response};
use blixard_proto::convert::{BadMessage, Change};
use blixard_proto::error::{bad_message, status};
use blixard_proto::v1::WriteResponse;
use blixard_proto::v1::cluster_service_server::ClusterServiceServer;
use blixard_proto::v1::guest_service_server::GuestServiceServer;
use blixard_proto::v1::peer_service_server::PeerServiceServer;
use blixard_proto::v1::vm_service_server::VmServiceServer;
use tonic::Status;

use crate::daemon::NodeHandle;
use crate::hypervisor::run_dir::StateDir;
use crate::net::{AnyError, Connect, Peers, Router};
use guest::Guests;
use sessions::Pool;

/// What all services share.
#[derive(Clone, Debug)]
pub struct Api {
    me: NodeId,
    node: NodeHandle,
    peers: Peers,
    sessions: Arc<Pool>,
    guests: Guests,
}

impl Api {
    /// The services of the node `me`. `seed` names the sessions it lends to clients that have none; `runs` is the folder of its
    /// hypervisors, if they keep what their VMs print; `connect` leads to the other members.
    #[must_use]
    pub fn new(
        me: NodeId,
        seed: u64,
        node: NodeHandle,
        peers: Peers,
        runs: Option<StateDir>,
        connect: Connect,
    ) -> Self {
        let guests = Guests::new(runs, connect);
        Self { me, node, peers, sessions: Arc::new(Pool::new(seed)), guests }
    }

    /// All services, ready to be served.
    ///
    /// # Errors
    /// When the descriptors for reflection cannot be read.
    pub fn router(self) -> Result<Router, AnyError> {
        // An encoded message and its frame.
        let frame_max = MESSAGE_LEN_MAX + 64;
        let peers = PeerServiceServer::new(self.clone());
        #[cfg(not(madsim))]
        let peers = peers.max_decoding_message_size(frame_max);
        #[cfg(madsim)]
        let _ = frame_max;
        let router = server()
            .add_service(VmServiceServer::new(self.clone()))
            .add_service(GuestServiceServer::new(self.clone()))
            .add_service(ClusterServiceServer::new(self))
            .add_service(peers);
        with_standard_services(router)
    }

    async fn ask(&self, request: Request) -> Result<Response, Status> {
        self.node.ask(request).await.map_err(|error| status(&error))
    }

    async fn read(&self, read: Read, consistency: Consistency) -> Result<Response, Status> {
        self.ask(Request::Read { read, consistency }).await
    }

    async fn cluster(&self, consistency: Consistency) -> Result<Box<ClusterView>, Status> {
        match self.read(Read::ClusterStatus, consistency).await? {
            Response::Cluster(view) => Ok(view),
            other => Err(mismatch(&other)),
        }
    }

    async fn write(&self, change: Result<Change, BadMessage>) -> Result<WriteResponse, Status> {
        let Change { id, write } = change.map_err(|error| bad_message(&error))?;
        let reply = match id {
            Some(id) => self.node.ask(Request::Write { id, write }).await,
            None => self.sessions.write(&self.node, write).await,
        };
        match reply.map_err(|error| status(&error))? {
            Response::Written { revision, generation } => {
                Ok(WriteResponse { revision: revision.0, generation: generation.0 })
            }
            other => Err(mismatch(&other)),
        }
    }

    async fn hello(&self) -> Result<(ClusterId, Revision), Status> {
        let view = self.cluster(Consistency::Linearizable).await?;
        Ok((view.cluster, view.revision))
    }
}

/// A node answers each request in kind; a leader of another version may not.
fn mismatch(response: &Response) -> Status {
    Status::internal(format!("the leader answered another question: {response:?}"))
}

#[cfg(not(madsim))]
fn server() -> tonic::transport::Server {
    use std::time::Duration;

    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        // A request waits for the leader at most as long as the node lets it; these are many times what a client needs.
        .concurrency_limit_per_connection(1_024)
        .max_concurrent_streams(1_024)
}

#[cfg(madsim)]
fn server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
}

/// Adds health and reflection.
#[cfg(not(madsim))]
fn with_standard_services(router: Router) -> Result<Router, AnyError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    tokio::spawn(async move {
        health.set_serving::<VmServiceServer<Api>>().await;
        health.set_serving::<ClusterServiceServer<Api>>().await;
        health.set_serving::<GuestServiceServer<Api>>().await;
        health.set_serving::<PeerServiceServer<Api>>().await;
    });
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(blixard_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    Ok(router.add_service(health_service).add_service(reflection))
}

#[cfg(madsim)]
fn with_standard_services(router: Router) -> Result<Router, AnyError> {
    Ok(router)
}
