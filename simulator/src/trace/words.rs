//! The words behind numbers. A word's place is its number, so new ones are added at the end.

/// Phases of a run.
pub const PHASES: &[&str] = &["warm-up", "safety", "liveness"];

/// How a process ended.
pub const ENDS: &[&str] = &["killed", "by-itself", "power-lost"];

/// What went with a process.
pub const LOSSES: &[&str] = &["nothing", "process", "power"];

/// Kinds of messages.
pub const MESSAGES: &[&str] = &[
    "raft",
    "snapshot-chunk",
    "snapshot-ack",
    "forward",
    "forwarded",
    "heartbeat",
    "heartbeat-ack",
    "not-leader",
    "nudge",
    "join",
    "joined",
    "refused",
    "append",
    "append-ok",
    "append-refused",
    "vote",
    "vote-granted",
    "vote-refused",
    "pre-vote",
    "pre-vote-granted",
    "pre-vote-refused",
    "raft-heartbeat",
    "raft-heartbeat-ok",
    "snapshot",
    "timeout-now",
    "subject",
];

/// Why a message was lost.
pub const LOST: &[&str] = &["chance", "cut", "nobody", "no-address", "full"];

/// A node's part, as it sees it.
pub const ROLES: &[&str] = &["leaderless", "follower", "leader"];

/// What an entry says.
pub const DECISIONS: &[&str] = &[
    "nothing",
    "other",
    "create",
    "start",
    "stop",
    "delete",
    "update",
    "cordon",
    "uncordon",
    "remove-host",
    "add-host",
    "drop-host",
    "lose-host",
    "regain-host",
    "assign",
    "report",
    "raise-level",
];

/// What nodes tell.
pub const TOLD: &[&str] = &[
    "host-lost",
    "lease-expired",
    "stale-set-refused",
    "refused",
    "joined",
    "retired",
    "speaks-level",
    "level-raised",
    "outgrown",
];

/// What hypervisors tell.
pub const NEWS: &[&str] = &["done", "failed", "exited"];

/// What agents order of their hypervisors, in the order of [`crate::hypervisor::Order`].
pub const ORDERS: &[&str] = &["prepare", "start", "stop", "kill", "pause", "resume", "purge", "list"];

/// What clients ask.
pub const OPERATIONS: &[&str] = &[
    "create", "start", "stop", "delete", "update", "get", "list", "events", "status", "cordon", "remove",
    "transfer",
];

/// Kinds of requests.
pub const REQUESTS: &[&str] = &["write", "read", "transfer-leader"];

/// How an attempt was answered.
pub const REPLIES: &[&str] = &["ok", "error", "broken"];

/// How an operation ended.
pub const OUTCOMES: &[&str] = &["ok", "error", "refused", "unknown"];

/// What an answer says.
pub const ANSWERS: &[&str] = &[
    "none",
    "written",
    "wanted-running",
    "wanted-stopped",
    "deleting",
    "listed",
    "vm-exists",
    "vm-unknown",
    "generation-conflict",
    "vm-deleting",
    "vm-not-stopped",
    "no-room",
    "session-expired",
    "id-reused",
    "other-error",
    "other",
    "below-level",
];

/// What the operator does.
pub const OPERATOR: &[&str] = &["cordon", "uncordon", "remove", "transfer-leader", "done", "gave-up"];

/// Kinds of faults, in the order of [`crate::scenario::FaultKind::ALL`].
pub const FAULTS: &[&str] = &fault_words();

const fn fault_words() -> [&'static str; crate::scenario::FaultKind::ALL.len()] {
    let all = crate::scenario::FaultKind::ALL;
    let mut words = [""; crate::scenario::FaultKind::ALL.len()];
    let mut place = 0;
    while place < words.len() {
        words[place] = all[place].word();
        place += 1;
    }
    words
}

/// Sites of what is rare and legal, in the order of [`crate::scenario::Site::ALL`].
pub const SITES: &[&str] = &site_words();

const fn site_words() -> [&'static str; crate::scenario::Site::ALL.len()] {
    let all = crate::scenario::Site::ALL;
    let mut words = [""; crate::scenario::Site::ALL.len()];
    let mut place = 0;
    while place < words.len() {
        words[place] = all[place].name();
        place += 1;
    }
    words
}

/// A word's place in its list, known when the program is compiled.
macro_rules! word {
    ($words:ident, $word:literal) => {
        const { $crate::trace::words::place($crate::trace::words::$words, $word) }
    };
}

pub(crate) use word;

/// A word's place in its list. For words that are known when the program is compiled, so that a missing one fails then.
pub(crate) const fn place(words: &[&str], word: &str) -> u64 {
    let mut place = 0;
    while place < words.len() {
        if same(words[place].as_bytes(), word.as_bytes()) {
            return place as u64;
        }
        place += 1;
    }
    panic!("the list lacks the word")
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    let mut place = 0;
    while place < one.len() && place < other.len() {
        if one[place] != other[place] {
            return false;
        }
        place += 1;
    }
    one.len() == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        assert_eq!(
            [word!(MESSAGES, "vote"), word!(MESSAGES, "vote-granted")].map(|at| MESSAGES[at as usize]),
            ["vote", "vote-granted"]
        );
        assert!(!same(b"vote", b"vote-granted") && !same(b"vote", b"void") && same(b"", b""));
    }
}
