//! Bringing what runs in line with what is assigned, and taking in what the hypervisor says.
//!
//! Only a completed stop, or a list that was asked for after the stop, is believed when it comes to telling the leader that a
//! VM is stopped. An exit that came unasked may be late news of an earlier start under the same epoch; it leads to a
//! restart at most, which the hypervisor refuses while the VM is alive.

use std::collections::BTreeMap;

use super::vm::{Local, Op, Stand};
use super::{Agent, LIST_EVERY};
use crate::context::Context;
use crate::hypervisor::{
    Done, Exit, HypervisorError, HypervisorRequest, REASON_LEN_MAX, Run, RunState, RunView, VmEvent,
};
use crate::ids::{OpId, VmId};
use crate::probes::Probe;
use crate::spec::{RestartPolicy, Wanted};
use crate::time::{Duration, Time};
use crate::timers::backoff;

/// How long a guest may take to power off.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// A stop not completed for this long is asked for again.
const STOP_REPEAT: Duration = Duration::from_secs(15);
/// A preparation not completed for this long is asked for again; the backend knows it by its run.
const PREPARE_REPEAT: Duration = Duration::from_secs(15);
/// A guest that is not ready after this long is killed and started anew.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// A VM that ran this long before it exited begins anew with the shortest wait.
const GOOD_RUN: Duration = Duration::from_secs(60);
/// A question to the hypervisor that failed is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Ends of unknown VMs are kept for at most so many.
const UNHEARD_MAX: usize = 4_096;

#[derive(Clone, Copy, Debug)]
enum Decision {
    Prepare,
    Start,
    Stop(Run),
    GiveUp(Run),
    Kill(Run),
    Purge,
    Forget,
}

impl Agent {
    /// Does what each VM calls for.
    pub(super) fn reconcile(&mut self, ctx: &mut Context<'_>) {
        let now = ctx.now.boot;
        let decide = |(vm, local): (&VmId, &Local)| Some((*vm, self.decide(local, now)?));
        let decisions: Vec<_> = self.vms.iter().filter_map(decide).collect();
        for (vm, decision) in decisions {
            self.carry_out(vm, decision, ctx);
        }
    }

    fn decide(&self, local: &Local, now: Time) -> Option<Decision> {
        // Before the first set nothing is known of what may stay; the deadlines of what runs still hold. Nothing is assigned, prepared or
        // removed before it.
        let may_end = self.has_set || self.expired;
        let keeps = |run: Run| local.assignment().is_some_and(|assigned| assigned.run == run);
        match local.stand {
            Stand::Idle if may_end => self.decide_idle(local, now),
            Stand::Idle => None,
            Stand::Preparing(_) if now.since(local.since) >= PREPARE_REPEAT && local.wants_to_run() => {
                Some(Decision::Prepare)
            }
            Stand::Preparing(_) if local.wants_to_run() => None,
            // The preparation's completion may be lost: a stop does not wait for it.
            Stand::Preparing(_) => self.decide_idle(local, now),
            Stand::Purging(_) if local.is_to_purge() => {
                (now.since(local.since) >= PREPARE_REPEAT).then_some(Decision::Purge)
            }
            // Its completion may be lost, and nothing waits for it any more.
            Stand::Purging(_) => self.decide_idle(local, now),
            Stand::Running(run) | Stand::Starting(run, _) if keeps(run) && !local.wants_to_run() => {
                Some(Decision::Stop(run))
            }
            Stand::Starting(run, _) if keeps(run) => {
                (now.since(local.since) >= START_PATIENCE).then_some(Decision::GiveUp(run))
            }
            Stand::Running(run) if keeps(run) => None,
            Stand::Running(run) | Stand::Starting(run, _) => may_end.then_some(Decision::Kill(run)),
            Stand::Stopping(..) | Stand::Unknown(_) => None,
        }
    }

    fn decide_idle(&self, local: &Local, now: Time) -> Option<Decision> {
        if local.wants_to_run() {
            let due = local.retry_at.is_none_or(|at| at <= now);
            if !due || !self.listed || !self.has_set || !self.lease_is_live(now) {
                return None;
            }
            return match local.assignment().map(|assigned| &assigned.artifact) {
                Some(pinned) if local.prepared && *pinned == local.artifact => Some(Decision::Start),
                // What was built here is on its way to be agreed upon.
                Some(None) if local.prepared => None,
                _ => Some(Decision::Prepare),
            };
        }
        let purges = local.is_to_purge() && self.listed && local.retry_at.is_none_or(|at| at <= now);
        match local.unconfirmed {
            Some(run) if !local.exited => Some(Decision::Kill(run)),
            _ if purges => Some(Decision::Purge),
            _ => (!local.is_assigned()).then_some(Decision::Forget),
        }
    }

