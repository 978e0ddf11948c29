//! What a host builds and keeps for its VMs. It stays when the host reboots.

use std::collections::BTreeMap;

use blixard_node::hypervisor::{Done, HypervisorError, Run};
use blixard_node::ids::VmId;
use blixard_node::rng::Rng;
use blixard_node::spec::VmSpec;
use blixard_node::state::hash::hash_of;
use blixard_node::time::Time;

use super::{Answer, Call, SimHypervisor};
use crate::hypervisor::Fact;

/// Tells which VMs are of a kind that is built, the same on every host.
const BUILT: u64 = 0xb01d;

/// The host's share of builds and volumes.
#[derive(Debug, Default)]
pub(super) struct Building {
    /// What is kept for each VM that was prepared here.
    kept: BTreeMap<VmId, Kept>,
    /// A build holds the store's lock until then.
    locked_until: Time,
    /// The disk for builds, volumes and records has no space left until then.
    full_until: Time,
}

#[derive(Debug)]
struct Kept {
    /// What it was made from, as a hash.
    spec: u64,
    /// What was agreed upon when it was built; a start that wants anything else is refused.
    asked: Option<String>,
    /// What it would run, if it is of a kind that is built.
    artifact: Option<String>,
}

impl SimHypervisor {
    /// The VMs that something is kept for on this host.
    pub fn kept(&self) -> impl Iterator<Item = VmId> {
        self.building.kept.keys().copied()
    }

    pub(super) fn prepare(&mut self, now: Time, call: Call, run: Run, spec: &VmSpec, pinned: Option<&str>) {
        if let Some(error) = unknown(spec) {
            return self.answer(now, call, Err(error));
        }
        let mut takes = self.faults.prepare.draw(&mut self.rng);
        if self.happens("hypervisor.prepare_slow", self.faults.prepare_slow) {
            takes = takes + self.faults.prepare_slow_by.draw(&mut self.rng);
        }
        let fails = self.happens("hypervisor.prepare_fails", self.faults.prepare_fails);
        let begins = now.max(self.building.locked_until);
        if begins > now {
            self.count("hypervisor.prepare_waited_for_lock");
        }
        if self.happens_oddly("hypervisor.prepare_locks", self.faults.prepare_locks) {
            takes = takes + self.faults.prepare_slow_by.draw(&mut self.odd);
            self.building.locked_until = begins + takes;
        }
        if self.happens_oddly("hypervisor.no_space", self.faults.no_space) {
            self.building.full_until = now + self.faults.no_space_for.draw(&mut self.odd);
        }
        let answer = if fails {
            Err(prepare_error("the build failed"))
        } else if now < self.building.full_until {
            let what = if self.odd.ratio(1, 2) { "the build's folder" } else { "the volumes' folder" };
            Err(prepare_error(&format!("no space left on device in {what}")))
        } else if self.happens_oddly("hypervisor.prepare_times_out", self.faults.prepare_times_out) {
            takes = takes + self.faults.prepare_slow_by.draw(&mut self.odd);
            Err(prepare_error("the build took too long and was ended"))
        } else {
            self.build(run, spec, pinned)
        };
        self.answer(begins + takes, call, answer);
    }

    /// Builds the VM: the same as everywhere, unless this host's build is not reproducible.
    fn build(&mut self, run: Run, spec: &VmSpec, pinned: Option<&str>) -> Answer {
        let own = self.is_built(run.vm).then(|| format!("sim-{:016x}", hash_of(&(run.vm, spec))));
        let differs =
            own.is_some() && self.happens_oddly("hypervisor.builds_differ", self.faults.builds_differ);
        let built = match (own, pinned) {
            (Some(own), _) if differs => Some(format!("{own}-as-on-{}", self.host)),
            (Some(_), Some(pinned)) if pinned.starts_with("sim-") => Some(pinned.to_owned()),
            (own, _) => own,
        };
        if let Some(pinned) = pinned
            && built.as_deref() != Some(pinned)
        {
            // A backend may see for itself that this is not what was agreed upon, or leave that to the agent.
            if !differs || self.odd.ratio(1, 2) {
                let built = built.as_deref().unwrap_or("nothing");
                return Err(prepare_error(&format!(
                    "{pinned} was agreed upon, and this host builds {built}"
                )));
            }
        }
        let asked = pinned.map(str::to_owned).or_else(|| built.clone());
        self.building.kept.insert(run.vm, Kept { spec: hash_of(spec), asked, artifact: built.clone() });
        Ok(Done::Prepared { artifact: built })
    }

    fn is_built(&self, vm: VmId) -> bool {
        self.faults.builds.draw(&mut Rng::new(vm.0, BUILT))
    }

    /// Whether the VM can be started as its hosts have agreed.
    pub(super) fn check_prepared(
        &self,
        now: Time,
        run: Run,
        spec: &VmSpec,
        pinned: Option<&str>,
    ) -> Option<HypervisorError> {
        if let Some(error) = unknown(spec) {
            return Some(error);
        }
        match self.building.kept.get(&run.vm) {
            None => Some(prepare_error("the VM was not prepared on this host")),
            Some(kept) if kept.spec != hash_of(spec) => {
                Some(prepare_error("another spec of the VM was prepared on this host"))
            }
            Some(kept) if kept.asked.as_deref() != pinned => {
                let (kept, pinned) =
                    (kept.artifact.as_deref().unwrap_or("nothing"), pinned.unwrap_or("nothing"));
                Some(prepare_error(&format!("this host has built {kept}, not {pinned}")))
            }
            Some(_) if now < self.building.full_until => {
                Some(super::start_error("no space left on device for the run's record"))
            }
            Some(_) => None,
        }
    }

    /// What a run of this VM executes.
    pub(super) fn tell_artifact(&mut self, now: Time, run: Run) {
        if let Some(Kept { artifact: Some(artifact), .. }) = self.building.kept.get(&run.vm) {
            let artifact = hash_of(artifact.as_str());
            self.tell(now, Fact::Executes { run, artifact });
        }
    }

    /// Whether the end of a run can be written down.
    pub(super) fn has_space(&self, now: Time) -> bool {
        now >= self.building.full_until
    }

    pub(super) fn heal_building(&mut self) {
        self.building.locked_until = Time(0);
        self.building.full_until = Time(0);
    }

    pub(super) fn purge(&mut self, now: Time, call: Call, run: Run) {
        if let Some(epoch) = self.epoch_there(run.vm) {
            return self.answer(now, call, Err(HypervisorError::AlreadyRunning { epoch }));
        }
        if self.happens_oddly("hypervisor.purge_fails", self.faults.purge_fails) {
            let reason = "simulated: a volume is busy".into();
            return self.answer(now, call, Err(HypervisorError::Uncertain { reason }));
        }
        self.building.kept.remove(&run.vm);
        self.tell(now, Fact::Purged { run });
        self.answer(now, call, Ok(Done::Purged));
    }
}

fn unknown(spec: &VmSpec) -> Option<HypervisorError> {
    let name = &spec.hypervisor;
    (name != "sim").then(|| HypervisorError::NoBackend { name: name.clone() })
}

fn prepare_error(reason: &str) -> HypervisorError {
    HypervisorError::Prepare { reason: format!("simulated: {reason}") }
}
