//! Bugs that can be planted in node code, to prove that the simulator finds them: mistakes that engineers make in such code. At a
//! plant site, `planted!(SomeBug)` says whether that bug is at work. Without the feature `planted`, which no shipped
//! binary has, it is the literal `false`, and nothing else of this file exists.

/// Whether a bug is at work. The literal `false` in a shipped binary.
#[cfg(feature = "planted")]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::Planted::$bug.is_at_work()
    };
}

/// Whether a bug is at work. The literal `false` in a shipped binary.
#[cfg(not(feature = "planted"))]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

#[cfg(feature = "planted")]
pub use catalogue::{Area, MARK, Plant, Planted};

#[cfg(feature = "planted")]
mod catalogue {
    use std::cell::Cell;

    /// Stands in every binary that bugs can be planted in, so that a test can tell it from one that ships.
    pub static MARK: &str = "bugs can be planted in this binary";

    /// The part of the system that a bug is in.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Area {
        /// Raft: votes, log, commit, members, reads, snapshots.
        Consensus,
        /// What is on the disk when.
        Storage,
        /// Exactly once.
        Sessions,
        /// Where VMs go.
        Scheduler,
        /// Never twice, by time.
        Leases,
        /// Never twice, by confirmation; what a host does.
        Agent,
        /// Members of several versions.
        Levels,
        /// Not the node: what stands behind its four traits breaks its word.
        Environment,
    }

    impl Area {
        /// Its name.
        #[must_use]
        pub fn name(self) -> &'static str {
            match self {
                Self::Consensus => "consensus",
                Self::Storage => "storage",
                Self::Sessions => "sessions",
                Self::Scheduler => "scheduler",
                Self::Leases => "leases",
                Self::Agent => "agent",
                Self::Levels => "levels",
                Self::Environment => "environment",
            }
        }
    }

    macro_rules! bugs {
        ($($area:ident { $(#[doc = $wrong:literal] $bug:ident = $name:literal, [$($property:literal),* $(,)?];)* })*) => {
            /// One planted bug.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
            pub enum Planted {
                /// The node as it is shipped.
                #[default]
                None,
                $($(#[doc = $wrong] $bug,)*)*
            }

            impl Planted {
                /// All of them, by area.
                pub const ALL: &'static [Planted] = &[$($(Planted::$bug,)*)*];

                /// Its stable name.
                #[must_use]
                pub fn name(self) -> &'static str {
                    match self {
                        Self::None => "none",
                        $($(Self::$bug => $name,)*)*
                    }
                }

                /// What is wrong, in a sentence.
                #[must_use]
                pub fn wrong(self) -> &'static str {
                    match self {
                        Self::None => "Nothing.",
                        $($(Self::$bug => $wrong.trim_ascii(),)*)*
                    }
                }

                /// Where it is; none for no bug.
                #[must_use]
                pub fn area(self) -> Option<Area> {
                    match self {
                        Self::None => None,
                        $($(Self::$bug => Some(Area::$area),)*)*
                    }
                }

                /// The properties of which it breaks one.
                #[must_use]
                pub fn shown_by(self) -> &'static [&'static str] {
                    match self {
                        Self::None => &[],
                        $($(Self::$bug => &[$($property),*],)*)*
                    }
                }
            }
        };
    }

    // A name, and the properties that it breaks one of.
    bugs! {
        Consensus {
            /// The vote is not written to the disk.
            VoteNotPersisted = "vote-not-persisted",
                ["election-safety", "log-matching", "panic"];
            /// The term is not written to the disk.
            TermNotPersisted = "term-not-persisted",
                ["election-safety", "log-matching", "leader-completeness", "panic"];
            /// A voter votes for whoever asks, also twice in a term.
            VotesTwice = "votes-twice",
                ["election-safety", "log-matching", "panic"];
            /// A voter votes for a candidate whose log is shorter than its own.
            VotesForAShorterLog = "votes-for-a-shorter-log",
                ["leader-completeness", "state-machine-safety", "state-hash", "durability", "panic"];
            /// A follower takes all that it was sent for committed.
            FollowerCommitsAll = "follower-commits-all",
                ["state-machine-safety", "state-hash", "leader-completeness", "durability", "panic"];
            /// A heartbeat tells the leader's commit index, whatever the follower's log has up to there.
            CommitUnclamped = "commit-unclamped",
                ["state-machine-safety", "state-hash", "leader-completeness", "liveness", "panic"];
            /// A leader commits an older term's entry by counting its copies (Ongaro, figure 3.7).
            OldTermCounted = "old-term-counted",
                ["state-machine-safety", "state-hash", "leader-completeness", "durability", "panic"];
            /// A client's write is answered when it is proposed, not when it is committed.
            AnsweredWhenProposed = "answered-when-proposed",
                ["durability", "reads-match-revisions", "linearizability", "exactly-once"];
            /// Several voters are exchanged in one step, without a joint change.
            JointChangeSkipped = "joint-change-skipped",
                ["election-safety", "leader-completeness", "log-matching", "state-machine-safety", "panic"];
            /// A restarted voter does not know that the change of members it acted on was committed.
            MembersForgotten = "members-forgotten",
                ["election-safety", "leader-completeness", "log-matching", "state-machine-safety", "liveness", "panic"];
            /// Linearizable reads are answered without asking the quorum.
            ReadIndexSkipped = "read-index-skipped",
                ["linearizability", "reads-match-revisions", "real-time-order"];
            /// A read that came in after a confirmation began is answered by it.
            LateReadsJoin = "late-reads-join",
                ["linearizability", "real-time-order"];
            /// A snapshot is labelled with the entry before its last one, which is then carried out twice.
            SnapshotIndexLow = "snapshot-index-low",
                ["state-hash", "reopens", "panic"];
            /// A snapshot is labelled with the newest entry and holds the state of the snapshot before it.
            SnapshotOfBefore = "snapshot-of-before",
                ["state-hash", "panic"];
        }
        Storage {
            /// Answers and messages leave while the turn's write is under way.
            ReleasedBeforeCommit = "released-before-commit",
                ["durability", "election-safety", "log-matching", "leader-completeness", "state-hash", "panic"];
            /// Entries that a new leader has replaced stay on the disk.
            ReplacedEntriesKept = "replaced-entries-kept",
                ["log-matching", "leader-completeness", "state-machine-safety", "state-hash", "reopens", "panic"];
            /// A turn that writes a snapshot writes no entries.
            EntriesLostBesideSnapshot = "entries-lost-beside-snapshot",
                ["reopens", "leader-completeness", "durability", "log-matching", "panic"];
            /// The store commits without a sync.
            SyncSkipped = "sync-skipped",
                ["reopens", "durability", "election-safety", "log-matching", "leader-completeness", "state-hash", "panic"];
            /// The log is cut in a transaction of its own, before the snapshot that stands for it is durable.
            LogCutBeforeSnapshot = "log-cut-before-snapshot",
                ["reopens"];
            /// A new store gets its name before it is whole.
            CreationNotAtomic = "creation-not-atomic",
                ["reopens"];
        }
        Sessions {
            /// A snapshot holds the sessions without their answers.
            AnswersNotInSnapshot = "answers-not-in-snapshot",
                ["exactly-once", "state-hash"];
            /// A retry is looked for before it is proposed, not when it is carried out.
            RetryCarriedOutTwice = "retry-carried-out-twice",
                ["exactly-once"];
            /// The end of a session does not raise the floor, so that its requests count as new.
            FloorNotRaised = "floor-not-raised",
                ["exactly-once"];
            /// A session that forgets an answer does not remember that it did.
            ForgottenCountsAsNew = "forgotten-counts-as-new",
                ["exactly-once"];
            /// A request that is not known gets the answer of the client's request before it.
            AnswerOfTheRequestBefore = "answer-of-the-request-before",
                ["durability", "linearizability", "exactly-once"];
            /// A request that was refused is not remembered: its retry may be carried out.
            RefusalsForgotten = "refusals-forgotten",
                ["exactly-once", "linearizability"];
        }
        Scheduler {
            /// What a VM took of its host is not given back.
            CapacityNotFreed = "capacity-not-freed",
                ["panic", "state-hash", "placement", "liveness"];
            /// A placement is not looked at again when it is carried out, after others that were decided before.
            PlacementNotCheckedAgain = "placement-not-checked-again",
                ["capacity", "placement", "panic"];
            /// VMs are placed on hosts that are lost.
            LostHostUsed = "lost-host-used",
                ["placement", "liveness"];
            /// VMs are placed on cordoned hosts.
            CordonIgnored = "cordon-ignored",
                ["placement"];
            /// A port of a host is given to two VMs.
            PortsNotChecked = "ports-not-checked",
                ["placement", "panic"];
            /// A VM with a volume on one host is placed on another.
            VolumePinIgnored = "volume-pin-ignored",
                ["placement"];
            /// A client's expectation of a VM's generation is not looked at.
            GenerationIgnored = "generation-ignored",
                ["linearizability"];
            /// A VM keeps its epoch when it is assigned anew.
            EpochNotRaised = "epoch-not-raised",
                ["single-run", "placement", "liveness", "panic"];
        }
        Leases {
            /// Heartbeats are acknowledged without asking the quorum.
            LeaseWithoutQuorum = "lease-without-quorum",
                ["single-run", "leases"];
            /// An agent takes assignment sets and leases from any acknowledgement, however old.
            StaleSetAccepted = "stale-set-accepted",
                ["single-run", "leases"];
            /// A lease counts from the receipt of the acknowledgement, not from the sending of the heartbeat.
            LeaseFromReceipt = "lease-from-receipt",
                ["leases", "single-run"];
            /// Heartbeats are stamped by the wall clock.
            LeaseOnWallClock = "lease-on-wall-clock",
                ["leases", "single-run"];
            /// A renewed lease is not handed down to the supervisors.
            LeaseNotHandedDown = "lease-not-handed-down",
                ["liveness"];
            /// A new leader does not wait for leases that the one before it may have granted.
            NewLeaderDoesNotWait = "new-leader-does-not-wait",
                ["leases", "single-run"];
            /// A leader forgets that it granted a lease.
            GrantForgotten = "grant-forgotten",
                ["leases", "single-run", "liveness"];
            /// The time that a hypervisor has to kill a VM is not waited for.
            KillGraceLeftOut = "kill-grace-left-out",
                ["leases", "single-run"];
            /// The drift of clocks is not waited for.
            DriftLeftOut = "drift-left-out",
                ["leases", "single-run"];
            /// A host is granted a lease although it is being given up.
            CondemnedGranted = "condemned-granted",
                ["leases", "single-run", "confirmation"];
            /// An acknowledgement is taken that an earlier process asked for, maybe before the host was rebooted.
            EarlierProcessAnswered = "earlier-process-answered",
                ["leases", "single-run"];
        }
        Agent {
            /// An agent runs what its host has built, whatever the hosts have agreed upon.
            ArtifactIgnored = "artifact-ignored",
                ["artifacts"];
            /// An agent removes what a VM keeps on its host as soon as the VM is stopped, deleted or not.
            PurgedWhenStopped = "purged-when-stopped",
                ["volumes"];
            /// A deleted VM is called stopped before what it keeps is removed.
            StoppedBeforePurged = "stopped-before-purged",
                ["liveness"];
            /// Only the last of a deleted VM's hosts removes what it keeps.
            EarlierHostsForgotten = "earlier-hosts-forgotten",
                ["liveness"];
            /// VMs are reported before the hypervisor has told what an earlier process left running.
            ReportsBeforeList = "reports-before-list",
                ["confirmation", "single-run", "capacity", "liveness"];
            /// What an earlier process left running is not adopted.
            OrphanIgnored = "orphan-ignored",
                ["confirmation", "single-run", "capacity", "liveness"];
            /// A VM is reported stopped as soon as it was asked to stop.
            StopNotAwaited = "stop-not-awaited",
                ["confirmation", "single-run", "capacity", "liveness"];
            /// A stop that the hypervisor cannot ask for is taken for done.
            UnsupportedStopBelieved = "unsupported-stop-believed",
                ["confirmation", "single-run", "capacity", "liveness"];
            /// A start of which nobody knows how it ended is taken for failed.
            UncertainStartFailed = "uncertain-start-failed",
                ["confirmation", "single-run", "capacity", "liveness"];
            /// The end of any run of a VM is taken for the end of its newest.
            OldExitBelieved = "old-exit-believed",
                ["confirmation", "single-run", "capacity", "liveness"];
            /// A list of what runs is believed about a VM that was started or stopped after it was asked for.
            OldListBelieved = "old-list-believed",
                ["confirmation", "single-run", "capacity", "liveness"];
            /// A stop frees the host although the VM may have been started again since.
            OldStopFreesHost = "old-stop-frees-host",
                ["confirmation", "single-run", "capacity", "liveness"];
            /// A host is not told that a VM is to stop.
            StopNotTold = "stop-not-told",
                ["liveness"];
        }
        Levels {
            /// The level is raised when most hosts announce it, not all.
            LevelRaisedTooEarly = "level-raised-too-early",
                ["feature-level", "liveness", "panic"];
            /// A snapshot does not hold the cluster's level.
            LevelForgottenInSnapshot = "level-forgotten-in-snapshot",
                ["feature-level", "state-hash"];
            /// A process goes on although the cluster's level is above its own.
            BelowLevelOpens = "below-level-opens",
                ["feature-level"];
            /// Who speaks less than the cluster's level is taken in, and granted leases, all the same.
            JoinBelowLevelAccepted = "join-below-level-accepted",
                ["feature-level", "panic"];
        }
    }

    thread_local! {
        /// A run of the simulator lives on one thread, and plants what it was told to.
        static AT_WORK: Cell<Planted> = const { Cell::new(Planted::None) };
    }

    impl Planted {
        /// Whether this bug is at work in the run on this thread.
        #[must_use]
        pub fn is_at_work(self) -> bool {
            AT_WORK.get() == self
        }

        /// Lets the bug work on this thread until the guard is dropped.
        #[must_use]
        pub fn plant(self) -> Plant {
            std::hint::black_box(MARK);
            Plant { before: AT_WORK.replace(self) }
        }
    }

    /// A bug is at work as long as this lives.
    #[derive(Debug)]
    pub struct Plant {
        before: Planted,
    }

    impl Drop for Plant {
        fn drop(&mut self) {
            AT_WORK.set(self.before);
        }
    }
}
