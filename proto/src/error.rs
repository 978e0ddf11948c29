//! Request errors as gRPC statuses, and back.
//!
//! The details are laid out as `google.rpc.Status`, as `grpc-status-details-bin` prescribes, with one
//! [`ErrorDetail`](crate::v1::ErrorDetail) in an `Any`.

use blixard_node::error::RequestError;
use blixard_node::ids::{Generation, NodeId, Revision};
use blixard_node::level::Level;
use blixard_node::spec::VmName;
use prost::Message as _;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::convert::BadMessage;
use crate::v1::{ErrorDetail, HostRejection};

/// The metadata key of the stable code.
pub const CODE_KEY: &str = "blixard-code";

const DETAIL_TYPE: &str = "type.googleapis.com/blixard.v1.ErrorDetail";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// The gRPC status of a request error.
#[must_use]
pub fn status(error: &RequestError) -> Status {
    with_detail(grpc_code(error), detail(error))
}

/// Why a VM's output or console is not to be had. What a member answers beside the node's own [`RequestError`]s.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestError {
    /// There is no console without a running VM.
    #[error("VM {name} does not run: it is {stands}")]
    NotRunning {
        /// The VM.
        name: VmName,
        /// Its phase, why, and the way out if there is one.
        stands: String,
    },
    /// It has not run yet, or what it printed is not kept any more.
    #[error("nothing is kept of what VM {name} printed{}: {}", on(.node), why(.node))]
    NoOutput {
        /// The VM.
        name: VmName,
        /// Its last host, if it has had one.
        node: Option<NodeId>,
    },
    /// The VM's host does not answer.
    #[error("node {node}, the host of VM {name}, cannot be reached ({reason}); `blixard cluster status` shows how it stands", node = .node.0)]
    HostUnreachable {
        /// The VM.
        name: VmName,
        /// Its host.
        node: NodeId,
        /// What happened.
        reason: String,
    },
    /// Its hypervisor gives none, or it was started by a version that gave none.
    #[error("VM {name} has no console{}; `blixard vm logs {name}` shows what it prints", on(.node))]
    NoConsole {
        /// The VM.
        name: VmName,
        /// Its host.
        node: Option<NodeId>,
    },
}

fn on(node: &Option<NodeId>) -> String {
    node.map(|node| format!(" on node {}", node.0)).unwrap_or_default()
}

fn why(node: &Option<NodeId>) -> &'static str {
    match node {
        Some(_) => "output is kept on a VM's last host, until it is started again",
        None => "it has not run yet",
    }
}

impl GuestError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotRunning { .. } => "BLX-VM-010",
            Self::NoOutput { .. } => "BLX-VM-011",
            Self::HostUnreachable { .. } => "BLX-VM-012",
            Self::NoConsole { .. } => "BLX-VM-013",
        }
    }

    /// Its gRPC status.
    #[must_use]
    pub fn status(&self) -> Status {
        let (code, name, node, reason) = match self {
            Self::NotRunning { name, stands } => (Code::FailedPrecondition, name, None, stands.as_str()),
            Self::NoOutput { name, node } => (Code::NotFound, name, *node, ""),
            // Not UNAVAILABLE: the asked member is.
            Self::HostUnreachable { name, node, reason } => {
                (Code::FailedPrecondition, name, Some(*node), reason.as_str())
            }
            Self::NoConsole { name, node } => (Code::FailedPrecondition, name, *node, ""),
        };
        let detail = ErrorDetail {
            code: self.code().into(),
            message: self.to_string(),
            no_effect: true,
            vm: name.to_string(),
            node: node.map_or(0, |node| node.0),
            reason: reason.into(),
            ..ErrorDetail::default()
        };
        with_detail(code, detail)
    }
}

/// The guest error of a failed call, if it is one.
#[must_use]
pub fn guest_error(status: &Status) -> Option<GuestError> {
    let detail = error_detail(status)?;
    let name = VmName::new(detail.vm).ok()?;
    let node = Some(NodeId(detail.node)).filter(|node| node.0 != 0);
    Some(match detail.code.as_str() {
        "BLX-VM-010" => GuestError::NotRunning { name, stands: detail.reason },
        "BLX-VM-011" => GuestError::NoOutput { name, node },
        "BLX-VM-012" => GuestError::HostUnreachable { name, node: node?, reason: detail.reason },
        "BLX-VM-013" => GuestError::NoConsole { name, node },
        _ => return None,
    })
}

/// The gRPC status of a message that is not what the interface says.
#[must_use]
pub fn bad_message(error: &BadMessage) -> Status {
    let detail = ErrorDetail {
        code: BadMessage::CODE.into(),
        message: error.to_string(),
        no_effect: true,
        reason: error.reason.clone(),
        ..ErrorDetail::default()
    };
    with_detail(Code::InvalidArgument, detail)
}

