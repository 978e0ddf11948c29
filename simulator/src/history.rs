//! What clients asked and what they were told, with true times.

use blixard_node::ids::Revision;
use blixard_node::request::{Reply, Request};
use blixard_node::time::Time;

/// A moment at the clients. `order` rises with each invocation and each return of any client, and settles what came
/// first at equal times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// True time.
    pub at: Time,
    /// Place among all moments, from 1.
    pub order: u64,
}

/// One client's operation from its first attempt to its last.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// The client, from 0.
    pub client: usize,
    /// What was asked, the same in every attempt.
    pub request: Request,
    /// When it was first sent.
    pub invoked: Moment,
    /// When the client had the answer, or gave up.
    pub ended: Moment,
    /// The highest revision that any client had been told of before `invoked`.
    pub floor: Revision,
    /// How often it was sent.
    pub attempts: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an operation ended, as far as its client can tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With an answer that is final, a refusal among them.
    Answered(Reply),
    /// The client gave up, and every attempt was refused with an error that says it had no effect.
    Refused,
    /// The client gave up: the operation may take effect at any time after `invoked`, or never.
    Unknown,
}

impl Outcome {
    /// A name for counting.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answered(Ok(_)) => "ok",
            Self::Answered(Err(_)) => "error",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// The revision that a reply carries.
#[must_use]
pub fn revision_of(reply: &Reply) -> Option<Revision> {
    use blixard_node::request::Response;
    match reply.as_ref().ok()? {
        Response::Written { revision, .. }
        | Response::Vm { revision, .. }
        | Response::Vms { revision, .. }
        | Response::Events { revision, .. } => Some(*revision),
        Response::Cluster(view) => Some(view.revision),
        Response::Transferring { .. } => None,
    }
}
