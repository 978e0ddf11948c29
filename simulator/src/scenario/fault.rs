//! The `[[fault]]` tables: what goes wrong, when, and to whom.

use blixard_node::time::Duration;
use toml::de::DeTable;

use super::reader::{Complaint, Key, Table};
use super::value::{Spread, Value, words};

words! {
    /// What goes wrong.
    pub enum FaultKind {
        /// The hosts fall into two groups that do not reach each other.
        Partition = "partition",
        /// Messages from one group of hosts to the other are lost; the way back works.
        OneWay = "one-way",
        /// The leader reaches nobody.
        IsolateLeader = "isolate-leader",
        /// Two groups that only one host, the bridge, reaches both of.
        Bridge = "bridge",
        /// Each host reaches its two neighbours only.
        Ring = "ring",
        /// A host's links are slow.
        Clog = "clog",
        /// A process dies at a point of its turn and starts again later.
        Crash = "crash",
        /// As `crash`, the leader's.
        CrashLeader = "crash-leader",
        /// A process dies again and again, also while it recovers.
        CrashLoop = "crash-loop",
        /// All processes die at once.
        CrashAll = "crash-all",
        /// A process stands still; its clock and its VMs run on.
        Pause = "pause",
        /// A host sleeps: process and VMs stand still, its boot-time clock runs on.
        Suspend = "suspend",
        /// A host's wall clock jumps.
        ClockJump = "clock-jump",
        /// Every clock draws a new rate within `clock.drift_ppm`.
        Drift = "drift",
        /// A host loses power: process and VMs die, it comes back later.
        HostReboot = "host-reboot",
        /// A host is gone for good.
        HostDead = "host-dead",
        /// A host loses its disk and power; it comes back empty under a new node id, and the old id is removed.
        DiskLost = "disk-lost",
        /// The next use of a disk fails.
        DiskError = "disk-error",
        /// A disk is full for a time.
        DiskFull = "disk-full",
        /// A disk stalls for a time.
        DiskStall = "disk-stall",
        /// A spare host joins.
        MemberAdd = "member-add",
        /// A member is removed and becomes a spare; if VMs keep it busy, its host is powered off first, so that they move.
        MemberRemove = "member-remove",
        /// A host is cordoned for a time.
        Cordon = "cordon",
        /// Leadership is handed over.
        TransferLeader = "transfer-leader",
        /// A process is asked to end in good order and starts again later.
        Retire = "retire",
        /// A host reaches nobody, and nobody reaches it.
        Isolate = "isolate",
        /// Bits of what a host's disk holds flip; its process ends within `lasts`, and finds out when it opens again. A disk that is
        /// refused is replaced by an empty one: the host comes back under a new node id, and the old id is removed.
        DiskRot = "disk-rot",
        /// The hosts fall into two groups that do not reach each other, the leader with fewer than half of the voters, with the learners and
        /// most of the workers; clients reach all.
        Split = "split",
        /// What a host says to all others, or what it hears of them, arrives late by one and the same span, in order and unlost.
        Lag = "lag",
        /// A host that is behind is given the next version, a feature level up: its process ends in good order and starts again as that. One
        /// strike in four tries the way back on a host at the newest, which must be refused once the cluster's level has risen.
        Upgrade = "upgrade",
    }
}

words! {
    /// A moment at which a cluster is easily hurt. A fault that is aimed waits for the next one and strikes the host concerned.
    pub enum Aim {
        /// A node asks for votes, or gives one.
        Election = "election",
        /// A node has just been elected.
        Elected = "elected",
        /// Leadership is being handed over: the host that is told to take it.
        HandOver = "hand-over",
        /// A piece of a snapshot arrives, or a snapshot was taken over.
        Snapshot = "snapshot",
        /// A node has cut its log behind a snapshot.
        Compaction = "compaction",
        /// A node acts on a change of members.
        Membership = "membership",
        /// A node has carried out an entry while a change of members was under way.
        JointCommit = "joint-commit",
        /// A lease was granted: the host that it was granted to.
        Lease = "lease",
        /// A host was given up: the leader that did so.
        HostLost = "host-lost",
        /// A VM has come alive.
        VmStarted = "vm-started",
        /// A daemon starts on a host whose VMs live: it is about to adopt them.
        Adoption = "adoption",
        /// A process writes.
        Write = "write",
        /// A host comes back from a fault: its process starts.
        Start = "start",
        /// A change that exchanges voters has arrived at a member, or is acted on: that member.
        Exchange = "exchange",
    }
}