fn with_detail(code: Code, detail: ErrorDetail) -> Status {
    let message = detail.message.clone();
    let mut metadata = MetadataMap::new();
    if let Ok(value) = MetadataValue::try_from(detail.code.as_str()) {
        metadata.insert(CODE_KEY, value);
    }
    let any = Any { type_url: DETAIL_TYPE.into(), value: detail.encode_to_vec() };
    let details = RpcStatus { code: code as i32, message: message.clone(), details: vec![any] };
    Status::with_details_and_metadata(code, message, details.encode_to_vec().into(), metadata)
}

/// What a failed call tells, if it comes from Blixard.
#[must_use]
pub fn error_detail(status: &Status) -> Option<ErrorDetail> {
    let details = RpcStatus::decode(status.details()).ok()?;
    let any = details.details.iter().find(|any| any.type_url == DETAIL_TYPE)?;
    ErrorDetail::decode(any.value.as_slice()).ok()
}

/// The request error of a failed call; none when the failure is another (the connection's, or a newer version's).
#[must_use]
pub fn request_error(status: &Status) -> Option<RequestError> {
    from_detail(error_detail(status)?)
}

fn grpc_code(error: &RequestError) -> Code {
    match error {
        RequestError::VmExists { .. } | RequestError::IdTaken { .. } => Code::AlreadyExists,
        RequestError::VmUnknown { .. } | RequestError::HostUnknown { .. } => Code::NotFound,
        RequestError::GenerationConflict { .. } => Code::Aborted,
        RequestError::BadSpec { .. } | RequestError::IdReused { .. } => Code::InvalidArgument,
        RequestError::VmDeleting { .. }
        | RequestError::VmNotStopped { .. }
        | RequestError::HostBusy { .. }
        | RequestError::LastVoter { .. }
        | RequestError::NotAVoter { .. }
        | RequestError::BelowLevel { .. }
        | RequestError::SessionExpired { .. } => Code::FailedPrecondition,
        RequestError::NoRoom { .. } | RequestError::TooManyVms { .. } | RequestError::Overloaded { .. } => {
            Code::ResourceExhausted
        }
        RequestError::NoLeader => Code::Unavailable,
        // Not UNAVAILABLE: a generic client would repeat it without the id.
        RequestError::Unknown { .. } => Code::Unknown,
    }
}

fn detail(error: &RequestError) -> ErrorDetail {
    let mut detail = ErrorDetail {
        code: error.code().into(),
        message: error.to_string(),
        transient: error.is_transient(),
        no_effect: error.had_no_effect(),
        ..ErrorDetail::default()
    };
    match error {
        RequestError::VmExists { name }
        | RequestError::VmUnknown { name }
        | RequestError::VmDeleting { name }
        | RequestError::VmNotStopped { name } => detail.vm = name.to_string(),
        RequestError::GenerationConflict { name, expected, actual } => {
            detail.vm = name.to_string();
            detail.expected_generation = expected.0;
            detail.actual_generation = actual.0;
        }
        RequestError::NoRoom { name, hosts } => {
            detail.vm = name.to_string();
            detail.hosts = hosts
                .iter()
                .map(|(node, reason)| HostRejection { node: node.0, reason: reason.clone() })
                .collect();
        }
        RequestError::BadSpec { reason } | RequestError::Unknown { reason } => {
            detail.reason.clone_from(reason);
        }
        RequestError::TooManyVms { max } => detail.count = *max,
        RequestError::HostUnknown { node }
        | RequestError::LastVoter { node }
        | RequestError::IdTaken { node }
        | RequestError::NotAVoter { node } => detail.node = node.0,
        RequestError::HostBusy { node, vms } => {
            detail.node = node.0;
            detail.count = *vms;
        }
        RequestError::SessionExpired { floor } => detail.floor_revision = floor.0,
        RequestError::IdReused { sequence } => detail.sequence = *sequence,
        RequestError::NoLeader => {}
        RequestError::Overloaded { what, max } => {
            detail.reason.clone_from(what);
            detail.count = *max;
        }
        RequestError::BelowLevel { what, needs, level, held_back_by } => {
            detail.reason.clone_from(what);
            (detail.needs_level, detail.level) = (needs.0, level.0);
            detail.hosts = held_back_by
                .iter()
                .map(|node| HostRejection { node: node.0, reason: format!("speaks less than level {needs}") })
                .collect();
        }
    }
    detail
}

