//! Members and the cluster's status.

use blixard_node::ids::{ClusterId, Incarnation, NodeId, Revision};
use blixard_node::level::Level;
use blixard_node::request::{ClusterView, MemberView, Role};
use blixard_node::time::Duration;

use super::{BadMessage, number, same_variants};
use crate::v1;

same_variants!(Role, v1::Role, "role", Leader, Voter, Learner, Worker);

impl From<&MemberView> for v1::Member {
    fn from(member: &MemberView) -> Self {
        Self {
            node: member.node.0,
            incarnation: member.incarnation.0,
            address: member.address.clone(),
            role: v1::Role::from(member.role).into(),
            healthy: member.healthy,
            cordoned: member.cordoned,
            leaving: member.leaving,
            capacity: Some(member.capacity.into()),
            used: Some(member.used.into()),
            labels: member.labels.clone(),
            last_contact_ns: member.last_contact.map(Duration::as_nanos),
            lag: member.lag,
            vms: member.vms,
            cordon_reason: member.cordon_reason.clone(),
            level: member.level.0,
        }
    }
}

impl TryFrom<v1::Member> for MemberView {
    type Error = BadMessage;

    fn try_from(member: v1::Member) -> Result<Self, BadMessage> {
        Ok(Self {
            node: NodeId(member.node),
            incarnation: Incarnation(member.incarnation),
            address: member.address,
            role: number::<v1::Role, _>("role", member.role)?,
            healthy: member.healthy,
            cordoned: member.cordoned,
            leaving: member.leaving,
            capacity: member.capacity.ok_or(BadMessage::missing("capacity"))?.into(),
            used: member.used.ok_or(BadMessage::missing("used"))?.into(),
            labels: member.labels,
            last_contact: member.last_contact_ns.map(Duration::from_nanos),
            lag: member.lag,
            vms: member.vms,
            cordon_reason: member.cordon_reason,
            level: level(member.level),
        })
    }
}

impl From<&ClusterView> for v1::StatusResponse {
    fn from(view: &ClusterView) -> Self {
        Self {
            cluster: view.cluster.0,
            answered_by: view.answered_by.0,
            leader: view.leader.map(|node| node.0),
            term: view.term,
            revision: view.revision.0,
            members: view.members.iter().map(Into::into).collect(),
            level: view.level.0,
        }
    }
}

impl TryFrom<v1::StatusResponse> for ClusterView {
    type Error = BadMessage;

    fn try_from(status: v1::StatusResponse) -> Result<Self, BadMessage> {
        Ok(Self {
            cluster: ClusterId(status.cluster),
            answered_by: NodeId(status.answered_by),
            leader: status.leader.map(NodeId),
            term: status.term,
            revision: Revision(status.revision),
            members: status.members.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            level: level(status.level),
        })
    }
}

/// Versions without levels give none.
fn level(number: u32) -> Level {
    Level::FIRST.max(Level(number))
}
