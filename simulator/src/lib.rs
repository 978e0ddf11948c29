//! The simulated world around the production node: one thread, one seed, one event heap.
//!
//! What is not in here: no async, no tokio, no real clock, disk or network under a run, no float and no hashed
//! collection under a trace hash. The same seed gives the same run on every machine. The node, its turn loop and its
//! store are production's own; only the four backends are simulated.
//!
//! What is in here:
//! - What is run: a [`subject::Subject`]. [`subject::Blixard`] is the shipped node in its [`world`]; [`kit`] is a world for any other
//!   state machine. A [`scenario::Scenario`] says who takes part, what goes wrong and what is expected; [`swarm`] draws whole ones.
//! - What is done with subjects: [`sweep`] runs many seeds, [`determinism`] proves that a seed gives one run, [`shrink`] makes a failing
//!   run small, [`trace`] is the log of everything that happened, [`explain`] tells from it in words what led to a violation, [`report`] draws it.
//! - What must hold: [`checkers`], with a linearizability checker for objects of any kind.
//! - The backends: [`clock`], [`net`], [`disk`] and [`hypervisor`].
//! - The rest serves the binary `blixard-sim`: [`output`], [`logbook`].
//!
//! `docs/writing-a-backend.md` goes through putting a backend or a node of one's own into the world. A run of Blixard's:
//!
//! ```
//! use blixard_sim::scenario::{Outcome, Scenario};
//! use blixard_sim::subject::{Blixard, Subject as _};
//!
//! let text = r#"
//!     name = "a leader dies"
//!
//!     [run]
//!     warmup = "5s"
//!     duration = "5s"
//!
//!     [[fault]]
//!     kind = "crash-leader"
//!     at = "1s"
//! "#;
//! let scenario = Scenario::parse("example.toml", text).unwrap();
//! let mut trace = Vec::new();
//! let report = Blixard::default().run(&scenario, 7, Some(&mut trace));
//! assert_eq!(report.outcome, Outcome::Held);
//! assert_eq!(report.trace_len, trace.len() as u64);
//! assert!(report.counts.elections >= 2);
//! ```

mod buggify;
pub mod checkers;
mod client;
pub mod clock;
mod cuts;
pub mod determinism;
pub mod disk;
pub mod explain;
mod hang;
mod heap;
pub mod history;
pub mod hypervisor;
pub mod kit;
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
mod strikes;
pub mod subject;
pub mod swarm;
pub mod sweep;
pub mod trace;
pub mod workload;
pub mod world;
