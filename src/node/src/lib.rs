//! The pure Blixard node: input in, effects out.
//!
//! What is not in here: no clock, no socket, no file, no thread, no async, no ambient randomness, and nothing that
//! iterates a hashed collection. A node learns the time from each step and draws chance from its own seed, so the
//! same inputs give the same effects on every machine.

pub mod codec;
pub mod command;
pub mod config;
pub mod effects;
pub mod error;
pub mod hypervisor;
pub mod ids;
pub mod input;
pub mod message;
pub mod node;
#[cfg(feature = "planted")]
pub mod planted;
pub mod request;
pub mod rng;
pub mod spec;
pub mod state;
pub mod stored;
pub mod time;

pub use node::{Node, OpenError, bootstrap};
