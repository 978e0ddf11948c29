//! Repeated attempts that wait longer each time.

use crate::time::Duration;

/// The wait before attempt number `failures + 1`: 1 s, 2 s, 4 s … at most 60 s.
#[must_use]
pub fn backoff(failures: u32) -> Duration {
    let secs = 1u64 << failures.saturating_sub(1).min(6);
    Duration::from_secs(secs.min(60))
}
