//! Ends that nobody asked for: how they are told, kept for the next agent, and mistaken for life.

use std::collections::BTreeMap;

use blixard_node::hypervisor::{Done, Exit, HypervisorError, Run, RunState, RunView};
use blixard_node::ids::{Epoch, VmId};
use blixard_node::time::{Duration, Time};

use super::{Call, Cause, Due, SimHypervisor};
use crate::hypervisor::HypervisorFaults;

/// An end in the hypervisor's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) run: Run,
    pub(super) exit: Exit,
    pub(super) words: &'static str,
}

/// A run that is dead and still listed: its socket is there, or its process id is another process's by now. Nobody was
/// there when it died; the next agent's hypervisor finds it out after `span`.
#[derive(Debug)]
struct Ghost {
    end: End,
    span: Duration,
    /// Tells it from a later one of the same VM, once its unmasking is planned.
    token: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// The last run of each VM if it ended unasked: told to each new agent until it acts on it.
    untold: BTreeMap<VmId, End>,
    ghosts: BTreeMap<VmId, Ghost>,
}

impl SimHypervisor {
    /// Sockets and records of runs that are dead.
    pub fn ghosts(&self) -> impl Iterator<Item = Run> {
        self.ends.ghosts.values().map(|ghost| ghost.end.run)
    }

    /// The epoch under which a run of this VM is alive here, or is thought to be.
    pub(super) fn epoch_there(&self, vm: VmId) -> Option<Epoch> {
        let ghost = || self.ends.ghosts.get(&vm).map(|ghost| ghost.end.run);
        self.runs.get(&vm).map(|slot| slot.run).or_else(ghost).map(|run| run.epoch)
    }

    pub(super) fn views(&self) -> Vec<RunView> {
        let ghosts = self.ghosts().map(|run| RunView { run, state: RunState::Running });
        let runs = self.runs.values().map(|slot| RunView { run: slot.run, state: slot.state });
        let mut views: Vec<RunView> = runs.chain(ghosts).collect();
        views.sort_by_key(|view| view.run);
        views
    }

    /// A run ended and nobody asked for it.
    pub(super) fn ended_unasked(&mut self, now: Time, run: Run, cause: Cause) {
        let Some((exit, words)) = self.words_for(cause) else { return };
        let end = End { run, exit, words };
        if self.happens("hypervisor.exit_silent", self.faults.exit_silent) {
            return;
        }
        let mut takes = self.faults.answer.draw(&mut self.rng);
        if self.happens_oddly("hypervisor.exit_late", self.faults.exit_late) {
            takes = takes + self.faults.exit_late_by.draw(&mut self.odd);
        }
        if !self.attached && self.becomes_ghost(end, cause) {
            return;
        }
        self.remember(now, end);
        self.schedule(now + takes, Due::Exited { process: self.process, end });
    }

    fn words_for(&mut self, cause: Cause) -> Option<(Exit, &'static str)> {
        let told = match cause {
            Cause::Stopped => return None,
            Cause::Deadline => (Exit::DeadlinePassed, "simulated: killed at its deadline"),
            Cause::GuestCrash => (Exit::Crashed, "simulated: the guest panicked"),
            Cause::GuestPowerOff => (Exit::PoweredOff, "simulated: the guest powered itself off"),
            Cause::SupervisorDeath => (Exit::Crashed, "simulated: its supervisor was killed"),
            Cause::Reboot => (Exit::Crashed, "simulated: the host was restarted"),
        };
        if cause == Cause::GuestCrash
            && self.happens_oddly("hypervisor.crash_as_reset", self.faults.crash_as_reset)
        {
            return Some((Exit::PoweredOff, "simulated: the guest was reset, exit status 0"));
        }
        let by_itself = matches!(cause, Cause::GuestCrash | Cause::GuestPowerOff);
        if by_itself && self.happens_oddly("hypervisor.exit_only_eof", self.faults.exit_only_eof) {
            return Some((Exit::Crashed, "simulated: the hypervisor hung up without a word"));
        }
        Some(told)
    }

    fn becomes_ghost(&mut self, end: End, cause: Cause) -> bool {
        let faults: &HypervisorFaults = &self.faults;
        let (stale, reused) = (faults.stale_socket, faults.pid_reused);
        let span = if self.happens_oddly("hypervisor.stale_socket", stale) {
            self.faults.stale_socket_for.draw(&mut self.odd)
        } else if cause != Cause::Reboot && self.happens_oddly("hypervisor.pid_reused", reused) {
            self.faults.pid_reused_for.draw(&mut self.odd)
        } else {
            return false;
        };
        self.ends.ghosts.insert(end.run.vm, Ghost { end, span, token: None });
        true
    }

    /// Writes an end down for the next agent, where there is space to.
    fn remember(&mut self, now: Time, end: End) {
        if self.has_space(now) {
            self.ends.untold.insert(end.run.vm, end);
        } else {
            self.count("hypervisor.no_space_for_exit");
        }
    }

    /// The VM is started anew.
    pub(super) fn forget_end_of(&mut self, vm: VmId) {
        self.ends.untold.remove(&vm);
    }

    /// A new agent is there: it is told of the ends since, and ghosts are looked at.
    pub(super) fn tell_ends(&mut self, now: Time) {
        let process = self.process;
        for end in self.ends.untold.values().copied().collect::<Vec<_>>() {
            self.schedule(now, Due::Exited { process, end });
        }
        let unplanned: Vec<(VmId, Duration)> = self
            .ends
            .ghosts
            .iter()
            .filter(|(_, ghost)| ghost.token.is_none())
            .map(|(vm, ghost)| (*vm, ghost.span))
            .collect();
        for (vm, span) in unplanned {
            let token = self.next_sequence();
            if let Some(ghost) = self.ends.ghosts.get_mut(&vm) {
                ghost.token = Some(token);
            }
            self.schedule(now + span, Due::FoundOut { vm, token });
        }
    }

    pub(super) fn found_out(&mut self, now: Time, vm: VmId, token: u64) {
        if self.ends.ghosts.get(&vm).is_some_and(|ghost| ghost.token == Some(token))
            && let Some(ghost) = self.ends.ghosts.remove(&vm)
        {
            self.remember(now, ghost.end);
            self.schedule(now, Due::Exited { process: self.process, end: ghost.end });
        }
    }

    /// Ghosts are found out at once from now on.
    pub(super) fn heal_ghosts(&mut self, now: Time) {
        for vm in self.ends.ghosts.keys().copied().collect::<Vec<_>>() {
            let token = self.next_sequence();
            if let Some(ghost) = self.ends.ghosts.get_mut(&vm) {
                ghost.token = Some(token);
            }
            self.schedule(now, Due::FoundOut { vm, token });
        }
    }

    /// The host reboots: no process id means anything any more.
    pub(super) fn unmask_ghosts(&mut self, now: Time) {
        for ghost in std::mem::take(&mut self.ends.ghosts).into_values() {
            self.remember(now, ghost.end);
        }
    }

    /// A stop of a run that is dead: harms nobody, whoever has its process id now.
    pub(super) fn stop_dead(&mut self, now: Time, call: Call, run: Run) {
        if self.ends.ghosts.get(&run.vm).is_some_and(|ghost| ghost.end.run == run) {
            self.ends.ghosts.remove(&run.vm);
        }
        if self.ends.untold.get(&run.vm).is_some_and(|end| end.run == run) {
            self.ends.untold.remove(&run.vm);
        }
        self.answer(now, call, Ok(Done::Stopped));
    }
}

pub(super) fn not_running() -> HypervisorError {
    HypervisorError::Uncertain { reason: "simulated: it does not run".into() }
}
