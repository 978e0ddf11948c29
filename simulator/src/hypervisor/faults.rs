//! How fast a simulated hypervisor is, and what goes wrong with it.

use crate::scenario::{Chance, Spread};

/// One host's hypervisor. All spans are of true time; the ratios count per operation unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HypervisorFaults {
    /// How long a build or fetch takes.
    pub prepare: Spread,
    /// Builds that take `prepare_slow_by` longer.
    pub prepare_slow: Chance,
    /// How much longer.
    pub prepare_slow_by: Spread,
    /// Builds that fail.
    pub prepare_fails: Chance,
    /// How long a start takes.
    pub start: Spread,
    /// Starts that take `start_slow_by` longer.
    pub start_slow: Chance,
    /// How much longer.
    pub start_slow_by: Spread,
    /// Starts that fail.
    pub start_fails: Chance,
    /// Starts of which the hypervisor cannot tell the outcome; half of them came alive.
    pub start_uncertain: Chance,
    /// How long a guest takes to power off when asked.
    pub stop: Spread,
    /// Guests that ignore the request to power off until they are killed.
    pub stop_hangs: Chance,
    /// How long a kill takes; cut so that a VM past its deadline is dead within the kill grace.
    pub kill: Spread,
    /// How long an answer is under way; also that of a list and of an exit.
    pub answer: Spread,
    /// Completions that arrive `answer_late_by` later.
    pub answer_late: Chance,
    /// How much later.
    pub answer_late_by: Spread,
    /// Completions that arrive twice, the second up to `answer_late_by` later.
    pub answer_doubled: Chance,
    /// Completions of what was carried out that never arrive.
    pub answer_lost: Chance,
    /// Exits that nobody is told of; only a list shows them.
    pub exit_silent: Chance,
    /// Per run: the guest crashes within `lifetime`.
    pub guest_crashes: Chance,
    /// Per run: the guest powers itself off within `lifetime`.
    pub guest_powers_off: Chance,
    /// Per run: its supervisor dies within `lifetime` and takes the VM with it.
    pub supervisor_dies: Chance,
    /// When, counted from the start, the three above happen.
    pub lifetime: Spread,
    /// Planted: deadlines are not enforced.
    pub ignores_deadlines: bool,
}

impl Default for HypervisorFaults {
    /// A hypervisor without faults.
    fn default() -> Self {
        Self {
            prepare: Spread::millis(10, 500),
            prepare_slow: Chance::NEVER,
            prepare_slow_by: Spread::millis(5_000, 60_000),
            prepare_fails: Chance::NEVER,
            start: Spread::millis(50, 400),
            start_slow: Chance::NEVER,
            start_slow_by: Spread::millis(1_000, 15_000),
            start_fails: Chance::NEVER,
            start_uncertain: Chance::NEVER,
            stop: Spread::millis(50, 2_000),
            stop_hangs: Chance::NEVER,
            kill: Spread::millis(1, 500),
            answer: Spread::millis(0, 5),
            answer_late: Chance::NEVER,
            answer_late_by: Spread::millis(100, 5_000),
            answer_doubled: Chance::NEVER,
            answer_lost: Chance::NEVER,
            exit_silent: Chance::NEVER,
            guest_crashes: Chance::NEVER,
            guest_powers_off: Chance::NEVER,
            supervisor_dies: Chance::NEVER,
            lifetime: Spread::millis(100, 60_000),
            ignores_deadlines: false,
        }
    }
}
