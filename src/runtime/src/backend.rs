//! The four traits behind which all I/O stands. Each says all that the node relies on.

use std::task::Poll;

use blixard_node::hypervisor::HypervisorRequest;
use blixard_node::ids::{NodeId, OpId};
use blixard_node::message::Message;
use blixard_node::stored::{Stored, WriteBatch};
use blixard_node::time::Now;

/// The host's clocks.
pub trait Clock {
    /// Both clocks. The boot-time clock never goes back within one process, and counts suspend.
    fn now(&self) -> Now;
}

/// The way to other members.
pub trait Network {
    /// Sends a message, or drops it: nothing is promised, and it never blocks.
    fn send(&mut self, to: NodeId, message: Message);

    /// Where members are reached from now on: the whole list.
    fn directory(&mut self, members: Vec<(NodeId, String)>);
}

/// The node's disk.
///
/// It is loaded before the first batch, and one batch is under way at a time. When `poll` has said `Ready(Ok)`, the batch
/// survives the process's death and a power loss; before that, a crash leaves the image from before the batch or from
/// after it, nothing else. After an error the disk is not used again: the process ends and opens anew.
pub trait Disk {
    /// Reads all there is.
    ///
    /// # Errors
    /// When the disk cannot be read, is another program's, of a newer format, or corrupt.
    fn load(&mut self) -> Result<Stored, DiskError>;

    /// Begins to write a batch.
    fn begin(&mut self, batch: WriteBatch);

    /// Whether the batch begun last is durable.
    fn poll(&mut self) -> Poll<Result<(), DiskError>>;
}

/// Runs VMs. See [`blixard_node::hypervisor`] for what each request promises.
pub trait Hypervisor {
    /// Begins an operation and returns at once; its completion comes in as an input.
    fn submit(&mut self, op: OpId, request: HypervisorRequest);
}

/// Why the disk cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The file is no Blixard store.
    #[error("{path} is not a Blixard store ({reason}); give another --data-dir, or move the file away")]
    Foreign {
        /// The file.
        path: String,
        /// How one can tell.
        reason: String,
    },
    /// The store was written by a newer Blixard.
    #[error(
        "{path} has format {found}, this Blixard knows formats up to {known}: run the newer version again"
    )]
    NewerFormat {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
        /// The newest known here.
        known: u32,
    },
    /// Something in it fails its checksum or cannot be decoded.
    #[error("{path} is corrupt: {what}; remove the data directory and join again under a new node id")]
    Corrupt {
        /// The file.
        path: String,
        /// Which record, and how.
        what: String,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process; stop that one first")]
    InUse {
        /// The file.
        path: String,
    },
    /// No space left.
    #[error("no space left to write {path}; free some, then start the node again")]
    Full {
        /// The file.
        path: String,
    },
    /// Reading or writing failed.
    #[error("cannot use {path}: {reason}")]
    Io {
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
}

impl DiskError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Foreign { .. } => "BLX-DISK-001",
            Self::NewerFormat { .. } => "BLX-DISK-002",
            Self::Corrupt { .. } => "BLX-DISK-003",
            Self::InUse { .. } => "BLX-DISK-004",
            Self::Full { .. } => "BLX-DISK-005",
            Self::Io { .. } => "BLX-DISK-006",
        }
    }
}