words! {
    /// Which hosts a fault may strike.
    pub enum Among {
        /// Any.
        Any = "any",
        /// Voters.
        Voters = "voters",
        /// All that are not voters.
        Workers = "workers",
        /// The leader.
        Leader = "leader",
        /// Voters that do not lead.
        Followers = "followers",
    }
}

words! {
    /// The point of a turn at which a process dies.
    pub enum CrashPoint {
        /// One of those below.
        Any = "any",
        /// At any instant.
        Now = "now",
        /// With its inputs in hand, before a step.
        BeforeStep = "before-step",
        /// After the early sends left, before the write began.
        BeforeWrite = "before-write",
        /// While the write is under way.
        MidWrite = "mid-write",
        /// After the write became durable, before anything else was released.
        BeforeRelease = "before-release",
        /// Right after a turn.
        AfterRelease = "after-release",
    }
}

/// When a fault strikes, counted from the end of the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Once.
    At(Duration),
    /// Again and again, so long after each other.
    Every(Spread),
}

/// One `[[fault]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// When.
    pub when: When,
    /// For how long.
    pub lasts: Spread,
    /// To whom, unless `node` says.
    pub among: Among,
    /// The host, from 1 (voters first, then workers, then spares).
    pub node: Option<u64>,
    /// At which point of its turn.
    pub point: CrashPoint,
    /// How often, for `crash-loop`.
    pub times: u64,
    /// How far, for `clock-jump`; how much slower, for `clog`; how late, for `lag`.
    pub by: Spread,
    /// The hosts on one side of a cut, from 1; empty when they are drawn.
    pub hosts: Vec<u64>,
    /// The number of the stream that its chance comes from; without one it follows from its place among the faults.
    pub draws: Option<u64>,
    /// The moment that it waits for once it is due.
    pub aim: Option<Aim>,
    /// How long after that moment it strikes.
    pub within: Spread,
}

/// The keys that a kind takes beside `kind`, `at` and `every`.
pub(super) fn keys_of(kind: FaultKind) -> &'static [&'static str] {
    use FaultKind as K;
    match kind {
        K::Partition | K::OneWay | K::IsolateLeader | K::Bridge | K::Ring | K::Split => &["lasts", "hosts"],
        K::Lag => &["lasts", "among", "node", "by", "hosts"],
        K::CrashAll => &["lasts"],
        K::Isolate => &["lasts", "among", "node"],
        K::DiskRot => &["lasts", "among", "node", "times"],
        K::Clog => &["lasts", "among", "node", "by"],
        K::Crash => &["lasts", "among", "node", "point"],
        K::CrashLeader => &["lasts", "node", "point"],
        K::CrashLoop => &["lasts", "among", "node", "times"],
        K::Pause | K::Suspend | K::HostReboot | K::DiskLost | K::DiskError | K::DiskFull | K::DiskStall => {
            &["lasts", "among", "node"]
        }
        K::Cordon | K::Retire | K::Upgrade => &["lasts", "among", "node"],
        K::ClockJump => &["among", "node", "by"],
        K::HostDead | K::MemberRemove => &["among", "node"],
        K::MemberAdd => &["node"],
        K::Drift | K::TransferLeader => &[],
    }
}

impl Fault {
    /// Its keys, in the order of the documentation.
    #[must_use]
    pub fn keys() -> Vec<Key> {
        let key = |name, form, default: &str, doc| Key { name, form, default: default.into(), doc };
        vec![
            key("kind", FaultKind::FORM, "required", "What goes wrong."),
            key(
                "at",
                Duration::FORM,
                "absent",
                "When it strikes, once, counted from the end of the warm-up.",
            ),
            key("every", Spread::FORM, "absent", "It strikes again and again, so long after each other."),
            key(
                "lasts",
                Spread::FORM,
                "\"1s..10s\"",
                "For how long; for crashes, how long the process stays down.",
            ),
            key("among", Among::FORM, "\"any\"", "Which hosts it may strike."),
            key(
                "node",
                u64::FORM,
                "absent",
                "The one host it strikes, from 1: voters, then workers, then spares.",
            ),
            key("point", CrashPoint::FORM, "\"any\"", "The point of the turn at which the process dies."),
            key(
                "times",
                u64::FORM,
                "3",
                "How often the process dies in a crash loop; how many bits flip, for `disk-rot`.",
            ),
            key(
                "by",
                Spread::FORM,
                "\"100ms..2s\"",
                "How far a wall clock jumps; how much slower a link gets; how late a message comes.",
            ),
            key(
                "hosts",
                Vec::<u64>::FORM,
                "drawn",
                "Of a cut, the hosts on one side (the cut-off one, the bridge first, the ring in its order); of a lag, those that are heard late; from 1.",
            ),
            key(
                "draws",
                u64::FORM,
                "by its place",
                "The stream of the seed that its chance comes from, as a recorded schedule names it.",
            ),
            key(
                "aim",
                Aim::FORM,
                "absent",
                "Once due, it waits for the next such moment and strikes the host concerned (links and members: it strikes then).",
            ),
            key("within", Spread::FORM, "\"0ns..200ms\"", "How long after that moment it strikes."),
        ]
    }

