//! Sessions for clients that have none: their requests take effect once too, whatever becomes of leaders.

use std::sync::{Mutex, PoisonError};

use blixard_node::error::RequestError;
use blixard_node::ids::{ClientId, RequestId, Revision};
use blixard_node::request::{Consistency, Read, Reply, Request, Response, Write};
use blixard_node::rng::Rng;

use crate::daemon::NodeHandle;

/// How often a request whose outcome is unknown is repeated under its id.
const REPEATS_MAX: usize = 3;

/// Sessions that are not in use. Each serves one request at a time, so its numbers arrive in order.
#[derive(Debug)]
pub(super) struct Pool(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    rng: Rng,
    idle: Vec<Session>,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    client: ClientId,
    born: Revision,
    used: u64,
}

impl Pool {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(Inner { rng: Rng::new(seed, 0), idle: Vec::new() }))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn begin(&self, node: &NodeHandle) -> Result<Session, RequestError> {
        if let Some(session) = self.with(|inner| inner.idle.pop()) {
            return Ok(session);
        }
        let read = Request::Read { read: Read::ClusterStatus, consistency: Consistency::Linearizable };
        let Response::Cluster(view) = node.ask(read).await? else {
            return Err(RequestError::NoLeader);
        };
        let client = ClientId(self.with(|inner| inner.rng.u64().max(1)));
        Ok(Session { client, born: view.revision, used: 0 })
    }

    /// Executes a write in a session of the pool.
    pub(super) async fn write(&self, node: &NodeHandle, write: Write) -> Reply {
        let mut reply = self.write_once(node, write.clone()).await;
        // A session that rested too long was expired. Its next request was never seen, so it may go to a new one.
        while let Err(RequestError::SessionExpired { .. }) = reply {
            let rested = self.with(|inner| inner.idle.pop()).is_some();
            reply = self.write_once(node, write.clone()).await;
            if !rested {
                break;
            }
        }
        reply
    }

    async fn write_once(&self, node: &NodeHandle, write: Write) -> Reply {
        let mut session = self.begin(node).await?;
        session.used += 1;
        let id = RequestId { client: session.client, sequence: session.used, born: session.born };
        let request = Request::Write { id, write };
        let mut reply = node.ask(request.clone()).await;
        for _ in 0..REPEATS_MAX {
            if !matches!(reply, Err(RequestError::Unknown { .. })) {
                break;
            }
            reply = node.ask(request.clone()).await;
        }
        if !matches!(reply, Err(RequestError::SessionExpired { .. } | RequestError::Unknown { .. })) {
            self.with(|inner| inner.idle.push(session));
        }
        reply
    }
}
