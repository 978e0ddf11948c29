//! The kinds of lines, each with its fields: the one table from which lines are written, read, shown and documented.

use super::words;

/// What a field holds, and with that its unit and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A plain number.
    Number,
    /// A span in nanoseconds.
    Span,
    /// A point in true time: nanoseconds since the run began.
    Time,
    /// A point on the host's own boot-time clock, in nanoseconds.
    Local,
    /// The id of a node; 0 is none.
    Node,
    /// Ids of nodes below 64. Under the hash a bit mask, in a file a list.
    Nodes,
    /// Hosts, counted from 1. Under the hash a bit mask whose lowest bit is host 1, in a file a list.
    Hosts,
    /// A fingerprint: 16 hexadecimal digits.
    Hash,
    /// One of these words, by its place among them.
    Word(&'static [&'static str]),
    /// Up to 16 letters, digits, `-`, `_` and `.`; what is longer is cut off. Takes two numbers.
    Text,
}

impl Shape {
    /// How many of an entry's numbers it takes.
    #[must_use]
    pub const fn slots(self) -> usize {
        match self {
            Self::Text => 2,
            _ => 1,
        }
    }
}

/// One field of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in files.
    pub label: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// What it means.
    pub about: &'static str,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $word:literal [$($label:ident: $shape:expr, $about:literal;)*])+) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl Kind {
            /// All kinds, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// The kind's name in files.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)+
                }
            }

            /// What it says.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$kind => concat!($($doc),+),)+
                }
            }

            /// Its fields, in the order of an entry's numbers.
            #[must_use]
            pub const fn fields(self) -> &'static [Field] {
                use Shape::*;
                match self {
                    $(Self::$kind => &[$(Field { label: stringify!($label), shape: $shape, about: $about },)*],)+
                }
            }
        }
    };
}

