//! Never twice: at no true instant do two runs of one VM execute, on two hosts or on one.
//!
//! A VM on a host that is suspended as a whole does not execute; one whose daemon is paused, cut off or dead does.

use std::collections::{BTreeMap, BTreeSet};

use blixard_node::hypervisor::Run;
use blixard_node::ids::{NodeId, Revision, VmId};
use blixard_node::time::Time;

use super::Breach;
use crate::hypervisor::{Fact, Truth};

#[derive(Debug, Default)]
pub(super) struct SingleRun {
    alive: BTreeMap<VmId, Vec<Alive>>,
    frozen: BTreeSet<NodeId>,
    starts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alive {
    pub(super) host: NodeId,
    pub(super) run: Run,
    pub(super) since: Time,
}

impl SingleRun {
    pub(super) fn take(&mut self, truth: &Truth) -> Result<(), Breach> {
        let host = truth.host;
        match truth.fact {
            Fact::RunStarted { run, .. } => {
                self.starts += 1;
                let runs = self.alive.entry(run.vm).or_default();
                runs.push(Alive { host, run, since: truth.at });
                self.at_most_one(run.vm)
            }
            Fact::RunEnded { run, .. } => {
                if let Some(runs) = self.alive.get_mut(&run.vm) {
                    runs.retain(|alive| alive.host != host || alive.run != run);
                    if runs.is_empty() {
                        self.alive.remove(&run.vm);
                    }
                }
                Ok(())
            }
            Fact::Frozen => {
                self.frozen.insert(host);
                Ok(())
            }
            Fact::Rebooted => {
                self.frozen.remove(&host);
                Ok(())
            }
            Fact::Thawed => {
                self.frozen.remove(&host);
                let vms: Vec<VmId> = self.on(host).map(|alive| alive.run.vm).collect();
                vms.into_iter().try_for_each(|vm| self.at_most_one(vm))
            }
            Fact::Purged { run } => match self.on(host).find(|alive| alive.run.vm == run.vm) {
                Some(alive) => {
                    let alive = alive.run;
                    let message = format!("{host} removed what {} keeps while {alive:?} lived", run.vm);
                    Err(Breach::new("single-run", message).nodes([host]).vm(run.vm))
                }
                None => Ok(()),
            },
            Fact::DeadlineRaised { .. } | Fact::Executes { .. } | Fact::Ordered { .. } => Ok(()),
        }
    }

    /// Runs that are alive, those on suspended hosts too.
    pub(super) fn alive(&self) -> impl Iterator<Item = &Alive> {
        self.alive.values().flatten()
    }

    /// Runs that are alive on `host`.
    pub(super) fn on(&self, host: NodeId) -> impl Iterator<Item = &Alive> {
        self.alive().filter(move |alive| alive.host == host)
    }

    pub(super) fn is_frozen(&self, host: NodeId) -> bool {
        self.frozen.contains(&host)
    }

    pub(super) fn is_alive(&self, host: NodeId, run: Run) -> bool {
        self.alive.get(&run.vm).is_some_and(|runs| runs.iter().any(|a| a.host == host && a.run == run))
    }

    /// How many runs came alive.
    pub(super) fn starts(&self) -> u64 {
        self.starts
    }

    fn at_most_one(&self, vm: VmId) -> Result<(), Breach> {
        let Some(runs) = self.alive.get(&vm) else { return Ok(()) };
        let mut executing = runs.iter().filter(|alive| !self.frozen.contains(&alive.host));
        let (Some(first), Some(second)) = (executing.next(), executing.next()) else { return Ok(()) };
        let show =
            |alive: &Alive| format!("on {} under {:?} since {:?}", alive.host, alive.run.epoch, alive.since);
        let message = format!("{vm} runs twice: {} and {}", show(first), show(second));
        Err(Breach::new("single-run", message).nodes([first.host, second.host]).vm(vm))
    }
}

/// A VM was taken off its host, as confirmed to have stopped there or as of a lost host: no run of it may be alive there.
pub(super) fn freed((vm, host): (VmId, NodeId), revision: Revision, runs: &SingleRun) -> Result<(), Breach> {
    let mut there = runs.on(host).filter(|alive| alive.run.vm == vm && !runs.is_frozen(host));
    let Some(Alive { run, since, .. }) = there.next() else { return Ok(()) };
    let message = format!(
        "{vm} is taken to have stopped on {host} at {revision}, and {run:?} lives there since {since:?}"
    );
    Err(Breach::new("confirmation", message).nodes([host]).vm(vm).index(revision.0))
}

#[cfg(test)]
mod tests {
    use blixard_node::ids::Epoch;
    use blixard_node::spec::Resources;

    use super::*;

