//! The faults of a run: when each strikes, what it does, and how it is taken back.

use blixard_node::ids::NodeId;
use blixard_node::rng::Rng;
use blixard_node::time::Duration;

use super::event::Event;
use super::host::Presence;
use super::operator::Ask;
use super::{Phase, World, streams};
use crate::clock::draw_rate;
use crate::disk::{Fault as DiskFault, FaultKind as DiskFaultKind};
use crate::scenario::{Among, CrashPoint, Fault, FaultKind, Scenario, Storage, When};
use crate::trace::Kind;

/// The faults of a scenario, each with a stream of its own.
#[derive(Debug)]
pub(super) struct Plan {
    entries: Vec<Entry>,
    /// Faults that last, by slot.
    active: Vec<Option<Active>>,
    /// How many have struck.
    strikes: u64,
}

#[derive(Debug)]
struct Entry {
    fault: Fault,
    rng: Rng,
}

#[derive(Debug)]
struct Active {
    /// Its number in the log.
    strike: u64,
    kind: FaultKind,
    hosts: u64,
    undo: Undo,
}

/// How a lasting fault is taken back.
#[derive(Debug)]
pub(super) enum Undo {
    Mend(Vec<(usize, usize)>),
    Quicken(usize),
    Unpause { host: usize, life: u32 },
    Resume(usize),
    EmptyDisk(usize),
    UnstallDisk(usize),
    Uncordon(NodeId),
}

impl Plan {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut swarm = Rng::new(seed, streams::SWARM);
        let mut entries = Vec::new();
        for (number, fault) in scenario.faults.iter().enumerate() {
            let left_out = scenario.run.swarm && swarm.ratio(1, 2);
            if !left_out {
                let rng = Rng::new(seed, streams::FAULTS + number as u64);
                entries.push(Entry { fault: fault.clone(), rng });
            }
        }
        Self { entries, active: Vec::new(), strikes: 0 }
    }
}

/// What a strike did: whom it struck (as a bit mask of hosts), and how it is taken back if it lasts.
type Struck = Option<(u64, Option<Undo>)>;

