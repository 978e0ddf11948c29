//! Marks on rare states worth reaching. Write-only for the node; a sweep counts which were ever hit.

macro_rules! probes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A state worth reaching.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Probe {
            $($(#[$doc])* $name,)*
        }

        impl Probe {
            /// All of them.
            pub const ALL: &'static [Probe] = &[$(Probe::$name,)*];

            /// Its stable name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Probe::$name => $text,)*
                }
            }
        }
    };
}

probes! {
    /// An election was won.
    Elected = "elected",
    /// A leader lost its office.
    Deposed = "deposed",
    /// A leader was deposed with heartbeats it had not confirmed yet.
    DeposedWithHeartbeats = "deposed-with-unconfirmed-heartbeats",
    /// A leader was deposed with clients' proposals of unknown outcome.
    DeposedWithProposals = "deposed-with-proposals",
    /// A leader was deposed with reads it had not confirmed yet.
    DeposedWithReads = "deposed-with-unconfirmed-reads",
    /// A read had to wait for the term's first commit.
    ReadBeforeFirstCommit = "read-before-first-commit",
    /// A retry was answered from the session.
    RetryAnswered = "retry-answered-from-session",
    /// A session had been expired.
    SessionExpired = "session-expired",
    /// A decision no longer fitted the state and was taken anew.
    Replanned = "decision-taken-anew",
    /// No host could take a VM.
    NoRoom = "no-room",
    /// A generation given by a client did not match.
    GenerationConflict = "generation-conflict",
    /// A host was given up.
    HostLost = "host-lost",
    /// A host given up was heard again.
    HostRegained = "host-regained",
    /// A heartbeat of a host about to be given up was left unanswered.
    CondemnedHeartbeat = "heartbeat-of-a-condemned-host",
    /// A host spoke but did not hear.
    DeafHost = "deaf-host",
    /// A VM was assigned away from a lost host.
    VmMoved = "vm-moved",
    /// A snapshot was written.
    Compacted = "log-compacted",
    /// A snapshot went out in more than one piece.
    SnapshotInPieces = "snapshot-in-pieces",
    /// A snapshot was taken from the leader.
    SnapshotRestored = "snapshot-restored",
    /// A piece of a snapshot was sent again.
    SnapshotPieceRepeated = "snapshot-piece-repeated",
    /// A snapshot transfer was given up.
    SnapshotAbandoned = "snapshot-abandoned",
    /// A log entry was replaced by a new leader's.
    LogTruncated = "log-truncated",
    /// A joint change was entered.
    JointEntered = "joint-change-entered",
    /// A joint change was left by another leader than the one that entered it.
    JointLeftByAnother = "joint-change-left-by-another-leader",
    /// A snapshot was written during a joint change.
    SnapshotInJoint = "snapshot-during-joint-change",
    /// A worker became a voter.
    Promoted = "worker-promoted",
    /// A voter became a worker.
    Demoted = "voter-demoted",
    /// A node under another disk's identity was refused.
    IdentityRefused = "identity-refused",
    /// Leadership was handed over on request.
    LeadershipHandedOver = "leadership-handed-over",
    /// A proposal was refused by a full pipe.
    ProposalDropped = "proposal-dropped",
    /// A request could not be passed on for want of a leader.
    NoLeaderKnown = "no-leader-known",
    /// A passed-on request was not answered in time.
    ForwardTimedOut = "forward-timed-out",
    /// The leader changed while it had a passed-on request in hand.
    ForwardOvertaken = "forward-overtaken",
    /// The agent's lease ran out.
    LeaseExpired = "lease-expired",
    /// An acknowledgement came when its lease was over.
    AckTooLate = "acknowledgement-too-late",
    /// An acknowledgement came out of order.
    AckOutOfOrder = "acknowledgement-out-of-order",
    /// An acknowledgement for another process of the agent came.
    AckForAnotherProcess = "acknowledgement-for-another-process",
    /// An older assignment set was refused.
    StaleSetRefused = "stale-set-refused",
    /// A run of an earlier agent was adopted.
    Adopted = "run-adopted",
    /// A run of an older epoch was found and killed.
    OrphanKilled = "orphan-of-an-older-epoch-killed",
    /// A run that is no longer assigned here was killed.
    UnassignedKilled = "unassigned-run-killed",
    /// A VM exited unasked.
    VmExited = "vm-exited",
    /// A VM's end was found out by listing.
    SilentDeath = "silent-death-found",
    /// A start failed and was tried again later.
    StartFailed = "start-failed",
    /// A host has built something else than what the VM is pinned to.
    AnotherArtifact = "another-artifact-built",
    /// What a deleted VM kept on a host was removed.
    Purged = "deleted-vm-purged",
    /// What a deleted VM kept on a host could not be removed at once.
    PurgeFailed = "purge-failed",
    /// A start was refused because the VM was running already.
    StartedTwice = "start-of-a-running-vm-refused",
    /// A start came too late for its lease.
    StartPastDeadline = "start-past-deadline",
    /// A completion came for an operation that is not under way.
    LateCompletion = "late-completion",
    /// An operation's completion never came.
    CompletionLost = "completion-lost",
    /// A guest did not get ready and was killed.
    StartGivenUp = "start-given-up",
    /// A guest that its hypervisor cannot ask to power off was killed.
    StopUnsupported = "stop-unsupported",
    /// A VM was stopped while it was starting.
    StopDuringStart = "stop-during-start",
    /// A VM was wanted again while it was stopping.
    StartDuringStop = "start-during-stop",
}

/// Which probes were hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes(u128);

impl Probes {
    /// Marks one.
    pub fn hit(&mut self, probe: Probe) {
        self.0 |= 1 << probe as u32;
    }

    /// Whether it was hit.
    #[must_use]
    pub fn has(&self, probe: Probe) -> bool {
        self.0 & (1 << probe as u32) != 0
    }

    /// Adds another node's.
    pub fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Those that were hit.
    pub fn iter(&self) -> impl Iterator<Item = Probe> + '_ {
        Probe::ALL.iter().copied().filter(|probe| self.has(*probe))
    }
}
