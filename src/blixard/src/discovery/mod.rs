//! Finding members: where a node that joins may find its cluster, and where a member may be found that has moved.
//!
//! What is found is an address, no more. Each one is asked which member of which cluster it is ([`ask`]), and only what
//! fits is used; and that makes nobody a member: the cluster itself takes nodes in, or does not.

mod ask;
mod dns;
mod file;
mod fill;
mod spec;
mod tailscale;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use blixard_node::ids::{ClusterId, NodeId};
use tokio::time::{sleep, timeout};

use crate::net::Connect;

pub use ask::Answer;
pub use file::candidate;
pub use fill::fill;
pub use spec::{BadSpec, Spec};
pub use tailscale::SOCKET as TAILSCALE_SOCKET;

/// How long one source may take to list its candidates.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// The most candidates that are asked in one round; what is listed beyond is left out, with a word in the log.
pub const CANDIDATES_MAX: usize = 256;

/// The pause between two rounds while a node waits for a first member.
const WAIT_EVERY: Duration = Duration::from_secs(1);

/// An address under which a member may be reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// `HOST:PORT`.
    pub address: String,
    /// Who should answer there, where the source says.
    pub expected: Option<NodeId>,
}

impl Candidate {
    /// An address of which nothing more is known.
    pub fn at(address: impl Into<String>) -> Self {
        Self { address: address.into(), expected: None }
    }
}

/// A member that has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub node: NodeId,
    /// The address under which it answered.
    pub address: String,
    /// Its cluster.
    pub cluster: ClusterId,
}

/// What one node's discovery goes by.
pub struct Discovery {
    /// This node, which it need not find.
    pub me: NodeId,
    /// Where this node listens and is reached: not to be asked.
    pub own_addresses: BTreeSet<String>,
    /// What candidates without a port are tried under: the port that this node listens on itself.
    pub port: u16,
    /// Addresses given by hand.
    pub fixed: Vec<Candidate>,
    /// Where to look for more.
    pub specs: Vec<Spec>,
    /// Where `tailscaled` serves its LocalAPI.
    pub tailscale_socket: PathBuf,
    /// How candidates are asked.
    pub connect: Connect,
    /// What was said of each source and address last, so that the log repeats nothing.
    pub said: Said,
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery")
            .field("fixed", &self.fixed)
            .field("specs", &self.specs)
            .finish_non_exhaustive()
    }
}

/// What was logged last, by what it was about.
#[derive(Debug, Default)]
pub struct Said(BTreeMap<String, String>);

impl Said {
    /// Whether this is news. Forgets everything when there is too much of it.
    fn is_news(&mut self, about: &str, words: &str) -> bool {
        if self.0.len() > 4 * CANDIDATES_MAX {
            self.0.clear();
        }
        self.0.insert(about.into(), words.into()).as_deref() != Some(words)
    }
}

