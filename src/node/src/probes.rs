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
    /// A leader was deposed while it gave a host up.
    DeposedWhileGivingUp = "deposed-while-giving-a-host-up",
    /// A leader was deposed while it took a lost host back.
    DeposedWhileRegaining = "deposed-while-regaining-a-host",
    /// A leader was deposed while it assigned VMs.
    DeposedWhileAssigning = "deposed-while-assigning",
    /// A leader was deposed in the middle of a membership change.
    DeposedInJoint = "deposed-in-joint-change",
    /// A leader was deposed while it sent a snapshot.
    DeposedWithSnapshot = "deposed-while-sending-a-snapshot",
    /// A leader came to office with entries of earlier terms not carried out.
    ElectedWithBacklog = "elected-with-entries-of-earlier-terms",
    /// A leader came to office by the voters of before, in a joint change that takes it out.
    ElectedOnTheWayOut = "elected-by-the-outgoing-voters-alone",
    /// A leader gave way as soon as it had committed its own departure.
    CommittedOwnDeparture = "committed-its-own-departure",
    /// Appends waited for the disk because term, vote or members changed in the same turn.
    AppendsHeld = "appends-held-back",
    /// A read had to wait for the term's first commit.
    ReadBeforeFirstCommit = "read-before-first-commit",
    /// A process opened on a log that goes beyond what it knew to be committed.
    ReopenedWithTail = "reopened-with-uncommitted-entries",
    /// A process opened on a snapshot from the middle of a membership change.
    ReopenedInJoint = "reopened-in-joint-change",
    /// A retry was answered from the session.
    RetryAnswered = "retry-answered-from-session",
    /// A retry was refused: nobody remembers any more whether it took effect.
    RetryRefused = "retry-refused",
    /// A request stood in the log twice.
    LoggedTwice = "request-logged-twice",
    /// A session was expired to make room.
    SessionEvicted = "session-evicted",
    /// A session had been expired.
    SessionExpired = "session-expired",
    /// A decision no longer fitted the state and was taken anew.
    Replanned = "decision-taken-anew",
    /// An assignment no longer fitted the state when it was carried out.
    AssignmentOvertaken = "assignment-overtaken",
    /// A report no longer fitted the state when it was carried out.
    ReportOvertaken = "report-overtaken",
    /// A VM that should run found no host that could take it.
    Unplaceable = "vm-left-without-a-host",
    /// No host could take a VM.
    NoRoom = "no-room",
    /// A generation given by a client did not match.
    GenerationConflict = "generation-conflict",
    /// A host was given up.
    HostLost = "host-lost",
    /// A host was given up by a leader that no longer leads.
    HostLostByAnother = "host-lost-by-an-earlier-leader",
    /// A lost host was asked whether it hears.
    LostHostAsked = "lost-host-asked-whether-it-hears",
    /// A heartbeat was confirmed for a host that had been given up meanwhile.
    GrantOvertaken = "grant-overtaken-by-the-hosts-loss",
    /// A heartbeat came after a newer one of its process.
    HeartbeatOutOfOrder = "heartbeat-out-of-order",
    /// A heartbeat came from a host that is not, or no longer, a member.
    HeartbeatOfStranger = "heartbeat-of-a-stranger",
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
    /// A snapshot took the place of a replica that had fallen behind.
    SnapshotReplacedState = "snapshot-replaced-a-replica",
    /// A snapshot from the middle of a membership change was taken from the leader.
    SnapshotOfJoint = "snapshot-of-a-joint-change-restored",
    /// A newer snapshot took the place of one that was being sent.
    SnapshotSuperseded = "snapshot-superseded-by-a-newer-one",
    /// A snapshot began to come in while another was half there.
    SnapshotOvertaken = "snapshot-overtaken-by-another",
    /// A piece of a snapshot came twice or too early.
    SnapshotPieceOutOfOrder = "snapshot-piece-out-of-order",
    /// A piece of a snapshot came from a leader of an older term.
    SnapshotOfOldTerm = "snapshot-piece-of-an-older-term",
    /// A snapshot transfer was given up.
    SnapshotAbandoned = "snapshot-abandoned",
    /// A log entry was replaced by a new leader's.
    LogTruncated = "log-truncated",
    /// A membership change in the log was replaced by a new leader's entry.
    ChangeTruncated = "membership-change-truncated",
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
    /// One joint change took voters in and others out.
    VotersSwapped = "voters-swapped",
    /// A leader that is to vote no more looked for another one.
    LeaderLeaves = "leader-hands-over-to-leave",
    /// A host that was to leave is gone.
    HostDropped = "host-dropped",
    /// A host was to leave that still has VMs.
    HostBusy = "busy-host-not-removed",
    /// A node asked to be taken in while that was under way.
    JoinRepeated = "join-repeated",
    /// A node under another disk's identity was refused.
    IdentityRefused = "identity-refused",
    /// Leadership was handed over on request.
    LeadershipHandedOver = "leadership-handed-over",
    /// A proposal was refused by a full pipe.
    ProposalDropped = "proposal-dropped",
    /// A proposal was refused because leadership was being handed over.
    DroppedInHandOver = "proposal-dropped-in-hand-over",
    /// A request could not be passed on for want of a leader.
    NoLeaderKnown = "no-leader-known",
    /// A passed-on request was not answered in time.
    ForwardTimedOut = "forward-timed-out",
    /// The leader changed while it had a passed-on request in hand.
    ForwardOvertaken = "forward-overtaken",
    /// A request was passed on to a node that did not lead.
    ForwardMissed = "forward-to-a-node-that-does-not-lead",
    /// A passed-on request was answered when nobody waited any more.
    ForwardAnsweredLate = "forward-answered-too-late",
    /// A lease ran out while VMs were alive.
    ExpiredWithRuns = "lease-expired-over-live-vms",
    /// A lease ran out while a VM was starting.
    ExpiredDuringStart = "lease-expired-during-a-start",
    /// An agent whose lease had run out was given a set again.
    LeaseRegained = "lease-regained",
    /// An agent looked for another leader because its own was silent.
    LookedElsewhere = "agent-looked-elsewhere",
    /// An agent was sent from member to member.
    SentInCircles = "agent-sent-in-circles",
    /// An agent was asked whether it hears.
    AskedWhetherHeard = "agent-asked-whether-it-hears",
    /// A lease came without the set that it is for.
    AckWithoutSet = "acknowledgement-without-a-set",
    /// A VM was assigned here anew while its last run here was being stopped.
    AssignedDuringStop = "assigned-anew-during-stop",
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
    /// A run whose end nobody had confirmed was killed to be sure.
    UnconfirmedKilled = "unconfirmed-run-killed",
    /// An end was told of a run that the agent did not have, or no longer.
    EndOfAnotherRun = "end-of-another-run-told",
    /// An end was told before the agent knew what was assigned to it.
    EndUnheard = "end-told-before-the-first-set",
    /// A VM exited unasked.
    VmExited = "vm-exited",
    /// A VM's end was found out by listing.
    SilentDeath = "silent-death-found",
    /// A start came back without anybody knowing whether the VM is alive.
    StartUncertain = "start-uncertain",
    /// A stop that took too long was asked for again.
    StopRepeated = "stop-repeated",
    /// A preparation that took too long was asked for again.
    PrepareRepeated = "preparation-repeated",
    /// A start failed and was tried again later.
    StartFailed = "start-failed",
    /// A host has built something else than what the VM is pinned to.
    AnotherArtifact = "another-artifact-built",
    /// What a deleted VM kept on a host was removed.
    Purged = "deleted-vm-purged",
    /// What a deleted VM kept on a host could not be removed at once.
    PurgeFailed = "purge-failed",
    /// A removal of volumes that took too long was asked for again.
    PurgeRepeated = "purge-repeated",
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
    /// A leader called a host that it had not heard for long.
    SilentHostCalled = "silent-host-called",
    /// A node that waits to be taken in was told of members that it did not know.
    FoundWhileJoining = "member-found-while-joining",
    /// The cluster's feature level was raised.
    LevelRaised = "level-raised",
    /// The level stood at what some hosts announced, because others did not.
    LevelHeldBack = "level-held-back-by-an-old-host",
    /// A request was refused because the cluster's level was too low for it.
    RequestBelowLevel = "request-refused-below-its-level",
    /// A node was not taken in because its level was too low.
    JoinBelowLevel = "join-below-the-level-refused",
    /// A member's heartbeat was refused because its process's level was too low.
    HeartbeatBelowLevel = "heartbeat-below-the-level-refused",
    /// A host's announcement was brought up to date from its heartbeat.
    AnnouncedAnew = "level-announced-by-heartbeat",
    /// A process found that the cluster's level was above its own, and ended.
    Outgrown = "process-outgrown-by-the-level",
}

/// The words that hold a bit for each probe.
const WORDS: usize = Probe::ALL.len().div_ceil(64);

/// Which probes were hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes([u64; WORDS]);

impl Probes {
    /// Marks one.
    pub fn hit(&mut self, probe: Probe) {
        self.0[probe as usize / 64] |= 1 << (probe as usize % 64);
    }

    /// Whether it was hit.
    #[must_use]
    pub fn has(&self, probe: Probe) -> bool {
        self.0[probe as usize / 64] & (1 << (probe as usize % 64)) != 0
    }

    /// Adds another node's.
    pub fn merge(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, more)| *word |= more);
    }

    /// Those that were hit.
    pub fn iter(&self) -> impl Iterator<Item = Probe> + '_ {
        Probe::ALL.iter().copied().filter(|probe| self.has(*probe))
    }
}
