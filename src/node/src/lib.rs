//! The pure Blixard node: input in, effects out.
//!
//! What is not in here: no clock, no socket, no file, no thread, no async, no ambient randomness, and nothing that
//! iterates a hashed collection. A node learns the time from each step and draws chance from its own seed, so the
//! same inputs give the same effects on every machine.

#[macro_use]
pub mod planted;

mod agent;
pub mod codec;
pub mod command;
pub mod config;
mod context;
mod controller;
pub mod effects;
pub mod error;
pub mod hypervisor;
pub mod ids;
pub mod input;
mod join;
pub mod level;
pub mod message;
pub mod node;
mod open;
pub mod probes;
pub mod request;
pub mod rng;
pub mod spec;
pub mod state;
pub mod stored;
pub mod time;
pub mod timers;

pub use controller::ConsensusView;
pub use node::Node;
pub use open::{OpenError, bootstrap};