    fn run(epoch: u64) -> Run {
        Run { vm: VmId(7), epoch: Epoch(epoch) }
    }

    fn truth(at: u64, host: u64, fact: Fact) -> Truth {
        Truth { at: Time(at), host: NodeId(host), fact }
    }

    fn started(at: u64, host: u64, epoch: u64) -> Truth {
        let (local, deadline) = (Time(at), Time(at + 100));
        let resources = Resources::default();
        truth(at, host, Fact::RunStarted { run: run(epoch), resources, local, deadline })
    }

    fn ended(at: u64, host: u64, epoch: u64) -> Truth {
        let (local, deadline) = (Time(at), Time(at));
        truth(at, host, Fact::RunEnded { run: run(epoch), local, deadline })
    }

    fn feed(truths: &[Truth]) -> Result<(), Breach> {
        let mut checker = SingleRun::default();
        truths.iter().try_for_each(|truth| checker.take(truth))
    }

    #[test]
    fn one_after_the_other_passes() {
        assert_eq!(feed(&[started(1, 1, 1), ended(2, 1, 1), started(2, 2, 2), ended(9, 2, 2)]), Ok(()));
    }

    #[test]
    fn two_hosts_at_once_are_found() {
        let breach = feed(&[started(1, 1, 1), started(2, 2, 2)]).unwrap_err();
        assert_eq!(breach.property, "single-run");
        assert_eq!(
            breach.message,
            "vm7 runs twice: on n1 under e1 since 0.000000s and on n2 under e2 since 0.000000s"
        );
    }

    #[test]
    fn what_is_taken_to_have_stopped_must_not_live() {
        let mut checker = SingleRun::default();
        checker.take(&started(1, 1, 1)).expect("one run");
        let freed =
            |host: u64, checker: &SingleRun| super::freed((VmId(7), NodeId(host)), Revision(9), checker);
        assert_eq!(freed(1, &checker).unwrap_err().property, "confirmation");
        assert_eq!(freed(2, &checker), Ok(()));
        checker.take(&ended(2, 1, 1)).expect("none");
        assert_eq!(freed(1, &checker), Ok(()));
    }

    #[test]
    fn two_runs_on_one_host_are_found() {
        assert_eq!(feed(&[started(1, 1, 1), started(2, 1, 2)]).unwrap_err().property, "single-run");
    }

    #[test]
    fn another_hosts_end_is_not_this_runs_end() {
        assert!(feed(&[started(1, 1, 1), ended(2, 2, 1), started(3, 2, 2)]).is_err());
    }

    #[test]
    fn a_suspended_host_executes_nothing_but_must_not_wake_into_a_second_run() {
        let asleep = [started(1, 1, 1), truth(2, 1, Fact::Frozen), started(3, 2, 2)];
        assert_eq!(feed(&asleep), Ok(()));
        let woken = [asleep.as_slice(), &[truth(4, 1, Fact::Thawed)]].concat();
        assert_eq!(feed(&woken).unwrap_err().property, "single-run");
        let expired = [asleep.as_slice(), &[ended(4, 1, 1), truth(4, 1, Fact::Thawed)]].concat();
        assert_eq!(feed(&expired), Ok(()));
    }

    #[test]
    fn what_lives_is_not_purged() {
        let purged = |at, host| truth(at, host, Fact::Purged { run: run(1) });
        let breach = feed(&[started(1, 1, 2), purged(2, 1)]).unwrap_err();
        assert_eq!(breach.property, "single-run");
        assert_eq!(breach.message, format!("n1 removed what vm7 keeps while {:?} lived", run(2)));
        assert_eq!(feed(&[started(1, 1, 2), purged(2, 2)]), Ok(()), "another host");
        assert_eq!(feed(&[started(1, 1, 2), ended(2, 1, 2), purged(2, 1)]), Ok(()));
    }

    #[test]
    fn a_reboot_ends_a_suspension() {
        let mut checker = SingleRun::default();
        for truth in [truth(1, 1, Fact::Frozen), truth(2, 1, Fact::Rebooted), started(3, 1, 1)] {
            assert_eq!(checker.take(&truth), Ok(()));
        }
        assert!(!checker.is_frozen(NodeId(1)));
        assert!(checker.take(&started(4, 2, 2)).is_err());
    }

    #[test]
    fn another_vm_is_no_second_run() {
        let other = Fact::RunStarted {
            run: Run { vm: VmId(8), epoch: Epoch(1) },
            resources: Resources::default(),
            local: Time(1),
            deadline: Time(9),
        };
        assert_eq!(feed(&[started(1, 1, 1), truth(2, 2, other)]), Ok(()));
        assert!(feed(&[started(1, 1, 1), ended(2, 1, 2), started(3, 2, 2)]).is_err(), "another run's end");
    }
}