    /// Whether its kind takes this key.
    #[must_use]
    pub fn takes(&self, key: &str) -> bool {
        keys_of(self.kind).contains(&key)
    }

    /// The same fault with the keys that its kind does not take at their defaults, as a file would have it.
    #[must_use]
    pub fn with_what_it_takes(self) -> Self {
        let keys = keys_of(self.kind);
        let takes = |key: &str| keys.contains(&key);
        let default = Self::new(self.kind, self.when);
        Self {
            lasts: if takes("lasts") { self.lasts } else { default.lasts },
            among: if takes("among") { self.among } else { default.among },
            node: self.node.filter(|_| takes("node")),
            point: if takes("point") { self.point } else { default.point },
            times: if takes("times") { self.times } else { default.times },
            by: if takes("by") { self.by } else { default.by },
            hosts: if takes("hosts") { self.hosts } else { default.hosts },
            within: if self.aim.is_some() { self.within } else { default.within },
            ..self
        }
    }

    /// A fault with every key but these at its default.
    #[must_use]
    pub fn new(kind: FaultKind, when: When) -> Self {
        Self {
            kind,
            when,
            lasts: Spread::millis(1_000, 10_000),
            among: Among::Any,
            node: None,
            point: CrashPoint::Any,
            times: 3,
            by: Spread::millis(100, 2_000),
            hosts: Vec::new(),
            draws: None,
            aim: None,
            within: Spread::millis(0, 200),
        }
    }

    pub(super) fn read(at: usize, table: &DeTable<'_>) -> Result<Self, Complaint> {
        let mut table = Table::new("[[fault]]", at, table);
        let Some(kind) = table.take::<FaultKind>("kind")? else {
            return Err(Complaint::new(at, "this [[fault]] has no `kind`"));
        };
        let once = table.take::<Duration>("at")?;
        let every = table.take::<Spread>("every")?;
        let when = match (once, every) {
            (Some(at), None) => When::At(at),
            (None, Some(every)) => When::Every(every),
            (None, None) => {
                return Err(Complaint::new(
                    at,
                    format!("this {kind} needs `at = \"10s\"` or `every = \"10s..30s\"`"),
                ));
            }
            (Some(_), Some(_)) => {
                return Err(table.complain("every", "stands beside `at`: give one of the two"));
            }
        };
        if let When::Every(every) = when
            && every.min < Duration::from_millis(1)
        {
            return Err(table.complain("every", "at least \"1ms\" must pass between two faults"));
        }
        let keys = keys_of(kind);
        let mut known = vec!["kind", "at", "every", "draws", "aim", "within"];
        known.extend(keys);
        let mut fault = Self { draws: table.take("draws")?, ..Self::new(kind, when) };
        for key in keys {
            fault.take(key, &mut table)?;
        }
        fault.aim = table.take("aim")?;
        if let Some(within) = table.take("within")? {
            if fault.aim.is_none() {
                return Err(table.complain("within", "counts from a moment: say which with `aim`"));
            }
            fault.within = within;
        }
        table.name = format!("a {kind} fault");
        table.finish(&known)?;
        Ok(fault)
    }

    fn take(&mut self, key: &str, table: &mut Table<'_, '_>) -> Result<(), Complaint> {
        match key {
            "lasts" => self.lasts = table.take(key)?.unwrap_or(self.lasts),
            "among" => self.among = table.take(key)?.unwrap_or(self.among),
            "point" => self.point = table.take(key)?.unwrap_or(self.point),
            "by" => self.by = table.take(key)?.unwrap_or(self.by),
            "node" => self.node = table.take(key)?,
            "hosts" => self.hosts = table.take(key)?.unwrap_or_default(),
            "times" => {
                self.times = table.take(key)?.unwrap_or(self.times);
                if !(1..=100).contains(&self.times) {
                    return Err(table.complain(key, format!("{} is not from 1 to 100", self.times)));
                }
            }
            _ => unreachable!("every key of keys_of is read"),
        }
        Ok(())
    }
}
