//! What the agent asks of a hypervisor backend, and what it hears back.
//!
//! Every request is answered by at most one completion, which may be late, doubled or lost.
//! The backend, not the agent, enforces the deadline of each VM: at its end the VM is dead even if the agent hangs.

use std::sync::Arc;

use crate::ids::{Epoch, Generation, VmId};
use crate::spec::{VmName, VmSpec};
use crate::time::{Duration, Time};

/// One run of a VM: the VM and the assignment it runs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Which VM.
    pub vm: VmId,
    /// Under which assignment.
    pub epoch: Epoch,
}

/// An operation. All are idempotent for one [`Run`], and the backend takes them in the order they were submitted. `Stop` and
/// `Kill` also end a start under way: once they are completed the run never comes alive again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HypervisorRequest {
    /// Build or fetch what the VM needs. Starts nothing.
    Prepare {
        /// The run it is for.
        run: Run,
        /// The VM's name.
        name: VmName,
        /// What it is made of.
        spec: Arc<VmSpec>,
        /// What its hosts have agreed to run, as the first one to prepare it named it in [`Done::Prepared`]; a backend that
        /// would build anything else refuses. None while nobody has prepared it.
        artifact: Option<String>,
    },
    /// Start the VM. Refused with [`HypervisorError::AlreadyRunning`] when any run of this VM is alive on this host, and
    /// with [`HypervisorError::DeadlinePassed`] when `deadline` is over; a start still under way at its
    /// deadline must not come alive.
    Start {
        /// The run.
        run: Run,
        /// The VM's name.
        name: VmName,
        /// What it is made of.
        spec: Arc<VmSpec>,
        /// As in `Prepare`.
        artifact: Option<String>,
        /// When the backend kills the VM unless extended.
        deadline: Time,
    },
    /// Ask the guest to power off; kill it after `grace`.
    Stop {
        /// The run.
        run: Run,
        /// How long the guest may take.
        grace: Duration,
    },
    /// Kill it now.
    Kill {
        /// The run.
        run: Run,
    },
    /// Halt the guest's CPUs; its memory stays. Its deadline goes on.
    Pause {
        /// The run.
        run: Run,
    },
    /// Let the guest's CPUs run again.
    Resume {
        /// The run.
        run: Run,
    },
    /// Remove for good what the VM keeps on this host beyond its runs: volumes, and what was built for it. Asked only when none of its runs
    /// is alive.
    Purge {
        /// The assignment it is asked under.
        run: Run,
        /// The VM's name.
        name: VmName,
        /// What it is made of.
        spec: Arc<VmSpec>,
    },
    /// Move the deadlines of `runs` to `deadline`; never backwards. Not completed.
    Extend {
        /// Those still assigned to this host. A run left out keeps its old deadline.
        runs: Vec<Run>,
        /// The lease's end.
        deadline: Time,
    },
    /// Tell every run this host has, also those that are still starting and those of earlier agents.
    List,
}

/// A successful completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Prepared.
    Prepared {
        /// Names what was built, at most [`ARTIFACT_LEN_MAX`] bytes, so that every host runs the very same; none for a
        /// backend that builds nothing.
        artifact: Option<String>,
    },
    /// Started: the VM is alive.
    Started,
    /// Stopped or killed: the VM is dead. Also when it was not there.
    Stopped,
    /// The guest's CPUs are halted.
    Paused,
    /// They run again.
    Resumed,
    /// Nothing of the VM is left on this host.
    Purged,
    /// The runs there are.
    Listed(Vec<RunView>),
}

/// The longest artifact's name, in bytes.
pub const ARTIFACT_LEN_MAX: usize = 1_024;

/// The longest reason that is passed on, in bytes; longer ones are cut.
pub const REASON_LEN_MAX: usize = 1_024;

/// A run as the backend knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunView {
    /// Which.
    pub run: Run,
    /// Alive, or on its way to be.
    pub state: RunState,
}

/// Whether a run is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// A start is under way.
    Starting,
    /// It runs.
    Running,
    /// It is alive, its CPUs are halted.
    Paused,
    /// A stop is under way.
    Stopping,
}

/// Something happened to a run unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmEvent {
    /// It is dead.
    Exited {
        /// The kind of end.
        exit: Exit,
        /// The backend's words, for people; may be empty.
        reason: String,
    },
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The guest powered itself off in good order.
    PoweredOff,
    /// The guest or the hypervisor crashed, or the exit has no known reason.
    Crashed,
    /// Its deadline passed without an extension.
    DeadlinePassed,
}

/// Why an operation failed. After any of these the run is *not* alive, except `AlreadyRunning`, `Unsupported` and `Uncertain`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HypervisorError {
    /// A run of this VM is alive on this host; it is unharmed.
    #[error("the VM is already running here under epoch {}", .epoch.0)]
    AlreadyRunning {
        /// The living run's epoch.
        epoch: Epoch,
    },
    /// The deadline was over before the VM came alive.
    #[error("the lease ended before the VM had started")]
    DeadlinePassed,
    /// The image or the configuration cannot be built.
    #[error("cannot be prepared: {reason}")]
    Prepare {
        /// The useful lines of the builder's output.
        reason: String,
    },
    /// The backend could not start it.
    #[error("cannot be started: {reason}")]
    Start {
        /// The backend's words.
        reason: String,
    },
    /// This host has no such backend.
    #[error("this host has no hypervisor {name:?}")]
    NoBackend {
        /// The spec's backend.
        name: String,
    },
    /// The backend has no way to do this; the VM is as it was.
    #[error("this hypervisor cannot {what}")]
    Unsupported {
        /// What it cannot do, as in "pause a VM".
        what: String,
    },
    /// The backend cannot tell whether the VM is alive; ask [`HypervisorRequest::List`].
    #[error("the hypervisor's state is uncertain: {reason}")]
    Uncertain {
        /// What it saw.
        reason: String,
    },
}

/// A VM as its host's agent sees it; part of each heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmReport {
    /// Which run.
    pub run: Run,
    /// The generation the agent acted on.
    pub generation: Generation,
    /// Where it stands.
    pub phase: crate::spec::Phase,
    /// Why.
    pub reason: String,
    /// Starts beyond the first under this epoch.
    pub restarts: u32,
    /// What this host has built for it, by name.
    pub artifact: Option<String>,
}
