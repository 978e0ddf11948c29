//! The history of the cluster state: a replica of the checkers' own that carries out each entry once, as soon as the first
//! node has. It knows every VM's facts at every revision, which request took effect where, and what each host's
//! VMs take.

use std::collections::BTreeMap;

use blixard_node::codec::decode_command;
use blixard_node::command::{Action, Command};
use blixard_node::ids::{Epoch, Generation, NodeId, RequestId, Revision, VmId};
use blixard_node::request::{VmView, Write};
use blixard_node::spec::{Phase, Resources, VmName, Wanted};
use blixard_node::state::hash::hash_of;
use blixard_node::state::{State, Vm};
use blixard_node::time::WallMs;

use super::view::NodeView;
use super::volumes::Deletion;
use super::{Breach, placement};

#[derive(Debug, Default)]
pub(super) struct Replay {
    state: Option<State>,
    hash: u64,
    versions: BTreeMap<VmName, Vec<Version>>,
    executed: BTreeMap<RequestId, Revision>,
    taken: BTreeMap<NodeId, Resources>,
    /// Revisions up to the second, beyond the first, whose states were never seen one by one.
    gaps: Vec<(Revision, Revision)>,
    /// The newest state that a process opened on. One that carried entries out, wrote a snapshot of them and died before anybody heard of it
    /// leaves a disk on which the next opens, further than was seen.
    opened: Option<Revision>,
}

/// A VM from `revision` on; none when it was not there.
#[derive(Clone, Copy, Debug)]
struct Version {
    revision: Revision,
    facts: Option<Facts>,
}

/// Everything a client is shown of a VM but its spec beyond the resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) id: VmId,
    pub(super) generation: Generation,
    pub(super) wanted: Wanted,
    pub(super) deleting: bool,
    pub(super) assigned: Option<(NodeId, Epoch)>,
    pub(super) phase: Phase,
    reason: u64,
    since: WallMs,
    restarts: u32,
    observed_generation: Generation,
    resources: Resources,
}

impl Facts {
    fn of(vm: &Vm) -> Self {
        Self {
            id: vm.id,
            generation: vm.generation,
            wanted: vm.wanted,
            deleting: vm.deleting,
            assigned: vm.assigned,
            phase: vm.phase,
            reason: hash_of(vm.reason.as_str()),
            since: vm.since,
            restarts: vm.restarts,
            observed_generation: vm.observed_generation,
            resources: vm.spec.resources,
        }
    }

    pub(super) fn shown(view: &VmView) -> Self {
        Self {
            id: view.id,
            generation: view.generation,
            wanted: view.wanted,
            deleting: view.deleting,
            assigned: view.assigned,
            phase: view.phase,
            reason: hash_of(view.reason.as_str()),
            since: view.since,
            restarts: view.restarts,
            observed_generation: view.observed_generation,
            resources: view.spec.resources,
        }
    }
}

/// What an entry did that other checkers want to know of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// A host was given up.
    pub(super) lost: Option<NodeId>,
    /// A VM was deleted.
    pub(super) deleted: Option<(VmId, Deletion)>,
    /// A VM was given another spec.
    pub(super) updated: Option<VmId>,
    /// VMs that are assigned to a host no more.
    pub(super) freed: Vec<(VmId, NodeId)>,
}

impl Replay {
    /// Carries out what `node` has just carried out, unless another node had before.
    pub(super) fn applied(
        &mut self,
        node: &impl NodeView,
        revision: Revision,
        state_hash: u64,
    ) -> Result<Effect, Breach> {
        let Some(state) = &mut self.state else { return self.resync(node) };
        if revision <= state.revision {
            return Ok(Effect::default());
        }
        if revision.0 != state.revision.0 + 1 {
            return self.resync(node);
        }
        if state_hash == self.hash {
            // An entry without effect: a new leader's first, a change of members, a retry.
            state.revision = revision;
            return Ok(Effect::default());
        }
        match node.log_data(revision.0).map(decode_command) {
            None | Some(Err(_)) => self.resync(node),
            Some(Ok(command)) => self.carry_out(revision, &command, state_hash),
        }
    }

