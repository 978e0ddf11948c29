//! Repeated attempts that wait longer each time.

use crate::time::Duration;

/// The wait before attempt number `failures + 1`: 1 s, 2 s, 4 s … at most 60 s.
#[must_use]
pub fn backoff(failures: u32) -> Duration {
    let secs = 1u64 << failures.saturating_sub(1).min(6);
    Duration::from_secs(secs.min(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_twice_the_one_before_up_to_a_minute() {
        let waits = [1, 2, 3, 4, 5, 6, 7, 8, 100, u32::MAX].map(backoff);
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60].map(Duration::from_secs));
        assert_eq!(backoff(0), Duration::from_secs(1));
    }
}
