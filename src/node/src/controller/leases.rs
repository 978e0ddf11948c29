//! The leader's side of "never twice": which hosts it has heard, what it has granted, whom it may give up.
//!
//! A grant runs from the agent's sending of a heartbeat; the leader bounds that by the moment the heartbeat came in. A host is given
//! up no sooner than [`Settings::give_up_after`] past the newest grant that this leader, or any before it, can have made: an
//! earlier leader confirmed its office with a quorum after the heartbeat was sent and before this leader was elected, so its
//! grants all began before this leader's election.

use std::collections::BTreeMap;

use crate::config::Settings;
use crate::context::Context;
use crate::hypervisor::VmReport;
use crate::ids::{NodeId, Revision};
use crate::level::Level;
use crate::message::{Body, Heartbeat, HeartbeatAck, Nonce};
use crate::probes::Probe;
use crate::state::State;
use crate::time::{Duration, Time};

/// Heartbeats that can wait are confirmed together, at the latest this long after the first of them.
const GATHER: Duration = Duration::from_millis(250);
/// What the log did not take is tried again after this long.
const RETRY: Duration = Duration::from_millis(100);
/// A host that has not been heard for this long is called, and again after as long: it may know of no member that is still there.
const CALL_AFTER: Duration = Duration::from_secs(5);
/// An agent is told the members again with every heartbeat whose number is a multiple of this.
const MEMBERS_EVERY: u64 = 16;

/// A heartbeat not yet acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Beat {
    nonce: Nonce,
    sent: Time,
    set_revision: Revision,
    level: Level,
    received: Time,
}

#[derive(Debug)]
struct Lease {
    /// No grant to this host began later than this, by this leader's clock.
    granted: Time,
    seen: Option<Time>,
    /// When it was called, or else this leader began to wait for it.
    called: Time,
    newest: Nonce,
    pending: Option<Beat>,
    /// The oldest answer that the host has not shown to have received, and when it was sent.
    unheard: Option<(u64, Time)>,
    /// The host has shown, since it was given up, that it hears this leader.
    hears: bool,
    /// Giving it up is proposed: no more grants.
    condemned: bool,
    /// Taking it back is proposed.
    regaining: bool,
    /// A report of its is proposed.
    reporting: bool,
    told_members: u64,
}

/// All hosts as this leader knows them, since its election.
#[derive(Debug)]
pub(crate) struct Leases {
    hosts: BTreeMap<NodeId, Lease>,
    /// When the oldest pending heartbeat has to be served; now, if one is urgent.
    serve_at: Option<Time>,
    /// No lease ends before this.
    quiet_until: Time,
    members_version: u64,
}

impl Leases {
    /// A new leader's: it must assume that every host was granted a lease the moment before.
    pub(crate) fn new(elected: Time) -> Self {
        Self { hosts: BTreeMap::new(), serve_at: None, quiet_until: elected, members_version: 1 }
    }

    fn lease(&mut self, node: NodeId, since: Time) -> &mut Lease {
        self.hosts.entry(node).or_insert_with(|| Lease {
            granted: since,
            seen: None,
            called: since,
            newest: Nonce::default(),
            pending: None,
            unheard: None,
            hears: false,
            condemned: false,
            regaining: false,
            reporting: false,
            told_members: 0,
        })
    }

    /// Makes sure that every host has an entry that counts from now.
    pub(crate) fn adopt_hosts(&mut self, state: &State, now: Time) {
        let since = if planted!(NewLeaderDoesNotWait) { Time(0) } else { now };
        for node in state.hosts.keys() {
            self.lease(*node, since);
        }
    }

    pub(crate) fn forget(&mut self, node: NodeId) {
        self.hosts.remove(&node);
    }

    pub(crate) fn last_seen(&self, node: NodeId) -> Option<Time> {
        self.hosts.get(&node)?.seen
    }

    /// Hosts to be called now, lost or not.
    pub(crate) fn silent(&mut self, now: Time) -> Vec<NodeId> {
        let mut silent = Vec::new();
        for (node, lease) in &mut self.hosts {
            let heard = lease.seen.map_or(lease.called, |seen| seen.max(lease.called));
            if now.since(heard) >= CALL_AFTER {
                lease.called = now;
                silent.push(*node);
            }
        }
        silent
    }

    pub(crate) fn members_changed(&mut self) {
        self.members_version += 1;
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.serve_at.is_some()
    }

    pub(crate) fn serve_at(&self) -> Option<Time> {
        self.serve_at
    }

