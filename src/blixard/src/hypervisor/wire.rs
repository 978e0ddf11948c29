//! What a host's daemon and the supervisor of one run say to each other, over Unix sockets that keep message borders
//! (`SOCK_SEQPACKET`), one JSON object a message.
//!
//! Daemon and supervisor may be of different versions: a supervisor outlives an upgrade of its daemon. Fields may be
//! added with a default; none may change its meaning.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use blixard_node::hypervisor::{Exit, Run};
use blixard_node::ids::{Epoch, VmId};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The largest message, in bytes. A longer one is cut by the kernel and then fails to parse.
const MESSAGE_LEN_MAX: usize = 4096;

/// The longest `detail` of an end, in bytes; keeps every message below [`MESSAGE_LEN_MAX`] also when all of it is
/// escaped.
const DETAIL_LEN_MAX: usize = 512;

/// What a daemon tells a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Answer with a [`Notice::Is`].
    Status,
    /// Move the deadline, never backwards.
    Extend {
        /// Nanoseconds of the boot-time clock.
        deadline: u64,
    },
    /// Ask the VM to end, kill it after `grace`.
    Stop {
        /// Nanoseconds.
        grace: u64,
    },
    /// Kill the VM.
    Kill,
    /// Halt the guest's CPUs; answered with a [`Notice::Did`]. An older supervisor
    /// ignores it.
    Pause,
    /// Let them run on; answered likewise.
    Resume,
}

/// What a supervisor tells its daemons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// How it stands. Sent when the VM has come alive, and when asked.
    Is {
        /// The secret of this run, from its record: shows that this supervisor belongs to it.
        token: String,
        /// Where it stands.
        state: Standing,
        /// When it kills its VM, in nanoseconds of the boot-time clock.
        deadline: u64,
        /// Its guest's CPUs are halted, while it runs.
        #[serde(default)]
        paused: bool,
        /// Who says so. An older supervisor does not tell.
        #[serde(default)]
        who: Option<Who>,
    },
    /// What became of an [`Order::Pause`] or an [`Order::Resume`].
    Did {
        /// Which of them.
        order: Order,
        /// Why it was not done; none when it was.
        refused: Option<String>,
    },
    /// The VM is dead, and what comes after it runs: not longer than until then.
    Dead {
        /// Nanoseconds of the boot-time clock.
        until: u64,
    },
    /// The VM and all its processes are dead; the supervisor's last words.
    Ended(Ended),
}

/// A supervisor, so that it is taken for no other: also not for a process that was given its id later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The run that it supervises.
    pub run: RunKey,
    /// Its process id.
    pub pid: i32,
    /// When it was born, in the kernel's ticks since boot.
    pub born: u64,
}

/// [`blixard_node::hypervisor::RunState`] on the wire, but for pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The command has not taken over yet.
    Starting,
    /// It runs.
    Running,
    /// It was asked to end.
    Stopping,
}

/// How a run ended; also the content of `exit.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The kind of end.
    pub how: How,
    /// For people: a status, a signal, the system's words.
    pub detail: String,
}

/// The kinds of ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// By itself, in good order.
    PoweredOff,
    /// By itself, otherwise; or by a hand unknown.
    Crashed,
    /// Killed at its deadline.
    DeadlinePassed,
    /// On request.
    Stopped,
    /// It never came alive.
    NotStarted,
}

impl Ended {
    /// An end with its detail, shortened where needed.
    pub fn new(how: How, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > DETAIL_LEN_MAX {
            let cut = (0..=DETAIL_LEN_MAX).rev().find(|at| detail.is_char_boundary(*at)).unwrap_or(0);
            detail.truncate(cut);
        }
        Self { how, detail }
    }

    /// The exit to report to the agent unasked; none for an end that was asked for or a start that failed.
    #[must_use]
    pub fn unasked(&self) -> Option<Exit> {
        match self.how {
            How::PoweredOff => Some(Exit::PoweredOff),
            How::Crashed => Some(Exit::Crashed),
            How::DeadlinePassed => Some(Exit::DeadlinePassed),
            How::Stopped | How::NotStarted => None,
        }
    }
}

/// [`Run`] in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunKey {
    /// The VM's number.
    pub vm: u64,
    /// The assignment's number.
    pub epoch: u64,
}

impl From<Run> for RunKey {
    fn from(run: Run) -> Self {
        Self { vm: run.vm.0, epoch: run.epoch.0 }
    }
}

impl From<RunKey> for Run {
    fn from(key: RunKey) -> Self {
        Self { vm: VmId(key.vm), epoch: Epoch(key.epoch) }
    }
}

/// Sends one message without waiting. A full socket loses it: whoever sends it repeats it or notices otherwise.
///
/// # Errors
/// What `send` says; `EAGAIN` when the socket is full, `EPIPE` when nobody reads.
pub fn say(socket: &OwnedFd, message: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    send(socket.as_fd(), &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(())
}

/// What [`hear`] found.
#[derive(Debug)]
pub enum Heard<T> {
    /// A message.
    Message(T),
    /// Nothing more for now.
    Nothing,
    /// Something that is no message of ours; leave it.
    Garbled,
    /// The other side is gone.
    Closed,
}

/// Takes one message without waiting.
pub fn hear<T: DeserializeOwned>(socket: &OwnedFd) -> Heard<T> {
    let mut buffer = [0_u8; MESSAGE_LEN_MAX];
    loop {
        return match recv(socket.as_fd(), &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => Heard::Closed,
            Ok((len, _)) => match serde_json::from_slice(&buffer[..len]) {
                Ok(message) => Heard::Message(message),
                Err(_) => Heard::Garbled,
            },
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => Heard::Nothing,
            Err(_) => Heard::Closed,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_end_fits_into_a_message() {
        let ended = Notice::Ended(Ended::new(How::Crashed, "\u{1}".repeat(10_000)));
        assert!(serde_json::to_vec(&ended).unwrap().len() <= MESSAGE_LEN_MAX);
    }

    #[test]
    fn an_end_is_cut_between_characters() {
        let ended = Ended::new(How::Crashed, "ä".repeat(400) + "x");
        assert_eq!(ended.detail, "ä".repeat(256));
        assert_eq!(Ended::new(How::Crashed, format!("x{}", "ä".repeat(400))).detail.len(), 511);
    }
}
