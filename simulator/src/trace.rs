//! The log of a run: typed events, a rolling hash over all of them, and whoever listens.
//!
//! Two runs are the same if and only if their logs are: the hash is what `--check-determinism` compares. Everything
//! under it is an integer, so a debug and a release build agree.

use std::fmt;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A process opened its disk and began: its node id, its life's number.
    Started,
    /// A process could not open: its node id.
    OpenFailed,
    /// A process is gone: node id, why (0 crash, 1 its own end, 2 power loss).
    Ended,
    /// A message left: to, what, size class.
    Sent,
    /// A message was lost: to, what, why (0 chance, 1 cut, 2 nobody there, 3 no address).
    Lost,
    /// A message arrived: from, what, detail.
    Delivered,
    /// A turn ended: inputs, writes, releases.
    Turned,
    /// A write began: operations, bytes.
    WriteBegan,
    /// A write became durable.
    WriteEnded,
    /// A node applied an entry: index, term, state hash.
    Applied,
    /// A node restored a snapshot: index, state hash.
    Restored,
    /// A node wrote a snapshot and cut its log: index.
    Compacted,
    /// A node leads: term.
    Leads,
    /// A node leads no more: term.
    LeadsNoMore,
    /// The members changed: voters, outgoing voters, learners (as bit masks of node ids).
    Members,
    /// Another event of a node: which, detail.
    Told,
    /// A hypervisor's input for the agent: which.
    Hypervisor,
    /// What truly happened to a VM: what, VM, epoch.
    Truth,
    /// A client asked: ticket, to, what.
    Asked,
    /// A request reached a node: ticket.
    Requested,
    /// A node answered: ticket, outcome.
    Answered,
    /// A client's operation ended: client, outcome.
    OperationEnded,
    /// A fault struck: which, whom (as a bit mask of hosts), for how many nanoseconds.
    Fault,
    /// A fault is over: which.
    FaultOver,
    /// The run went on to another phase: which.
    Phase,
    /// The operator asked for something: what, whom.
    Operator,
}

impl Kind {
    fn labels(self) -> (&'static str, [&'static str; 3]) {
        match self {
            Self::Started => ("started", ["node", "life", "revision"]),
            Self::OpenFailed => ("open-failed", ["node", "", ""]),
            Self::Ended => ("ended", ["node", "why", ""]),
            Self::Sent => ("sent", ["to", "what", "detail"]),
            Self::Lost => ("lost", ["to", "what", "why"]),
            Self::Delivered => ("delivered", ["from", "what", "detail"]),
            Self::Turned => ("turned", ["inputs", "write", "sends"]),
            Self::WriteBegan => ("write-began", ["operations", "bytes", "latency_ns"]),
            Self::WriteEnded => ("write-ended", ["", "", ""]),
            Self::Applied => ("applied", ["index", "term", "hash"]),
            Self::Restored => ("restored", ["index", "", "hash"]),
            Self::Compacted => ("compacted", ["index", "", ""]),
            Self::Leads => ("leads", ["term", "", ""]),
            Self::LeadsNoMore => ("leads-no-more", ["term", "", ""]),
            Self::Members => ("members", ["voters", "outgoing", "learners"]),
            Self::Told => ("told", ["what", "detail", ""]),
            Self::Hypervisor => ("hypervisor", ["what", "vm", "epoch"]),
            Self::Truth => ("truth", ["what", "vm", "epoch"]),
            Self::Asked => ("asked", ["ticket", "to", "what"]),
            Self::Requested => ("requested", ["ticket", "", ""]),
            Self::Answered => ("answered", ["ticket", "outcome", ""]),
            Self::OperationEnded => ("operation-ended", ["client", "outcome", "attempts"]),
            Self::Fault => ("fault", ["what", "hosts", "lasts_ns"]),
            Self::FaultOver => ("fault-over", ["what", "hosts", ""]),
            Self::Phase => ("phase", ["number", "", ""]),
            Self::Operator => ("operator", ["what", "node", "try"]),
        }
    }
}