    /// The confirmation could not begin: try again a little later.
    pub(crate) fn postpone(&mut self, now: Time) {
        self.serve_at = self.serve_at.map(|at| at.max(now + RETRY));
    }

    /// Notes a heartbeat. False when an equal or newer one of the same process was here before.
    pub(crate) fn heard(&mut self, node: NodeId, beat: &Heartbeat, state: &State, now: Time) -> bool {
        let outdated = state.hosts.get(&node).is_some_and(|host| beat.set_revision < host.set_revision);
        let lease = self.lease(node, now);
        let older =
            beat.nonce.process == lease.newest.process && beat.nonce.sequence <= lease.newest.sequence;
        if older {
            return false;
        }
        if beat.nonce.process != lease.newest.process {
            lease.unheard = None;
        }
        if lease.unheard.is_some_and(|(sequence, _)| sequence <= beat.answered) {
            lease.unheard = None;
            lease.hears = true;
        }
        lease.seen = Some(now);
        lease.newest = beat.nonce;
        let Heartbeat { nonce, sent, set_revision, level, .. } = *beat;
        lease.pending = Some(Beat { nonce, sent, set_revision, level, received: now });
        let serve_at = if beat.urgent || outdated { now } else { now + GATHER };
        self.serve_at = Some(self.serve_at.map_or(serve_at, |at| at.min(serve_at)));
        true
    }

    /// What of `reports` the state does not know yet, unless a report is under way already.
    pub(crate) fn news(&mut self, node: NodeId, reports: &[VmReport], state: &State) -> Vec<VmReport> {
        let Some(lease) = self.hosts.get_mut(&node).filter(|lease| !lease.reporting) else {
            return Vec::new();
        };
        let Some(host) = state.hosts.get(&node).filter(|host| !host.lost) else { return Vec::new() };
        let is_news = |report: &&VmReport| {
            let id = report.run.vm;
            let name = host.vms.get(&id).or_else(|| host.purging.get(&id));
            name.and_then(|name| state.vms.get(name)).is_some_and(|vm| vm.is_told_news(node, report))
        };
        let news: Vec<_> = reports.iter().filter(is_news).cloned().collect();
        lease.reporting = !news.is_empty();
        news
    }

    pub(crate) fn reported(&mut self, node: NodeId) {
        if let Some(lease) = self.hosts.get_mut(&node) {
            lease.reporting = false;
        }
    }

    /// Takes out all pending heartbeats, to be acknowledged when a confirmation that begins now has come through.
    pub(crate) fn take_pending(&mut self) -> Vec<(NodeId, Beat)> {
        self.serve_at = None;
        let taken = self.hosts.iter_mut().filter_map(|(node, lease)| Some((*node, lease.pending.take()?)));
        taken.collect()
    }

    /// Grants a lease for a heartbeat: the quorum has confirmed, after it came in, that this node leads. A host that is lost, or whose
    /// loss is proposed, gets nothing: its VMs may be on their way elsewhere.
    pub(crate) fn grant(
        &mut self,
        (node, beat): (NodeId, Beat),
        state: &State,
        voters: &[NodeId],
        ctx: &mut Context<'_>,
    ) {
        let version = self.members_version;
        let Some(lease) = self.hosts.get_mut(&node) else { return };
        if lease.condemned && !planted!(CondemnedGranted) {
            ctx.hit(Probe::CondemnedHeartbeat);
            return;
        }
        let Some(host) = state.hosts.get(&node).filter(|host| !host.lost) else {
            return ctx.hit(Probe::GrantOvertaken);
        };
        if state.is_too_old(beat.level) {
            return tell_level(node, (beat.nonce, beat.sent), state.level, ctx);
        }
        let deaf =
            lease.unheard.is_some_and(|(_, since)| ctx.now.boot.since(since) > state.settings.lease_ttl);
        lease.unheard.get_or_insert((beat.nonce.sequence, ctx.now.boot));
        if deaf {
            // It speaks but does not hear: its VMs are dead by now. Granting on would keep them here for ever.
            ctx.hit(Probe::DeafHost);
            return ask_whether_heard(node, &beat, ctx);
        }
        if !planted!(GrantForgotten) {
            lease.granted = lease.granted.max(beat.received);
        }
        let tell = lease.told_members != version || beat.nonce.sequence.is_multiple_of(MEMBERS_EVERY);
        lease.told_members = version;
        let ack = HeartbeatAck {
            nonce: beat.nonce,
            sent: beat.sent,
            ttl: state.settings.lease_ttl,
            revision: state.revision,
            set: (beat.set_revision < host.set_revision).then(|| state.assignments(node)),
            members: if tell { state.directory(voters) } else { Vec::new() },
            level: (ctx.level() >= Level::RAISED).then_some(state.level),
        };
        ctx.send(node, Body::HeartbeatAck(Box::new(ack)));
    }