    fn carry_out(&mut self, vm: VmId, decision: Decision, ctx: &mut Context<'_>) {
        let now = ctx.now.boot;
        let Some(local) = self.vms.get_mut(&vm) else { return };
        let (op, request) = match decision {
            Decision::Forget => {
                self.drop_op(vm);
                self.vms.remove(&vm);
                return;
            }
            Decision::Purge => {
                let Some(assigned) = local.assignment() else { return };
                ctx.hit_if(matches!(local.stand, Stand::Purging(_)), Probe::PurgeRepeated);
                let (run, name, spec) = (assigned.run, assigned.name.clone(), assigned.spec.clone());
                (Op::Purge(run), HypervisorRequest::Purge { run, name, spec })
            }
            Decision::Kill(run) => {
                if local.assignment().is_some_and(|assigned| assigned.run.epoch > run.epoch) {
                    ctx.hit(Probe::OrphanKilled);
                } else if local.run().is_some() {
                    ctx.hit(Probe::UnassignedKilled);
                } else {
                    ctx.hit(Probe::UnconfirmedKilled);
                }
                (Op::Stop(run), HypervisorRequest::Kill { run })
            }
            Decision::Stop(run) => {
                if matches!(local.stand, Stand::Starting(..)) {
                    ctx.hit(Probe::StopDuringStart);
                }
                // A guest that cannot be asked is killed at once.
                let request = if local.unaskable == Some(run) {
                    HypervisorRequest::Kill { run }
                } else {
                    HypervisorRequest::Stop { run, grace: STOP_GRACE }
                };
                (Op::Stop(run), request)
            }
            Decision::GiveUp(run) => {
                ctx.hit(Probe::StartGivenUp);
                local.given_up = true;
                (Op::Stop(run), HypervisorRequest::Kill { run })
            }
            Decision::Prepare | Decision::Start => {
                let (Some(assigned), Some(deadline)) = (local.assignment(), self.lease_end) else { return };
                let (run, name, spec) = (assigned.run, assigned.name.clone(), assigned.spec.clone());
                let artifact = assigned.artifact.clone();
                ctx.hit_if(matches!(local.stand, Stand::Preparing(_)), Probe::PrepareRepeated);
                if matches!(decision, Decision::Prepare) {
                    (Op::Prepare(run), HypervisorRequest::Prepare { run, name, spec, artifact })
                } else {
                    (Op::Start(run), HypervisorRequest::Start { run, name, spec, artifact, deadline })
                }
            }
        };
        if matches!(op, Op::Prepare(_)) {
            local.purged = false;
        }
        self.drop_op(vm);
        let id = self.submit(op, request, ctx);
        let Some(local) = self.vms.get_mut(&vm) else { return };
        local.newest_op = id;
        local.retry_at = None;
        let stand = match op {
            Op::Prepare(_) => Stand::Preparing(id),
            Op::Start(run) => {
                local.unconfirmed = Some(run);
                Stand::Starting(run, id)
            }
            Op::Stop(run) => Stand::Stopping(run, id),
            Op::Purge(_) => Stand::Purging(id),
            Op::List | Op::Extend => unreachable!("no VM's own operation"),
        };
        local.stands(stand, now);
        self.urgent |= local.assignment().is_some();
    }

    /// The VM's operation is overtaken by another one; its completion will mean nothing.
    fn drop_op(&mut self, vm: VmId) {
        let op = match self.vms.get(&vm).map(|local| local.stand) {
            Some(
                Stand::Preparing(op) | Stand::Starting(_, op) | Stand::Stopping(_, op) | Stand::Purging(op),
            ) => op,
            _ => return,
        };
        self.ops.remove(&op);
    }

