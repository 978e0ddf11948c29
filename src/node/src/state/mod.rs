//! The replicated cluster state. Changed only by [`State::apply`], equal on every replica at the same revision.

pub mod apply;
pub mod hash;
mod object;
pub mod scheduler;
pub mod sessions;

use std::collections::{BTreeMap, BTreeSet};

pub use apply::Applied;
pub use object::{Host, Vm};

use crate::config::Settings;
use crate::error::RequestError;
use crate::hypervisor::Run;
use crate::ids::{ClusterId, NodeId, Revision};
use crate::level::Level;
use crate::message::Assignment;
use crate::request::Write;
use crate::spec::{Resources, VmName, Wanted};
use hash::hash_of;
use sessions::Sessions;

/// Everything the cluster agrees on.
#[derive(Clone, Debug)]
pub struct State {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Fixed at its bootstrap.
    pub settings: Settings,
    /// The last log entry carried out.
    pub revision: Revision,
    /// The feature level: no host announces a lower one, and it never falls.
    pub level: Level,
    /// The members.
    pub hosts: BTreeMap<NodeId, Host>,
    /// Ids that were members and never will be again.
    pub removed: BTreeSet<NodeId>,
    /// The VMs.
    pub vms: BTreeMap<VmName, Vm>,
    /// The clients' sessions.
    pub sessions: Sessions,
    /// VMs wanted running without a host to run on, or with a lost one they may leave. Derived.
    unplaced: BTreeSet<VmName>,
    /// Sum of the hashes of hosts, removed ids and VMs.
    objects_hash: u64,
}

impl State {
    /// The state of a cluster that has nothing yet.
    #[must_use]
    pub fn new(cluster: ClusterId, settings: Settings, revision: Revision) -> Self {
        Self {
            cluster,
            settings,
            revision,
            level: Level::FIRST,
            hosts: BTreeMap::new(),
            removed: BTreeSet::new(),
            vms: BTreeMap::new(),
            sessions: Sessions::default(),
            unplaced: BTreeSet::new(),
            objects_hash: 0,
        }
    }

