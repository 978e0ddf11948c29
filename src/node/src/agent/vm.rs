//! One VM on this host: what is assigned, what runs, and the operation that brings them together.

use std::collections::BTreeMap;

use crate::hypervisor::{Exit, Run, VmReport};
use crate::ids::OpId;
use crate::message::Assignment;
use crate::spec::{Phase, Wanted};
use crate::time::Time;

/// An operation under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Prepare(Run),
    Start(Run),
    /// A stop or a kill.
    Stop(Run),
    Purge(Run),
    List,
    /// Never completed, so never kept.
    Extend,
}

/// What the hypervisor has of a VM, as far as the agent knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Nothing runs and nothing is under way.
    Idle,
    /// What it needs is being built.
    Preparing(OpId),
    /// A start is under way: it may be alive.
    Starting(Run, OpId),
    /// It is alive.
    Running(Run),
    /// A stop or a kill is under way: it may be alive.
    Stopping(Run, OpId),
    /// Nothing runs; what it keeps here is being removed.
    Purging(OpId),
    /// Nobody can tell; the next list will.
    Unknown(Run),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Local {
    assigned: Option<Assignment>,
    pub(super) stand: Stand,
    /// When it came to stand so.
    pub(super) since: Time,
    /// The operation submitted last.
    pub(super) newest_op: OpId,
    /// The newest run that was started and whose end no completed stop has confirmed.
    pub(super) unconfirmed: Option<Run>,
    pub(super) prepared: bool,
    /// What it kept here has been removed, and nothing was prepared since.
    pub(super) purged: bool,
    /// What the preparation has built, by name.
    pub(super) artifact: Option<String>,
    /// The run whose guest its hypervisor has no way to ask to power off.
    pub(super) unaskable: Option<Run>,
    /// The stop under way ends a guest that did not get ready.
    pub(super) given_up: bool,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Not to be tried before.
    pub(super) retry_at: Option<Time>,
    /// The guest ended and the policy leaves it so.
    pub(super) exited: bool,
    pub(super) reason: String,
    pub(super) restarts: u32,
    pub(super) started_once: bool,
    /// Its end was told before this agent knew what it was assigned to.
    pub(super) ended_unheard: Option<(Run, Exit, String)>,
}

impl Local {
    pub(super) fn new(assignment: Assignment) -> Self {
        Self { assigned: Some(assignment), ..Self::found(Stand::Idle, Time(0)) }
    }

    /// A run that was there before this agent.
    pub(super) fn found(stand: Stand, since: Time) -> Self {
        Self {
            assigned: None,
            stand,
            since,
            newest_op: OpId(0),
            unconfirmed: None,
            prepared: false,
            purged: false,
            artifact: None,
            unaskable: None,
            given_up: false,
            failures: 0,
            retry_at: None,
            exited: false,
            reason: String::new(),
            restarts: 0,
            started_once: false,
            ended_unheard: None,
        }
    }

    pub(super) fn assignment(&self) -> Option<&Assignment> {
        self.assigned.as_ref()
    }

    pub(super) fn is_assigned(&self) -> bool {
        self.assigned.is_some()
    }

    /// Takes an assignment; another epoch or generation begins with a clean slate.
    pub(super) fn assign(&mut self, assignment: Assignment, now: Time) {
        let old = self.assigned.as_ref();
        if old.is_none_or(|old| old.run != assignment.run) {
            self.restarts = 0;
            self.started_once = false;
        }
        if old.is_none_or(|old| (old.run, old.generation) != (assignment.run, assignment.generation)) {
            self.failures = 0;
            self.retry_at = None;
            self.exited = false;
            self.reason.clear();
        }
        if old.is_some_and(|old| old.spec != assignment.spec) {
            self.prepared = false;
            self.artifact = None;
        }
        let run = assignment.run;
        self.assigned = Some(assignment);
        if let Some((ended, exit, reason)) = self.ended_unheard.take()
            && ended == run
            && self.stand == Stand::Idle
        {
            self.ended(exit, &reason, now);
        }
    }

    pub(super) fn unassign(&mut self) {
        self.assigned = None;
        self.retry_at = None;
        self.exited = false;
    }