    /// An operation ended.
    pub(crate) fn completed(
        &mut self,
        id: OpId,
        result: Result<Done, HypervisorError>,
        ctx: &mut Context<'_>,
    ) {
        let Some(op) = self.ops.remove(&id) else {
            ctx.hit(Probe::LateCompletion);
            return;
        };
        self.urgent |= op != Op::List;
        match op {
            Op::List => match result {
                Ok(Done::Listed(views)) => self.take_list(id, views, ctx),
                _ => self.list_at = ctx.now.boot + ASK_AGAIN,
            },
            Op::Prepare(run) => self.prepared(id, run, result, ctx),
            Op::Start(run) => self.started(id, run, result, ctx),
            Op::Stop(run) => self.stopped(id, run, result, ctx),
            Op::Purge(run) => self.purged(id, run, result, ctx),
            Op::Extend => {}
        }
    }

    fn prepared(&mut self, id: OpId, run: Run, result: Result<Done, HypervisorError>, ctx: &mut Context<'_>) {
        let now = ctx.now.boot;
        let Some(local) = self.vms.get_mut(&run.vm).filter(|local| local.stand == Stand::Preparing(id))
        else {
            return;
        };
        let pinned = local.assignment().and_then(|assigned| assigned.artifact.clone());
        match result {
            Ok(Done::Prepared { artifact }) if pinned.is_none() || artifact == pinned => {
                local.prepared = true;
                local.artifact = artifact;
                local.stands(Stand::Idle, now);
            }
            Ok(Done::Prepared { .. }) if planted!(ArtifactIgnored) => {
                local.prepared = true;
                local.artifact = pinned;
                local.stands(Stand::Idle, now);
            }
            Ok(other) => {
                ctx.hit(Probe::AnotherArtifact);
                let (built, pinned) = (format!("{other:?}"), pinned.unwrap_or_default());
                local.failed(format!("the VM runs {pinned} on every host, and this one has {built}"), now);
            }
            Err(error) => {
                ctx.hit(Probe::StartFailed);
                local.failed(error.to_string(), now);
            }
        }
    }

    fn started(&mut self, id: OpId, run: Run, result: Result<Done, HypervisorError>, ctx: &mut Context<'_>) {
        let now = ctx.now.boot;
        let Some(local) = self.vms.get_mut(&run.vm).filter(|local| local.stand == Stand::Starting(run, id))
        else {
            return;
        };
        match result {
            Ok(_) => local.came_alive(run, now),
            Err(HypervisorError::AlreadyRunning { epoch }) => {
                ctx.hit(Probe::StartedTwice);
                local.stands(Stand::Running(Run { vm: run.vm, epoch }), now);
            }
            Err(HypervisorError::DeadlinePassed) => {
                ctx.hit(Probe::StartPastDeadline);
                local.stands(Stand::Idle, now);
                local.retry_at = Some(now + ASK_AGAIN);
            }
            Err(HypervisorError::Uncertain { .. }) if planted!(UncertainStartFailed) => {
                local.confirmed_dead(run, now);
                local.failed("it cannot be started".into(), now);
            }
            Err(HypervisorError::Uncertain { .. }) => {
                ctx.hit(Probe::StartUncertain);
                local.stands(Stand::Unknown(run), now);
                self.list_at = now;
            }
            Err(error) => {
                ctx.hit(Probe::StartFailed);
                // What is prepared is not this: a preparation for an earlier spec was under way when the spec changed.
                if matches!(error, HypervisorError::Prepare { .. }) {
                    local.prepared = false;
                }
                local.failed(error.to_string(), now);
            }
        }
    }

    fn stopped(&mut self, id: OpId, run: Run, result: Result<Done, HypervisorError>, ctx: &mut Context<'_>) {
        let now = ctx.now.boot;
        let Some(local) = self.vms.get_mut(&run.vm).filter(|local| local.stand == Stand::Stopping(run, id))
        else {
            return;
        };
        match result {
            Ok(_) => {
                local.confirmed_dead(run, now);
                if planted!(PurgedWhenStopped)
                    && let Some(assigned) = local.assignment()
                {
                    let (name, spec) = (assigned.name.clone(), assigned.spec.clone());
                    self.submit(Op::Purge(run), HypervisorRequest::Purge { run, name, spec }, ctx);
                    return;
                }
                if std::mem::take(&mut local.given_up) && local.wants_to_run() {
                    local.failed(format!("the guest was not ready within {START_PATIENCE}"), now);
                } else if local.wants_to_run() {
                    ctx.hit(Probe::StartDuringStop);
                }
            }
            Err(HypervisorError::Unsupported { .. }) if planted!(UnsupportedStopBelieved) => {
                local.confirmed_dead(run, now);
            }
            Err(HypervisorError::Unsupported { .. }) => {
                ctx.hit(Probe::StopUnsupported);
                local.unaskable = Some(run);
                local.stands(Stand::Running(run), now);
            }
            Err(_) => {
                local.stands(Stand::Unknown(run), now);
                self.list_at = self.list_at.min(now + ASK_AGAIN);
            }
        }
    }

