//! The production shell around the node: daemon, hypervisors, command line.

pub mod api;
pub mod cli;
pub mod daemon;
pub mod hypervisor;
pub mod net;
pub mod supervise;
