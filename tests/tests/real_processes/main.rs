//! Daemons as processes of this machine: the real binary, real files, real sockets, real supervisors. They are killed,
//! suspended and restarted; clients and VMs keep a record, and the record is judged.
//!
//! Not under `--cfg madsim`, where nothing is real.
#![cfg(not(madsim))]
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod binary;
mod churn;
mod client;
mod clocks;
mod cluster;
mod cuts;
mod failover;
mod figures;
mod guest;
mod history;
mod levels;
mod linux;
mod lives;
mod network;
mod planted;
mod processes;
mod refusals;
mod rounds;
mod scribe;
mod storm;
mod supervisors;
