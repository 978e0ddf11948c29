//! The turn loop that production and the simulator both run, the traits it runs over, and the redb store.
//!
//! What is not in here: no async, no thread, no socket, and no clock but the one it is handed.

pub mod backend;
pub mod turn;

pub use backend::{Clock, Disk, DiskError, Hypervisor, Network};
pub use turn::{Fatal, Runtime, Turn};
