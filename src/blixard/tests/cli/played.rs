//! A cluster that says what the test chose.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use blixard_node::error::RequestError;
use blixard_node::spec::VmName;
use blixard_proto::error::status;
use blixard_proto::v1;
use blixard_proto::v1::cluster_service_server::ClusterService;
use blixard_proto::v1::vm_service_server::VmService;
use tonic::{Request, Response, Status};

/// What the cluster knows and says.
#[derive(Default)]
pub(crate) struct Play {
    pub(crate) vms: BTreeMap<String, v1::Vm>,
    /// Whether the last deletion left what hosts keep.
    pub(crate) kept_volumes: bool,
    /// Failures of the next changes.
    pub(crate) troubles: VecDeque<Status>,
    /// The ids of all changes that came in, also the failed ones.
    pub(crate) ids: Vec<v1::RequestId>,
    /// What becomes of a VM that is started or stopped.
    pub(crate) becomes: Option<(v1::Phase, &'static str)>,
    /// Somebody stops each VM right after it was started.
    pub(crate) meddled: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Cluster(pub(crate) Arc<Mutex<Play>>);

impl Cluster {
    fn change(&self, request: v1::ChangeVmRequest, wanted: v1::Wanted, done: v1::Phase) -> Answer {
        let mut play = self.0.lock().unwrap();
        play.ids.extend(request.id);
        if let Some(trouble) = play.troubles.pop_front() {
            return Err(trouble);
        }
        let (becomes, meddled) = (play.becomes, play.meddled);
        let vm = play.vms.get_mut(&request.name).ok_or_else(|| unknown(&request.name))?;
        vm.generation += 1;
        vm.wanted = wanted.into();
        let (phase, reason) = becomes.unwrap_or((done, ""));
        vm.phase = phase.into();
        vm.reason = reason.into();
        vm.observed_generation = vm.generation;
        // In the future: its age is 0 whenever this runs.
        vm.since_ms = 4_000_000_000_000;
        vm.assigned = Some(v1::Assignment { node: 2, epoch: 1 });
        let generation = vm.generation;
        if meddled {
            vm.generation += 1;
            vm.wanted = v1::Wanted::Stopped.into();
        }
        Ok(Response::new(v1::WriteResponse { revision: 9, generation }))
    }
}

type Answer = Result<Response<v1::WriteResponse>, Status>;

fn unknown(name: &str) -> Status {
    status(&RequestError::VmUnknown { name: VmName::new(name).unwrap() })
}

#[tonic::async_trait]
impl VmService for Cluster {
    async fn create(&self, request: Request<v1::CreateVmRequest>) -> Answer {
        let request = request.into_inner();
        let mut play = self.0.lock().unwrap();
        play.ids.extend(request.id);
        if let Some(trouble) = play.troubles.pop_front() {
            return Err(trouble);
        }
        let vm = v1::Vm {
            id: 9,
            name: request.name.clone(),
            spec: request.spec,
            generation: 1,
            wanted: v1::Wanted::Stopped.into(),
            phase: v1::Phase::Stopped.into(),
            // In the future: its age is 0 whenever this runs.
            since_ms: 4_000_000_000_000,
            observed_generation: 1,
            ..v1::Vm::default()
        };
        play.vms.insert(request.name, vm);
        Ok(Response::new(v1::WriteResponse { revision: 9, generation: 1 }))
    }

    async fn start(&self, request: Request<v1::ChangeVmRequest>) -> Answer {
        self.change(request.into_inner(), v1::Wanted::Running, v1::Phase::Running)
    }

    async fn stop(&self, request: Request<v1::ChangeVmRequest>) -> Answer {
        self.change(request.into_inner(), v1::Wanted::Stopped, v1::Phase::Stopped)
    }

    async fn delete(&self, request: Request<v1::DeleteVmRequest>) -> Answer {
        let request = request.into_inner();
        let mut play = self.0.lock().unwrap();
        play.kept_volumes = request.keep_volumes;
        let vm = play.vms.remove(&request.name).ok_or_else(|| unknown(&request.name))?;
        Ok(Response::new(v1::WriteResponse { revision: 9, generation: vm.generation + 1 }))
    }

    async fn get(&self, request: Request<v1::GetVmRequest>) -> Result<Response<v1::GetVmResponse>, Status> {
        let name = request.into_inner().name;
        let vm = self.0.lock().unwrap().vms.get(&name).cloned().ok_or_else(|| unknown(&name))?;
        Ok(Response::new(v1::GetVmResponse { revision: 9, vm: Some(vm) }))
    }

    async fn update(&self, request: Request<v1::UpdateVmRequest>) -> Answer {
        let request = request.into_inner();
        let mut play = self.0.lock().unwrap();
        if let Some(trouble) = play.troubles.pop_front() {
            return Err(trouble);
        }
        let vm = play.vms.get_mut(&request.name).ok_or_else(|| unknown(&request.name))?;
        assert_eq!(request.generation, Some(vm.generation), "what was shown is what is changed");
        vm.generation += 1;
        vm.spec = request.spec;
        Ok(Response::new(v1::WriteResponse { revision: 9, generation: vm.generation }))
    }

    async fn events(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Response<v1::EventsResponse>, Status> {
        let play = self.0.lock().unwrap();
        let name = request.into_inner().name;
        let vm = play.vms.get(&name).ok_or_else(|| unknown(&name))?;
        let event = |revision, phase: v1::Phase| v1::Transition {
            revision,
            at_ms: 1_800_000_000_000 + revision,
            phase: phase.into(),
            reason: String::new(),
            host: Some(2),
        };
        // The names' order is not the log's.
        let first = if name == "web" { 5 } else { 4 };
        let events = vec![event(first, v1::Phase::Pending), event(first + 2, vm.phase())];
        Ok(Response::new(v1::EventsResponse { revision: 9, events }))
    }

    async fn list(&self, _: Request<v1::ListVmsRequest>) -> Result<Response<v1::ListVmsResponse>, Status> {
        let vms = self.0.lock().unwrap().vms.values().cloned().collect();
        Ok(Response::new(v1::ListVmsResponse { revision: 9, vms }))
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn hello(&self, _: Request<v1::HelloRequest>) -> Result<Response<v1::HelloResponse>, Status> {
        Ok(Response::new(v1::HelloResponse { cluster: 1, node: 1, revision: 8, version: String::new() }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let member = v1::Member {
            node: 2,
            address: "10.0.0.2:7001".into(),
            role: v1::Role::Leader.into(),
            healthy: true,
            capacity: Some(v1::Resources::default()),
            used: Some(v1::Resources::default()),
            ..v1::Member::default()
        };
        Ok(Response::new(v1::StatusResponse { members: vec![member], ..v1::StatusResponse::default() }))
    }

    async fn cordon(&self, _: Request<v1::CordonRequest>) -> Answer {
        Err(Status::unimplemented("not played"))
    }

    async fn remove_host(&self, _: Request<v1::RemoveHostRequest>) -> Answer {
        Err(Status::unimplemented("not played"))
    }

    async fn transfer_leader(
        &self,
        _: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        Err(Status::unimplemented("not played"))
    }
}
