//! The host's clocks.

use blixard_node::time::{Now, Time, WallMs};
use blixard_runtime::Clock;

/// `CLOCK_BOOTTIME` and the wall clock of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> Now {
        Now { boot: Time(crate::supervise::boot_time()), wall: wall() }
    }
}

/// The runtime's own clock, which a simulation controls; `origin` is its zero.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeClock {
    /// Where it begins to count.
    pub origin: tokio::time::Instant,
}

impl Clock for RuntimeClock {
    fn now(&self) -> Now {
        let elapsed = self.origin.elapsed();
        // Not 0: a node's time begins after its host's.
        let boot = Time(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX).saturating_add(1));
        Now { boot, wall: WallMs(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)) }
    }
}

fn wall() -> WallMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    WallMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
