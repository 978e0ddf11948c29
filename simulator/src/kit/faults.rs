//! What faults do here, and how they are taken back.

use blixard_node::rng::Rng;
use blixard_node::time::Duration;

use super::world::{Event, World};
use super::{Node as _, Spec};
use crate::clock::draw_rate;
use crate::cuts::{self, Cut, Roles};
use crate::scenario::{Among, CrashPoint, Fault, FaultKind, Spread};
use crate::strikes::Dice;
use crate::trace::Kind;
use crate::world::Phase;

#[derive(Debug)]
pub(super) struct Active {
    /// Its number in the log.
    strike: u64,
    kind: FaultKind,
    hosts: u64,
    undo: Undo,
}

/// How a lasting fault is taken back.
#[derive(Debug)]
enum Undo {
    Mend(Vec<(usize, usize)>),
    Quicken(usize),
    Hasten(Vec<(usize, usize)>, Duration),
    Unpause { host: usize, life: u32 },
    Unstall(usize),
}

/// What a strike did: whom it struck (as a bit mask of hosts), and how it is taken back if it lasts.
type Struck = Option<(u64, Option<Undo>)>;

impl<S: Spec> World<'_, S> {
    pub(super) fn begin_faults(&mut self) {
        for number in 0..self.strikes.len() {
            let after = self.strikes.draw_first(number);
            self.heap.push_first(self.now.get() + after.0, Event::Fault { number });
        }
    }

    pub(super) fn on_fault(&mut self, number: usize) {
        if self.phase != Phase::Safety {
            return;
        }
        if let Some(after) = self.strikes.draw_next(number) {
            self.heap.push_first(self.now.get() + after.0, Event::Fault { number });
        }
        let mut strike = self.strikes.draw(number);
        let (kind, lasts) = (strike.fault.kind, strike.lasts);
        let Some((hosts, undo)) = self.strike(&mut strike.fault, lasts, &mut strike.dice) else { return };
        *self.counts.faults.entry(kind.word()).or_default() += 1;
        let strike = self.strikes.note(self.now.get(), strike);
        self.log(Kind::Fault, None, [strike, kind as u64, hosts, lasts.0]);
        if let Some(undo) = undo {
            if let Undo::Mend(ways) = &undo {
                for (host, to) in cuts::by_host(ways) {
                    self.log(Kind::Cut, Some(host), [strike, to]);
                }
            }
            let slot = self.active.len();
            self.active.push(Some(Active { strike, kind, hosts, undo }));
            self.heap.push_first(self.now.get() + lasts.0, Event::FaultOver { slot });
        }
    }

    /// Strikes, and notes in `fault` what was drawn.
    fn strike(&mut self, fault: &mut Fault, lasts: Duration, dice: &mut Dice) -> Struck {
        use FaultKind as K;
        let all = 0..self.hosts.len();
        match fault.kind {
            K::Partition | K::OneWay | K::IsolateLeader | K::Bridge | K::Ring | K::Split => {
                let voters = (0..self.scenario.cluster.voters as usize).collect();
                let roles = Roles { leader: self.leader(), voters, learners: Vec::new() };
                let cut = Cut::draw(fault, all.collect(), &roles, &mut dice.whom)?;
                let (struck, ways) = cut.ways()?;
                Some((struck, Some(self.cut(ways))))
            }
            K::Isolate => {
                let host = self.aim(fault, &mut dice.whom)?;
                Some((1 << host, Some(self.cut(cuts::ways_of(host, all)))))
            }
            K::Lag => {
                let host = if fault.hosts.is_empty() { self.aim(fault, &mut dice.whom)? } else { 0 };
                fault.node = None;
                let hosts: Vec<usize> = all.collect();
                let (struck, ways) = cuts::lagging(fault, host, &hosts, &mut dice.whom)?;
                let by = fault.by.draw(&mut dice.how);
                fault.by = Spread::fixed(by);
                ways.iter().for_each(|(from, to)| self.links.delay_by(*from, *to, by));
                Some((struck, Some(Undo::Hasten(ways, by))))
            }
            K::Clog => {
                let host = self.aim(fault, &mut dice.whom)?;
                let by = fault.by.draw(&mut dice.how);
                fault.by = Spread::fixed(by);
                self.links.set_slow(host, by);
                Some((1 << host, Some(Undo::Quicken(host))))
            }
            K::CrashAll => {
                all.clone().for_each(|host| self.arm_crash(host, CrashPoint::Now, lasts));
                Some((all.fold(0, |mask, host| mask | 1 << host), None))
            }
            K::Crash | K::CrashLeader | K::CrashLoop | K::HostReboot => self.kill(fault, lasts, dice),
            K::Pause => {
                let host = self.aim(fault, &mut dice.whom)?;
                self.hosts[host].process.as_ref()?;
                self.hosts[host].paused += 1;
                let life = self.hosts[host].life;
                Some((1 << host, Some(Undo::Unpause { host, life })))
            }
            K::DiskStall => {
                let host = self.aim(fault, &mut dice.whom)?;
                self.hosts[host].stalled += 1;
                Some((1 << host, Some(Undo::Unstall(host))))
            }
            K::Drift => {
                for host in all.clone() {
                    let clock = &self.scenario.clock;
                    let rate = draw_rate(clock.drift_ppm, clock.at_bound, &mut dice.how);
                    self.hosts[host].clock.set_rate(rate);
                    self.plan_timers(host);
                }
                Some((all.fold(0, |mask, host| mask | 1 << host), None))
            }
            _ => None,
        }
    }

    fn kill(&mut self, fault: &mut Fault, lasts: Duration, dice: &mut Dice) -> Struck {
        let host = match fault.kind {
            FaultKind::CrashLeader if fault.node.is_none() => self.leader()?,
            _ => self.aim(fault, &mut dice.whom)?,
        };
        fault.node = Some(host as u64 + 1);
        self.hosts.get(host)?.process.as_ref()?;
        let drawn = dice.how.pick(&CrashPoint::ALL[1..]).copied().unwrap_or(CrashPoint::Now);
        if fault.takes("point") && fault.point == CrashPoint::Any {
            fault.point = drawn;
        }
        let point = if fault.takes("point") { fault.point } else { CrashPoint::Now };
        if fault.kind == FaultKind::CrashLoop {
            self.hosts[host].recovery_crashes = fault.times;
        }
        self.arm_crash(host, point, lasts);
        Some((1 << host, None))
    }

    fn cut(&mut self, ways: Vec<(usize, usize)>) -> Undo {
        ways.iter().for_each(|(from, to)| self.links.cut(*from, *to));
        Undo::Mend(ways)
    }

    /// Draws the host that a fault strikes, and notes it; none when there is no such host.
    fn aim(&self, fault: &mut Fault, whom: &mut Rng) -> Option<usize> {
        let leader = self.leader();
        let voters = self.scenario.cluster.voters as usize;
        let host = match fault.node {
            Some(node) => node as usize - 1,
            None => {
                let mut hosts: Vec<usize> = (0..self.hosts.len()).collect();
                hosts.retain(|host| match fault.among {
                    Among::Any => true,
                    Among::Voters => *host < voters,
                    Among::Workers => *host >= voters,
                    Among::Leader => Some(*host) == leader,
                    Among::Followers => *host < voters && Some(*host) != leader,
                });
                whom.pick(&hosts).copied()?
            }
        };
        fault.node = Some(host as u64 + 1);
        (host < self.hosts.len()).then_some(host)
    }

    /// The first host whose node believes that it leads.
    fn leader(&self) -> Option<usize> {
        self.hosts.iter().position(|host| host.process.as_ref().is_some_and(|process| process.node.leads()))
    }

    pub(super) fn end_fault(&mut self, slot: usize) {
        let Some(Active { strike, kind, hosts, undo }) = self.active[slot].take() else { return };
        self.log(Kind::FaultOver, None, [strike, kind as u64, hosts]);
        match undo {
            Undo::Mend(ways) => ways.iter().for_each(|(from, to)| self.links.mend(*from, *to)),
            Undo::Quicken(host) => self.links.set_slow(host, Duration::ZERO),
            Undo::Hasten(ways, by) => ways.iter().for_each(|(from, to)| self.links.hasten_by(*from, *to, by)),
            Undo::Unpause { host, life } => {
                if self.hosts[host].life == life {
                    self.hosts[host].paused -= 1;
                    self.wake_up(host);
                }
            }
            Undo::Unstall(host) => {
                self.hosts[host].stalled -= 1;
                if self.hosts[host].stalled == 0 {
                    self.sync_stalled(host);
                }
            }
        }
    }

    /// A process that stood still takes in what has happened meanwhile.
    fn wake_up(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let Some(process) = host.process.as_mut().filter(|_| host.paused == 0) else { return };
        let held = std::mem::take(&mut process.held);
        self.go_on(number);
        for event in held {
            if !self.failed() {
                self.dispatch(event);
            }
        }
    }
}
