//! The turn loop that production and the simulator both run, the traits it runs over, and the redb store.
//!
//! What is not in here: no async, no thread, no socket, no clock but the one it is handed, and no file outside `store/file.rs`.

pub mod backend;
pub mod conformance;
pub mod hypervisor_conformance;
pub mod memory;
pub mod store;
pub mod turn;

pub use backend::{Clock, Disk, DiskError, Hypervisor, Network};
pub use memory::MemoryDisk;
pub use store::RedbDisk;
pub use turn::{Fatal, Runtime, Turn};