    fn purged(&mut self, id: OpId, run: Run, result: Result<Done, HypervisorError>, ctx: &mut Context<'_>) {
        let now = ctx.now.boot;
        let Some(local) = self.vms.get_mut(&run.vm).filter(|local| local.stand == Stand::Purging(id)) else {
            return;
        };
        match result {
            Ok(_) => {
                ctx.hit(Probe::Purged);
                local.purged = true;
                local.prepared = false;
                local.artifact = None;
                local.stands(Stand::Idle, now);
            }
            Err(HypervisorError::AlreadyRunning { epoch }) => {
                let run = Run { vm: run.vm, epoch };
                local.unconfirmed = Some(run);
                local.stands(Stand::Running(run), now);
            }
            Err(error) => {
                ctx.hit(Probe::PurgeFailed);
                local.failed(error.to_string(), now);
            }
        }
    }

    /// A VM did something unasked.
    pub(crate) fn happened(&mut self, run: Run, event: &VmEvent, ctx: &mut Context<'_>) {
        let VmEvent::Exited { exit, reason } = event;
        let now = ctx.now.boot;
        if !self.vms.contains_key(&run.vm) && !self.has_set {
            ctx.hit(Probe::EndUnheard);
            return self.ended_before_its_time(run, *exit, reason, now);
        }
        let is_meant = |local: &&mut Local| local.run() == Some(run) || planted!(OldExitBelieved);
        let Some(local) = self.vms.get_mut(&run.vm).filter(is_meant) else {
            return ctx.hit(Probe::EndOfAnotherRun);
        };
        if planted!(OldExitBelieved) {
            local.unconfirmed = None;
        }
        match local.stand {
            Stand::Stopping(..) | Stand::Idle | Stand::Preparing(_) | Stand::Purging(_) => {}
            Stand::Starting(..) | Stand::Running(_) | Stand::Unknown(_) => {
                ctx.hit(Probe::VmExited);
                local.ended(*exit, reason, now);
                self.urgent = true;
            }
        }
    }

    /// A VM ended while no agent was there. Whether it is to be started again is known when the first set comes.
    fn ended_before_its_time(&mut self, run: Run, exit: Exit, reason: &str, now: Time) {
        if self.vms.len() < UNHEARD_MAX {
            let mut local = Local::found(Stand::Idle, now);
            local.unconfirmed = Some(run);
            local.ended_unheard = Some((run, exit, cut(reason)));
            self.vms.insert(run.vm, local);
        }
    }

    /// Takes the hypervisor's list of what runs. It says nothing of a VM whose newest operation is younger than the question.
    fn take_list(&mut self, asked: OpId, views: Vec<RunView>, ctx: &mut Context<'_>) {
        let now = ctx.now.boot;
        self.listed = true;
        // An answer to an older question has nothing more to say.
        self.ops.retain(|id, op| *op != Op::List || *id > asked);
        self.list_at = now + LIST_EVERY;
        let mut by_vm: BTreeMap<VmId, Vec<RunView>> = BTreeMap::new();
        for view in views {
            by_vm.entry(view.run.vm).or_default().push(view);
        }
        let is_told = |local: &Local| local.newest_op < asked || planted!(OldListBelieved);
        let known: Vec<_> = self.vms.iter().filter(|(_, local)| is_told(local)).map(|(vm, _)| *vm).collect();
        for vm in known {
            match by_vm.remove(&vm) {
                Some(views) => self.seen(vm, &views, ctx),
                None => self.missing(vm, ctx),
            }
        }
        by_vm.retain(|vm, _| !self.vms.contains_key(vm));
        for (vm, views) in by_vm {
            ctx.hit(Probe::Adopted);
            let run = views[0].run;
            let mut local = Local::found(Stand::Running(run), now);
            local.unconfirmed = Some(run);
            self.vms.insert(vm, local);
        }
        self.reconcile(ctx);
        if self.lease_is_live(now) {
            self.extend(ctx);
        }
    }

