//! One host: its clock, disk and hypervisor, and the process that runs on it, if any.

use blixard_node::ids::NodeId;
use blixard_node::level::Level;
use blixard_node::rng::Rng;
use blixard_node::time::Duration;
use blixard_runtime::Runtime;

use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::hypervisor::{HostHypervisor, HypervisorHandle};
use crate::net::SimNetwork;
use crate::scenario::CrashPoint;

/// The production turn loop over the four simulated backends.
pub(super) type Process = Runtime<SimClock, SimNetwork, SimDisk, HypervisorHandle>;

/// Whether a host takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It waits to be added.
    Spare,
    /// It takes part, or is on its way to.
    In,
    /// It is gone for good.
    Gone,
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) node: NodeId,
    pub(super) presence: Presence,
    pub(super) clock: SimClock,
    pub(super) disk: SimDisk,
    pub(super) hypervisor: HostHypervisor,
    /// The seeds of its processes.
    pub(super) rng: Rng,
    /// What its disk draws from.
    pub(super) disk_rng: Rng,
    /// What its turns, crashes and restarts draw from.
    pub(super) process_rng: Rng,
    pub(super) process: Option<Box<Process>>,
    /// Rises with each start and each end of a process.
    pub(super) life: u32,
    /// The process stands still (a count of reasons).
    pub(super) paused: u32,
    /// What its processes speak from their start on.
    pub(super) level: Level,
    /// The whole host sleeps (a count of reasons).
    pub(super) suspended: u32,
    /// True time until which the CPU is taken.
    pub(super) busy_until: u64,
    /// A turn is scheduled for `busy_until`.
    pub(super) turn_scheduled: bool,
    /// True time of the wake-up that is scheduled, or the end of time.
    pub(super) wake_at: u64,
    /// True time of the hypervisor event that is scheduled, or the end of time.
    pub(super) hypervisor_at: u64,
    /// Where the process will die.
    pub(super) armed: Option<CrashPoint>,
    /// How long it stays down then.
    pub(super) down_for: Duration,
    /// How often it will die during its next recoveries.
    pub(super) recovery_crashes: u64,
    /// A disk fault is armed, so a disk error is no surprise.
    pub(super) disk_fault_armed: bool,
    /// Bits of its disk have flipped, and no process has opened it since: whether this copy is sound is open.
    pub(super) suspect: bool,
    /// The disk is full (a count of reasons).
    pub(super) disk_full: u32,
    /// Every write stalls (a count of reasons).
    pub(super) disk_stalled: u32,
    /// The process was asked to end in good order.
    pub(super) retiring: bool,
    /// The term this node leads, as it last said.
    pub(super) leads: Option<u64>,
    /// The write under way, or the last one.
    pub(super) write: u64,
    /// What the log was last told of the present process.
    pub(super) shown: super::telling::Shown,
    /// Turns of the present process, for spacing out the costly checks.
    pub(super) turns: u64,
}

/// The end of time.
pub(super) const NEVER: u64 = u64::MAX;

impl Host {
    pub(super) fn new(
        node: NodeId,
        presence: Presence,
        clock: SimClock,
        disk: SimDisk,
        hypervisor: HostHypervisor,
        [rng, disk_rng, process_rng]: [Rng; 3],
    ) -> Self {
        Self {
            node,
            presence,
            clock,
            disk,
            hypervisor,
            rng,
            disk_rng,
            process_rng,
            process: None,
            life: 0,
            paused: 0,
            level: Level::NEWEST,
            suspended: 0,
            busy_until: 0,
            turn_scheduled: false,
            wake_at: NEVER,
            hypervisor_at: NEVER,
            armed: None,
            down_for: Duration::from_millis(100),
            recovery_crashes: 0,
            disk_fault_armed: false,
            suspect: false,
            disk_full: 0,
            disk_stalled: 0,
            retiring: false,
            leads: None,
            write: 0,
            shown: super::telling::Shown::default(),
            turns: 0,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// The process can run a turn.
    pub(super) fn can_run(&self) -> bool {
        self.process.is_some() && self.paused == 0 && self.suspended == 0
    }
}
