//! The faults of a run: when each strikes, what it does, and how it is taken back.

use blixard_node::ids::NodeId;
use blixard_node::time::Duration;

use super::event::Event;
use super::host::Presence;
use super::operator::Ask;
use super::{Phase, World};
use crate::clock::draw_rate;
use crate::cuts::{self, Cut};
use crate::disk::{Fault as DiskFault, FaultKind as DiskFaultKind};
use crate::scenario::{Among, CrashPoint, Fault, FaultKind, Scenario, Spread, Storage};
use crate::strikes::{Dice, Strikes};
use crate::trace::Kind;

/// The faults of a run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) strikes: Strikes,
    /// Faults that last, by slot.
    active: Vec<Option<Active>>,
    /// Faults that are due and wait for the moment they are aimed at.
    pub(super) waiting: super::aim::Waiting,
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
    Hasten(Vec<(usize, usize)>, Duration),
    Unpause { host: usize, life: u32 },
    Resume(usize),
    EmptyDisk(usize),
    UnstallDisk(usize),
    Uncordon(NodeId),
}

impl Plan {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let strikes = Strikes::new(scenario, seed);
        Self { strikes, active: Vec::new(), waiting: super::aim::Waiting::default() }
    }
}

/// What a strike did: whom it struck (as a bit mask of hosts), and how it is taken back if it lasts.
pub(super) type Struck = Option<(u64, Option<Undo>)>;

impl World<'_> {
    pub(super) fn begin_faults(&mut self) {
        for number in 0..self.plan.strikes.len() {
            let after = self.plan.strikes.draw_first(number);
            self.heap.push_first(self.now.get() + after.0, Event::Fault { number: number as u32 });
        }
    }

    pub(super) fn on_fault(&mut self, number: usize) {
        if self.phase != Phase::Safety {
            return;
        }
        if let Some(after) = self.plan.strikes.draw_next(number) {
            self.heap.push_first(self.now.get() + after.0, Event::Fault { number: number as u32 });
        }
        match self.plan.strikes.fault(number).aim {
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
            && let Some(aim) = self.plan.strikes.fault(number).aim
        {
            *self.counts.aimed.entry(aim.word()).or_default() += 1;
        }
    }

    /// Whether it found somebody to strike; `host` is whom it is aimed at.
    fn strike_now(&mut self, number: usize, host: Option<usize>) -> bool {
        let mut strike = self.plan.strikes.draw(number);
        if let Some(host) = host.filter(|_| strike.fault.takes("among")) {
            strike.fault.node = Some(host as u64 + 1);
        }
        let (kind, lasts) = (strike.fault.kind, strike.lasts);
        let Some((hosts, undo)) = self.strike(&mut strike.fault, lasts, &mut strike.dice) else {
            return false;
        };
        *self.counts.faults.entry(kind.word()).or_default() += 1;
        self.mark_strike(kind, hosts);
        let strike = self.plan.strikes.note(self.now.get(), strike);
        self.log(Kind::Fault, None, [strike, kind as u64, hosts, lasts.0]);
        if let Some(undo) = undo {
            self.tell_cuts(strike, &undo);
            let slot = self.plan.active.len();
            self.plan.active.push(Some(Active { strike, kind, hosts, undo }));
            self.heap.push_first(self.now.get() + lasts.0, Event::FaultOver { slot: slot as u32 });
        }
        true
    }

    /// Strikes, and notes in `fault` what was drawn.
    fn strike(&mut self, fault: &mut Fault, lasts: Duration, dice: &mut Dice) -> Struck {
        use FaultKind as K;
        match fault.kind {
            K::Partition | K::OneWay | K::IsolateLeader | K::Bridge | K::Ring | K::Split => {
                self.cut_links(fault, dice)
            }
            K::Lag => self.lag(fault, dice),
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
                Some((1 << host, Some(self.cut(cuts::ways_of(host, self.present())))))
            }
            K::DiskRot => self.rot(fault, lasts, dice),
            K::Upgrade => self.upgrade(fault, lasts, dice),
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

    fn cut_links(&mut self, fault: &mut Fault, dice: &mut Dice) -> Struck {
        let present = self.present();
        let (struck, ways) = Cut::draw(fault, present, &self.roles(), &mut dice.whom)?.ways()?;
        Some((struck, Some(self.cut(ways))))
    }

    fn lag(&mut self, fault: &mut Fault, dice: &mut Dice) -> Struck {
        let host = if fault.hosts.is_empty() { self.aim(fault, dice)? } else { 0 };
        fault.node = None;
        let (struck, ways) = cuts::lagging(fault, host, &self.present(), &mut dice.whom)?;
        let by = fault.by.draw(&mut dice.how);
        fault.by = Spread::fixed(by);
        ways.iter().for_each(|(from, to)| self.links.delay_by(*from, *to, by));
        Some((struck, Some(Undo::Hasten(ways, by))))
    }

    fn cut(&mut self, ways: Vec<(usize, usize)>) -> Undo {
        ways.iter().for_each(|(from, to)| self.links.cut(*from, *to));
        Undo::Mend(ways)
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
            let rate = draw_rate(self.drift_ppm(), self.scenario.clock.at_bound, &mut dice.how);
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
            Undo::Hasten(ways, by) => ways.iter().for_each(|(from, to)| self.links.hasten_by(*from, *to, by)),
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
