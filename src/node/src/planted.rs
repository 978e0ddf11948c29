//! Bugs that can be planted in node code, to prove that the simulator finds them. Compiled only with the feature
//! `planted`, which no shipped binary has.

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Planted {
    /// The node as it is shipped.
    #[default]
    None,
    /// Linearizable reads are answered without asking the quorum.
    ReadIndexSkipped,
    /// Heartbeats are acknowledged without asking the quorum.
    LeaseWithoutQuorum,
    /// An agent takes assignment sets and leases from any acknowledgement, however old.
    StaleSetAccepted,
    /// An agent runs what its host has built, whatever the hosts have agreed upon.
    ArtifactIgnored,
    /// An agent removes what a VM keeps on its host as soon as the VM is stopped, deleted or not.
    PurgedWhenStopped,
    /// The term is not written to the disk.
    TermNotPersisted,
    /// The vote is not written to the disk.
    VoteNotPersisted,
    /// Answers and messages leave while the turn's write is under way.
    ReleasedBeforeCommit,
}
