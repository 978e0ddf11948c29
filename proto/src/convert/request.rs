//! Changes with their ids.

use std::sync::Arc;

use blixard_node::ids::{ClientId, Generation, NodeId, RequestId, Revision};
use blixard_node::request::{Consistency, Write};
use blixard_node::spec::VmName;

use super::{BadMessage, vm_name};
use crate::v1;

impl From<RequestId> for v1::RequestId {
    fn from(id: RequestId) -> Self {
        Self { client: id.client.0, sequence: id.sequence, born: id.born.0 }
    }
}

impl TryFrom<v1::RequestId> for RequestId {
    type Error = BadMessage;

    fn try_from(id: v1::RequestId) -> Result<Self, BadMessage> {
        if id.client == 0 || id.sequence == 0 {
            return Err(BadMessage::new("id", "client and sequence are 1 or more"));
        }
        Ok(Self { client: ClientId(id.client), sequence: id.sequence, born: Revision(id.born) })
    }
}

/// A change as a client sent it: a write, and its id if the client gave one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The id.
    pub id: Option<RequestId>,
    /// The write.
    pub write: Write,
}

impl Change {
    fn new(id: Option<v1::RequestId>, write: Write) -> Result<Self, BadMessage> {
        Ok(Self { id: id.map(TryInto::try_into).transpose()?, write })
    }

    /// A `Create`.
    ///
    /// # Errors
    /// When the name or the spec is none.
    pub fn create(request: v1::CreateVmRequest) -> Result<Self, BadMessage> {
        let spec = request.spec.ok_or(BadMessage::missing("spec"))?.try_into()?;
        Self::new(request.id, Write::CreateVm { name: vm_name(request.name)?, spec: Arc::new(spec) })
    }

    fn of_vm(
        request: v1::ChangeVmRequest,
        write: fn(VmName, Option<Generation>) -> Write,
    ) -> Result<Self, BadMessage> {
        Self::new(request.id, write(vm_name(request.name)?, request.generation.map(Generation)))
    }

    /// A `Start`.
    ///
    /// # Errors
    /// When the name is none.
    pub fn start(request: v1::ChangeVmRequest) -> Result<Self, BadMessage> {
        Self::of_vm(request, |name, generation| Write::StartVm { name, generation })
    }

    /// A `Stop`.
    ///
    /// # Errors
    /// When the name is none.
    pub fn stop(request: v1::ChangeVmRequest) -> Result<Self, BadMessage> {
        Self::of_vm(request, |name, generation| Write::StopVm { name, generation })
    }

    /// A `Delete`.
    ///
    /// # Errors
    /// When the name is none.
    pub fn delete(request: v1::DeleteVmRequest) -> Result<Self, BadMessage> {
        let (name, keep_volumes) = (vm_name(request.name)?, request.keep_volumes);
        let generation = request.generation.map(Generation);
        Self::new(request.id, Write::DeleteVm { name, generation, keep_volumes })
    }

    /// An `Update`.
    ///
    /// # Errors
    /// When the name is none, or the spec lacks something.
    pub fn update(request: v1::UpdateVmRequest) -> Result<Self, BadMessage> {
        let name = super::vm_name(request.name)?;
        let spec = request.spec.ok_or(BadMessage::missing("spec"))?.try_into()?;
        let generation = request.generation.map(Generation);
        Self::new(request.id, Write::UpdateVm { name, generation, spec: Arc::new(spec) })
    }

    /// A `Cordon`.
    ///
    /// # Errors
    /// When the id is none.
    pub fn cordon(request: v1::CordonRequest) -> Result<Self, BadMessage> {
        let (node, cordoned) = (NodeId(request.node), request.cordoned);
        let write = Write::CordonHost { node, cordoned, reason: request.reason };
        Self::new(request.id, write)
    }

    /// A `RemoveHost`.
    ///
    /// # Errors
    /// When the id is none.
    pub fn remove_host(request: v1::RemoveHostRequest) -> Result<Self, BadMessage> {
        Self::new(request.id, Write::RemoveHost { node: NodeId(request.node) })
    }
}

/// What `stale` in a read asks for.
#[must_use]
pub fn consistency(stale: bool) -> Consistency {
    if stale { Consistency::Stale } else { Consistency::Linearizable }
}
