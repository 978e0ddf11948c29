//! Hosts and VMs as the state holds them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::hash::hash_of;
use crate::command::HostSpec;
use crate::hypervisor::VmReport;
use crate::ids::{Epoch, Generation, Incarnation, NodeId, Revision, VmId};
use crate::request::{Transition, VmView};
use crate::spec::{FailoverPolicy, HostPort, Phase, Resources, VmName, VmSpec, Wanted};
use crate::time::WallMs;

/// What is said of a deleted VM while its hosts remove what they keep of it.
pub(super) const PURGING: &str = "its volumes are being removed";

/// A member as a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// What it told of itself.
    pub spec: HostSpec,
    /// Its disk.
    pub incarnation: Incarnation,
    /// New VMs are kept off.
    pub cordoned: bool,
    /// Why; empty when nobody said.
    pub cordon_reason: String,
    /// On its way out: it gets no VMs and no vote.
    pub leaving: bool,
    /// Given up: its lease has ended, nothing may run there until it is taken back.
    pub lost: bool,
    /// The revision that last changed its assignment set.
    pub set_revision: Revision,
    /// What its VMs take. Derived.
    pub used: Resources,
    /// Its VMs. Derived.
    pub vms: BTreeMap<VmId, VmName>,
    /// Deleted VMs whose volumes it has yet to remove. Derived.
    pub purging: BTreeMap<VmId, VmName>,
    /// Its ports that VMs have taken. Derived.
    pub ports: BTreeMap<HostPort, VmName>,
    pub(super) hash: u64,
}

impl Host {
    /// A host without VMs.
    #[must_use]
    pub fn new(spec: HostSpec, incarnation: Incarnation, set_revision: Revision) -> Self {
        let (used, vms) = (Resources::default(), BTreeMap::new());
        Self {
            spec,
            incarnation,
            cordoned: false,
            cordon_reason: String::new(),
            leaving: false,
            lost: false,
            set_revision,
            used,
            vms,
            purging: BTreeMap::new(),
            ports: BTreeMap::new(),
            hash: 0,
        }
    }

    /// Whether nothing of any VM keeps it from leaving.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.vms.is_empty() && self.purging.is_empty()
    }

    /// Whether it takes new VMs.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.lost && !self.cordoned && !self.leaving
    }

    /// What is left for further VMs.
    #[must_use]
    pub fn free(&self) -> Resources {
        self.spec.capacity.minus(self.used)
    }

    pub(super) fn rehash(&mut self, node: NodeId) {
        let flags = (self.cordoned, &self.cordon_reason, self.leaving, self.lost);
        self.hash = hash_of(&("host", node, &self.spec, self.incarnation, flags, self.set_revision));
    }
}

/// A VM: what is wanted and what is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// This object.
    pub id: VmId,
    /// Its name.
    pub name: VmName,
    /// What it is made of.
    pub spec: Arc<VmSpec>,
    /// Rises with each change of spec or wanted state.
    pub generation: Generation,
    /// What the client wants.
    pub wanted: Wanted,
    /// A tombstone: gone as soon as its host has confirmed that nothing runs.
    pub deleting: bool,
    /// Its host, with the newest epoch.
    pub assigned: Option<(NodeId, Epoch)>,
    /// The newest epoch ever given.
    pub epoch: Epoch,
    /// Where it stands.
    pub phase: Phase,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: WallMs,
    /// Restarts under this epoch.
    pub restarts: u32,
    /// The generation that `phase` belongs to.
    pub observed_generation: Generation,
    /// What its first host has built, by name; every later host runs the same. Void with a new spec.
    pub artifact: Option<String>,
    /// The host it was assigned to last; holds its volumes, if it has any.
    pub last_host: Option<NodeId>,
    /// All hosts it was ever assigned to: each may keep something of it.
    pub hosts: BTreeSet<NodeId>,
    /// The hosts that have yet to remove what they keep of it; only of a deleted VM.
    pub purging: BTreeSet<NodeId>,
    /// Its newest changes of phase, the newest last, at most [`Vm::TRANSITIONS_MAX`].
    pub transitions: VecDeque<Transition>,
    spec_hash: u64,
    pub(super) hash: u64,
}

/// The place in the log and the time of what happens to a VM.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) revision: Revision,
    pub(super) at: WallMs,
}

impl Vm {
    /// How many changes of phase are kept.
    pub const TRANSITIONS_MAX: usize = 16;

