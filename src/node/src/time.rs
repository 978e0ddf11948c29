//! Time as the node sees it: nanoseconds of its own host's boot-time clock, handed in with each step.

use std::fmt;
use std::ops::{Add, AddAssign, Mul, Sub};

/// A point on one host's boot-time clock (`CLOCK_BOOTTIME`: monotonic, counts suspend), in nanoseconds.
/// Points of two hosts are not comparable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

/// A span of time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(pub u64);

/// Milliseconds since 1970 by the proposing host's wall clock. Shown to people, never compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallMs(pub u64);

/// Both clocks of a host, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// The boot-time clock: every decision is taken on it.
    pub boot: Time,
    /// The wall clock: stamped on commands for people to read.
    pub wall: WallMs,
}

impl Time {
    /// The later of two times.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    /// The span since `earlier`, zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Duration {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros * 1_000)
    }

    /// From milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// From seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000_000)
    }

    /// In whole nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// In whole milliseconds, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This span as another clock may measure it at most, `ppm` parts per million longer, rounded up.
    #[must_use]
    pub const fn stretched(self, ppm: u32) -> Self {
        Self(self.0 + (self.0 / 1_000_000 + 1) * ppm as u64)
    }
}

impl Add<Duration> for Time {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Add for Duration {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Duration {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<u64> for Duration {
    type Output = Self;
    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1_000_000_000) {
            write!(f, "{}s", self.0 / 1_000_000_000)
        } else if self.0.is_multiple_of(1_000_000) {
            write!(f, "{}ms", self.0 / 1_000_000)
        } else {
            write!(f, "{}us", self.0 / 1_000)
        }
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_what_their_names_say() {
        assert_eq!(Duration::from_nanos(7), Duration(7));
        assert_eq!(Duration::from_micros(7), Duration(7_000));
        assert_eq!(Duration::from_millis(7), Duration(7_000_000));
        assert_eq!(Duration::from_secs(7), Duration(7_000_000_000));
        assert_eq!(Duration(7_999_999).as_nanos(), 7_999_999);
        assert_eq!(Duration(7_999_999).as_millis(), 7);
    }

    #[test]
    fn sums_end_at_the_ends_of_time() {
        let span = Duration(3);
        assert_eq!((Time(4) + span, Time(u64::MAX) + span), (Time(7), Time(u64::MAX)));
        let mut at = Time(4);
        at += span;
        assert_eq!(at, Time(7));
        assert_eq!((span + Duration(4), span + Duration(u64::MAX)), (Duration(7), Duration(u64::MAX)));
        assert_eq!((Duration(7) - span, span - Duration(7)), (Duration(4), Duration::ZERO));
        assert_eq!((span * 4, span * u64::MAX), (Duration(12), Duration(u64::MAX)));
        assert_eq!((Time(7).since(Time(4)), Time(4).since(Time(7))), (span, Duration::ZERO));
        assert_eq!((Time(4).max(Time(7)), Time(7).max(Time(4))), (Time(7), Time(7)));
    }

    #[test]
    fn another_clock_may_measure_the_parts_per_million_more_rounded_up() {
        assert_eq!(Duration::from_secs(8).stretched(1_000).0, 8_008_001_000);
        assert_eq!(Duration::from_secs(8).stretched(0), Duration::from_secs(8));
        assert_eq!(Duration(1).stretched(1_000), Duration(1_001), "never less than the truth");
        assert_eq!(Duration(2_500_000).stretched(10).0, 2_500_030);
    }

    #[test]
    fn spans_and_times_are_told_in_round_units() {
        let told = [8_000_000_000, 1_500_000_000, 2_500_000, 0].map(|span| Duration(span).to_string());
        assert_eq!(told, ["8s", "1500ms", "2500us", "0s"]);
        assert_eq!(format!("{:?} {:?}", Time(1_000_005_999), Duration(1_000)), "1.000005s 1us");
    }
}