fn from_detail(detail: ErrorDetail) -> Option<RequestError> {
    let name = || VmName::new(detail.vm.clone()).ok();
    let node = NodeId(detail.node);
    Some(match detail.code.as_str() {
        "BLX-VM-001" => RequestError::VmExists { name: name()? },
        "BLX-VM-002" => RequestError::VmUnknown { name: name()? },
        "BLX-VM-003" => RequestError::GenerationConflict {
            name: name()?,
            expected: Generation(detail.expected_generation),
            actual: Generation(detail.actual_generation),
        },
        "BLX-VM-004" => RequestError::VmDeleting { name: name()? },
        "BLX-VM-005" => {
            let name = name()?;
            let hosts = detail.hosts.into_iter().map(|host| (NodeId(host.node), host.reason)).collect();
            RequestError::NoRoom { name, hosts }
        }
        "BLX-VM-006" => RequestError::BadSpec { reason: detail.reason },
        "BLX-VM-007" => RequestError::TooManyVms { max: detail.count },
        "BLX-VM-008" => RequestError::VmNotStopped { name: name()? },
        "BLX-HOST-001" => RequestError::HostUnknown { node },
        "BLX-HOST-002" => RequestError::HostBusy { node, vms: detail.count },
        "BLX-HOST-003" => RequestError::LastVoter { node },
        "BLX-HOST-004" => RequestError::IdTaken { node },
        "BLX-HOST-005" => RequestError::NotAVoter { node },
        "BLX-REQ-001" => RequestError::SessionExpired { floor: Revision(detail.floor_revision) },
        "BLX-REQ-002" => RequestError::IdReused { sequence: detail.sequence },
        "BLX-REQ-003" => RequestError::NoLeader,
        "BLX-REQ-004" => RequestError::Unknown { reason: detail.reason },
        "BLX-REQ-005" => RequestError::Overloaded { what: detail.reason, max: detail.count },
        "BLX-REQ-006" => RequestError::BelowLevel {
            what: detail.reason,
            needs: Level(detail.needs_level),
            level: Level(detail.level),
            held_back_by: detail.hosts.into_iter().map(|host| NodeId(host.node)).collect(),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_error() -> Vec<RequestError> {
        let name = || VmName::new("web").expect("a name");
        let node = NodeId(3);
        vec![
            RequestError::VmExists { name: name() },
            RequestError::VmUnknown { name: name() },
            RequestError::GenerationConflict { name: name(), expected: Generation(2), actual: Generation(5) },
            RequestError::VmDeleting { name: name() },
            RequestError::VmNotStopped { name: name() },
            RequestError::NoRoom { name: name(), hosts: vec![(node, "needs 2 vcpus, 1 free".into())] },
            RequestError::BadSpec { reason: "vcpus is 0".into() },
            RequestError::TooManyVms { max: 10 },
            RequestError::HostUnknown { node },
            RequestError::HostBusy { node, vms: 4 },
            RequestError::LastVoter { node },
            RequestError::IdTaken { node },
            RequestError::NotAVoter { node },
            RequestError::SessionExpired { floor: Revision(99) },
            RequestError::IdReused { sequence: 7 },
            RequestError::NoLeader,
            RequestError::Unknown { reason: "the leader changed".into() },
            RequestError::Overloaded { what: "the queue".into(), max: 4_096 },
            RequestError::BelowLevel {
                what: "a reason for a cordon".into(),
                needs: Level(2),
                level: Level(1),
                held_back_by: vec![node],
            },
        ]
    }

    #[test]
    fn errors_come_back_with_code_and_sentence() {
        let mut codes = std::collections::BTreeSet::new();
        for error in every_error() {
            let status = status(&error);
            assert_eq!(request_error(&status).as_ref(), Some(&error));
            assert_eq!(status.message(), error.to_string());
            assert_eq!(
                status.metadata().get(CODE_KEY).and_then(|code| code.to_str().ok()),
                Some(error.code())
            );
            let detail = error_detail(&status).expect("a detail");
            assert_eq!((detail.transient, detail.no_effect), (error.is_transient(), error.had_no_effect()));
            assert!(codes.insert(error.code()), "{} is given twice", error.code());
        }
        assert_eq!(codes.len(), 19, "every kind of error is tried");
    }

    #[test]
    fn guest_errors_come_back_with_code_and_sentence() {
        let name = || VmName::new("web").expect("a name");
        let node = Some(NodeId(3));
        let errors = [
            GuestError::NotRunning { name: name(), stands: "stopped".into() },
            GuestError::NoOutput { name: name(), node },
            GuestError::NoOutput { name: name(), node: None },
            GuestError::HostUnreachable { name: name(), node: NodeId(3), reason: "refused".into() },
            GuestError::NoConsole { name: name(), node },
        ];
        for error in errors {
            let status = error.status();
            assert_eq!(guest_error(&status).as_ref(), Some(&error));
            assert_eq!(request_error(&status), None);
            assert_eq!(status.message(), error.to_string());
        }
        assert_eq!(guest_error(&super::status(&RequestError::VmUnknown { name: name() })), None);
    }

    #[test]
    fn a_foreign_failure_is_no_request_error() {
        assert_eq!(request_error(&Status::unavailable("connection refused")), None);
        let garbled =
            Status::with_details(Code::Internal, "x", bytes::Bytes::from_static(&[0xff, 0xff, 0xff]));
        assert_eq!(request_error(&garbled), None);
    }
}