    /// A new VM, stopped.
    #[must_use]
    pub fn new(id: VmId, name: VmName, spec: Arc<VmSpec>, since: WallMs) -> Self {
        let spec_hash = hash_of(&*spec);
        Self {
            id,
            name,
            spec,
            generation: Generation(1),
            wanted: Wanted::Stopped,
            deleting: false,
            assigned: None,
            epoch: Epoch(0),
            phase: Phase::Stopped,
            reason: String::new(),
            since,
            restarts: 0,
            observed_generation: Generation(1),
            artifact: None,
            last_host: None,
            hosts: BTreeSet::new(),
            purging: BTreeSet::new(),
            transitions: VecDeque::new(),
            spec_hash,
            hash: 0,
        }
    }

    /// Takes another spec; what was built for the old one counts no more.
    pub(super) fn respec(&mut self, spec: Arc<VmSpec>) {
        self.spec_hash = hash_of(&*spec);
        self.spec = spec;
        self.artifact = None;
    }

    /// The only host it can run on, because its volumes are there.
    #[must_use]
    pub fn home(&self) -> Option<NodeId> {
        self.last_host.filter(|_| self.spec.local_volume)
    }

    /// Whether it may leave a lost host.
    #[must_use]
    pub fn may_move(&self) -> bool {
        self.spec.failover == FailoverPolicy::Move && !self.spec.local_volume
    }

    /// Whether a deleted VM is through: nothing of it runs, and nobody has anything left to remove.
    pub(super) fn is_gone(&self) -> bool {
        self.deleting && self.assigned.is_none() && self.purging.is_empty()
    }

    /// Whether `report`, from `node`, says something that is not written down yet.
    #[must_use]
    pub fn is_told_news(&self, node: NodeId, report: &VmReport) -> bool {
        if report.generation > self.generation || report.run.epoch != self.epoch {
            return false;
        }
        if self.assigned.is_some_and(|(host, _)| host == node) {
            return self.phase != report.phase
                || self.observed_generation != report.generation
                || self.restarts != report.restarts
                || self.reason != report.reason
                || (self.artifact.is_none() && report.artifact.is_some());
        }
        let done = report.phase == Phase::Stopped && report.generation == self.generation;
        self.purging.contains(&node) && (done || self.purge_complaint(node, report).is_some())
    }

    /// What to write down when `node` cannot remove what it keeps. One host's complaint at a time: several would overwrite each
    /// other with every heartbeat.
    pub(super) fn purge_complaint(&self, node: NodeId, report: &VmReport) -> Option<String> {
        let own = format!("{node}: ");
        let may = self.reason == PURGING || self.reason.starts_with(&own);
        let complaint = own + &report.reason;
        let new = !report.reason.is_empty() && self.reason != complaint;
        (new && may && self.assigned.is_none()).then_some(complaint)
    }

    /// As clients see it.
    #[must_use]
    pub fn view(&self) -> VmView {
        VmView {
            id: self.id,
            name: self.name.clone(),
            spec: self.spec.clone(),
            generation: self.generation,
            wanted: self.wanted,
            deleting: self.deleting,
            assigned: self.assigned,
            phase: self.phase,
            reason: self.reason.clone(),
            since: self.since,
            restarts: self.restarts,
            observed_generation: self.observed_generation,
            artifact: self.artifact.clone(),
            last_host: self.last_host,
        }
    }

    pub(super) fn stands(&mut self, phase: Phase, reason: impl Into<String>, now: Moment) {
        self.phase = phase;
        self.reason = reason.into();
        self.since = now.at;
        let host = self.assigned.map(|(node, _)| node);
        let same = |last: &Transition| (last.phase, &last.reason, last.host) == (phase, &self.reason, host);
        if self.transitions.back().is_some_and(same) {
            return;
        }
        if self.transitions.len() >= Self::TRANSITIONS_MAX {
            self.transitions.pop_front();
        }
        let Moment { revision, at } = now;
        self.transitions.push_back(Transition { revision, at, phase, reason: self.reason.clone(), host });
    }

    pub(super) fn rehash(&mut self) {
        let wanted =
            (self.generation, self.wanted == Wanted::Running, self.deleting, self.assigned, self.epoch);
        let status = (self.phase, &self.reason, self.since, self.restarts, self.observed_generation);
        let past = (&self.artifact, self.last_host, &self.hosts, &self.purging, &self.transitions);
        self.hash = hash_of(&("vm", self.id, &self.name, self.spec_hash, wanted, status, past));
    }
}
