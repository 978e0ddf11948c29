//! `VmService`.

use blixard_node::request::{Read, Response};
use blixard_node::spec::VmName;
use blixard_proto::convert::{BadMessage, Change, consistency};
use blixard_proto::error::bad_message;
use blixard_proto::v1::vm_service_server::VmService;
use blixard_proto::v1::{
    ChangeVmRequest, CreateVmRequest, DeleteVmRequest, EventsRequest, EventsResponse, GetVmRequest,
    GetVmResponse, ListVmsRequest, ListVmsResponse, UpdateVmRequest, WriteResponse,
};
use tonic::{Request, Response as Answer, Status};

use super::{Api, mismatch};

type Answered<T> = Result<Answer<T>, Status>;

#[tonic::async_trait]
impl VmService for Api {
    async fn create(&self, request: Request<CreateVmRequest>) -> Answered<WriteResponse> {
        self.write(Change::create(request.into_inner())).await.map(Answer::new)
    }

    async fn start(&self, request: Request<ChangeVmRequest>) -> Answered<WriteResponse> {
        self.write(Change::start(request.into_inner())).await.map(Answer::new)
    }

    async fn stop(&self, request: Request<ChangeVmRequest>) -> Answered<WriteResponse> {
        self.write(Change::stop(request.into_inner())).await.map(Answer::new)
    }

    async fn delete(&self, request: Request<DeleteVmRequest>) -> Answered<WriteResponse> {
        self.write(Change::delete(request.into_inner())).await.map(Answer::new)
    }

    async fn get(&self, request: Request<GetVmRequest>) -> Answered<GetVmResponse> {
        let GetVmRequest { name, stale } = request.into_inner();
        let name =
            VmName::new(name).map_err(|error| bad_message(&BadMessage::new("name", error.to_string())))?;
        match self.read(Read::GetVm { name }, consistency(stale)).await? {
            Response::Vm { revision, vm } => {
                Ok(Answer::new(GetVmResponse { revision: revision.0, vm: Some((&*vm).into()) }))
            }
            other => Err(mismatch(&other)),
        }
    }

    async fn update(&self, request: Request<UpdateVmRequest>) -> Answered<WriteResponse> {
        self.write(Change::update(request.into_inner())).await.map(Answer::new)
    }

    async fn events(&self, request: Request<EventsRequest>) -> Answered<EventsResponse> {
        let EventsRequest { name, stale } = request.into_inner();
        let name =
            VmName::new(name).map_err(|error| bad_message(&BadMessage::new("name", error.to_string())))?;
        match self.read(Read::VmEvents { name }, consistency(stale)).await? {
            Response::Events { revision, events } => Ok(Answer::new(EventsResponse {
                revision: revision.0,
                events: events.iter().map(Into::into).collect(),
            })),
            other => Err(mismatch(&other)),
        }
    }

    async fn list(&self, request: Request<ListVmsRequest>) -> Answered<ListVmsResponse> {
        match self.read(Read::ListVms, consistency(request.into_inner().stale)).await? {
            Response::Vms { revision, vms } => Ok(Answer::new(ListVmsResponse {
                revision: revision.0,
                vms: vms.iter().map(Into::into).collect(),
            })),
            other => Err(mismatch(&other)),
        }
    }
}