impl World<'_> {
    pub(super) fn begin_faults(&mut self) {
        for number in 0..self.plan.entries.len() {
            let entry = &mut self.plan.entries[number];
            let after = match entry.fault.when {
                When::At(at) => at,
                When::Every(every) => every.draw(&mut entry.rng),
            };
            self.heap.push(self.now.get() + after.0, Event::Fault { number: number as u16 });
        }
    }

    pub(super) fn on_fault(&mut self, number: usize) {
        if self.phase != Phase::Safety {
            return;
        }
        let entry = &mut self.plan.entries[number];
        if let When::Every(every) = entry.fault.when {
            let after = every.draw(&mut entry.rng);
            self.heap.push(self.now.get() + after.0, Event::Fault { number: number as u16 });
        }
        let lasts = entry.fault.lasts.draw(&mut entry.rng);
        let fault = entry.fault.clone();
        // The stream is lent to the strike, so that the rest of the world can be borrowed beside it.
        let mut rng = entry.rng.clone();
        let struck = self.strike(&fault, lasts, &mut rng);
        self.plan.entries[number].rng = rng;
        let Some((hosts, undo)) = struck else { return };
        *self.counts.faults.entry(fault.kind.word()).or_default() += 1;
        self.plan.strikes += 1;
        let strike = self.plan.strikes;
        self.log(Kind::Fault, None, [strike, fault.kind as u64, hosts, lasts.0]);
        if let Some(undo) = undo {
            self.tell_cuts(strike, &undo);
            let slot = self.plan.active.len();
            self.plan.active.push(Some(Active { strike, kind: fault.kind, hosts, undo }));
            self.heap.push(self.now.get() + lasts.0, Event::FaultOver { slot: slot as u32 });
        }
    }

    fn strike(&mut self, fault: &Fault, lasts: Duration, rng: &mut Rng) -> Struck {
        use FaultKind as K;
        match fault.kind {
            K::Partition | K::OneWay | K::IsolateLeader | K::Bridge | K::Ring => {
                self.cut_links(fault.kind, rng)
            }
            K::Crash | K::CrashLeader | K::CrashLoop | K::CrashAll | K::Retire => {
                self.kill(fault, lasts, rng)
            }
            K::Pause | K::Suspend | K::HostReboot | K::HostDead | K::DiskLost => {
                self.strike_host(fault, lasts, rng)
            }
            K::DiskError | K::DiskFull | K::DiskStall => self.strike_disk(fault, rng),
            K::ClockJump | K::Drift => self.strike_clocks(fault, rng),
            K::Clog => {
                let host = self.target(fault.among, fault.node, rng)?;
                self.links.set_slow(host, fault.by.draw(rng));
                Some((1 << host, Some(Undo::Quicken(host))))
            }
            K::MemberAdd | K::MemberRemove | K::Cordon | K::TransferLeader => self.strike_members(fault, rng),
        }
    }

    fn cut_links(&mut self, kind: FaultKind, rng: &mut Rng) -> Struck {
        let mut hosts: Vec<usize> = self.present();
        if hosts.len() < 2 {
            return None;
        }
        rng.shuffle(&mut hosts);
        let split = 1 + rng.below(hosts.len() as u64 - 1) as usize;
        let (left, right) = hosts.split_at(split);
        let mut struck = left.iter().fold(0, |mask, host| mask | 1 << host);
        let mut pairs = Vec::new();
        let mut both = |a: usize, b: usize| pairs.extend([(a, b), (b, a)]);
        match kind {
            FaultKind::Partition => {
                left.iter().for_each(|a| right.iter().for_each(|b| both(*a, *b)));
            }
            FaultKind::OneWay => {
                left.iter().for_each(|a| right.iter().for_each(|b| pairs.push((*a, *b))));
            }
            FaultKind::IsolateLeader => {
                let leader = self.leader()?;
                struck = 1 << leader;
                hosts.iter().filter(|host| **host != leader).for_each(|other| both(leader, *other));
            }
            FaultKind::Bridge => {
                // The first of the left group reaches everybody.
                struck = 1 << left[0];
                left[1..].iter().for_each(|a| right.iter().for_each(|b| both(*a, *b)));
            }
            FaultKind::Ring => {
                let count = hosts.len();
                for a in 0..count {
                    for b in a + 2..count {
                        if (a, b) != (0, count - 1) {
                            both(hosts[a], hosts[b]);
                        }
                    }
                }
            }
            _ => return None,
        }
        pairs.iter().for_each(|(from, to)| self.links.cut(*from, *to));
        Some((struck, Some(Undo::Mend(pairs))))
    }

    fn kill(&mut self, fault: &Fault, lasts: Duration, rng: &mut Rng) -> Struck {
        if fault.kind == FaultKind::CrashAll {
            let hosts = self.present();
            for host in &hosts {
                self.arm_crash(*host, CrashPoint::Now, lasts);
            }
            return Some((hosts.iter().fold(0, |mask, host| mask | 1 << host), None));
        }
        let host = match fault.kind {
            FaultKind::CrashLeader => self.leader()?,
            _ => self.target(fault.among, fault.node, rng)?,
        };
        if !self.hosts[host].is_up() {
            return None;
        }
        match fault.kind {
            FaultKind::Retire => self.retire(host, lasts),
            FaultKind::CrashLoop => {
                self.hosts[host].recovery_crashes = fault.times;
                self.arm_crash(host, CrashPoint::Now, lasts);
            }
            _ => {
                let points = &CrashPoint::ALL[1..];
                let drawn = rng.pick(points).copied().unwrap_or(CrashPoint::Now);
                let point = if fault.point == CrashPoint::Any { drawn } else { fault.point };
                self.arm_crash(host, point, lasts);
            }
        }
        Some((1 << host, None))
    }

    fn strike_host(&mut self, fault: &Fault, lasts: Duration, rng: &mut Rng) -> Struck {
        let host = self.target(fault.among, fault.node, rng)?;
        let mask = 1 << host;
        match fault.kind {
            FaultKind::Pause => {
                if !self.hosts[host].is_up() {
                    return None;
                }
                let life = self.hosts[host].life;
                self.hosts[host].paused += 1;
                return Some((mask, Some(Undo::Unpause { host, life })));
            }
            FaultKind::Suspend => {
                let now = self.true_time();
                let asleep = &mut self.hosts[host];
                if asleep.suspended > 0 {
                    return None;
                }
                asleep.suspended += 1;
                asleep.hypervisor.suspend(now);
                self.plan_hypervisor(host);
                return Some((mask, Some(Undo::Resume(host))));
            }
            FaultKind::HostReboot => {
                self.lose_power(host);
                self.start_after(host, lasts);
            }
            FaultKind::HostDead => {
                if !self.may_lose(host) {
                    return None;
                }
                self.lose_power(host);
                self.hosts[host].presence = Presence::Gone;
                self.refresh_askable();
                self.operate(Ask::Remove { node: self.hosts[host].node, host: None });
            }
            _ => {
                if !self.may_lose(host) {
                    return None;
                }
                let old = self.hosts[host].node;
                self.wipe(host);
                self.start_after(host, lasts);
                self.operate(Ask::Remove { node: old, host: None });
            }
        }
        Some((mask, None))
    }

    /// The host loses power and comes back with an empty disk, under a node id never used before.
    pub(super) fn wipe(&mut self, number: usize) {
        self.lose_power(number);
        let node = self.new_node(number);
        let hypervisor = self.new_hypervisor(number, node, &self.hosts[number].clock.clone());
        let host = &mut self.hosts[number];
        host.disk.lose();
        host.disk_fault_armed = false;
        host.node = node;
        host.hypervisor = hypervisor;
        host.hypervisor_at = super::host::NEVER;
        self.views[number] = super::Members::default();
        self.refresh_askable();
    }

    fn strike_disk(&mut self, fault: &Fault, rng: &mut Rng) -> Struck {
        let host = self.target(fault.among, fault.node, rng)?;
        let undo = match fault.kind {
            FaultKind::DiskFull => {
                self.hosts[host].disk_full += 1;
                Some(Undo::EmptyDisk(host))
            }
            FaultKind::DiskStall => {
                self.hosts[host].disk_stalled += 1;
                Some(Undo::UnstallDisk(host))
            }
            _ => {
                let redb = self.scenario.cluster.storage == Storage::Redb;
                let after_ops = if redb { rng.below(30) as u32 } else { 0 };
                self.arm_disk(host, DiskFault { kind: DiskFaultKind::Io, after_ops });
                None
            }
        };
        Some((1 << host, undo))
    }

    fn strike_clocks(&mut self, fault: &Fault, rng: &mut Rng) -> Struck {
        if fault.kind == FaultKind::ClockJump {
            let host = self.target(fault.among, fault.node, rng)?;
            let by = fault.by.draw(rng).as_millis() as i64;
            let back = rng.ratio(1, 2);
            self.hosts[host].clock.jump_wall(if back { -by } else { by });
            return Some((1 << host, None));
        }
        let mut struck = 0;
        for number in 0..self.hosts.len() {
            let rate = draw_rate(self.scenario.clock.drift_ppm, rng);
            let host = &mut self.hosts[number];
            host.clock.set_rate(rate);
            host.hypervisor.clock_changed();
            // A wake-up planned at the old rate would come late.
            host.wake_at = super::host::NEVER;
            self.plan_hypervisor(number);
            self.plan_wake(number);
            struck |= 1 << number;
        }
        Some((struck, None))
    }

    fn strike_members(&mut self, fault: &Fault, rng: &mut Rng) -> Struck {
        match fault.kind {
            FaultKind::MemberAdd => {
                let spares: Vec<usize> = (0..self.hosts.len())
                    .filter(|host| self.hosts[*host].presence == Presence::Spare)
                    .collect();
                let host = rng.pick(&spares).copied()?;
                self.hosts[host].presence = Presence::In;
                self.refresh_askable();
                self.start_after(host, Duration::from_millis(1));
                Some((1 << host, None))
            }
            FaultKind::MemberRemove => {
                let host = self.target(fault.among, fault.node, rng).filter(|host| self.may_lose(*host))?;
                self.operate(Ask::Remove { node: self.hosts[host].node, host: Some(host) });
                Some((1 << host, None))
            }
            FaultKind::Cordon => {
                let host = self.target(fault.among, fault.node, rng)?;
                let node = self.hosts[host].node;
                self.operate(Ask::Cordon { node, cordoned: true });
                Some((1 << host, Some(Undo::Uncordon(node))))
            }
            _ => {
                let to = self.target(Among::Voters, None, rng);
                let to = to.filter(|_| rng.ratio(1, 2)).map(|host| self.hosts[host].node);
                self.operate(Ask::Transfer { to });
                Some((0, None))
            }
        }
    }

    pub(super) fn end_fault(&mut self, slot: usize) {
        let Some(active) = self.plan.active[slot].take() else { return };
        self.log(Kind::FaultOver, None, [active.strike, active.kind as u64, active.hosts]);
        match active.undo {
            Undo::Mend(pairs) => pairs.iter().for_each(|(from, to)| self.links.mend(*from, *to)),
            Undo::Quicken(host) => self.links.set_slow(host, Duration::ZERO),
            Undo::Unpause { host, life } => {
                let paused = &mut self.hosts[host];
                if paused.life == life {
                    paused.paused = paused.paused.saturating_sub(1);
                }
                self.go_on(host);
            }
            Undo::Resume(host) => {
                let now = self.true_time();
                let asleep = &mut self.hosts[host];
                if asleep.suspended > 0 {
                    asleep.suspended -= 1;
                    asleep.hypervisor.resume(now);
                    self.plan_hypervisor(host);
                    self.go_on(host);
                }
            }
            Undo::EmptyDisk(host) => self.hosts[host].disk_full -= 1,
            Undo::UnstallDisk(host) => self.hosts[host].disk_stalled -= 1,
            Undo::Uncordon(node) => self.operate(Ask::Cordon { node, cordoned: false }),
        }
    }

    /// Takes every lasting fault back.
    pub(super) fn end_faults(&mut self) {
        for slot in 0..self.plan.active.len() {
            self.end_fault(slot);
        }
    }
}
