//! Carrying out commands. A pure function of state and command, and total: a command that does not fit the state is
//! answered with an error or skipped, it never panics.

use std::collections::BTreeSet;

use super::hash::hash_of;
use super::object::{Moment, PURGING};
use super::sessions::{Answer, Lookup};
use super::{Host, State, Vm};
use crate::command::{Action, Command, HostSpec, Place, Placement};
use crate::error::RequestError;
use crate::hypervisor::{ARTIFACT_LEN_MAX, VmReport};
use crate::ids::{Epoch, Generation, Incarnation, NodeId, RequestId, Revision, VmId};
use crate::level::Level;
use crate::request::Write;
use crate::spec::{Phase, VmName, Wanted};
use crate::time::WallMs;

/// What carrying out a command came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// For a client's command: its answer, or none when the decision inside no longer fits the state. Then nothing was done
    /// or remembered, and the leader decides anew.
    pub answer: Option<Answer>,
    /// Hosts whose assignment set has changed.
    pub touched: Vec<NodeId>,
}

/// One command at its place in the log.
struct Step<'a> {
    state: &'a mut State,
    revision: Revision,
    at: WallMs,
    touched: Vec<NodeId>,
}

impl State {
    /// Carries out the command at `revision`.
    pub fn apply(&mut self, revision: Revision, command: &Command) -> Applied {
        self.revision = revision;
        let mut step = Step { state: self, revision, at: command.at, touched: Vec::new() };
        let answer = step.run(&command.action);
        Applied { answer, touched: step.touched }
    }
}

/// A request's content, for telling a retry from a misused id.
#[must_use]
pub fn fingerprint(write: &Write) -> u64 {
    match write {
        Write::CreateVm { name, spec } => hash_of(&(1u8, name, spec)),
        Write::StartVm { name, generation } => hash_of(&(2u8, name, generation)),
        Write::StopVm { name, generation } => hash_of(&(3u8, name, generation)),
        Write::DeleteVm { name, generation, keep_volumes: false } => hash_of(&(4u8, name, generation)),
        Write::DeleteVm { name, generation, keep_volumes: true } => hash_of(&(8u8, name, generation)),
        Write::CordonHost { node, cordoned, reason } if reason.is_empty() => hash_of(&(5u8, node, cordoned)),
        Write::CordonHost { node, cordoned, reason } => hash_of(&(9u8, node, cordoned, reason)),
        Write::RemoveHost { node } => hash_of(&(6u8, node)),
        Write::UpdateVm { name, generation, spec } => hash_of(&(7u8, name, generation, spec)),
    }
}

