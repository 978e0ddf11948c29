//! What tells one kind of hypervisor from another: what has to be built for a VM, and what is run.
//!
//! All the rest (starting, deadlines, stopping, adoption) is the same for every kind and stands in `host.rs` and in
//! [`crate::supervise`].

use blixard_node::hypervisor::HypervisorError;
use blixard_node::spec::{VmName, VmSpec};

use super::run_dir::Plan;

/// A VM as its backend is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The VM's name.
    pub name: &'a VmName,
    /// What it is made of.
    pub spec: &'a VmSpec,
    /// What all its hosts run, as the first one's [`Backend::prepare`] named it; none while nobody has built anything.
    pub artifact: Option<&'a str>,
}

/// One kind of hypervisor.
pub trait Backend: Send + Sync + 'static {
    /// The name that [`VmSpec::hypervisor`] gives it.
    fn name(&self) -> &'static str;

    /// What this host can do with it, for people; or why it cannot. Takes seconds at most.
    ///
    /// # Errors
    /// What is missing, and how to mend it.
    fn probe(&self) -> Result<String, String>;

    /// Builds or fetches what the VM needs. May block for minutes; is called on a thread for such things. Called again
    /// for the same VM it finds its work done. Returns the name of what it built, if it builds anything: the same as
    /// [`Job::artifact`] when there is one.
    ///
    /// # Errors
    /// [`HypervisorError::Prepare`] with what the user can mend.
    fn prepare(&self, job: Job<'_>) -> Result<Option<String>, HypervisorError>;

    /// What the supervisor runs. Must not block.
    ///
    /// # Errors
    /// [`HypervisorError::Prepare`] when the spec makes no sense, or was not prepared.
    fn plan(&self, job: Job<'_>) -> Result<Plan, HypervisorError>;

    /// Removes what [`Backend::prepare`] keeps for the VM. Called when no run of it is alive.
    ///
    /// # Errors
    /// What cannot be removed.
    fn purge(&self, _name: &VmName) -> Result<(), String> {
        Ok(())
    }
}
