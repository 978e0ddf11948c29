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
use crate::scenario::{Among, CrashPoint, Fault, FaultKind, Scenario, Spread, Storage, When};
use crate::trace::Kind;

/// The faults of a scenario, each with a stream of its own.
#[derive(Debug)]
pub(super) struct Plan {
    entries: Vec<Entry>,
    /// Faults that last, by slot.
    active: Vec<Option<Active>>,
    /// Each strike as a fault of its own, with what was drawn for it.
    struck: Vec<Fault>,
    /// Faults that are due and wait for the moment they are aimed at.
    pub(super) waiting: super::aim::Waiting,
}

#[derive(Debug)]
struct Entry {
    fault: Fault,
    /// When it strikes, and for how long.
    rng: Rng,
    /// The number of its first strike's streams; the others follow.
    draws: u64,
}

/// The chance of one strike: whom it strikes, and what it does there. Two streams, so that naming the one leaves the other alone.
#[derive(Debug)]
pub(super) struct Dice {
    whom: Rng,
    pub(super) how: Rng,
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
                let number = number as u64;
                entries.push(Entry {
                    fault: fault.clone(),
                    rng: Rng::new(seed, streams::FAULTS | number),
                    draws: fault.draws.unwrap_or(streams::nth(number, 0)),
                });
            }
        }
        Self { entries, active: Vec::new(), struck: Vec::new(), waiting: super::aim::Waiting::default() }
    }
}