    /// Whether a lost host has shown that it hears this leader; if not, it is asked.
    pub(crate) fn hears(&mut self, node: NodeId, ctx: &mut Context<'_>) -> bool {
        let Some(lease) = self.hosts.get_mut(&node) else { return false };
        if let Some(beat) = lease.pending.take().filter(|_| !lease.hears) {
            lease.unheard.get_or_insert((beat.nonce.sequence, ctx.now.boot));
            ctx.hit(Probe::LostHostAsked);
            ask_whether_heard(node, &beat, ctx);
        }
        lease.hears
    }

    /// Hosts to give up: their newest lease has certainly ended.
    pub(crate) fn expired(&mut self, state: &State, settings: &Settings, now: Time) -> Vec<NodeId> {
        if now < self.quiet_until {
            return Vec::new();
        }
        let wait = settings.give_up_after();
        let mut expired = Vec::new();
        let mut next = now + wait;
        for (node, lease) in &self.hosts {
            if lease.condemned || state.hosts.get(node).is_none_or(|host| host.lost) {
                continue;
            }
            let ends = lease.granted + wait;
            if ends <= now {
                expired.push(*node);
            } else {
                next = next.min(ends);
            }
        }
        self.quiet_until = if expired.is_empty() { next } else { now + RETRY };
        expired
    }

    pub(crate) fn quiet_until(&self) -> Time {
        self.quiet_until
    }

    /// Giving the host up did not get into the log.
    pub(crate) fn spare(&mut self, node: NodeId) {
        if let Some(lease) = self.hosts.get_mut(&node) {
            lease.condemned = false;
        }
    }

    /// Taking the host back did not get into the log.
    pub(crate) fn regain_dropped(&mut self, node: NodeId) {
        if let Some(lease) = self.hosts.get_mut(&node) {
            lease.regaining = false;
        }
    }

    /// A host was taken in: its silence counts from now.
    pub(crate) fn lease_from(&mut self, node: NodeId, now: Time) {
        self.lease(node, now);
        self.quiet_until = self.quiet_until.min(now);
    }

    pub(crate) fn condemn(&mut self, node: NodeId, now: Time) {
        self.lease(node, now).condemned = true;
    }

    /// Giving the host up is carried out: the state says so from now on.
    pub(crate) fn given_up(&mut self, node: NodeId) {
        if let Some(lease) = self.hosts.get_mut(&node) {
            lease.condemned = false;
            lease.pending = None;
            lease.hears = false;
        }
    }

    /// Whether to propose to take a lost host back.
    pub(crate) fn begin_regain(&mut self, node: NodeId) -> bool {
        self.hosts.get_mut(&node).is_some_and(|lease| !std::mem::replace(&mut lease.regaining, true))
    }

    pub(crate) fn regained(&mut self, node: NodeId, now: Time) {
        let lease = self.lease(node, now);
        lease.regaining = false;
        lease.granted = lease.granted.max(now);
        self.quiet_until = self.quiet_until.min(now);
    }
}

/// Answers a heartbeat without granting anything.
fn ask_whether_heard(node: NodeId, beat: &Beat, ctx: &mut Context<'_>) {
    grant_nothing(node, (beat.nonce, beat.sent), None, ctx);
}

/// Answers a heartbeat of a process that is too old for the cluster.
pub(crate) fn tell_level(node: NodeId, beat: (Nonce, Time), level: Level, ctx: &mut Context<'_>) {
    ctx.hit(Probe::HeartbeatBelowLevel);
    grant_nothing(node, beat, Some(level), ctx);
}

fn grant_nothing(node: NodeId, (nonce, sent): (Nonce, Time), level: Option<Level>, ctx: &mut Context<'_>) {
    let (ttl, revision, set, members) = (Duration::ZERO, Revision(0), None, Vec::new());
    let ack = HeartbeatAck { nonce, sent, ttl, revision, set, members, level };
    ctx.send(node, Body::HeartbeatAck(Box::new(ack)));
}

#[cfg(test)]
mod tests;
