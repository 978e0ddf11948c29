//! The simulated hypervisor of one host.
//!
//! It belongs to the host, not to the daemon: it outlives the daemon's process, and a reboot of the host ends it with
//! all its VMs. What it promises stands in [`blixard_node::hypervisor`]; how it breaks down, in [`HypervisorFaults`].

mod faults;
mod host;
mod truth;

use std::cell::RefCell;
use std::rc::Rc;

use blixard_node::hypervisor::HypervisorRequest;
use blixard_node::ids::{NodeId, OpId};
use blixard_node::input::Input;
use blixard_node::rng::Rng;
use blixard_node::time::{Duration, Time};

use crate::buggify::Sites;
pub use faults::HypervisorFaults;
pub use host::SimHypervisor;
pub use truth::{Fact, Order, Truth};

/// The clock of one host against true time. Both run forward only.
pub trait HostClock {
    /// True time now.
    fn true_now(&self) -> Time;

    /// What the host's boot-time clock shows at true time `at`.
    fn local_at(&self, at: Time) -> Time;

    /// The first true time at which the host's boot-time clock shows `local` or more, as long as the clock goes on as it
    /// does now; the past when it already does.
    fn true_at(&self, local: Time) -> Time;
}

/// What a daemon's process holds of its host's hypervisor. A handle of a process that died does nothing any more.
#[derive(Clone, Debug)]
pub struct HypervisorHandle {
    host: Rc<RefCell<SimHypervisor>>,
    process: u64,
}

impl blixard_runtime::Hypervisor for HypervisorHandle {
    fn submit(&mut self, op: OpId, request: HypervisorRequest) {
        self.host.borrow_mut().submit(self.process, op, request);
    }
}

/// The host's end: what the world drives. Cheap to clone; all clones are the same hypervisor.
#[derive(Clone, Debug)]
pub struct HostHypervisor(Rc<RefCell<SimHypervisor>>);

impl HostHypervisor {
    /// An idle hypervisor on `host`. `kill_grace` is the cluster's setting, counted on the host's clock. The second stream is for the
    /// rarer faults.
    #[must_use]
    pub fn new(
        host: NodeId,
        clock: Rc<dyn HostClock>,
        faults: HypervisorFaults,
        kill_grace: Duration,
        rngs: [Rng; 2],
    ) -> Self {
        Self(Rc::new(RefCell::new(SimHypervisor::new(host, clock, faults, kill_grace, rngs))))
    }

    /// A new process of the daemon takes over. Operations that earlier processes began go on, but nobody hears how
    /// they end.
    #[must_use]
    pub fn attach(&self) -> HypervisorHandle {
        let process = self.0.borrow_mut().attach();
        HypervisorHandle { host: Rc::clone(&self.0), process }
    }

    /// The daemon's process died. The VMs stay.
    pub fn detach(&self) {
        self.0.borrow_mut().detach();
    }

    /// When [`Self::advance`] is due.
    #[must_use]
    pub fn next_event_time(&self) -> Option<Time> {
        self.0.borrow().next_event_time()
    }

    /// Does all that is due at true time `now`; `out` gets what the attached process hears.
    pub fn advance(&self, now: Time, out: &mut Vec<Input>) {
        self.0.borrow_mut().advance(now, out);
    }

    /// Moves what truly happened since the last call to the end of `out`.
    pub fn drain_truth(&self, out: &mut Vec<Truth>) {
        self.0.borrow_mut().drain_truth(out);
    }

    /// The host reboots, or loses power: every VM is dead at once, all operations are lost, the process is detached.
    pub fn reboot(&self, now: Time) {
        self.0.borrow_mut().reboot(now);
    }

    /// The host is suspended, supervisors and VMs with it. The daemon's process is the world's to stop.
    pub fn suspend(&self, now: Time) {
        self.0.borrow_mut().suspend(now);
    }

    /// The host goes on. A VM whose deadline passed meanwhile does not execute any more: its supervisor's boot-time
    /// alarm fires before the guest is let on.
    pub fn resume(&self, now: Time) {
        self.0.borrow_mut().resume(now);
    }

    /// The host's clock runs otherwise than it did: deadlines are counted anew.
    pub fn clock_changed(&self) {
        self.0.borrow_mut().clock_changed();
    }

    /// Replaces the faults, as when the liveness phase begins. Runs under way keep the fate they drew.
    pub fn set_faults(&self, faults: HypervisorFaults) {
        self.0.borrow_mut().set_faults(faults);
    }

    /// Takes all planned ends of guests and supervisors back (for the liveness phase).
    pub fn cancel_fates(&self) {
        self.0.borrow_mut().cancel_fates();
    }

    /// What is legal and rare on `host` follows from these sites.
    pub(crate) fn set_sites(&self, sites: Sites, host: usize) {
        self.0.borrow_mut().set_sites(sites, host);
    }

    /// Looks at the inside.
    pub fn with<T>(&self, look: impl FnOnce(&SimHypervisor) -> T) -> T {
        look(&self.0.borrow())
    }
}

#[cfg(test)]
mod tests;
