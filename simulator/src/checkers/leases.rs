//! Leases: an agent hands its hypervisor no deadline beyond what a leader granted it, and no VM outlives its deadline
//! by more than the kill grace.

use std::collections::{BTreeMap, BTreeSet};

use blixard_node::ids::{NodeId, Revision};
use blixard_node::time::{Duration, Time};

use super::Breach;
use super::single_run::SingleRun;
use crate::hypervisor::Fact;

#[derive(Debug)]
pub(super) struct Leases {
    kill_grace: Duration,
    /// The latest end of a lease that each host has been told of since it booted, on its own clock.
    granted: BTreeMap<NodeId, Time>,
    /// Suspended hosts: their VMs do not execute, so their deadlines are settled when they wake.
    frozen: BTreeSet<NodeId>,
}

impl Leases {
    pub(super) fn new(kill_grace: Duration) -> Self {
        Self { kill_grace, granted: BTreeMap::new(), frozen: BTreeSet::new() }
    }

    pub(super) fn granted(&mut self, host: NodeId, sent: Time, ttl: Duration) {
        let end = self.granted.entry(host).or_default();
        *end = (*end).max(sent + ttl);
    }

    pub(super) fn take(&mut self, host: NodeId, fact: &Fact) -> Result<(), Breach> {
        match *fact {
            Fact::DeadlineRaised { deadline } => {
                let granted = self.granted.get(&host).copied().unwrap_or_default();
                if deadline <= granted {
                    return Ok(());
                }
                let message =
                    format!("the agent of {host} set a deadline of {deadline:?}, its lease ends {granted:?}");
                Err(Breach::new("leases", message).nodes([host]))
            }
            Fact::RunStarted { run, local, deadline, .. } if local >= deadline => {
                let message =
                    format!("{run:?} came alive on {host} at {local:?}, its lease ended {deadline:?}");
                Err(Breach::new("leases", message).nodes([host]).vm(run.vm))
            }
            Fact::RunEnded { run, local, deadline }
                if local > deadline + self.kill_grace && !self.frozen.contains(&host) =>
            {
                let message = format!(
                    "{run:?} was alive on {host} until {local:?}: its lease ended {deadline:?} and it had {} to die",
                    self.kill_grace
                );
                Err(Breach::new("leases", message).nodes([host]).vm(run.vm))
            }
            Fact::Rebooted => {
                self.granted.remove(&host);
                self.frozen.remove(&host);
                Ok(())
            }
            Fact::Frozen => {
                self.frozen.insert(host);
                Ok(())
            }
            Fact::Thawed => {
                self.frozen.remove(&host);
                Ok(())
            }
            Fact::RunStarted { .. }
            | Fact::RunEnded { .. }
            | Fact::Executes { .. }
            | Fact::Purged { .. }
            | Fact::Ordered { .. } => Ok(()),
        }
    }
}