    /// The hash over all of it but the revision.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.objects_hash.wrapping_add(self.sessions.hash()).wrapping_add(hash_of(&("level", self.level)))
    }

    /// The newest level that every host announces: a lost one may come back, and one that leaves is still a member.
    #[must_use]
    pub fn announced_by_all(&self) -> Level {
        let announced = self.hosts.values().map(|host| host.spec.level());
        if planted!(LevelRaisedTooEarly) {
            let mut announced: Vec<_> = announced.collect();
            announced.sort_unstable();
            return announced.get(announced.len() / 2).copied().unwrap_or(self.level);
        }
        announced.min().unwrap_or(self.level)
    }

    /// The hosts that announce a level below `level`.
    pub fn hosts_below(&self, level: Level) -> impl Iterator<Item = NodeId> {
        self.hosts.iter().filter(move |(_, host)| host.spec.level() < level).map(|(node, _)| *node)
    }

    /// Whether a member that speaks `level` would not understand what the cluster may say.
    #[must_use]
    pub fn is_too_old(&self, level: Level) -> bool {
        level < self.level && !planted!(JoinBelowLevelAccepted)
    }

    /// What is answered to a write for which the cluster's level is too low.
    #[must_use]
    pub fn below_level(&self, write: &Write) -> RequestError {
        RequestError::BelowLevel {
            what: write.newest_part().into(),
            needs: write.level(),
            level: self.level,
            held_back_by: self.hosts_below(write.level()).take(RequestError::HOSTS_MAX).collect(),
        }
    }

    /// VMs that need a host, by name.
    pub fn unplaced(&self) -> impl Iterator<Item = &Vm> {
        self.unplaced.iter().filter_map(|name| self.vms.get(name))
    }

    /// Whether any VM needs a host.
    #[must_use]
    pub fn has_unplaced(&self) -> bool {
        !self.unplaced.is_empty()
    }

    /// The VMs whose volumes are on `node`, assigned or not.
    pub fn at_home_on(&self, node: NodeId) -> impl Iterator<Item = &Vm> {
        self.vms.values().filter(move |vm| vm.home() == Some(node))
    }

    /// What `node` has to run, to stop or to remove, whole; nothing for a lost host, whatever is still written on its name.
    #[must_use]
    pub fn assignments(&self, node: NodeId) -> Vec<Assignment> {
        let Some(host) = self.hosts.get(&node).filter(|host| !host.lost) else { return Vec::new() };
        let only_purged = host.purging.iter().filter(|(vm, _)| !host.vms.contains_key(vm));
        let names = host.vms.iter().chain(only_purged).map(|(_, name)| name);
        let assignment = |vm: &Vm| Assignment {
            run: Run { vm: vm.id, epoch: vm.epoch },
            name: vm.name.clone(),
            generation: vm.generation,
            wanted: vm.wanted,
            spec: vm.spec.clone(),
            artifact: vm.artifact.clone(),
            purge: vm.purging.contains(&node),
        };
        names.filter_map(|name| self.vms.get(name)).map(assignment).collect()
    }

    /// Where every member is reached, voters first.
    #[must_use]
    pub fn directory(&self, voters: &[NodeId]) -> Vec<(NodeId, String)> {
        let address = |node: &NodeId| self.hosts.get(node).map(|host| (*node, host.spec.address.clone()));
        let workers = self.hosts.keys().filter(|node| !voters.contains(node));
        voters.iter().chain(workers).filter_map(address).collect()
    }

    /// Takes a VM out, lets `change` work on it, and puts it back with hash and indexes up to date, unless it is gone.
    fn with_vm(&mut self, name: &VmName, change: impl FnOnce(&mut Vm)) {
        let Some(mut vm) = self.vms.remove(name) else { return };
        self.unindex_vm(&vm);
        change(&mut vm);
        if !vm.is_gone() {
            self.index_vm(vm);
        }
    }

    fn unindex_vm(&mut self, vm: &Vm) {
        self.objects_hash = self.objects_hash.wrapping_sub(vm.hash);
        self.unplaced.remove(&vm.name);
        for node in &vm.purging {
            self.with_host(*node, |host| drop(host.purging.remove(&vm.id)));
        }
        if let Some((node, _)) = vm.assigned {
            self.with_host(node, |host| {
                host.vms.remove(&vm.id);
                if !planted!(CapacityNotFreed) {
                    host.used = host.used.minus(vm.spec.resources);
                }
                vm.spec.host_ports().for_each(|port| drop(host.ports.remove(&port)));
            });
        }
    }

    fn index_vm(&mut self, mut vm: Vm) {
        vm.rehash();
        self.objects_hash = self.objects_hash.wrapping_add(vm.hash);
        if let Some((node, _)) = vm.assigned {
            self.with_host(node, |host| {
                host.vms.insert(vm.id, vm.name.clone());
                host.used = host.used.plus(vm.spec.resources);
                host.ports.extend(vm.spec.host_ports().map(|port| (port, vm.name.clone())));
            });
        }
        for node in &vm.purging {
            self.with_host(*node, |host| drop(host.purging.insert(vm.id, vm.name.clone())));
        }
        if self.is_unplaced(&vm) {
            self.unplaced.insert(vm.name.clone());
        }
        self.vms.insert(vm.name.clone(), vm);
    }

    fn is_unplaced(&self, vm: &Vm) -> bool {
        let free = match vm.assigned {
            None => true,
            Some((node, _)) => vm.may_move() && self.hosts.get(&node).is_none_or(|host| host.lost),
        };
        free && vm.wanted == Wanted::Running && !vm.deleting
    }

    fn with_host(&mut self, node: NodeId, change: impl FnOnce(&mut Host)) {
        if let Some(host) = self.hosts.get_mut(&node) {
            self.objects_hash = self.objects_hash.wrapping_sub(host.hash);
            change(host);
            host.rehash(node);
            self.objects_hash = self.objects_hash.wrapping_add(host.hash);
        }
    }

    fn insert_host(&mut self, node: NodeId, mut host: Host) {
        host.rehash(node);
        self.objects_hash = self.objects_hash.wrapping_add(host.hash);
        self.hosts.insert(node, host);
    }

    fn remove_host(&mut self, node: NodeId) {
        if let Some(host) = self.hosts.remove(&node) {
            self.objects_hash = self.objects_hash.wrapping_sub(host.hash);
            self.objects_hash = self.objects_hash.wrapping_add(hash_of(&("removed", node)));
            self.removed.insert(node);
        }
    }

    /// Builds a state from a snapshot's parts: everything but the derived fields, which are computed here.
    #[must_use]
    pub fn restore(
        mut head: Self,
        hosts: impl IntoIterator<Item = (NodeId, Host)>,
        removed: impl IntoIterator<Item = NodeId>,
        vms: impl IntoIterator<Item = Vm>,
    ) -> Self {
        for (node, host) in hosts {
            head.insert_host(node, host);
        }
        for node in removed {
            head.objects_hash = head.objects_hash.wrapping_add(hash_of(&("removed", node)));
            head.removed.insert(node);
        }
        for vm in vms {
            head.index_vm(vm);
        }
        head
    }

    /// Asserts what must hold of every reachable state.
    pub fn check(&self) {
        let mut used: BTreeMap<NodeId, Resources> = BTreeMap::new();
        let mut ports = BTreeSet::new();
        for (name, vm) in &self.vms {
            assert_eq!(name, &vm.name, "invariant: a VM is listed under its own name");
            assert!(vm.id.0 <= self.revision.0, "invariant: a VM is not from the future");
            assert!(vm.observed_generation <= vm.generation, "invariant: status does not run ahead of spec");
            assert_eq!(self.is_unplaced(vm), self.unplaced.contains(name), "invariant: unplaced is complete");
            if let Some((node, epoch)) = vm.assigned {
                assert_eq!(epoch, vm.epoch, "invariant: an assignment has the newest epoch");
                assert_eq!(vm.last_host, Some(node), "invariant: an assigned VM's last host is its host");
                assert!(vm.hosts.contains(&node), "invariant: a VM remembers all its hosts");
                for port in vm.spec.host_ports() {
                    assert!(ports.insert((node, port)), "invariant: a host's port belongs to one VM");
                }
                let sum = used.entry(node).or_default();
                *sum = sum.plus(vm.spec.resources);
            }
            assert!(!vm.is_gone(), "invariant: a deleted VM with nothing left to do is gone");
            assert!(
                vm.purging.is_empty() || vm.deleting,
                "invariant: only a deleted VM's volumes are removed"
            );
            assert!(
                vm.purging.iter().all(|node| self.hosts.contains_key(node)),
                "invariant: only members have something to remove"
            );
        }
        for (node, host) in &self.hosts {
            assert!(!self.removed.contains(node), "invariant: a removed host does not return");
            assert_eq!(
                host.used,
                used.remove(node).unwrap_or_default(),
                "invariant: used is the sum of its VMs"
            );
            assert!(host.spec.capacity.holds(host.used), "invariant: {node} is never over capacity");
            assert!(
                host.spec.level() >= self.level,
                "invariant: {node} announces the cluster's level at least"
            );
        }
        assert!(used.is_empty(), "invariant: VMs are assigned to members only, not to {used:?}");
        self.sessions.check();
        let bare = |host: &Host| Host {
            used: Resources::default(),
            vms: BTreeMap::new(),
            purging: BTreeMap::new(),
            ports: BTreeMap::new(),
            ..host.clone()
        };
        let hosts = self.hosts.iter().map(|(node, host)| (*node, bare(host)));
        let head = Self::new(self.cluster, self.settings.clone(), self.revision);
        let again = Self::restore(head, hosts, self.removed.iter().copied(), self.vms.values().cloned());
        assert_eq!(again.objects_hash, self.objects_hash, "invariant: the state's hash is up to date");
        assert_eq!(again.hosts, self.hosts, "invariant: what hosts have of their VMs is up to date");
    }
}