/// One line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// True time in nanoseconds since the run began.
    pub at: u64,
    /// What.
    pub kind: Kind,
    /// On which host, from 1; 0 is the world.
    pub host: u16,
    /// The details, as the kind says.
    pub details: [u64; 3],
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, labels) = self.kind.labels();
        write!(f, "{}.{:09} ", self.at / 1_000_000_000, self.at % 1_000_000_000)?;
        if self.host == 0 {
            f.write_str("world ")?;
        } else {
            write!(f, "host{} ", self.host)?;
        }
        f.write_str(name)?;
        for (label, value) in labels.iter().zip(self.details) {
            match *label {
                "" => {}
                "what" => write!(f, " {}", what(self.kind, value))?,
                "hash" => write!(f, " hash={value:016x}")?,
                "hosts" | "voters" | "outgoing" | "learners" => write!(f, " {label}={}", mask(value))?,
                label => write!(f, " {label}={value}")?,
            }
        }
        Ok(())
    }
}

fn mask(bits: u64) -> String {
    let each: Vec<String> = (0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| bit.to_string()).collect();
    each.join(",")
}

/// The words behind the numbers of a `what`.
fn what(kind: Kind, value: u64) -> &'static str {
    let words: &[&str] = match kind {
        Kind::Sent | Kind::Lost | Kind::Delivered => &crate::net::MESSAGE_KINDS,
        Kind::Fault | Kind::FaultOver => {
            let all = crate::scenario::FaultKind::ALL;
            return all.get(value as usize).map_or("?", |kind| kind.word());
        }
        Kind::Truth => &["run-started", "run-ended", "deadline-raised", "frozen", "thawed", "rebooted"],
        Kind::Told => &["host-lost", "lease-expired", "stale-set-refused", "refused", "joined", "retired"],
        Kind::Hypervisor => &["done", "failed", "exited"],
        Kind::Asked => &["write", "read", "transfer-leader"],
        Kind::Operator => &["cordon", "uncordon", "remove", "transfer-leader", "done", "gave-up"],
        _ => &[],
    };
    words.get(value as usize).copied().unwrap_or("?")
}

/// Listens to the log while it is written.
pub trait Sink {
    /// Takes one line.
    fn entry(&mut self, entry: &Entry);
}

impl Sink for Vec<Entry> {
    fn entry(&mut self, entry: &Entry) {
        self.push(*entry);
    }
}

/// The log's rolling hash, and its listener.
#[derive(Default)]
pub struct Trace<'s> {
    hash: u64,
    count: u64,
    sink: Option<&'s mut dyn Sink>,
}

impl fmt::Debug for Trace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("hash", &self.hash).field("count", &self.count).finish_non_exhaustive()
    }
}

/// An odd number without a pattern (the golden ratio's fraction).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(hash: u64, value: u64) -> u64 {
    let product = u128::from(hash ^ value.wrapping_mul(MIX)) * u128::from(MIX | 1 << 63);
    (product as u64) ^ (product >> 64) as u64 ^ hash.rotate_left(23)
}

impl<'s> Trace<'s> {
    /// A log that `sink` listens to.
    #[must_use]
    pub fn new(sink: Option<&'s mut dyn Sink>) -> Self {
        Self { hash: MIX, count: 0, sink }
    }

    /// Writes one line.
    #[inline]
    pub fn write(&mut self, at: u64, kind: Kind, host: usize, details: [u64; 3]) {
        let mut hash = mix(self.hash, at);
        hash = mix(hash, (kind as u64) << 32 | host as u64);
        hash = mix(hash, details[0]);
        hash = mix(hash, details[1]);
        self.hash = mix(hash, details[2]);
        self.count += 1;
        if let Some(sink) = &mut self.sink {
            sink.entry(&Entry { at, kind, host: host as u16, details });
        }
    }

    /// The hash over all lines so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_under_the_hash() {
        let hash = |at, kind, host, details| {
            let mut trace = Trace::new(None);
            trace.write(at, kind, host, details);
            trace.hash()
        };
        let base = hash(1, Kind::Sent, 1, [1, 2, 3]);
        assert_eq!(base, hash(1, Kind::Sent, 1, [1, 2, 3]));
        for other in [
            hash(2, Kind::Sent, 1, [1, 2, 3]),
            hash(1, Kind::Lost, 1, [1, 2, 3]),
            hash(1, Kind::Sent, 2, [1, 2, 3]),
            hash(1, Kind::Sent, 1, [0, 2, 3]),
            hash(1, Kind::Sent, 1, [1, 0, 3]),
            hash(1, Kind::Sent, 1, [1, 2, 0]),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn lines_are_readable() {
        let entry = Entry { at: 1_500_000_000, kind: Kind::Fault, host: 0, details: [0, 0b1010, 7] };
        assert_eq!(entry.to_string(), "1.500000000 world fault partition hosts=1,3 lasts_ns=7");
    }
}
