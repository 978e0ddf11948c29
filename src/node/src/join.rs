//! Becoming a member, and telling the cluster after each start what this host offers now.

use crate::context::{Context, Me};
use crate::effects::Event;
use crate::ids::{ClusterId, NodeId};
use crate::message::Body;
use crate::probes::Probe;
use crate::time::{Duration, Time};

/// How often admission is asked for.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How far admission has come.
#[derive(Debug)]
pub(crate) struct Join {
    done: bool,
    refused: bool,
    /// The disk has no identity yet: the first write gives it one.
    fresh_disk: bool,
    ask_at: Time,
    /// Who was said to lead.
    leader: Option<NodeId>,
    tried: usize,
    /// Learned while not yet a member.
    members: Vec<(NodeId, String)>,
}

impl Join {
    pub(crate) fn new(fresh_disk: bool, now: Time) -> Self {
        let members = Vec::new();
        Self { done: false, refused: false, fresh_disk, ask_at: now, leader: None, tried: 0, members }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the disk belongs to a cluster.
    #[expect(clippy::unused_self, reason = "the answer lives in the identity, the question belongs here")]
    pub(crate) fn is_member(&self, me: &Me) -> bool {
        me.identity.cluster != ClusterId(0)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        (!self.done && !self.refused).then_some(self.ask_at)
    }

    /// Asks again if it is time to. `known` are the members an earlier process knew.
    pub(crate) fn advance(&mut self, ctx: &mut Context<'_>, known: &[(NodeId, String)]) {
        if std::mem::take(&mut self.fresh_disk) {
            ctx.out.writes.identity = Some(ctx.me.identity);
            ctx.out.directory = Some(ctx.me.config.peers.clone());
        }
        if self.done || self.refused || ctx.now.boot < self.ask_at {
            return;
        }
        self.ask_at = ctx.now.boot + ASK_EVERY;
        let me = ctx.id();
        let leader = self.leader.take().filter(|leader| *leader != me);
        let lists = [&self.members[..], known, &ctx.me.config.peers];
        let known: Vec<NodeId> = lists.into_iter().flatten().map(|(node, _)| *node).collect();
        let next = || known.get(self.tried % known.len().max(1)).copied();
        // The only member there is asks itself.
        let Some(to) = leader.or_else(next).or((ctx.me.identity.cluster != ClusterId(0)).then_some(me))
        else {
            return;
        };
        self.tried += 1;
        let spec = Box::new(ctx.me.config.host.clone().announcing(ctx.level()));
        ctx.send(to, Body::Join(spec));
    }

    /// Hears of members. Those that it was told of before may be there no more: it goes on asking them, but not them alone.
    pub(crate) fn hear_of(&mut self, found: Vec<(NodeId, String)>, ctx: &mut Context<'_>) {
        if self.members.is_empty() {
            self.members.clone_from(&ctx.me.config.peers);
        }
        let before = self.members.clone();
        for (node, address) in found {
            match self.members.iter_mut().find(|(known, _)| *known == node) {
                Some((_, known)) => *known = address,
                None => {
                    ctx.hit(Probe::FoundWhileJoining);
                    self.members.push((node, address));
                }
            }
        }
        if self.members != before {
            ctx.out.directory = Some(self.members.clone());
        }
    }

    /// Takes an answer from the cluster `cluster`.
    pub(crate) fn answered(&mut self, cluster: ClusterId, from: NodeId, body: Body, ctx: &mut Context<'_>) {
        if self.done && !matches!(body, Body::Refused { .. }) {
            return;
        }
        match body {
            Body::NotLeader { leader, members } => {
                if !members.is_empty() {
                    ctx.out.directory = Some(members.clone());
                    self.members = members;
                }
                self.leader = leader.filter(|leader| *leader != from);
                if self.leader.is_some() {
                    self.ask_at = ctx.now.boot;
                }
            }
            Body::Joined { .. } => self.taken_in(cluster, ctx),
            Body::Refused { below: Some(level), .. } => {
                let ours = ctx.me.identity.cluster;
                if ours == ClusterId(0) || ours == cluster {
                    ctx.is_outgrown_by(level);
                }
            }
            Body::Refused { reason, below: None } => {
                let ours = ctx.me.identity.cluster;
                if !self.refused && (ours == ClusterId(0) || ours == cluster) {
                    ctx.hit(Probe::IdentityRefused);
                    self.refused = true;
                    ctx.event(Event::Refused { reason });
                }
            }
            _ => {}
        }
    }

    fn taken_in(&mut self, cluster: ClusterId, ctx: &mut Context<'_>) {
        let ours = ctx.me.identity.cluster;
        if cluster == ClusterId(0) || (ours != ClusterId(0) && ours != cluster) {
            return;
        }
        self.done = true;
        if ours == ClusterId(0) {
            ctx.me.identity.cluster = cluster;
            ctx.out.writes.identity = Some(ctx.me.identity);
        }
        ctx.event(Event::Joined);
    }
}