    /// The run that may be alive.
    pub(super) fn run(&self) -> Option<Run> {
        match self.stand {
            Stand::Idle | Stand::Preparing(_) | Stand::Purging(_) => None,
            Stand::Starting(run, _) | Stand::Running(run) | Stand::Stopping(run, _) | Stand::Unknown(run) => {
                Some(run)
            }
        }
    }

    /// The run whose deadline moves with the lease: alive, assigned, and wanted.
    pub(super) fn run_to_extend(&self) -> Option<Run> {
        let assigned = self.assigned.as_ref()?;
        self.run().filter(|run| *run == assigned.run)
    }

    pub(super) fn retry_at(&self) -> Option<Time> {
        self.retry_at.filter(|_| (self.wants_to_run() || self.is_to_purge()) && self.stand == Stand::Idle)
    }

    /// Whether it is deleted and keeps something here.
    pub(super) fn is_to_purge(&self) -> bool {
        self.assigned.as_ref().is_some_and(|assigned| assigned.purge) && !self.purged
    }

    pub(super) fn wants_to_run(&self) -> bool {
        self.assigned.as_ref().is_some_and(|assigned| assigned.wanted == Wanted::Running) && !self.exited
    }

    /// What the leader is told. `Stopped` means: nothing of this VM is alive here, nor under way to be; of a VM to be purged also: it keeps
    /// nothing here.
    pub(super) fn report(&self) -> Option<VmReport> {
        let assigned = self.assigned.as_ref()?;
        let confirmed = self.unconfirmed.is_none() && (!self.is_to_purge() || planted!(StoppedBeforePurged));
        let phase = match (self.stand, assigned.wanted) {
            (Stand::Idle | Stand::Preparing(_) | Stand::Purging(_), Wanted::Stopped) if confirmed => {
                Phase::Stopped
            }
            (Stand::Stopping(..), Wanted::Stopped) if planted!(StopNotAwaited) => Phase::Stopped,
            (Stand::Idle | Stand::Purging(_), Wanted::Stopped) => Phase::Stopping,
            (Stand::Idle, Wanted::Running) if self.exited => Phase::Exited,
            (Stand::Idle, Wanted::Running) if self.failures > 0 => Phase::Failed,
            (Stand::Idle, Wanted::Running) => Phase::Pending,
            (Stand::Preparing(_), _) => Phase::Preparing,
            (Stand::Purging(_), Wanted::Running) => Phase::Pending,
            (Stand::Running(_), Wanted::Running) => Phase::Running,
            (Stand::Starting(..), Wanted::Running) => Phase::Starting,
            (Stand::Unknown(_), Wanted::Running) => Phase::Starting,
            (_, Wanted::Stopped) => Phase::Stopping,
            (Stand::Stopping(..), Wanted::Running) => Phase::Stopping,
        };
        let reason = match phase {
            Phase::Failed | Phase::Exited => self.reason.clone(),
            Phase::Stopping if self.is_to_purge() => self.reason.clone(),
            _ => String::new(),
        };
        Some(VmReport {
            run: assigned.run,
            generation: assigned.generation,
            phase,
            reason,
            restarts: self.restarts,
            artifact: self.artifact.clone(),
        })
    }

    pub(super) fn check(&self, ops: &BTreeMap<OpId, Op>) {
        match self.stand {
            Stand::Preparing(op) => {
                assert!(matches!(ops.get(&op), Some(Op::Prepare(_))), "invariant: {op} prepares");
            }
            Stand::Starting(run, op) => {
                assert_eq!(ops.get(&op), Some(&Op::Start(run)), "invariant: {op} starts");
            }
            Stand::Stopping(run, op) => {
                assert_eq!(ops.get(&op), Some(&Op::Stop(run)), "invariant: {op} stops");
            }
            Stand::Purging(op) => {
                assert!(matches!(ops.get(&op), Some(Op::Purge(_))), "invariant: {op} purges");
            }
            Stand::Idle | Stand::Running(_) | Stand::Unknown(_) => {}
        }
        assert!(
            self.assigned
                .as_ref()
                .is_none_or(|assigned| !assigned.purge || assigned.wanted == Wanted::Stopped),
            "invariant: what is to run is not to be purged"
        );
    }
}