    fn carry_out(
        &mut self,
        revision: Revision,
        command: &Command,
        state_hash: u64,
    ) -> Result<Effect, Breach> {
        let Some(state) = &mut self.state else { return Ok(Effect::default()) };
        let names = names_in(state, command);
        let doomed = doomed(state, command);
        let before = updating(state, command);
        let seats = placement::seats(state, &names);
        state.apply(revision, command);
        let updated = before.filter(|before| updating(state, command) != Some(*before)).map(|(vm, _)| vm);
        let deleted = doomed.and_then(|vm| deletion(state, &vm, command));
        self.hash = state.hash();
        if self.hash != state_hash {
            let message = format!(
                "{revision} leads to hash {:016x} when carried out again, a node had {state_hash:016x}",
                self.hash
            );
            return Err(Breach::new("state-hash", message).index(revision.0));
        }
        if let Action::Client { id, .. } = command.action
            && let Some(first) = self.executed.insert(id, revision)
        {
            let message = format!("request {id:?} took effect at {first} and again at {revision}");
            return Err(Breach::new("exactly-once", message).index(revision.0));
        }
        placement::check(state, revision, &seats)?;
        let freed = placement::freed(state, &seats);
        self.note_versions(revision, names)?;
        let lost = match command.action {
            Action::LoseHost { node } => Some(node),
            _ => None,
        };
        Ok(Effect { lost, deleted, updated, freed })
    }

    /// Starts over from `node`'s state: what happened in between was not seen.
    fn resync(&mut self, node: &impl NodeView) -> Result<Effect, Breach> {
        let Some(fresh) = node.state() else { return Ok(Effect::default()) };
        let from = self.state.as_ref().map_or(Revision(0), |state| state.revision);
        if fresh.revision <= from {
            return Ok(Effect::default());
        }
        let (revision, state) = (fresh.revision, fresh.clone());
        self.gaps.push((from, revision));
        self.hash = state.hash();
        let mut names: Vec<VmName> = self.versions.keys().cloned().collect();
        names.extend(state.vms.keys().filter(|name| !self.versions.contains_key(*name)).cloned());
        self.state = Some(state);
        self.note_versions(revision, names)?;
        Ok(Effect::default())
    }

    fn note_versions(&mut self, revision: Revision, names: Vec<VmName>) -> Result<(), Breach> {
        let mut entered = Vec::new();
        for name in names {
            entered.extend(self.note_version(revision, name));
        }
        entered.into_iter().try_for_each(|host| self.within_capacity(revision, host))
    }

    /// The host that the VM was newly assigned to, if it was.
    fn note_version(&mut self, revision: Revision, name: VmName) -> Option<NodeId> {
        let new = self.state.as_ref()?.vms.get(&name).map(Facts::of);
        let versions = self.versions.entry(name).or_default();
        let old = versions.last().and_then(|version| version.facts);
        if old == new {
            return None;
        }
        versions.push(Version { revision, facts: new });
        let seat = |facts: &Facts| facts.assigned.map(|(node, _)| (node, facts.resources));
        let (left, entered) = (old.as_ref().and_then(seat), new.as_ref().and_then(seat));
        if left == entered {
            return None;
        }
        if let Some((node, resources)) = left {
            let taken = self.taken.entry(node).or_default();
            *taken = taken.minus(resources);
        }
        let (node, resources) = entered?;
        let taken = self.taken.entry(node).or_default();
        *taken = taken.plus(resources);
        Some(node)
    }

    fn within_capacity(&self, revision: Revision, node: NodeId) -> Result<(), Breach> {
        let taken = self.taken.get(&node).copied().unwrap_or_default();
        let host = self.state.as_ref().and_then(|state| state.hosts.get(&node));
        let message = match host {
            Some(host) if host.spec.capacity.holds(taken) => return Ok(()),
            Some(host) => {
                let offers = host.spec.capacity;
                format!("at {revision} VMs assigned to {node} take {taken:?}, it offers {offers:?}")
            }
            None => format!("at {revision} a VM is assigned to {node}, which is no member"),
        };
        Err(Breach::new("capacity", message).nodes([node]).index(revision.0))
    }

    /// Where a request took effect.
    pub(super) fn executed_at(&self, id: RequestId) -> Option<Revision> {
        self.executed.get(&id).copied()
    }

    /// The newest revision carried out.
    pub(super) fn revision(&self) -> Option<Revision> {
        self.state.as_ref().map(|state| state.revision)
    }

    /// A process of `node` has opened on its disk.
    pub(super) fn opened(&mut self, node: &impl NodeView) {
        self.opened = self.opened.max(node.state().map(|state| state.revision));
    }

    /// The newest entry that some node has carried out, seen or not.
    pub(super) fn carried_out_by_any(&self) -> Option<Revision> {
        self.revision().max(self.opened)
    }

