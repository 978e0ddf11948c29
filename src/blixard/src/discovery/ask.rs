//! Asking an address which member of which cluster it is.

use std::time::Duration;

use blixard_node::ids::{ClusterId, NodeId};
use blixard_proto::v1::StatusRequest;
use blixard_proto::v1::cluster_service_client::ClusterServiceClient;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Candidate;
use crate::net::Connect;

/// How long connecting and answering may take together.
pub(super) const ASK_MAX: Duration = Duration::from_secs(2);

/// Addresses asked at once.
const AT_ONCE_MAX: usize = 32;

/// Who is at an address, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The node.
    pub node: NodeId,
    /// Its cluster; 0 for none yet.
    pub cluster: ClusterId,
}

/// Asks one address. What the node knows by itself is enough: a cluster that has lost its majority, because its
/// members do not find each other, could not answer more.
///
/// # Errors
/// When nobody answers in time, or in another language.
pub(super) async fn one(connect: &Connect, address: &str) -> Result<Answer, String> {
    let ask = async {
        let channel =
            connect(address.to_owned()).await.map_err(|error| format!("it cannot be reached: {error}"))?;
        let status = ClusterServiceClient::new(channel)
            .status(StatusRequest { stale: true })
            .await
            .map_err(|status| format!("it does not answer as a member: {}", status.message()))?
            .into_inner();
        Ok(Answer { node: NodeId(status.answered_by), cluster: ClusterId(status.cluster) })
    };
    timeout(ASK_MAX, ask).await.unwrap_or_else(|_| Err(format!("no answer within {ASK_MAX:?}")))
}

/// Asks all, several at once. The answers are in the candidates' order.
pub(super) async fn all(connect: &Connect, candidates: &[Candidate]) -> Vec<Result<Answer, String>> {
    let mut answers = Vec::with_capacity(candidates.len());
    for some in candidates.chunks(AT_ONCE_MAX) {
        let mut asked = JoinSet::new();
        for (index, candidate) in some.iter().enumerate() {
            let (connect, address) = (connect.clone(), candidate.address.clone());
            asked.spawn(async move { (index, one(&connect, &address).await) });
        }
        let mut got: Vec<_> = some.iter().map(|_| Err("asking it failed".to_owned())).collect();
        while let Some(done) = asked.join_next().await {
            if let Ok((index, answer)) = done
                && let Some(slot) = got.get_mut(index)
            {
                *slot = answer;
            }
        }
        answers.extend(got);
    }
    answers
}