impl Discovery {
    /// Whether there is anything to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fixed.is_empty() && self.specs.is_empty()
    }

    /// All candidates that the sources list now, each address once, those given by hand first. A source that fails is
    /// left out, with a word in the log.
    pub async fn candidates(&mut self) -> Vec<Candidate> {
        let mut listed = self.fixed.clone();
        for spec in self.specs.clone() {
            let looked = timeout(LOOK_MAX, self.look(&spec)).await;
            let words = match looked {
                Ok(Ok(found)) => {
                    listed.extend(found);
                    self.said.0.remove(&spec.to_string());
                    continue;
                }
                Ok(Err(reason)) => reason,
                Err(_) => format!("no answer within {LOOK_MAX:?}"),
            };
            if self.said.is_news(&spec.to_string(), &words) {
                tracing::warn!(discover = %spec, "{words}");
            }
        }
        let mut seen = self.own_addresses.clone();
        listed.retain(|candidate| {
            candidate.expected != Some(self.me) && seen.insert(candidate.address.clone())
        });
        if listed.len() > CANDIDATES_MAX {
            tracing::warn!(
                listed = listed.len(),
                asked = CANDIDATES_MAX,
                "discovery lists too many addresses"
            );
            listed.truncate(CANDIDATES_MAX);
        }
        listed
    }

    async fn look(&self, spec: &Spec) -> Result<Vec<Candidate>, String> {
        match spec {
            Spec::File { path } => file::read(path).await,
            Spec::Dns { name, port } => dns::resolve(name, port.unwrap_or(self.port)).await,
            Spec::Tailscale { tag } => {
                tailscale::list(&self.tailscale_socket, tag.as_deref(), self.port).await
            }
        }
    }

    /// One round: lists candidates, asks each, and keeps one address of each member of `cluster`, or of any cluster
    /// when that is none.
    pub async fn members(&mut self, cluster: Option<ClusterId>) -> Vec<Found> {
        let candidates = self.candidates().await;
        let answers = ask::all(&self.connect, &candidates).await;
        let mut members: Vec<Found> = Vec::new();
        for (candidate, answer) in candidates.iter().zip(answers) {
            match judge(self.me, cluster, candidate, answer) {
                Ok(found) if members.iter().any(|known| known.node == found.node) => {}
                Ok(found) => {
                    let words = format!("member {} of {:x}", found.node, found.cluster.0);
                    if self.said.is_news(&candidate.address, &words) {
                        tracing::info!(address = candidate.address, node = %found.node, "discovery found a member");
                    }
                    members.push(found);
                }
                Err(words) => {
                    if self.said.is_news(&candidate.address, &words) {
                        tracing::info!(address = candidate.address, "discovery drops a candidate: {words}");
                    }
                }
            }
        }
        members
    }

    /// Waits until at least one member answers. Members of two clusters are none: a guess could join the wrong one.
    pub async fn wait(&mut self) -> Vec<Found> {
        tracing::info!(
            sources = ?self.specs.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "waits until discovery finds a member to join through; to begin a new cluster, give --bootstrap"
        );
        loop {
            let found = self.members_of_one_cluster().await;
            if !found.is_empty() {
                return found;
            }
            sleep(WAIT_EVERY).await;
        }
    }

    /// One round of a node that does not know its cluster: nobody when members of different ones answer.
    async fn members_of_one_cluster(&mut self) -> Vec<Found> {
        let found = self.members(None).await;
        let clusters: BTreeSet<ClusterId> = found.iter().map(|found| found.cluster).collect();
        if clusters.len() > 1 {
            let words = format!("found members of different clusters: {found:?}; name one with --peer");
            if self.said.is_news("clusters", &words) {
                tracing::error!("{words}");
            }
            return Vec::new();
        }
        found
    }
}

/// Whether an answer makes a candidate a member to talk to; else why not.
fn judge(
    me: NodeId,
    cluster: Option<ClusterId>,
    candidate: &Candidate,
    answer: Result<Answer, String>,
) -> Result<Found, String> {
    let answer = answer?;
    if answer.node == me {
        return Err("it is this node itself, or another with its id".into());
    }
    if let Some(expected) = candidate.expected.filter(|expected| *expected != answer.node) {
        return Err(format!("node {expected} should answer there, node {} does", answer.node));
    }
    if answer.cluster == ClusterId(0) {
        return Err(format!("node {} is in no cluster yet", answer.node));
    }
    if cluster.is_some_and(|cluster| cluster != answer.cluster) {
        return Err(format!("node {} belongs to another cluster, {:x}", answer.node, answer.cluster.0));
    }
    Ok(Found { node: answer.node, address: candidate.address.clone(), cluster: answer.cluster })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(cluster: Option<u64>, expected: Option<u64>, node: u64, of: u64) -> Result<Found, String> {
        let candidate = Candidate { address: "a:1".into(), expected: expected.map(NodeId) };
        let answer = Ok(Answer { node: NodeId(node), cluster: ClusterId(of) });
        judge(NodeId(1), cluster.map(ClusterId), &candidate, answer)
    }

    #[test]
    fn only_other_members_of_the_own_cluster_are_kept() {
        let found = Found { node: NodeId(2), address: "a:1".into(), cluster: ClusterId(7) };
        assert_eq!(judged(Some(7), None, 2, 7), Ok(found.clone()));
        assert_eq!(judged(None, Some(2), 2, 7), Ok(found));
        assert!(judged(Some(8), None, 2, 7).is_err_and(|why| why.contains("another cluster")));
        assert!(judged(Some(7), None, 1, 7).is_err_and(|why| why.contains("itself")));
        assert!(judged(Some(7), Some(3), 2, 7).is_err_and(|why| why.contains("should answer")));
        assert!(judged(None, None, 2, 0).is_err_and(|why| why.contains("no cluster")));
    }

    #[test]
    fn the_log_repeats_nothing() {
        let mut said = Said::default();
        assert!(said.is_news("a:1", "refused"));
        assert!(!said.is_news("a:1", "refused"));
        assert!(said.is_news("a:1", "member n2"));
        assert!(said.is_news("b:1", "refused"));
    }
}
