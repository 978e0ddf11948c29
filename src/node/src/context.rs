//! What every part of the node has at hand during a step.

use crate::config::NodeConfig;
use crate::effects::{Effects, Event};
use crate::ids::{NodeId, Ticket};
use crate::level::Level;
use crate::message::{Body, Message};
use crate::probes::{Probe, Probes};
use crate::request::Reply;
use crate::stored::Identity;
use crate::time::Now;

/// The node's own data that its parts share.
#[derive(Debug)]
pub(crate) struct Me {
    pub(crate) config: NodeConfig,
    pub(crate) identity: Identity,
    /// Drawn anew by each process.
    pub(crate) process: u64,
    pub(crate) probes: Probes,
    /// The cluster's level, when it turned out to be above this process's: then nothing of it must have any effect any more.
    pub(crate) outgrown: Option<Level>,
    /// Messages to itself, taken in before the turn ends.
    pub(crate) loopback: Vec<Message>,
}

/// One step: the time, the node's own data, and where effects go.
pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    pub(crate) me: &'a mut Me,
    pub(crate) out: &'a mut Effects,
}

/// Who waits for a request's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A client of this node.
    Local(Ticket),
    /// A member that passed a client's request on.
    Member { node: NodeId, ticket: u64 },
}

impl Context<'_> {
    pub(crate) fn id(&self) -> NodeId {
        self.me.identity.node
    }

    /// The level that this process speaks.
    pub(crate) fn level(&self) -> Level {
        self.me.config.feature_level
    }

    /// Whether a level is above this process's; from then on it is outgrown.
    pub(crate) fn is_outgrown_by(&mut self, level: Level) -> bool {
        let above = level > self.level() && !planted!(BelowLevelOpens);
        if above {
            self.hit_if(self.me.outgrown.is_none(), Probe::Outgrown);
            self.me.outgrown = self.me.outgrown.max(Some(level));
        }
        above
    }

    pub(crate) fn message(&self, body: Body) -> Message {
        let identity = self.me.identity;
        Message { cluster: identity.cluster, from: identity.node, incarnation: identity.incarnation, body }
    }

    pub(crate) fn send(&mut self, to: NodeId, body: Body) {
        let message = self.message(body);
        if to == self.id() {
            self.me.loopback.push(message);
        } else {
            self.out.sends.push((to, message));
        }
    }

    pub(crate) fn answer(&mut self, asker: Asker, reply: Reply) {
        match asker {
            Asker::Local(ticket) => self.out.replies.push((ticket, reply)),
            Asker::Member { node, ticket } => {
                self.send(node, Body::Forwarded { ticket, reply: Box::new(reply) });
            }
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.out.events.push(event);
    }

    pub(crate) fn hit(&mut self, probe: Probe) {
        self.me.probes.hit(probe);
    }

    pub(crate) fn hit_if(&mut self, reached: bool, probe: Probe) {
        if reached {
            self.hit(probe);
        }
    }
}
