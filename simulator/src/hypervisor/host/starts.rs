//! Starts: refused, failing, uncertain, never ready; and what fate a run is given with its life.

use blixard_node::hypervisor::{Done, HypervisorError, Run, RunState};
use blixard_node::ids::VmId;
use blixard_node::spec::{Resources, VmSpec};
use blixard_node::time::Time;

use super::{Call, Cause, Due, SimHypervisor, Slot, StartFate, start_error, uncertain};
use crate::hypervisor::Fact;

impl SimHypervisor {
    /// Why a start is refused at once.
    pub(super) fn refusal(
        &self,
        now: Time,
        run: Run,
        spec: &VmSpec,
        artifact: Option<&str>,
        deadline: Time,
    ) -> Option<HypervisorError> {
        if let Some(epoch) = self.epoch_there(run.vm) {
            return Some(HypervisorError::AlreadyRunning { epoch });
        }
        if deadline <= self.clock.local_at(now) {
            return Some(HypervisorError::DeadlinePassed);
        }
        self.check_prepared(now, run, spec, artifact)
    }

    pub(super) fn start(&mut self, now: Time, call: Call, run: Run, resources: Resources, deadline: Time) {
        let mut takes = self.faults.start.draw(&mut self.rng);
        if self.happens("hypervisor.start_slow", self.faults.start_slow) {
            takes = takes + self.faults.start_slow_by.draw(&mut self.rng);
        }
        let fate = self.draw_start_fate();
        let token = self.next_sequence();
        let slot = Slot {
            run,
            token,
            watch: 0,
            state: RunState::Starting,
            alive: false,
            resources,
            deadline,
            start: Some((call, fate)),
            stops: Vec::new(),
            deaf: false,
            cannot_ask: self.happens_oddly("hypervisor.stop_unsupported", self.faults.stop_unsupported),
        };
        self.forget_end_of(run.vm);
        self.runs.insert(run.vm, slot);
        self.schedule(now + takes, Due::StartEnds { vm: run.vm, token });
        self.watch_deadline(now, run.vm);
    }

    pub(super) fn draw_start_fate(&mut self) -> StartFate {
        if self.happens("hypervisor.start_fails", self.faults.start_fails) {
            StartFate::Fails
        } else if self.happens("hypervisor.start_uncertain", self.faults.start_uncertain) {
            if self.rng.ratio(1, 2) { StartFate::UncertainAlive } else { StartFate::UncertainDead }
        } else if self.happens_oddly("hypervisor.never_ready", self.faults.never_ready) {
            StartFate::NeverReady
        } else {
            StartFate::Works
        }
    }

    pub(super) fn start_ends(&mut self, now: Time, vm: VmId, token: u64) {
        let Some(slot) = self.runs.get_mut(&vm).filter(|slot| slot.token == token) else {
            return;
        };
        let Some((call, fate)) = slot.start.take() else { return };
        let local = self.clock.local_at(now);
        let error = match fate {
            _ if !slot.stops.is_empty() => Some(start_error("it was stopped while it started")),
            _ if slot.deadline <= local => Some(HypervisorError::DeadlinePassed),
            StartFate::Fails => Some(start_error("no memory left")),
            StartFate::UncertainDead => Some(uncertain()),
            StartFate::Works | StartFate::NeverReady | StartFate::UncertainAlive => None,
        };
        if let Some(error) = error {
            self.answer(now, call, Err(error));
            return self.end_run(now, vm, Cause::Stopped);
        }
        slot.alive = true;
        // One that never gets ready stays listed as starting, and its start is completed by its end.
        slot.start = Some((call, fate));
        let run = slot.run;
        let fact = Fact::RunStarted { run, resources: slot.resources, local, deadline: slot.deadline };
        self.tell_artifact(now, run);
        self.tell(now, fact);
        if !matches!(fate, StartFate::NeverReady) {
            self.becomes_ready(now, vm);
        }
        self.draw_fate(now, vm, token);
    }

    /// The start of a living run is completed.
    pub(super) fn becomes_ready(&mut self, now: Time, vm: VmId) {
        let Some(slot) = self.runs.get_mut(&vm) else { return };
        let Some((call, fate)) = slot.start.take() else { return };
        if slot.state == RunState::Starting {
            slot.state = RunState::Running;
        }
        let uncertain_of_it = matches!(fate, StartFate::UncertainAlive);
        self.answer(now, call, if uncertain_of_it { Err(uncertain()) } else { Ok(Done::Started) });
    }

    /// Whether and how the new run will end unasked.
    pub(super) fn draw_fate(&mut self, now: Time, vm: VmId, token: u64) {
        let fates = [
            (self.faults.guest_crashes, Cause::GuestCrash),
            (self.faults.guest_powers_off, Cause::GuestPowerOff),
            (self.faults.supervisor_dies, Cause::SupervisorDeath),
        ];
        for (ratio, cause) in fates {
            if ratio.draw(&mut self.rng) {
                let at = now + self.faults.lifetime.draw(&mut self.rng);
                return self.schedule(at, Due::Dies { vm, token, cause });
            }
        }
        let deafening = [
            (self.faults.guest_wedges, "hypervisor.guest_wedges"),
            (self.faults.control_stolen, "hypervisor.control_stolen"),
        ];
        for (ratio, name) in deafening {
            if ratio.draw(&mut self.odd) {
                let at = now + self.faults.lifetime.draw(&mut self.odd);
                self.schedule(at, Due::Deafens { vm, token, name });
            }
        }
    }
}
