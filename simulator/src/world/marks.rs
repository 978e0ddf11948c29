//! Marks on rare states of the world. Nothing here changes what happens.

use std::collections::{BTreeMap, BTreeSet};

use blixard_node::ids::{NodeId, VmId};
use blixard_node::time::{Duration, Time};

use super::World;
use super::process::End;
use crate::disk::Loss;
use crate::hypervisor::{Fact, Truth};
use crate::probes::{Probe, WorldProbe};
use crate::scenario::FaultKind;

/// A VM that comes alive on another host so soon after its end has only the lease's margins between the two.
const QUICKLY: Duration = Duration::from_secs(5);

/// Where and when each VM's last run ended.
#[derive(Debug, Default)]
pub(super) struct LastRuns(BTreeMap<VmId, (NodeId, Time)>);

impl World<'_> {
    pub(super) fn mark(&mut self, probe: WorldProbe) {
        self.counts.probes.hit(Probe::World(probe));
    }

    fn mark_if(&mut self, reached: bool, probe: WorldProbe) {
        if reached {
            self.mark(probe);
        }
    }

    /// The process on `number`, if there is one, is about to end.
    pub(super) fn mark_end(&mut self, number: usize, why: End, loss: Option<Loss>) {
        let host = &self.hosts[number];
        let Some(process) = &host.process else { return };
        let (leads, retiring) = (host.leads.is_some(), host.retiring);
        let under_way = process.is_writing() && host.disk.is_under_way();
        let unreleased = process.is_writing() && !host.disk.is_under_way() && why != End::Itself;
        let over_vms = host.hypervisor.with(|inside| inside.alive().next().is_some());
        let left: Vec<usize> =
            (0..self.hosts.len()).filter(|other| *other != number && self.hosts[*other].is_up()).collect();
        let votes = |host: &&usize| self.members.voters.contains(&self.hosts[**host].node);
        let voting = left.iter().filter(votes).count();
        let quorum_down = !self.members.voters.is_empty() && 2 * voting <= self.members.voters.len();
        self.mark_if(unreleased, WorldProbe::DiedBeforeRelease);
        self.mark_if(unreleased && leads, WorldProbe::LeaderDiedBeforeRelease);
        self.mark_if(under_way, WorldProbe::DiedMidWrite);
        self.mark_if(under_way && loss == Some(Loss::Power), WorldProbe::PowerLostMidWrite);
        self.mark_if(leads && why == End::Itself && loss.is_some(), WorldProbe::LeaderLostDisk);
        self.mark_if(retiring && loss.is_some(), WorldProbe::KilledRetiring);
        self.mark_if(over_vms && why != End::PowerLost, WorldProbe::DiedOverVms);
        self.mark_if(quorum_down, WorldProbe::QuorumDown);
        self.mark_if(left.is_empty(), WorldProbe::NobodyUp);
    }

    /// The node on `number` has won an election, and the world does not know it as leader yet.
    pub(super) fn mark_election(&mut self, number: usize) {
        let another =
            self.hosts.iter().enumerate().any(|(other, host)| other != number && host.leads.is_some());
        self.mark_if(another, WorldProbe::TwoLeaders);
    }

    /// A fault has struck `hosts`.
    pub(super) fn mark_strike(&mut self, kind: FaultKind, hosts: u64) {
        let leader = self.hosts.iter().position(|host| host.leads.is_some());
        if leader.is_none_or(|leader| hosts >> leader & 1 == 0) {
            return;
        }
        match kind {
            FaultKind::Pause => self.mark(WorldProbe::LeaderPaused),
            FaultKind::Suspend => self.mark(WorldProbe::LeaderSuspended),
            FaultKind::OneWay => self.mark(WorldProbe::LeaderHalfCut),
            FaultKind::DiskStall => self.mark(WorldProbe::LeaderDiskStalled),
            _ => {}
        }
    }

    /// The world is healed from here on.
    pub(super) fn mark_healing(&mut self) {
        self.mark_if(!self.members.outgoing.is_empty(), WorldProbe::HealedInJoint);
        let nobody = self.hosts.iter().all(|host| host.leads.is_none());
        self.mark_if(nobody, WorldProbe::HealedWithoutLeader);
        let levels: BTreeSet<_> = self.present().into_iter().map(|host| self.hosts[host].level).collect();
        self.mark_if(levels.len() > 1, WorldProbe::HealedAmongVersions);
    }

    pub(super) fn mark_truths(&mut self, truths: &[Truth]) {
        let mut past_deadline = false;
        for truth in truths {
            match truth.fact {
                Fact::RunEnded { run, local, deadline } => {
                    past_deadline = local >= deadline;
                    self.mark_if(past_deadline, WorldProbe::KilledAtDeadline);
                    self.last_runs.0.insert(run.vm, (truth.host, truth.at));
                }
                Fact::RunStarted { run, .. } => {
                    let last = self.last_runs.0.get(&run.vm);
                    let quickly =
                        last.is_some_and(|(host, at)| *host != truth.host && truth.at.since(*at) < QUICKLY);
                    self.mark_if(quickly, WorldProbe::MovedQuickly);
                }
                Fact::Thawed => self.mark_if(past_deadline, WorldProbe::WokePastDeadline),
                _ => {}
            }
        }
    }
}
