//! The hosts' clocks against true time, exact in integers and invertible.
//!
//! A boot-time clock runs `rate = 1 + ppm / 1,000,000` times as fast as true time from a base on: `local = base_local +
//! floor((true - base_true) × rate)`. Both directions are exact, so a wake-up at the true time of a deadline finds the
//! deadline passed on the host's own clock.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use blixard_node::rng::Rng;
use blixard_node::time::{Duration, Now, Time, WallMs};

use crate::buggify::Sites;
use crate::scenario::Site;

/// The wall clocks' time at the beginning of a run: 2026-01-01.
const WALL_BEGIN_MS: i64 = 1_767_225_600_000;
const MILLION: i128 = 1_000_000;

/// One host's clocks. Clones are the same clocks.
#[derive(Clone, Debug)]
pub struct SimClock(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    /// True time, shared by all hosts.
    true_now: Rc<Cell<u64>>,
    base_true: Cell<u64>,
    base_local: Cell<u64>,
    ppm: Cell<i64>,
    wall_offset_ms: Cell<i64>,
    sites: RefCell<Option<(Sites, usize)>>,
}

impl SimClock {
    /// A host that has been up for `uptime` at this moment of `true_now`.
    #[must_use]
    pub fn new(true_now: Rc<Cell<u64>>, uptime: Duration) -> Self {
        let base_true = Cell::new(true_now.get());
        Self(Rc::new(Inner {
            true_now,
            base_true,
            base_local: Cell::new(uptime.0),
            ppm: Cell::new(0),
            wall_offset_ms: Cell::new(0),
            sites: RefCell::new(None),
        }))
    }

    /// What is rare about the clock of `host` follows from these sites.
    pub(crate) fn set_sites(&self, sites: Sites, host: usize) {
        *self.0.sites.borrow_mut() = Some((sites, host));
    }

    /// A reading of the wall clock that is decades off, if it is that now.
    fn wild_wall(&self) -> Option<i64> {
        let sites = self.0.sites.borrow();
        let (sites, host) = sites.as_ref()?;
        let decades = WALL_BEGIN_MS as u64 * 2;
        sites
            .fires(Site::ClockWallWild, *host)
            .then(|| sites.below(Site::ClockWallWild, *host, decades) as i64)
    }

    /// From now on it runs `ppm` parts per million fast (or slow, below 0). It does not jump.
    pub fn set_rate(&self, ppm: i64) {
        let now = self.0.true_now.get();
        let local = self.local_at(Time(now));
        self.0.base_true.set(now);
        self.0.base_local.set(local.0);
        self.0.ppm.set(ppm);
    }

    /// The host was booted `uptime` ago.
    pub fn reboot(&self, uptime: Duration) {
        self.0.base_true.set(self.0.true_now.get());
        self.0.base_local.set(uptime.0);
    }

    /// The wall clock is set forward (or back, below 0).
    pub fn jump_wall(&self, by_ms: i64) {
        let offset = &self.0.wall_offset_ms;
        offset.set(offset.get().saturating_add(by_ms));
    }

    /// True time now.
    #[must_use]
    pub fn true_now(&self) -> Time {
        Time(self.0.true_now.get())
    }

    /// What the boot-time clock shows at true time `at`, at its present rate.
    #[must_use]
    pub fn local_at(&self, at: Time) -> Time {
        let inner = &*self.0;
        let passed = i128::from(at.0) - i128::from(inner.base_true.get());
        let ppm = inner.ppm.get();
        let local = i128::from(inner.base_local.get())
            + if ppm == 0 { passed } else { (passed * (MILLION + i128::from(ppm))).div_euclid(MILLION) };
        Time(u64::try_from(local.max(0)).unwrap_or(u64::MAX))
    }

    /// The first true time at which the boot-time clock shows `local` or more, at its present rate.
    #[must_use]
    pub fn true_at(&self, local: Time) -> Time {
        let inner = &*self.0;
        let passed = i128::from(local.0) - i128::from(inner.base_local.get());
        let ppm = inner.ppm.get();
        let rate = MILLION + i128::from(ppm);
        let wanted = if ppm == 0 { passed } else { (passed * MILLION + rate - 1).div_euclid(rate) };
        let at = i128::from(inner.base_true.get()) + wanted;
        Time(u64::try_from(at.max(0)).unwrap_or(u64::MAX))
    }
}

impl blixard_runtime::Clock for SimClock {
    fn now(&self) -> Now {
        let now = self.0.true_now.get();
        let usual = WALL_BEGIN_MS + (now / 1_000_000) as i64 + self.0.wall_offset_ms.get();
        let wall = self.wild_wall().unwrap_or(usual);
        Now { boot: self.local_at(Time(now)), wall: WallMs(wall.max(0) as u64) }
    }
}

impl crate::hypervisor::HostClock for SimClock {
    fn true_now(&self) -> Time {
        self.true_now()
    }

    fn local_at(&self, at: Time) -> Time {
        self.local_at(at)
    }

    fn true_at(&self, local: Time) -> Time {
        self.true_at(local)
    }
}

/// A rate such that no two clocks drawn so differ by more than `drift_ppm`; `at_bound`, the fastest such rate or the slowest.
pub fn draw_rate(drift_ppm: u64, at_bound: bool, rng: &mut Rng) -> i64 {
    // (1 + a) / (1 - a) ≤ 1 + d  ⇔  a ≤ d / (2 + d)
    let most = drift_ppm * 1_000_000 / (2_000_000 + drift_ppm);
    let above = rng.between(0, 2 * most);
    match (at_bound, above > most) {
        (false, _) => above as i64 - most as i64,
        (true, true) => most as i64,
        (true, false) => -(most as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_are_exact_at_any_rate() {
        let mut rng = Rng::new(7, 0);
        let true_now = Rc::new(Cell::new(0));
        for _ in 0..2_000 {
            true_now.set(rng.below(1 << 45));
            let clock = SimClock::new(Rc::clone(&true_now), Duration(rng.below(1 << 45)));
            clock.set_rate(rng.between(0, 200_000) as i64 - 100_000);
            true_now.set(true_now.get() + rng.below(1 << 40));
            let local = Time(clock.local_at(clock.true_now()).0 + rng.below(1 << 40));
            let at = clock.true_at(local);
            assert!(clock.local_at(at) >= local, "woken too early");
            assert!(clock.local_at(Time(at.0 - 1)) < local, "woken later than needed");
        }
    }

    #[test]
    fn a_new_rate_does_not_jump() {
        let true_now = Rc::new(Cell::new(5_000_000_001));
        let clock = SimClock::new(Rc::clone(&true_now), Duration(77));
        clock.set_rate(900);
        true_now.set(9_999_999_999);
        let before = clock.local_at(clock.true_now());
        clock.set_rate(-900);
        assert_eq!(clock.local_at(clock.true_now()), before);
    }

    #[test]
    fn drawn_rates_keep_the_bound_between_any_two_clocks() {
        let mut rng = Rng::new(7, 1);
        for drift in [0_u64, 1, 200, 1_000, 100_000] {
            for at_bound in [false, true] {
                let rates: Vec<i64> = (0..200).map(|_| draw_rate(drift, at_bound, &mut rng)).collect();
                let (slow, fast) = (rates.iter().min().unwrap(), rates.iter().max().unwrap());
                assert!((1_000_000 + fast) * 1_000_000 <= (1_000_000 + slow) * (1_000_000 + drift as i64));
                assert!(!at_bound || rates.iter().all(|rate| rate == slow || rate == fast));
            }
        }
    }
}
