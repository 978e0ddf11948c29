//! The node: dispatch only.

use crate::config::{NodeConfig, Settings};
use crate::effects::Effects;
use crate::ids::{ClusterId, NodeId};
use crate::input::Input;
use crate::stored::Stored;
use crate::time::{Now, Time};

/// Why a node cannot open on what its disk holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The disk belongs to another member.
    #[error(
        "the data directory belongs to {stored}, not to {configured}: give the node its own directory, or its own id"
    )]
    WrongNode {
        /// Whose it is.
        stored: NodeId,
        /// Who asked.
        configured: NodeId,
    },
    /// What is stored contradicts itself.
    #[error(
        "the stored state is corrupt: {reason}; remove the data directory and join again under a new node id"
    )]
    Corrupt {
        /// What does not fit.
        reason: String,
    },
    /// The configuration cannot work.
    #[error("bad configuration: {reason}")]
    BadConfig {
        /// What does not fit.
        reason: String,
    },
}

/// The first content of the disk of a cluster's first node: it alone is voter and host. Every other node opens on an
/// empty disk and joins.
///
/// # Errors
/// When the configuration or the settings cannot work.
pub fn bootstrap(
    config: &NodeConfig,
    settings: &Settings,
    cluster: ClusterId,
    seed: u64,
) -> Result<Stored, OpenError> {
    let _ = (config, settings, cluster, seed);
    Err(OpenError::BadConfig { reason: "not built yet".into() })
}

/// One member of the cluster as a plain value.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
}

impl Node {
    /// Opens a node on what its disk holds. `seed` feeds all its chance and must differ between processes in
    /// production.
    ///
    /// # Errors
    /// When the disk is another's or corrupt, or the configuration cannot work.
    pub fn open(config: NodeConfig, seed: u64, stored: Stored, now: Now) -> Result<Self, OpenError> {
        let _ = (seed, stored, now);
        Ok(Self { id: config.id })
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Takes one input.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Effects) {
        let _ = (now, input, out);
    }

    /// Ends a turn: gathers what the turn's inputs led to, one batch for all of them.
    pub fn settle(&mut self, now: Now, out: &mut Effects) {
        let _ = (now, out);
    }

    /// When it wants [`Input::Wake`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        None
    }

    /// Asserts the invariants of this one node.
    pub fn check(&self) {}
}
