//! `ClusterService`.

use blixard_node::ids::NodeId;
use blixard_node::request::{Request as Asked, Response};
use blixard_proto::convert::{Change, consistency};
use blixard_proto::v1::cluster_service_server::ClusterService;
use blixard_proto::v1::{
    CordonRequest, HelloRequest, HelloResponse, RemoveHostRequest, StatusRequest, StatusResponse,
    TransferLeaderRequest, TransferLeaderResponse, WriteResponse,
};
use tonic::{Request, Response as Answer, Status};

use super::{Api, mismatch};

type Answered<T> = Result<Answer<T>, Status>;

#[tonic::async_trait]
impl ClusterService for Api {
    async fn hello(&self, _request: Request<HelloRequest>) -> Answered<HelloResponse> {
        let (cluster, revision) = Self::hello(self).await?;
        Ok(Answer::new(HelloResponse {
            cluster: cluster.0,
            node: self.me.0,
            revision: revision.0,
            version: env!("CARGO_PKG_VERSION").into(),
        }))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Answered<StatusResponse> {
        let view = self.cluster(consistency(request.into_inner().stale)).await?;
        Ok(Answer::new((&*view).into()))
    }

    async fn cordon(&self, request: Request<CordonRequest>) -> Answered<WriteResponse> {
        self.write(Change::cordon(request.into_inner())).await.map(Answer::new)
    }

    async fn remove_host(&self, request: Request<RemoveHostRequest>) -> Answered<WriteResponse> {
        self.write(Change::remove_host(request.into_inner())).await.map(Answer::new)
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Answered<TransferLeaderResponse> {
        let to = request.into_inner().to.map(NodeId);
        match self.ask(Asked::TransferLeader { to }).await? {
            Response::Transferring { to } => Ok(Answer::new(TransferLeaderResponse { to: to.0 })),
            other => Err(mismatch(&other)),
        }
    }
}