    fn seen(&mut self, vm: VmId, views: &[RunView], ctx: &mut Context<'_>) {
        let now = ctx.now.boot;
        let Some(local) = self.vms.get(&vm) else { return };
        let wished = local.run().or(local.assignment().map(|assigned| assigned.run));
        let view = views.iter().find(|view| Some(view.run) == wished).unwrap_or(&views[0]);
        let overdue = match local.stand {
            Stand::Idle if planted!(OrphanIgnored) => false,
            Stand::Idle | Stand::Unknown(_) | Stand::Preparing(_) | Stand::Purging(_) => true,
            Stand::Running(run) => run != view.run,
            Stand::Starting(..) => view.state == RunState::Running,
            Stand::Stopping(..) => now.since(local.since) >= STOP_REPEAT,
        };
        if !overdue {
            return;
        }
        ctx.hit_if(matches!(local.stand, Stand::Stopping(..)), Probe::StopRepeated);
        if matches!(local.stand, Stand::Starting(..) | Stand::Stopping(..)) {
            ctx.hit(Probe::CompletionLost);
        }
        self.drop_op(vm);
        if let Some(local) = self.vms.get_mut(&vm) {
            if matches!(local.stand, Stand::Idle | Stand::Preparing(_) | Stand::Purging(_)) {
                ctx.hit(Probe::Adopted);
            }
            local.unconfirmed = Some(view.run);
            local.started_once = true;
            local.stands(Stand::Running(view.run), now);
        }
        self.urgent = true;
    }

    fn missing(&mut self, vm: VmId, ctx: &mut Context<'_>) {
        let now = ctx.now.boot;
        let Some(stand) = self.vms.get(&vm).map(|local| local.stand) else { return };
        match stand {
            Stand::Idle | Stand::Preparing(_) | Stand::Purging(_) => return,
            Stand::Running(_) | Stand::Unknown(_) => ctx.hit(Probe::SilentDeath),
            Stand::Starting(..) | Stand::Stopping(..) => ctx.hit(Probe::CompletionLost),
        }
        self.drop_op(vm);
        self.urgent = true;
        let Some(local) = self.vms.get_mut(&vm) else { return };
        match stand {
            Stand::Stopping(run, _) => local.confirmed_dead(run, now),
            _ => local.ended(Exit::Crashed, "", now),
        }
    }
}

impl Local {
    pub(super) fn stands(&mut self, stand: Stand, now: Time) {
        self.stand = stand;
        self.since = now;
    }

    fn came_alive(&mut self, run: Run, now: Time) {
        if std::mem::replace(&mut self.started_once, true) {
            self.restarts += 1;
        }
        self.stands(Stand::Running(run), now);
    }

    fn confirmed_dead(&mut self, run: Run, now: Time) {
        if self.unconfirmed.is_some_and(|unconfirmed| unconfirmed.epoch <= run.epoch) {
            self.unconfirmed = None;
        }
        self.stands(Stand::Idle, now);
    }

    fn failed(&mut self, reason: String, now: Time) {
        self.failures += 1;
        self.reason = cut(&reason);
        self.stands(Stand::Idle, now);
        self.retry_at = Some(now + backoff(self.failures));
    }

    /// It is dead although nobody asked: tried again or left, as the policy says.
    pub(super) fn ended(&mut self, exit: Exit, words: &str, now: Time) {
        let policy = self.assignment().map(|assigned| (assigned.spec.restart, assigned.wanted));
        let ran_well = matches!(self.stand, Stand::Running(_)) && now.since(self.since) >= GOOD_RUN;
        if ran_well {
            self.failures = 0;
        }
        let again = match (policy, exit) {
            (None, _) => false,
            (Some(_), Exit::DeadlinePassed) => {
                self.stands(Stand::Idle, now);
                return;
            }
            (Some((RestartPolicy::Always, _)), _) => true,
            (Some((RestartPolicy::OnFailure, _)), exit) => exit == Exit::Crashed,
            (Some((RestartPolicy::Never, _)), _) => false,
        };
        let reason = match exit {
            Exit::PoweredOff => "the guest powered itself off",
            Exit::Crashed => "the guest crashed",
            Exit::DeadlinePassed => "its lease ended",
        };
        let wanted = policy.is_some_and(|(_, wanted)| wanted == Wanted::Running);
        self.exited = wanted && !again;
        self.failed(if words.is_empty() { reason.into() } else { cut(words) }, now);
    }
}

/// At most [`REASON_LEN_MAX`] bytes of a backend's words: they go into the log.
fn cut(words: &str) -> String {
    words[..words.floor_char_boundary(REASON_LEN_MAX)].to_owned()
}
