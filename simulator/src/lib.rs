//! The simulated world around the production node: one thread, one seed, one event heap.
//!
//! What is not in here: no async, no tokio, no real clock, disk or network under a run, no float and no hashed
//! collection under a trace hash. The same seed gives the same run on every machine. The node, its turn loop and its
//! store are production's own; only the four backends are simulated.

mod buggify;
pub mod checkers;
mod client;
pub mod clock;
pub mod determinism;
pub mod disk;
pub mod explain;
pub mod history;
pub mod hypervisor;
pub mod logbook;
pub mod net;
pub mod output;
mod panics;
pub mod probes;
pub mod report;
pub mod sabotage;
pub mod scenario;
pub mod schedule;
pub mod shrink;
#[cfg(feature = "proptest")]
pub mod strategy;
pub mod subject;
pub mod swarm;
pub mod sweep;
pub mod trace;
pub mod workload;
pub mod world;
