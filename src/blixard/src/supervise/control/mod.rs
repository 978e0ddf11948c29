//! How a supervisor talks to the program that it runs: one [`Controller`] for each [`Control`] of a plan.
//!
//! The supervisor's loop owns one controller from the moment the program is spawned until it is dead, and does four
//! things with it:
//!
//! 1. It waits for the controller's descriptor ([`Controller::fds`]) and its time ([`Controller::due`]) beside its own.
//! 2. After whatever woke it, it calls [`Controller::turn`], which does what can be done without waiting (connecting,
//!    reading, writing, noticing that an answer is overdue) and returns the [`News`].
//! 3. It passes on what it is told to do, by [`Controller::ask`]. Answers come as news of a later turn.
//! 4. When the program is dead it lets the controller say why ([`Controller::end`]); what the program said last may
//!    still be unread.
//!
//! A run counts as running once the command has taken over and the controller has said [`News::Alive`]. A stop climbs
//! the rungs of [`Ask::PowerDown`] and [`Ask::Quit`]; the rung above, SIGKILL to all that came of the run, is the loop's own.
//!
//! Another hypervisor is a file beside this one: a type with these five functions, and its line in [`open`]. A
//! [`Line`](line::Line) does the reading, writing and connecting for those that speak over a socket.

mod cloud_hypervisor;
mod http;
mod line;
mod qmp;
mod signals;

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::process::{Pid, WaitStatus};

use crate::hypervisor::run_dir::{Control, Plan};
use crate::hypervisor::wire::{Ended, How};

/// What a controller may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// The guest is to power itself off.
    PowerDown,
    /// The program is to end, whatever the guest does.
    Quit,
    /// The guest's CPUs are to halt.
    Pause,
    /// They are to run on.
    Resume,
}

/// What has become known of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The guest runs, or the program has taken charge of it as far as can be told. Said once.
    Alive,
    /// A [`Ask::Pause`] or [`Ask::Resume`] was done.
    Did(Ask),
    /// It was refused, with the program's words.
    Refused(Ask, String),
    /// The program has said that it ends, and lives on: it is to be killed, and [`Controller::end`] tells what it said.
    Over,
    /// The program lives, and nothing will come of it any more: it is to be killed. Why, for people.
    Wedged(String),
}

/// See the module. No function may block, and none fails: a controller whose program does not answer says so in its
/// news.
pub(super) trait Controller {
    /// What to wait for.
    fn fds(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        Vec::new()
    }

    /// When to take a turn although nothing has happened, in nanoseconds of the boot-time clock.
    fn due(&self) -> Option<u64> {
        None
    }

    /// Does what can be done now. Called after every wake-up, whether or not the descriptor is ready.
    fn turn(&mut self, now: u64) -> Vec<News>;

    /// Asks for something. Asking twice is as good as once.
    ///
    /// # Errors
    /// Why it cannot be asked for at all, for people; a stop then takes its next step at once.
    fn ask(&mut self, ask: Ask, now: u64) -> Result<(), String>;

    /// Why the program is dead, from what it has said and from its status. The supervisor adds whether the end was asked
    /// for.
    fn end(&mut self, status: Option<WaitStatus>) -> Ended;
}

/// The controller that a plan wants, for the program whose first process is `pid`. `line` is the supervisor's end of the
/// socket that the program was handed as open file 3.
pub(super) fn open(plan: &Plan, pid: Pid, line: Option<OwnedFd>, now: u64) -> Box<dyn Controller> {
    match &plan.control {
        Control::Qmp { listens_at: None } => Box::new(qmp::Qmp::new(line::Line::open(line), now)),
        Control::Qmp { listens_at: Some(path) } => {
            Box::new(qmp::Qmp::new(line::Line::calling(plan.workdir.join(path), now), now).with_keyboard())
        }
        Control::CloudHypervisor { listens_at, .. } => {
            let (socket, events) =
                (plan.workdir.join(listens_at), line.map(|line| line::Line::open(Some(line))));
            Box::new(cloud_hypervisor::CloudHypervisor::new(socket, events, now))
        }
        Control::Signals | Control::Command { .. } => Box::new(signals::Signals::new(pid)),
    }
}

/// Whether the program is to be handed a socket as open file 3.
pub(super) fn wants_line(control: &Control) -> bool {
    matches!(control, Control::Qmp { listens_at: None } | Control::CloudHypervisor { events: true, .. })
}

/// The longest words of a program that are passed on, in bytes.
const WORDS_LEN_MAX: usize = 200;

/// A program's words, cut where they are too long.
fn shortened(mut words: String) -> String {
    if words.len() > WORDS_LEN_MAX {
        let cut = (0..=WORDS_LEN_MAX).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
        words.truncate(cut);
    }
    words
}

/// An end as its status alone tells it.
pub(super) fn by_status(status: Option<WaitStatus>) -> Ended {
    let Some(status) = status else {
        return Ended::new(How::Crashed, "its status is not known");
    };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => Ended::new(How::PoweredOff, "exit status 0"),
        (Some(code), _) => Ended::new(How::Crashed, format!("exit status {code}")),
        (None, Some(signal)) => Ended::new(How::Crashed, format!("killed by signal {signal}")),
        (None, None) => Ended::new(How::Crashed, format!("status {status:?}")),
    }
}
