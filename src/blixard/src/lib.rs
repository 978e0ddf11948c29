//! The production shell around the node: daemon, hypervisors, command line.

pub mod cli;
pub mod hypervisor;
pub mod supervise;