impl Plan {
    /// Each strike so far as a fault of its own.
    pub(super) fn take_struck(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.struck)
    }

    pub(super) fn among(&self, number: usize) -> Among {
        self.entries[number].fault.among
    }

    /// How long after its moment this aimed fault strikes.
    pub(super) fn draw_within(&mut self, number: usize) -> Duration {
        let entry = &mut self.entries[number];
        entry.fault.within.draw(&mut entry.rng)
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
            self.heap.push_first(self.now.get() + after.0, Event::Fault { number: number as u32 });
        }
    }

    pub(super) fn on_fault(&mut self, number: usize) {
        if self.phase != Phase::Safety {
            return;
        }
        let entry = &mut self.plan.entries[number];
        if let When::Every(every) = entry.fault.when {
            let after = every.draw(&mut entry.rng);
            self.heap.push_first(self.now.get() + after.0, Event::Fault { number: number as u32 });
        }
        match self.plan.entries[number].fault.aim {
            Some(aim) => self.plan.waiting.add(aim, number),
            None => {
                self.strike_now(number, None);
            }
        }
    }

    /// The moment that an aimed fault waited for has come, on `host`.
    pub(super) fn on_aimed(&mut self, number: usize, host: usize) {
        if self.phase == Phase::Safety
            && self.strike_now(number, Some(host))
            && let Some(aim) = self.plan.entries[number].fault.aim
        {
            *self.counts.aimed.entry(aim.word()).or_default() += 1;
        }
    }

    /// Whether it found somebody to strike; `host` is whom it is aimed at.
    fn strike_now(&mut self, number: usize, host: Option<usize>) -> bool {
        let entry = &mut self.plan.entries[number];
        let lasts =
            if entry.fault.takes("lasts") { entry.fault.lasts.draw(&mut entry.rng) } else { Duration::ZERO };
        let mut fault = entry.fault.clone();
        if let Some(host) = host.filter(|_| fault.takes("among")) {
            fault.node = Some(host as u64 + 1);
        }
        let draws = entry.draws;
        entry.draws += 1;
        let mut dice = Dice {
            whom: Rng::new(self.seed, streams::STRIKES | draws),
            how: Rng::new(self.seed, streams::BLOWS | draws),
        };
        let Some((hosts, undo)) = self.strike(&mut fault, lasts, &mut dice) else { return false };
        let at = Duration(self.now.get() - self.scenario.run.warmup.0);
        let struck = Fault {
            when: When::At(at),
            lasts: Spread::fixed(lasts),
            draws: Some(draws),
            aim: None,
            ..fault.clone()
        };
        self.plan.struck.push(struck.with_what_it_takes());
        *self.counts.faults.entry(fault.kind.word()).or_default() += 1;
        self.mark_strike(fault.kind, hosts);
        let strike = self.plan.struck.len() as u64;
        self.log(Kind::Fault, None, [strike, fault.kind as u64, hosts, lasts.0]);
        if let Some(undo) = undo {
            self.tell_cuts(strike, &undo);
            let slot = self.plan.active.len();
            self.plan.active.push(Some(Active { strike, kind: fault.kind, hosts, undo }));
            self.heap.push_first(self.now.get() + lasts.0, Event::FaultOver { slot: slot as u32 });
        }
        true
    }

    /// Strikes, and notes in `fault` what was drawn.
    fn strike(&mut self, fault: &mut Fault, lasts: Duration, dice: &mut Dice) -> Struck {
        use FaultKind as K;
        match fault.kind {
            K::Partition | K::OneWay | K::IsolateLeader | K::Bridge | K::Ring => self.cut_links(fault, dice),
            K::Crash | K::CrashLeader | K::CrashLoop | K::CrashAll | K::Retire => {
                self.kill(fault, lasts, dice)
            }
            K::Pause | K::Suspend | K::HostReboot | K::HostDead | K::DiskLost => {
                self.strike_host(fault, lasts, dice)
            }
            K::DiskError | K::DiskFull | K::DiskStall => self.strike_disk(fault, dice),
            K::ClockJump | K::Drift => self.strike_clocks(fault, dice),
            K::Isolate => {
                let host = self.aim(fault, dice)?;
                let others = self.present().into_iter().filter(|other| *other != host);
                let pairs: Vec<(usize, usize)> =
                    others.flat_map(|other| [(host, other), (other, host)]).collect();
                pairs.iter().for_each(|(from, to)| self.links.cut(*from, *to));
                Some((1 << host, Some(Undo::Mend(pairs))))
            }
            K::DiskRot => self.rot(fault, lasts, dice),
            K::Clog => {
                let host = self.aim(fault, dice)?;
                let by = fault.by.draw(&mut dice.how);
                fault.by = Spread::fixed(by);
                self.links.set_slow(host, by);
                Some((1 << host, Some(Undo::Quicken(host))))
            }
            K::MemberAdd | K::MemberRemove | K::Cordon | K::TransferLeader => {
                self.strike_members(fault, dice)
            }
        }
    }

    /// Draws the host that a fault strikes, and notes it; none when there is no such host now.
    pub(super) fn aim(&self, fault: &mut Fault, dice: &mut Dice) -> Option<usize> {
        let host = self.target(fault.among, fault.node, &mut dice.whom)?;
        fault.node = Some(host as u64 + 1);
        Some(host)
    }

    /// The hosts in the order of a cut, and how many of them stand on its first side.
    fn sides(&self, fault: &mut Fault, dice: &mut Dice) -> Option<(Vec<usize>, usize)> {
        let mut hosts: Vec<usize> = self.present();
        if !fault.hosts.is_empty() {
            let mut named: Vec<usize> = fault.hosts.iter().map(|host| *host as usize - 1).collect();
            named.retain(|host| hosts.contains(host));
            hosts.retain(|host| !named.contains(host));
            let first = named.len();
            named.extend(hosts);
            return (first > 0 && named.len() > 1).then_some((named, first));
        }
        if hosts.len() < 2 {
            return None;
        }
        dice.whom.shuffle(&mut hosts);
        let mut first = 1 + dice.whom.below(hosts.len() as u64 - 1) as usize;
        if fault.kind == FaultKind::IsolateLeader {
            let leader = self.leader()?;
            hosts.sort_by_key(|host| *host != leader);
            first = 1;
        }
        if fault.kind == FaultKind::Ring {
            first = hosts.len();
        }
        fault.hosts = hosts[..first].iter().map(|host| *host as u64 + 1).collect();
        Some((hosts, first))
    }

    fn cut_links(&mut self, fault: &mut Fault, dice: &mut Dice) -> Struck {
        let (hosts, first) = self.sides(fault, dice)?;
        let (left, right) = hosts.split_at(first);
        let mut struck = left.iter().fold(0, |mask, host| mask | 1 << host);
        let mut pairs = Vec::new();
        let mut both = |a: usize, b: usize| pairs.extend([(a, b), (b, a)]);
        match fault.kind {
            FaultKind::Partition | FaultKind::IsolateLeader => {
                left.iter().for_each(|a| right.iter().for_each(|b| both(*a, *b)));
            }
            FaultKind::OneWay => {
                left.iter().for_each(|a| right.iter().for_each(|b| pairs.push((*a, *b))));
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

    fn kill(&mut self, fault: &mut Fault, lasts: Duration, dice: &mut Dice) -> Struck {
        if fault.kind == FaultKind::CrashAll {
            let hosts = self.present();
            for host in &hosts {
                self.arm_crash(*host, CrashPoint::Now, lasts);
            }
            return Some((hosts.iter().fold(0, |mask, host| mask | 1 << host), None));
        }
        let host = match fault.kind {
            FaultKind::CrashLeader if fault.node.is_none() => self.leader()?,
            _ => self.aim(fault, dice)?,
        };
        fault.node = Some(host as u64 + 1);
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
                let drawn = dice.how.pick(points).copied().unwrap_or(CrashPoint::Now);
                if fault.point == CrashPoint::Any {
                    fault.point = drawn;
                }
                self.arm_crash(host, fault.point, lasts);
            }
        }
        Some((1 << host, None))
    }

    fn strike_host(&mut self, fault: &mut Fault, lasts: Duration, dice: &mut Dice) -> Struck {
        let host = self.aim(fault, dice)?;
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
                self.note_lost(self.hosts[host].node, "its host died");
                self.hosts[host].presence = Presence::Gone;
                self.refresh_askable();
                self.operate(Ask::Remove { node: self.hosts[host].node, host: None });
            }
            _ => {
                if !self.may_lose(host) {
                    return None;
                }
                let old = self.hosts[host].node;
                self.note_lost(old, "its disk was lost");
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
        host.suspect = false;
        host.node = node;
        host.hypervisor = hypervisor;
        host.hypervisor_at = super::host::NEVER;
        self.views[number] = super::Members::default();
        self.refresh_askable();
    }

    fn strike_disk(&mut self, fault: &mut Fault, dice: &mut Dice) -> Struck {
        let host = self.aim(fault, dice)?;
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
                let after_ops = if redb { dice.how.below(30) as u32 } else { 0 };
                self.arm_disk(host, DiskFault { kind: DiskFaultKind::Io, after_ops });
                None
            }
        };
        Some((1 << host, undo))
    }

    fn strike_clocks(&mut self, fault: &mut Fault, dice: &mut Dice) -> Struck {
        if fault.kind == FaultKind::ClockJump {
            let host = self.aim(fault, dice)?;
            let back = dice.how.ratio(1, 2);
            let by = fault.by.draw(&mut dice.how);
            fault.by = Spread::fixed(by);
            let by = by.as_millis() as i64;
            self.hosts[host].clock.jump_wall(if back { -by } else { by });
            return Some((1 << host, None));
        }
        let mut struck = 0;
        for number in 0..self.hosts.len() {
            let rate = draw_rate(self.drift_ppm(), &mut dice.how);
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

    fn strike_members(&mut self, fault: &mut Fault, dice: &mut Dice) -> Struck {
        match fault.kind {
            FaultKind::MemberAdd => {
                let named = |host: &usize| fault.node.is_none_or(|node| node == *host as u64 + 1);
                let spares: Vec<usize> = (0..self.hosts.len())
                    .filter(|host| self.hosts[*host].presence == Presence::Spare && named(host))
                    .collect();
                let host = dice.whom.pick(&spares).copied()?;
                fault.node = Some(host as u64 + 1);
                self.hosts[host].presence = Presence::In;
                self.refresh_askable();
                self.start_after(host, Duration::from_millis(1));
                Some((1 << host, None))
            }
            FaultKind::MemberRemove => {
                let host = self.aim(fault, dice).filter(|host| self.may_lose(*host))?;
                self.operate(Ask::Remove { node: self.hosts[host].node, host: Some(host) });
                Some((1 << host, None))
            }
            FaultKind::Cordon => {
                let host = self.aim(fault, dice)?;
                let node = self.hosts[host].node;
                self.operate(Ask::Cordon { node, cordoned: true });
                Some((1 << host, Some(Undo::Uncordon(node))))
            }
            _ => {
                let to = self.target(Among::Voters, None, &mut dice.whom);
                let to = to.filter(|_| dice.how.ratio(1, 2)).map(|host| self.hosts[host].node);
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
