//! The production shell around the node: daemon, hypervisors, command line.

pub mod api;
// Needs a real runtime, real signals and a real listener.
#[cfg(not(madsim))]
pub mod cli;
pub mod daemon;
// Needs a real network.
#[cfg(not(madsim))]
pub mod discovery;
pub mod doctor;
pub mod hypervisor;
pub mod net;
pub mod supervise;
pub mod watchdog;
