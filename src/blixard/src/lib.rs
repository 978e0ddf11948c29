//! The production shell around the node: daemon, hypervisors, command line.

pub mod hypervisor;
pub mod supervise;