impl Step<'_> {
    fn now(&self) -> Moment {
        Moment { revision: self.revision, at: self.at }
    }

    fn run(&mut self, action: &Action) -> Option<Answer> {
        match action {
            Action::Client { id, write, place } => return self.client(*id, write, place),
            Action::AddHost { node, incarnation, host } => self.add_host(*node, *incarnation, host),
            Action::DropHost { node } => self.drop_host(*node),
            Action::LoseHost { node } => self.lose_host(*node),
            Action::RegainHost { node } => self.regain_host(*node),
            Action::Assign { moves } => moves.iter().for_each(|placement| self.assign(placement)),
            Action::Report { node, reports } => self.reports(*node, reports),
            Action::RaiseLevel { to } => self.raise_level(*to),
        }
        None
    }

    fn client(&mut self, id: RequestId, write: &Write, place: &Place) -> Option<Answer> {
        let fingerprint = fingerprint(write);
        match self.state.sessions.lookup(id, fingerprint) {
            Lookup::New => {}
            _ if planted!(RetryCarriedOutTwice) => {}
            Lookup::Answered(answer) => return Some(answer),
            Lookup::Refused(error) => return Some(Err(error)),
        }
        let answer = self.write(write, place)?.map(|generation| (self.revision, generation));
        if planted!(RefusalsForgotten) && answer.is_err() {
            return Some(answer);
        }
        let settings = &self.state.settings;
        let (sessions_max, answers_max) = (settings.sessions_max, settings.answers_max);
        self.state.sessions.record(id, self.revision, fingerprint, answer.clone(), sessions_max, answers_max);
        Some(answer)
    }

    /// The VM's generation afterwards, or none to have the leader decide anew.
    fn write(&mut self, write: &Write, place: &Place) -> Option<Result<Generation, RequestError>> {
        if write.level() > self.state.level {
            return Some(Err(self.state.below_level(write)));
        }
        Some(match write {
            Write::CreateVm { name, spec } => self.create(name, spec),
            Write::StartVm { name, generation } => return self.start(name, *generation, place),
            Write::StopVm { name, generation } => self.stop(name, *generation),
            Write::DeleteVm { name, generation, keep_volumes } => {
                self.delete(name, *generation, *keep_volumes)
            }
            Write::CordonHost { node, cordoned, reason } => self.cordon(*node, *cordoned, reason),
            Write::RemoveHost { node } => self.remove_host(*node),
            Write::UpdateVm { name, generation, spec } => self.update(name, *generation, spec),
        })
    }

    fn create(
        &mut self,
        name: &VmName,
        spec: &std::sync::Arc<crate::spec::VmSpec>,
    ) -> Result<Generation, RequestError> {
        spec.validate().map_err(|reason| RequestError::BadSpec { reason })?;
        match self.state.vms.get(name) {
            Some(vm) if vm.deleting => return Err(RequestError::VmDeleting { name: name.clone() }),
            Some(_) => return Err(RequestError::VmExists { name: name.clone() }),
            None => {}
        }
        let max = self.state.settings.vms_max;
        if self.state.vms.len() as u64 >= max {
            return Err(RequestError::TooManyVms { max });
        }
        let vm = Vm::new(VmId(self.revision.0), name.clone(), spec.clone(), self.at);
        let generation = vm.generation;
        self.state.index_vm(vm);
        Ok(generation)
    }

    /// A new spec for a VM that is stopped, and known to be.
    fn update(
        &mut self,
        name: &VmName,
        expected: Option<Generation>,
        spec: &std::sync::Arc<crate::spec::VmSpec>,
    ) -> Result<Generation, RequestError> {
        spec.validate().map_err(|reason| RequestError::BadSpec { reason })?;
        let vm = self.find_living(name, expected)?;
        if vm.wanted == Wanted::Running || vm.assigned.is_some() {
            return Err(RequestError::VmNotStopped { name: name.clone() });
        }
        if vm.spec.local_volume && vm.last_host.is_some() && !spec.local_volume {
            let reason = "it has volumes on its host: local_volume cannot become false".into();
            return Err(RequestError::BadSpec { reason });
        }
        if vm.spec == *spec {
            return Ok(vm.generation);
        }
        let generation = Generation(vm.generation.0 + 1);
        self.state.with_vm(name, |vm| {
            vm.generation = generation;
            vm.observed_generation = generation;
            vm.respec(spec.clone());
        });
        Ok(generation)
    }

    fn find(&self, name: &VmName, expected: Option<Generation>) -> Result<&Vm, RequestError> {
        let vm = self.state.vms.get(name).ok_or_else(|| RequestError::VmUnknown { name: name.clone() })?;
        match expected {
            Some(expected) if expected != vm.generation && !planted!(GenerationIgnored) => {
                let (name, actual) = (name.clone(), vm.generation);
                Err(RequestError::GenerationConflict { name, expected, actual })
            }
            _ => Ok(vm),
        }
    }

    fn find_living(&self, name: &VmName, expected: Option<Generation>) -> Result<&Vm, RequestError> {
        let vm = self.find(name, expected)?;
        if vm.deleting { Err(RequestError::VmDeleting { name: name.clone() }) } else { Ok(vm) }
    }

    fn start(
        &mut self,
        name: &VmName,
        expected: Option<Generation>,
        place: &Place,
    ) -> Option<Result<Generation, RequestError>> {
        let vm = match self.find_living(name, expected) {
            Ok(vm) => vm,
            Err(error) => return Some(Err(error)),
        };
        if vm.wanted == Wanted::Running {
            return Some(Ok(vm.generation));
        }
        let target = match (vm.assigned, place) {
            (Some((node, _)), _) => Err(node),
            (None, Place::On(node)) if self.state.fits(vm, *node) || planted!(PlacementNotCheckedAgain) => {
                Ok(*node)
            }
            (None, Place::Nowhere(hosts)) => {
                return Some(Err(RequestError::NoRoom { name: name.clone(), hosts: hosts.clone() }));
            }
            (None, _) => return None,
        };
        let generation = Generation(vm.generation.0 + 1);
        let at = self.now();
        self.state.with_vm(name, |vm| {
            vm.generation = generation;
            vm.wanted = Wanted::Running;
            if let Ok(node) = target {
                assign_to(vm, node, at);
            }
        });
        let (Ok(node) | Err(node)) = target;
        self.touch(node);
        Some(Ok(generation))
    }

    fn stop(&mut self, name: &VmName, expected: Option<Generation>) -> Result<Generation, RequestError> {
        let vm = self.find_living(name, expected)?;
        if vm.wanted == Wanted::Stopped {
            return Ok(vm.generation);
        }
        let generation = Generation(vm.generation.0 + 1);
        self.unwant(name, generation, None);
        Ok(generation)
    }

    fn delete(
        &mut self,
        name: &VmName,
        expected: Option<Generation>,
        keep_volumes: bool,
    ) -> Result<Generation, RequestError> {
        let vm = self.find(name, expected)?;
        let purging = if keep_volumes { BTreeSet::new() } else { self.to_purge(vm) };
        if vm.deleting {
            let generation = vm.generation;
            if keep_volumes {
                self.spare(name);
            }
            return Ok(generation);
        }
        let generation = Generation(vm.generation.0 + 1);
        self.unwant(name, generation, Some(purging));
        Ok(generation)
    }

    /// The hosts that may keep something of the VM. A lost one is waited for only if the VM's local volume is there.
    fn to_purge(&self, vm: &Vm) -> BTreeSet<NodeId> {
        let waited_for = |node: &NodeId| {
            self.state.hosts.get(node).is_some_and(|host| !host.lost || vm.home() == Some(*node))
        };
        let counts = |node: &NodeId| !planted!(EarlierHostsForgotten) || vm.last_host == Some(*node);
        vm.hosts.iter().copied().filter(waited_for).filter(counts).collect()
    }

    /// A VM that is being deleted leaves its volumes where they are after all.
    fn spare(&mut self, name: &VmName) {
        let Some(vm) = self.state.vms.get(name) else { return };
        let hosts = vm.purging.clone();
        self.state.with_vm(name, |vm| vm.purging.clear());
        hosts.into_iter().for_each(|node| self.touch(node));
    }

    /// Wants the VM stopped, and deleted with its volumes removed on the hosts in `delete`. It keeps its host until that has confirmed that
    /// nothing runs, unless the host is lost: then its lease has ended, and nothing runs.
    fn unwant(&mut self, name: &VmName, generation: Generation, delete: Option<BTreeSet<NodeId>>) {
        let Some(vm) = self.state.vms.get(name) else { return };
        let host = vm.assigned.map(|(node, _)| node);
        let lives = host.and_then(|node| self.state.hosts.get(&node)).is_some_and(|host| !host.lost);
        let at = self.now();
        let touched: BTreeSet<NodeId> = host.into_iter().chain(delete.iter().flatten().copied()).collect();
        self.state.with_vm(name, |vm| {
            vm.generation = generation;
            vm.wanted = Wanted::Stopped;
            vm.deleting = delete.is_some();
            vm.purging = delete.unwrap_or_default();
            if !lives {
                vm.assigned = None;
                vm.observed_generation = generation;
                vm.stands(Phase::Stopped, "", at);
            }
        });
        if !planted!(StopNotTold) {
            touched.into_iter().for_each(|node| self.touch(node));
        }
        self.explain_purge(name);
    }

    /// Says what a deleted VM that runs nowhere is still waiting for.
    fn explain_purge(&mut self, name: &VmName) {
        let at = self.now();
        let Some(vm) = self.state.vms.get(name).filter(|vm| vm.deleting && vm.assigned.is_none()) else {
            return;
        };
        let lost = |node: &&NodeId| self.state.hosts.get(node).is_none_or(|host| host.lost);
        let (phase, reason) = match vm.purging.iter().find(lost) {
            Some(node) => (Phase::Lost, format!("waiting for {node} to remove its volumes")),
            None => (Phase::Stopping, PURGING.to_owned()),
        };
        self.state.with_vm(name, |vm| vm.stands(phase, reason, at));
    }

    fn cordon(&mut self, node: NodeId, cordoned: bool, reason: &str) -> Result<Generation, RequestError> {
        if !self.state.hosts.contains_key(&node) {
            return Err(RequestError::HostUnknown { node });
        }
        self.state.with_host(node, |host| {
            host.cordoned = cordoned;
            host.cordon_reason = if cordoned { reason.to_owned() } else { String::new() };
        });
        Ok(Generation(0))
    }

    fn remove_host(&mut self, node: NodeId) -> Result<Generation, RequestError> {
        let host = self.state.hosts.get(&node).ok_or(RequestError::HostUnknown { node })?;
        let others = self.state.hosts.iter().any(|(other, host)| *other != node && !host.leaving);
        if !others {
            return Err(RequestError::LastVoter { node });
        }
        let homeless = self.state.at_home_on(node).filter(|vm| vm.assigned.is_none() && !vm.deleting).count();
        let purging = host.purging.keys().filter(|vm| !host.vms.contains_key(vm)).count();
        let vms = (host.vms.len() + homeless + purging) as u64;
        if vms > 0 {
            return Err(RequestError::HostBusy { node, vms });
        }
        self.state.with_host(node, |host| host.leaving = true);
        Ok(Generation(0))
    }

    fn drop_host(&mut self, node: NodeId) {
        if self.state.hosts.get(&node).is_some_and(|host| host.leaving && host.is_empty()) {
            self.state.remove_host(node);
        }
    }

    fn add_host(&mut self, node: NodeId, incarnation: Incarnation, spec: &HostSpec) {
        if self.state.removed.contains(&node) || self.state.is_too_old(spec.level()) {
            return;
        }
        match self.state.hosts.get(&node) {
            None => self.state.insert_host(node, Host::new(spec.clone(), incarnation, self.revision)),
            Some(host) if host.incarnation == incarnation && host.spec != *spec => {
                self.state.with_host(node, |host| {
                    let capacity =
                        if spec.capacity.holds(host.used) { spec.capacity } else { host.spec.capacity };
                    host.spec = HostSpec { capacity, ..spec.clone() };
                });
            }
            Some(_) => {}
        }
    }

    /// The leader saw every member announce it; what has come in between counts.
    fn raise_level(&mut self, to: Level) {
        if to <= self.state.announced_by_all() {
            self.state.level = self.state.level.max(to);
        }
    }

    fn lose_host(&mut self, node: NodeId) {
        let Some(host) = self.state.hosts.get(&node).filter(|host| !host.lost) else { return };
        let names: BTreeSet<VmName> = host.vms.values().chain(host.purging.values()).cloned().collect();
        self.state.with_host(node, |host| host.lost = true);
        self.touch(node);
        let at = self.now();
        for name in names {
            self.state.with_vm(&name, |vm| {
                if vm.wanted == Wanted::Running {
                    let reason =
                        if vm.may_move() { format!("{node} is lost") } else { format!("waiting for {node}") };
                    vm.stands(Phase::Lost, reason, at);
                } else if vm.assigned.is_some_and(|(host, _)| host == node) {
                    vm.assigned = None;
                    vm.observed_generation = vm.generation;
                    vm.stands(Phase::Stopped, "", at);
                }
                if vm.home() != Some(node) {
                    vm.purging.remove(&node);
                }
            });
            self.explain_purge(&name);
        }
    }

    fn regain_host(&mut self, node: NodeId) {
        let Some(host) = self.state.hosts.get(&node).filter(|host| host.lost) else { return };
        let names: BTreeSet<VmName> = host.vms.values().chain(host.purging.values()).cloned().collect();
        self.state.with_host(node, |host| host.lost = false);
        self.touch(node);
        for name in names {
            self.state.with_vm(&name, |_| {});
            self.explain_purge(&name);
        }
    }

    fn assign(&mut self, placement: &Placement) {
        let Some(vm) = self.state.vms.get(&placement.name) else { return };
        let same = vm.id == placement.vm && vm.epoch == placement.epoch;
        if !same || !self.state.is_unplaced(vm) || !self.state.fits(vm, placement.to) {
            return;
        }
        let old = vm.assigned.map(|(node, _)| node);
        let at = self.now();
        self.state.with_vm(&placement.name, |vm| {
            assign_to(vm, placement.to, at);
        });
        if let Some(node) = old {
            self.touch(node);
        }
        self.touch(placement.to);
    }

    fn reports(&mut self, node: NodeId, reports: &[VmReport]) {
        let Some(host) = self.state.hosts.get(&node).filter(|host| !host.lost) else { return };
        let named = |report: &VmReport| {
            let vm = report.run.vm;
            host.vms.get(&vm).or_else(|| host.purging.get(&vm)).cloned()
        };
        let named: Vec<_> = reports.iter().filter_map(|report| Some((named(report)?, report))).collect();
        for (name, report) in named {
            self.report(node, &name, report);
        }
    }

    /// Takes what an agent says of a run. A stop frees the host only if the agent acted on the newest generation: an older stop may
    /// have been followed by a start.
    fn report(&mut self, node: NodeId, name: &VmName, report: &VmReport) {
        let Some(vm) = self.state.vms.get(name) else { return };
        if report.generation > vm.generation || report.run.epoch != vm.epoch {
            return;
        }
        if vm.assigned.is_none_or(|(host, _)| host != node) {
            return self.report_of_purge(node, name, report);
        }
        let confirmed = vm.wanted == Wanted::Stopped
            && report.phase == Phase::Stopped
            && (report.generation == vm.generation || planted!(OldStopFreesHost));
        // The first host that has built it decides what runs, until the spec changes.
        let pins = vm.artifact.is_none()
            && report.artifact.as_ref().is_some_and(|artifact| artifact.len() <= ARTIFACT_LEN_MAX)
            && report.generation == vm.generation;
        let at = self.now();
        self.state.with_vm(name, |vm| {
            if vm.phase != report.phase || vm.reason != report.reason {
                vm.stands(report.phase, report.reason.clone(), at);
            }
            vm.restarts = report.restarts;
            vm.observed_generation = report.generation;
            if pins {
                vm.artifact.clone_from(&report.artifact);
            }
            if confirmed {
                vm.assigned = None;
                vm.purging.remove(&node);
            }
        });
        if confirmed || pins {
            self.touch(node);
        }
        if confirmed {
            self.explain_purge(name);
        }
    }

    /// Takes what the agent of a host that once ran a deleted VM says of it.
    fn report_of_purge(&mut self, node: NodeId, name: &VmName, report: &VmReport) {
        let Some(vm) = self.state.vms.get(name).filter(|vm| vm.purging.contains(&node)) else { return };
        let done = report.phase == Phase::Stopped && report.generation == vm.generation;
        let at = self.now();
        if done {
            self.state.with_vm(name, |vm| {
                vm.purging.remove(&node);
            });
            self.touch(node);
            self.explain_purge(name);
        } else if let Some(complaint) = vm.purge_complaint(node, report) {
            self.state.with_vm(name, |vm| vm.stands(Phase::Stopping, complaint, at));
        }
    }

    /// Marks that `node`'s assignment set is another one from this revision on.
    fn touch(&mut self, node: NodeId) {
        let revision = self.revision;
        self.state.with_host(node, |host| host.set_revision = revision);
        if !self.touched.contains(&node) {
            self.touched.push(node);
        }
    }
}

fn assign_to(vm: &mut Vm, node: NodeId, at: Moment) {
    vm.epoch = Epoch(vm.epoch.0 + u64::from(!planted!(EpochNotRaised)));
    vm.assigned = Some((node, vm.epoch));
    vm.last_host = Some(node);
    vm.hosts.insert(node);
    vm.restarts = 0;
    vm.stands(Phase::Pending, format!("assigned to {node}"), at);
}
