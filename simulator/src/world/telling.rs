//! What the log is told beyond the events of the heap: what stands on disks, what a node believes, what was decided, and
//! what clients ask and get.

use blixard_node::time::{Duration, Time};

use super::World;
use super::faults::Undo;
use crate::client::Call;
use crate::cuts;
use crate::disk::Cost;
use crate::history::{Operation, Outcome, revision_of};
use crate::hypervisor::Fact;
use crate::scenario::Site;
use crate::trace::words::word;
use crate::trace::{Kind, of_node};

/// What a process believed when the log was last told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    term: u64,
    role: u64,
    leader: u64,
    commit: u64,
    lease_end: Option<Time>,
    set: u64,
}

impl World<'_> {
    /// What a process that has just opened found on its disk.
    pub(super) fn tell_found(&mut self, number: usize) {
        let held = self.hosts[number].disk.held();
        let state = held.hard_state.unwrap_or_default();
        let [first, last, last_term] = held.entries.unwrap_or_default();
        let [snapshot, _] = held.snapshot.unwrap_or_default();
        let set = held.set.unwrap_or_default();
        let numbers = [state.term, state.vote, state.commit, first, last, last_term, snapshot, set];
        self.log(Kind::Found, Some(number), numbers);
    }

    /// A write has begun.
    pub(super) fn tell_write(&mut self, number: usize, cost: Cost, latency: Duration) {
        let write = self.counts.writes;
        self.hosts[number].write = write;
        let held = self.hosts[number].disk.held();
        let host = Some(number);
        self.log(Kind::WriteBegan, host, [write, u64::from(cost.ops()), cost.bytes, latency.0]);
        if let Some(state) = held.hard_state {
            self.log(Kind::WriteState, host, [write, state.term, state.vote, state.commit]);
        }
        if let Some([first, last, last_term]) = held.entries {
            self.log(Kind::WriteEntries, host, [write, first, last, last_term]);
        }
        if let Some([index, term]) = held.snapshot {
            self.log(Kind::WriteSnapshot, host, [write, index, term]);
        }
        if let Some(set) = held.set {
            self.log(Kind::WriteSet, host, [write, set]);
        }
    }

    /// What the node believes after a turn, as far as it has changed.
    pub(super) fn tell_view(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let Some(process) = &host.process else { return };
        let node = process.node();
        let view = node.consensus();
        let role = match view.leader {
            _ if view.is_leader => word!(ROLES, "leader"),
            Some(_) => word!(ROLES, "follower"),
            None => word!(ROLES, "leaderless"),
        };
        let now = Shown {
            term: view.term,
            role,
            leader: view.leader.map_or(0, |leader| leader.0),
            commit: view.commit,
            lease_end: node.lease_end(),
            set: node.set_revision().0,
        };
        let before = std::mem::replace(&mut host.shown, now);
        if before == now {
            return;
        }
        let lease = now.lease_end.map_or([0, 0], |end| [host.clock.true_at(end).0, end.0]);
        let host = Some(number);
        if (before.term, before.role, before.leader) != (now.term, now.role, now.leader) {
            self.log(Kind::Role, host, [now.term, now.role, now.leader]);
        }
        if before.commit != now.commit {
            self.log(Kind::Committed, host, [now.commit]);
        }
        if before.lease_end != now.lease_end {
            self.log(Kind::Lease, host, lease);
        }
        if before.set != now.set {
            self.log(Kind::Set, host, [now.set]);
        }
    }

    /// What an entry says that a node has just carried out, unless another node had before.
    pub(super) fn tell_decision(&mut self, number: usize, index: u64) {
        if index <= self.decided {
            return;
        }
        self.decided = index;
        let (at, trace) = (self.now.get(), &mut self.trace);
        let Some(process) = &self.hosts[number].process else { return };
        let node = process.node();
        if let (Some(data), Some(state)) = (node.log_data(index), node.state()) {
            of_node::decided(data, state, |[what, vm, node, epoch, first, second, request]| {
                let numbers = [index, what, vm, node, epoch, first, second, request];
                trace.write(at, Kind::Decided, number + 1, numbers);
            });
        }
    }

    /// A client sends an attempt: with the first one its operation begins.
    pub(super) fn tell_call(&mut self, call: &Call) {
        if call.attempt != 1 {
            return;
        }
        let [what, first, second, generation, request] = of_node::operation(&call.request);
        let (client, floor) = (call.client as u64, call.floor.0);
        let numbers = [call.operation, client, what, first, second, generation, request, floor];
        self.log(Kind::OperationBegan, None, numbers);
    }

    /// A client's operation has ended.
    pub(super) fn tell_end(&mut self, operation: &Operation) {
        let outcome = match &operation.outcome {
            Outcome::Answered(Ok(_)) => word!(OUTCOMES, "ok"),
            Outcome::Answered(Err(_)) => word!(OUTCOMES, "error"),
            Outcome::Refused => word!(OUTCOMES, "refused"),
            Outcome::Unknown => word!(OUTCOMES, "unknown"),
        };
        let (revision, [vm, generation, answer]) = match &operation.outcome {
            Outcome::Answered(reply) => {
                (revision_of(reply).map_or(0, |revision| revision.0), of_node::answer(reply))
            }
            Outcome::Refused | Outcome::Unknown => (0, [0, 0, word!(ANSWERS, "none")]),
        };
        let (id, client) = (operation.invoked.order, operation.client as u64);
        let attempts = u64::from(operation.attempts);
        let numbers = [id, client, outcome, attempts, revision, vm, generation, answer];
        self.log(Kind::OperationEnded, None, numbers);
    }

    /// What truly happened on a host.
    pub(super) fn tell_truth(&mut self, number: usize, fact: &Fact) {
        let host = Some(number);
        let at = |local| self.hosts[number].clock.true_at(local).0;
        match *fact {
            Fact::RunStarted { run, resources, local, deadline } => {
                let (vcpus, memory) = (u64::from(resources.vcpus), resources.memory_mib);
                let numbers = [run.vm.0, run.epoch.0, local.0, deadline.0, at(deadline), vcpus, memory];
                self.log(Kind::RunStarted, host, numbers);
            }
            Fact::RunEnded { run, local, deadline } => {
                self.log(Kind::RunEnded, host, [run.vm.0, run.epoch.0, local.0, deadline.0]);
            }
            Fact::DeadlineRaised { deadline } => {
                let numbers = [at(deadline), deadline.0];
                self.log(Kind::DeadlineRaised, host, numbers);
            }
            Fact::Ordered { order, op, run } => {
                let (vm, epoch) = run.map_or((0, 0), |run| (run.vm.0, run.epoch.0));
                self.log(Kind::Ordered, host, [order as u64, op.0, vm, epoch]);
            }
            Fact::Frozen => self.log(Kind::Frozen, host, []),
            Fact::Thawed => self.log(Kind::Thawed, host, []),
            Fact::Rebooted => self.log(Kind::Rebooted, host, []),
            Fact::Purged { run } => self.log(Kind::Purged, host, [run.vm.0, run.epoch.0]),
            Fact::Executes { run, artifact } => {
                self.log(Kind::Executes, host, [run.vm.0, run.epoch.0, artifact]);
            }
        }
    }

    /// What was rare and legal in the event that has just happened.
    pub(super) fn tell_sites(&mut self) {
        while let Some((site, host)) = self.sites.pop_news() {
            // Clients are on no host.
            let host = (site != Site::ClientAsksTheGone).then_some(host);
            self.log(Kind::Buggify, host, [site as u64]);
        }
    }

    /// Which links a strike has cut.
    pub(super) fn tell_cuts(&mut self, strike: u64, undo: &Undo) {
        if let Undo::Mend(pairs) = undo {
            self.tell_pairs(strike, pairs);
        }
    }

    /// Which ways from one host to another are cut from now on.
    pub(super) fn tell_pairs(&mut self, strike: u64, pairs: &[(usize, usize)]) {
        for (host, to) in cuts::by_host(pairs) {
            self.log(Kind::Cut, Some(host), [strike, to]);
        }
    }
}