/// A host was given up: nothing may execute there any more, or its VMs could run twice.
pub(super) fn given_up(host: NodeId, revision: Revision, at: Time, runs: &SingleRun) -> Result<(), Breach> {
    match runs.on(host).next() {
        Some(alive) if !runs.is_frozen(host) => {
            let message = format!(
                "{host} was given up at {revision} ({at:?}) while {:?} runs there since {:?}",
                alive.run, alive.since
            );
            Err(Breach::new("leases", message).nodes([host]).vm(alive.run.vm).index(revision.0))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use blixard_node::hypervisor::Run;
    use blixard_node::ids::{Epoch, VmId};
    use blixard_node::spec::Resources;

    use super::*;
    use crate::hypervisor::Truth;

    const HOST: NodeId = NodeId(1);
    const RUN: Run = Run { vm: VmId(1), epoch: Epoch(1) };

    fn checker() -> Leases {
        let mut checker = Leases::new(Duration(10));
        checker.granted(HOST, Time(100), Duration(50));
        checker
    }

    #[test]
    fn deadlines_up_to_the_grant_pass() {
        let mut checker = checker();
        assert_eq!(checker.take(HOST, &Fact::DeadlineRaised { deadline: Time(150) }), Ok(()));
        let started = Fact::RunStarted {
            run: RUN,
            resources: Resources::default(),
            local: Time(149),
            deadline: Time(150),
        };
        assert_eq!(checker.take(HOST, &started), Ok(()));
        let ended = Fact::RunEnded { run: RUN, local: Time(160), deadline: Time(150) };
        assert_eq!(checker.take(HOST, &ended), Ok(()));
    }

    #[test]
    fn a_deadline_beyond_the_grant_is_found() {
        let raised = Fact::DeadlineRaised { deadline: Time(151) };
        assert_eq!(checker().take(HOST, &raised).unwrap_err().property, "leases");
        let mut checker = checker();
        assert_eq!(checker.take(HOST, &Fact::Rebooted), Ok(()));
        let old = Fact::DeadlineRaised { deadline: Time(150) };
        assert!(checker.take(HOST, &old).is_err(), "a grant from before the reboot counts no more");
    }

    #[test]
    fn a_run_beyond_the_grace_is_found() {
        let ended = Fact::RunEnded { run: RUN, local: Time(161), deadline: Time(150) };
        assert_eq!(checker().take(HOST, &ended).unwrap_err().property, "leases");
        let mut asleep = checker();
        asleep.take(HOST, &Fact::Frozen).expect("no run");
        assert_eq!(asleep.take(HOST, &ended), Ok(()), "it did not execute beyond its deadline");
        asleep.take(HOST, &Fact::Thawed).expect("no run");
        assert!(asleep.take(HOST, &ended).is_err());
    }

    #[test]
    fn a_host_given_up_while_a_vm_runs_there_is_found() {
        let mut runs = SingleRun::default();
        assert_eq!(given_up(HOST, Revision(5), Time(9), &runs), Ok(()));
        let fact = Fact::RunStarted {
            run: RUN,
            resources: Resources::default(),
            local: Time(1),
            deadline: Time(150),
        };
        runs.take(&Truth { at: Time(1), host: HOST, fact }).expect("one run");
        assert_eq!(given_up(HOST, Revision(5), Time(9), &runs).unwrap_err().property, "leases");
        assert_eq!(given_up(NodeId(2), Revision(5), Time(9), &runs), Ok(()));
        runs.take(&Truth { at: Time(2), host: HOST, fact: Fact::Frozen }).expect("one run");
        assert_eq!(given_up(HOST, Revision(5), Time(9), &runs), Ok(()));
    }

    #[test]
    fn a_run_that_begins_after_its_deadline_is_found() {
        let started = Fact::RunStarted {
            run: RUN,
            resources: Resources::default(),
            local: Time(150),
            deadline: Time(150),
        };
        assert_eq!(checker().take(HOST, &started).unwrap_err().property, "leases");
    }

    #[test]
    fn messages_name_the_host_and_the_times() {
        let message = |fact: &Fact| checker().take(HOST, fact).unwrap_err().message;
        let (resources, late) = (Resources::default(), Time(151));
        assert_eq!(
            message(&Fact::DeadlineRaised { deadline: late }),
            format!("the agent of n1 set a deadline of {late:?}, its lease ends {:?}", Time(150))
        );
        assert_eq!(
            message(&Fact::RunStarted { run: RUN, resources, local: late, deadline: Time(150) }),
            format!("{RUN:?} came alive on n1 at {late:?}, its lease ended {:?}", Time(150))
        );
        let died = Time(161);
        assert_eq!(
            message(&Fact::RunEnded { run: RUN, local: died, deadline: Time(150) }),
            format!(
                "{RUN:?} was alive on n1 until {died:?}: its lease ended {:?} and it had {} to die",
                Time(150),
                Duration(10)
            )
        );
    }

    #[test]
    fn an_older_grant_takes_nothing_back_and_is_nobody_elses() {
        let mut checker = checker();
        checker.granted(HOST, Time(90), Duration(50));
        assert_eq!(checker.take(HOST, &Fact::DeadlineRaised { deadline: Time(150) }), Ok(()));
        let elsewhere = Fact::DeadlineRaised { deadline: Time(1) };
        assert!(checker.take(NodeId(2), &elsewhere).is_err(), "it was granted nothing");
    }

    #[test]
    fn a_reboot_wakes_a_host() {
        let mut checker = checker();
        checker.take(HOST, &Fact::Frozen).expect("no run");
        checker.take(HOST, &Fact::Rebooted).expect("no run");
        let ended = Fact::RunEnded { run: RUN, local: Time(161), deadline: Time(150) };
        assert!(checker.take(HOST, &ended).is_err());
    }
}
