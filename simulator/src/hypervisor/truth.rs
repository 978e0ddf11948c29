//! What truly happened on a host, at true time. No node can see it; checkers can.

use blixard_node::hypervisor::{HypervisorRequest, Run};
use blixard_node::ids::{NodeId, OpId};
use blixard_node::spec::Resources;
use blixard_node::time::Time;

/// One true event on `host` at true time `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    /// True time.
    pub at: Time,
    /// Where.
    pub host: NodeId,
    /// What.
    pub fact: Fact,
}

/// What happened. `local` and `deadline` are points on the host's boot-time clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A VM came alive.
    RunStarted {
        /// Which run.
        run: Run,
        /// What it takes of the host.
        resources: Resources,
        /// The host's clock.
        local: Time,
        /// When it is to be killed unless extended.
        deadline: Time,
    },
    /// A VM is dead.
    RunEnded {
        /// Which run.
        run: Run,
        /// The host's clock.
        local: Time,
        /// Its deadline as last extended.
        deadline: Time,
    },
    /// What the run that starts next executes: a VM of a kind that is built.
    Executes {
        /// Which run.
        run: Run,
        /// What was built, as a hash of its name.
        artifact: u64,
    },
    /// What the VM kept on this host was removed for good.
    Purged {
        /// The assignment it was asked under.
        run: Run,
    },
    /// The agent set a deadline beyond all it had set since the host booted.
    DeadlineRaised {
        /// The new deadline.
        deadline: Time,
    },
    /// The agent ordered something.
    Ordered {
        /// What.
        order: Order,
        /// The operation.
        op: OpId,
        /// The run that it is about, if it is about one.
        run: Option<Run>,
    },
    /// The host is suspended: its VMs do not execute.
    Frozen,
    /// The host is back. Runs whose deadline passed meanwhile have ended before this.
    Thawed,
    /// The host rebooted: its runs have ended before this, and its boot-time clock began anew.
    Rebooted,
}

/// What agents order, but for later deadlines: those show as [`Fact::DeadlineRaised`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To build or fetch what a VM needs.
    Prepare,
    /// To start a VM.
    Start,
    /// To ask a guest to power off.
    Stop,
    /// To kill a VM.
    Kill,
    /// To halt a guest.
    Pause,
    /// To let a guest go on.
    Resume,
    /// To remove for good what a VM keeps.
    Purge,
    /// To tell what runs.
    List,
}

impl Order {
    /// What a request orders, and about which run.
    pub(super) fn of(request: &HypervisorRequest) -> Option<(Self, Option<Run>)> {
        use HypervisorRequest as R;
        Some(match request {
            R::Prepare { run, .. } => (Self::Prepare, Some(*run)),
            R::Start { run, .. } => (Self::Start, Some(*run)),
            R::Stop { run, .. } => (Self::Stop, Some(*run)),
            R::Kill { run } => (Self::Kill, Some(*run)),
            R::Pause { run } => (Self::Pause, Some(*run)),
            R::Resume { run } => (Self::Resume, Some(*run)),
            R::Purge { run, .. } => (Self::Purge, Some(*run)),
            R::List => (Self::List, None),
            R::Extend { .. } => return None,
        })
    }
}