    /// Whether the state at `revision` is known.
    pub(super) fn knows(&self, revision: Revision) -> bool {
        self.revision().is_some_and(|newest| revision <= newest)
            && !self.gaps.iter().any(|(from, to)| *from < revision && revision < *to)
    }

    /// Whether the entry at `revision` was carried out here: then it is known which request it executed.
    pub(super) fn carried_out(&self, revision: Revision) -> bool {
        self.revision().is_some_and(|newest| revision <= newest)
            && !self.gaps.iter().any(|(from, to)| *from < revision && revision <= *to)
    }

    /// How many revisions were never seen.
    pub(super) fn unseen(&self) -> u64 {
        self.gaps.iter().skip(1).map(|(from, to)| to.0 - from.0 - 1).sum()
    }

    /// Whether some entry was not carried out here, so that nobody knows what it asked for. The state before the first one does not count.
    pub(super) fn has_gaps(&self) -> bool {
        self.gaps.len() > 1
    }

    /// A VM as of `revision`.
    pub(super) fn vm_at(&self, name: &VmName, revision: Revision) -> Option<Facts> {
        version_at(self.versions.get(name)?, revision)
    }

    /// All VMs as of `revision`, by name.
    pub(super) fn vms_at(&self, revision: Revision) -> impl Iterator<Item = (&VmName, Facts)> {
        self.versions.iter().filter_map(move |(name, versions)| Some((name, version_at(versions, revision)?)))
    }
}

fn version_at(versions: &[Version], revision: Revision) -> Option<Facts> {
    // Most looks are at the newest state.
    versions.iter().rev().find(|version| version.revision <= revision)?.facts
}

/// The VM that a command may give another spec, with its generation.
fn updating(state: &State, command: &Command) -> Option<(VmId, Generation)> {
    match &command.action {
        Action::Client { write: Write::UpdateVm { name, .. }, .. } => {
            state.vms.get(name).map(|vm| (vm.id, vm.generation))
        }
        _ => None,
    }
}

/// The VM that a command may delete, as it was before.
fn doomed(state: &State, command: &Command) -> Option<Vm> {
    match &command.action {
        Action::Client { write: Write::DeleteVm { name, .. }, .. } => state.vms.get(name).cloned(),
        _ => None,
    }
}

/// What a command has changed for the volumes of `before`.
fn deletion(state: &State, before: &Vm, command: &Command) -> Option<(VmId, Deletion)> {
    let Action::Client { write: Write::DeleteVm { keep_volumes, .. }, .. } = &command.action else {
        return None;
    };
    let after = state.vms.get(&before.name).filter(|vm| vm.id == before.id);
    let deletion = match (before.deleting, keep_volumes) {
        (false, _) if after.is_some_and(|vm| !vm.deleting) => return None,
        (false, true) => Deletion::Keeps,
        (false, false) => Deletion::Purges,
        (true, true) if after.is_none_or(|vm| vm.purging.is_empty()) && !before.purging.is_empty() => {
            Deletion::Spares
        }
        (true, _) => return None,
    };
    Some((before.id, deletion))
}

/// The VMs that a command may change.
fn names_in(state: &State, command: &Command) -> Vec<VmName> {
    let on_host = |node: &NodeId| {
        let host = state.hosts.get(node);
        host.map(|host| host.vms.values().chain(host.purging.values()).cloned().collect())
    };
    match &command.action {
        Action::Client { write, .. } => match write {
            Write::CreateVm { name, .. }
            | Write::StartVm { name, .. }
            | Write::StopVm { name, .. }
            | Write::UpdateVm { name, .. }
            | Write::DeleteVm { name, .. } => vec![name.clone()],
            Write::CordonHost { .. } | Write::RemoveHost { .. } => Vec::new(),
        },
        Action::Assign { moves } => moves.iter().map(|placement| placement.name.clone()).collect(),
        Action::Report { node, reports } => {
            let Some(host) = state.hosts.get(node) else { return Vec::new() };
            let name = |id: &VmId| host.vms.get(id).or_else(|| host.purging.get(id)).cloned();
            reports.iter().filter_map(|report| name(&report.run.vm)).collect()
        }
        Action::LoseHost { node } | Action::RegainHost { node } => on_host(node).unwrap_or_default(),
        Action::AddHost { .. } | Action::DropHost { .. } | Action::RaiseLevel { .. } => Vec::new(),
    }
}

#[cfg(test)]
pub(super) mod tests;