kinds! {
    /// The run goes on to another phase.
    Phase = "phase" [what: Word(words::PHASES), "which";]
    /// A node id is at home on this host from now on: at the beginning, and after the host lost its disk.
    Home = "home" [node: Node, "the id";]
    /// A process opened its disk and began.
    Started = "started" [
        node: Node, "who";
        life: Number, "rises with each start and each end of a process on this host";
    ]
    /// What the process found on its disk.
    Found = "found" [
        term: Number, "the term";
        vote: Node, "whom it voted for in that term";
        commit: Number, "a lower bound of the commit index";
        first: Number, "the first entry of its log; 0 when there is none";
        last: Number, "the last entry of its log; 0 when there is none";
        last_term: Number, "the term of the last entry; 0 when there is none";
        snapshot: Number, "the index of its snapshot; 0 when there is none";
        set: Number, "the revision of the newest assignment set its agent took";
    ]
    /// A process could not open its disk.
    OpenFailed = "open-failed" [node: Node, "who";]
    /// A process is gone.
    Ended = "ended" [
        node: Node, "who";
        why: Word(words::ENDS), "how";
        write: Number, "the write that was under way, of which anything may be on the disk; 0 for none";
        loss: Word(words::LOSSES), "what went with it: nothing, what the process held, or what was not synced";
    ]
    /// A message left. Lost ones leave, too.
    Sent = "sent" [
        message: Number, "the message's id, unique in the run";
        to: Node, "the receiver";
        what: Word(words::MESSAGES), "its kind";
        term: Number, "the sender's term (of Raft messages; else 0)";
        index: Number, "see the table of messages";
        count: Number, "see the table of messages";
        commit: Number, "the commit index it tells (of Raft messages; else 0)";
    ]
    /// A message was lost. The line's host is the sender's, or the receiver's when it was lost there.
    Lost = "lost" [
        message: Number, "the message's id";
        to: Node, "the receiver";
        what: Word(words::MESSAGES), "its kind";
        why: Word(words::LOST), "chance, a cut link, nobody there, no address known, or a full inbox";
    ]
    /// A message arrived. One that was doubled arrives twice under one id.
    Delivered = "delivered" [
        message: Number, "the message's id";
        from: Node, "the sender";
        what: Word(words::MESSAGES), "its kind";
        term: Number, "as of sent";
        index: Number, "as of sent";
        count: Number, "as of sent";
        commit: Number, "as of sent";
    ]
    /// A turn of a process ended, or waits for its write.
    Turned = "turned" [
        inputs: Number, "inputs it took";
        writes: Number, "1 when it waits for a write, else 0";
        sends: Number, "messages that left";
    ]
    /// A write began. What it holds stands in the lines after it under the same id.
    WriteBegan = "write-began" [
        write: Number, "the write's id, unique in the run";
        operations: Number, "operations of the medium";
        bytes: Number, "bytes";
        latency_ns: Span, "how long it will take, if nothing comes between";
    ]
    /// The write holds this term, vote and commit index.
    WriteState = "write-state" [
        write: Number, "the write's id";
        term: Number, "the term";
        vote: Node, "whom the node voted for in it";
        commit: Number, "a lower bound of the commit index";
    ]
    /// The write holds these log entries; what the disk held from the first of them on is replaced.
    WriteEntries = "write-entries" [
        write: Number, "the write's id";
        first: Number, "the first index";
        last: Number, "the last index";
        last_term: Number, "the last entry's term";
    ]
    /// The write holds a snapshot of the state.
    WriteSnapshot = "write-snapshot" [
        write: Number, "the write's id";
        index: Number, "the last entry it covers";
        term: Number, "that entry's term";
    ]
    /// The write holds the agent's record: the newest assignment set it took.
    WriteSet = "write-set" [
        write: Number, "the write's id";
        set: Number, "the set's revision";
    ]
    /// The disk said that the write is durable.
    WriteDurable = "write-durable" [write: Number, "the write's id";]
    /// The disk said that the write failed.
    WriteFailed = "write-failed" [write: Number, "the write's id";]
    /// A node's term, part or leader changed, as it sees them.
    Role = "role" [
        term: Number, "its term";
        role: Word(words::ROLES), "whether it leads, follows a leader, or knows none";
        leader: Node, "the leader it knows";
    ]
    /// A node won an election.
    Leads = "leads" [term: Number, "the term it leads";]
    /// A node leads no more.
    LeadsNoMore = "leads-no-more" [term: Number, "the term that ended it";]
    /// A node's commit index rose.
    Committed = "committed" [index: Number, "entries up to here are committed";]
    /// A node carried out an entry.
    Applied = "applied" [
        index: Number, "the entry";
        term: Number, "its term";
        hash: Hash, "the state's fingerprint after it";
    ]
    /// What an entry says, told by the first node that carries it out; one line for each VM it names.
    Decided = "decided" [
        index: Number, "the entry";
        what: Word(words::DECISIONS), "what is to be done; other is a change of the members, or what this program cannot read";
        vm: Number, "the VM's id; 0 when it names none";
        node: Node, "the host that is chosen, or that is meant";
        epoch: Number, "the assignment; 0 when there is none";
        name: Text, "the VM's name";
        request: Hash, "names the client's request, as of operation-began; 0 for none";
    ]
    /// A node took a snapshot from the leader in place of its state.
    Restored = "restored" [
        index: Number, "the last entry it covers";
        hash: Hash, "the state's fingerprint";
    ]
    /// A node wrote a snapshot of its own state and dropped the log below.
    Compacted = "compacted" [index: Number, "the last entry it covers";]
    /// A node carried out a change of the members.
    Members = "members" [
        voters: Nodes, "the voters now";
        outgoing: Nodes, "the outgoing half of a joint change, else none";
        learners: Nodes, "the learners now";
    ]
    /// Another event that a node told.
    Told = "told" [
        what: Word(words::TOLD), "which";
        detail: Number, "the host given up (host-lost), the refused set's revision (stale-set-refused), or a feature level: the one that the process speaks from its start on, if it is not the newest (speaks-level), that of the cluster from now on (level-raised), or that of a cluster that has outgrown the process (outgrown); else 0";
        other: Number, "the revision of the set at work (stale-set-refused), the level that the process speaks (outgrown); else 0";
    ]
    /// A heartbeat's acknowledgement arrived that grants a lease, as its agent would count it. A leader grants its own without a message.
    Granted = "granted" [
        message: Number, "the acknowledgement's id";
        by: Node, "the leader that grants it";
        sent_local_ns: Local, "when the heartbeat was sent; the lease counts from here";
        until_local_ns: Local, "the end it grants";
        revision: Number, "the revision that the answer comes from";
        set: Number, "assignments in it plus one; 0 when it brings no set";
    ]
    /// The end of the lease changed that an agent works with.
    Lease = "lease" [
        until_ns: Time, "its end in true time, as the host's clock goes at present; 0 when there is no lease any more";
        until_local_ns: Local, "its end on the host's clock";
    ]
    /// An agent works from another assignment set.
    Set = "set" [revision: Number, "the set's revision";]
    /// A hypervisor told the agent something.
    Hypervisor = "hypervisor" [
        what: Word(words::NEWS), "an operation done or failed, or a VM that ended by itself";
        operation: Number, "the operation; 0 for none";
        vm: Number, "the VM's id; 0 for an operation";
        epoch: Number, "its assignment; 0 for an operation";
    ]
    /// A VM truly came alive.
    RunStarted = "run-started" [
        vm: Number, "the VM's id";
        epoch: Number, "the assignment it runs under";
        local_ns: Local, "when";
        deadline_local_ns: Local, "when it is to be killed unless extended";
        deadline_ns: Time, "the same in true time, as the host's clock goes at present";
        vcpus: Number, "the CPUs it takes";
        memory_mib: Number, "the memory it takes, in MiB";
    ]
    /// A VM is truly dead.
    RunEnded = "run-ended" [
        vm: Number, "the VM's id";
        epoch: Number, "the assignment it ran under";
        local_ns: Local, "when";
        deadline_local_ns: Local, "its deadline as last extended";
    ]
    /// The agent set a deadline for its VMs beyond all it had set since the host booted.
    DeadlineRaised = "deadline-raised" [
        until_ns: Time, "the deadline in true time, as the host's clock goes at present";
        until_local_ns: Local, "the deadline on the host's clock";
    ]
    /// The host is suspended: its VMs do not execute.
    Frozen = "frozen" []
    /// The suspended host goes on.
    Thawed = "thawed" []
    /// The host rebooted: its VMs are dead, and its boot-time clock began anew.
    Rebooted = "rebooted" []
    /// What a VM kept on this host was removed for good.
    Purged = "purged" [
        vm: Number, "the VM's id";
        epoch: Number, "the assignment it was asked under";
    ]
    /// What the run that starts next executes.
    Executes = "executes" [
        vm: Number, "the VM's id";
        epoch: Number, "the assignment";
        artifact: Hash, "the fingerprint of what was built";
    ]
    /// A client began an operation.
    OperationBegan = "operation-began" [
        operation: Number, "the operation's id, unique in the run";
        client: Number, "the client, from 0";
        what: Word(words::OPERATIONS), "what is asked";
        name: Text, "the VM's name; empty when it is about none";
        generation: Number, "the generation that the VM must be at; 0 for any";
        request: Hash, "names a write and its retries; 0 for a read";
        floor: Number, "the highest revision that any client had been told of before";
    ]
    /// A request left for a node, an operation's first attempt or a later one.
    Asked = "asked" [
        ticket: Number, "names the attempt, unique in the run";
        to: Node, "who is asked";
        what: Word(words::REQUESTS), "its kind";
        operation: Number, "the operation; 0 for the operator's";
    ]
    /// A request reached a node.
    Requested = "requested" [ticket: Number, "the attempt";]
    /// A node answered.
    Answered = "answered" [
        ticket: Number, "the attempt";
        outcome: Word(words::REPLIES), "a result or an error";
        revision: Number, "the revision the answer tells; 0 for none";
    ]
    /// An answer reached the one who asked, or the news that the connection broke.
    Replied = "replied" [
        ticket: Number, "the attempt";
        outcome: Word(words::REPLIES), "a result, an error, or a broken connection";
    ]
    /// A client's operation ended.
    OperationEnded = "operation-ended" [
        operation: Number, "the operation's id";
        client: Number, "the client";
        outcome: Word(words::OUTCOMES), "answered with a result or a final error; refused, without effect; or unknown";
        attempts: Number, "how often it was sent";
        revision: Number, "the revision the answer tells; 0 for none";
        vm: Number, "the VM's id in the answer; 0 for none";
        generation: Number, "the VM's generation in the answer; 0 for none";
        answer: Word(words::ANSWERS), "what the answer says";
    ]
    /// A fault struck.
    Fault = "fault" [
        strike: Number, "the strike's number, from 1";
        what: Word(words::FAULTS), "its kind";
        hosts: Hosts, "whom it struck";
        lasts_ns: Span, "how long it lasts, or how long a process stays down";
    ]
    /// What a host sends to others is lost from now on, until the strike is over.
    Cut = "cut" [
        strike: Number, "the strike's number; 0 for what is outside the healed core, cut off for good";
        to: Hosts, "the hosts it does not reach";
    ]
    /// A fault is over.
    FaultOver = "fault-over" [
        strike: Number, "the strike's number";
        what: Word(words::FAULTS), "its kind";
        hosts: Hosts, "whom it had struck";
    ]
    /// The operator asked for something, or is done.
    Operator = "operator" [
        what: Word(words::OPERATOR), "what";
        node: Node, "whom it concerns";
        try: Number, "the how-manieth time it asks; 0 when it is done";
    ]
    /// An agent ordered something of its host's hypervisor. Later deadlines are not among it: `deadline-raised` tells of them.
    Ordered = "ordered" [
        what: Word(words::ORDERS), "what";
        operation: Number, "the operation: `hypervisor` lines tell how it ended";
        vm: Number, "the VM's id; 0 for a list";
        epoch: Number, "its assignment; 0 for a list";
    ]
    /// Something happened below the node that is rare and legal; the line's host is the one it happened to, or 0.
    Buggify = "buggify" [what: Word(words::SITES), "the site";]
    /// Told by what was run, when that is another system than Blixard: any word, and numbers that it knows the meaning of.
    Subject = "subject" [
        word: Text, "what";
        a: Number, "its own";
        b: Number, "its own";
        c: Number, "its own";
    ]
}

impl Kind {
    /// The kind of this name.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.word() == word)
    }

    /// How many numbers its lines have.
    #[must_use]
    pub const fn slots(self) -> usize {
        let fields = self.fields();
        let (mut place, mut slots) = (0, 0);
        while place < fields.len() {
            slots += fields[place].shape.slots();
            place += 1;
        }
        slots
    }

    /// The field of this name, with the place of its first number.
    #[must_use]
    pub fn field(self, label: &str) -> Option<(usize, Field)> {
        let mut place = 0;
        for field in self.fields() {
            if field.label == label {
                return Some((place, *field));
            }
            place += field.shape.slots();
        }
        None
    }
}
