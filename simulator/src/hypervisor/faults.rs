//! How fast a simulated hypervisor is, and what goes wrong with it.

use crate::sabotage::Lie;
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
    /// Starts whose guest lives but never gets ready: listed as starting, until it is killed.
    pub never_ready: Chance,
    /// Per run: its hypervisor has no way to ask a guest to power off, and says so.
    pub stop_unsupported: Chance,
    /// Per run: the guest hangs within `lifetime`; it lives and hears nothing.
    pub guest_wedges: Chance,
    /// Per run: somebody else starts the VM a second time within `lifetime`, which fails on the disk's lock and takes the
    /// first one's control path; that one lives and hears nothing.
    pub control_stolen: Chance,
    /// Crashes that are told as a power-off: the guest was reset, and the hypervisor's exit status is 0.
    pub crash_as_reset: Chance,
    /// Ends of guests of which only the closed socket is seen; told as a crash.
    pub exit_only_eof: Chance,
    /// Runs that end in the agent's absence, or by a reboot, and leave a socket: they stay listed for
    /// `stale_socket_for` once the next agent is there.
    pub stale_socket: Chance,
    /// How long.
    pub stale_socket_for: Spread,
    /// Runs that end in the agent's absence and whose process id is another process's by the time the next agent
    /// looks: they stay listed for `pid_reused_for`.
    pub pid_reused: Chance,
    /// How long.
    pub pid_reused_for: Spread,
    /// Builds that are ended because they take too long, `prepare_slow_by` longer than others.
    pub prepare_times_out: Chance,
    /// Builds that take `prepare_slow_by` longer and hold the store's lock: all later ones of the host wait for them.
    pub prepare_locks: Chance,
    /// Builds that find the disk full: nothing is built, no run begins, and no end is written down for
    /// `no_space_for`.
    pub no_space: Chance,
    /// How long.
    pub no_space_for: Spread,
    /// Purges that fail; nothing is removed.
    pub purge_fails: Chance,
    /// VMs that are built and named by what was built. No fault.
    pub builds: Chance,
    /// Builds of such VMs that come out otherwise than on other hosts.
    pub builds_differ: Chance,
    /// News of exits that comes `exit_late_by` later.
    pub exit_late: Chance,
    /// How much later.
    pub exit_late_by: Spread,
    /// Lists that come `list_late_by` after they were made.
    pub list_late: Chance,
    /// How much later.
    pub list_late_by: Spread,
    /// How it breaks its word, to prove that the checkers notice.
    pub lie: Lie,
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
            never_ready: Chance::NEVER,
            stop_unsupported: Chance::NEVER,
            guest_wedges: Chance::NEVER,
            control_stolen: Chance::NEVER,
            crash_as_reset: Chance::NEVER,
            exit_only_eof: Chance::NEVER,
            stale_socket: Chance::NEVER,
            stale_socket_for: Spread::millis(100, 5_000),
            pid_reused: Chance::NEVER,
            pid_reused_for: Spread::millis(5_000, 120_000),
            prepare_times_out: Chance::NEVER,
            prepare_locks: Chance::NEVER,
            no_space: Chance::NEVER,
            no_space_for: Spread::millis(1_000, 20_000),
            purge_fails: Chance::NEVER,
            builds: Chance::NEVER,
            builds_differ: Chance::NEVER,
            exit_late: Chance::NEVER,
            exit_late_by: Spread::millis(500, 10_000),
            list_late: Chance::NEVER,
            list_late_by: Spread::millis(500, 10_000),
            lie: Lie::None,
        }
    }
}
