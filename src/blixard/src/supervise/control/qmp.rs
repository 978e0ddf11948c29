//! QEMU, by its machine protocol: one JSON object a line, answers in the order of the commands, events in between
//! (`docs/interop/qmp-spec.rst` in QEMU's sources; the events and reasons are those of `qapi/run-state.json`).

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use rustix::event::PollFlags;
use rustix::process::WaitStatus;
use serde::Deserialize;

use super::line::Line;
use super::{Ask, Controller, News, by_status, shortened};
use crate::hypervisor::wire::{Ended, How};

const SECOND: u64 = 1_000_000_000;

/// How long a QEMU that lives may leave a command unanswered.
const ANSWER: u64 = 30 * SECOND;

/// How much longer when asked again. A host that was suspended gave QEMU no time to answer.
const SECOND_CHANCE: u64 = 10 * SECOND;

/// How often QEMU is asked whether it is well.
const CHECK: u64 = 20 * SECOND;

/// How long a QEMU may live that has said that it ends, or has closed its line. Some versions hang then: 7.2 when a command
/// comes in that very moment.
const LAST_WORDS: u64 = 3 * SECOND;

/// See the module.
#[derive(Debug)]
pub(super) struct Qmp {
    line: Line,
    /// Sent and not answered, the oldest first.
    waiting: VecDeque<Sent>,
    serial: u64,
    said_alive: bool,
    /// When the guest's state is asked for again.
    check_at: u64,
    /// When an answer is overdue; moved by each answer.
    overdue_at: u64,
    /// Nothing was answered in time, and it was asked a last time.
    warned: bool,
    /// When a QEMU that ends is to be dead.
    gone_by: Option<u64>,
    panicked: bool,
    /// The reason of its SHUTDOWN event.
    shutdown: Option<String>,
    /// Its guest is asked by its keyboard, too.
    has_keyboard: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    serial: u64,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Capabilities,
    /// The guest may begin: a QEMU that was started with `-S` waits for that, so that none of its events is missed.
    Begin,
    Status,
    Asked(Ask),
    /// Ctrl, Alt and Delete at once: see [`Qmp::with_keyboard`].
    Keys,
}

/// What [`What::Keys`] are, as `send-key` takes them (`qapi/ui.json`).
const KEYS: &str = r#"{"keys":[{"type":"qcode","data":"ctrl"},{"type":"qcode","data":"alt"},{"type":"qcode","data":"delete"}]}"#;

/// Any line that QEMU says.
#[derive(Debug, Deserialize)]
struct Message {
    id: Option<u64>,
    #[serde(rename = "return")]
    done: Option<Answer>,
    error: Option<Complaint>,
    event: Option<String>,
    data: Option<EventData>,
}

/// What is read of an answer.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    status: String,
}

#[derive(Debug, Deserialize)]
struct Complaint {
    #[serde(default)]
    desc: String,
}

#[derive(Debug, Deserialize)]
struct EventData {
    #[serde(default)]
    reason: String,
}

impl Qmp {
    /// Begins at once: what is sent waits in the socket until QEMU is ready.
    pub(super) fn new(line: Line, now: u64) -> Self {
        let mut qmp = Self {
            line,
            waiting: VecDeque::new(),
            serial: 0,
            said_alive: false,
            check_at: u64::MAX,
            overdue_at: now + ANSWER,
            warned: false,
            gone_by: None,
            panicked: false,
            shutdown: None,
            has_keyboard: false,
        };
        // No more than that: see `LAST_WORDS`.
        qmp.send(What::Capabilities, now);
        qmp.send(What::Begin, now);
        qmp
    }

    /// For runners of microvm.nix, whose guests may listen to their keyboard alone: a power-down is Ctrl-Alt-Del, too, as
    /// their own `microvm-shutdown` has it. A guest that hears both ends by the first; QEMU does in any case, by `-no-reboot`.
    pub(super) fn with_keyboard(mut self) -> Self {
        self.has_keyboard = true;
        self
    }

    fn send(&mut self, what: What, now: u64) {
        let command = match what {
            What::Capabilities => "qmp_capabilities",
            What::Status => "query-status",
            What::Asked(Ask::PowerDown) => "system_powerdown",
            What::Asked(Ask::Quit) => "quit",
            What::Asked(Ask::Pause) => "stop",
            What::Begin | What::Asked(Ask::Resume) => "cont",
            What::Keys => "send-key",
        };
        let arguments = if what == What::Keys { format!(",\"arguments\":{KEYS}") } else { String::new() };
        self.serial += 1;
        if self.waiting.is_empty() {
            self.overdue_at = now + ANSWER;
        }
        self.waiting.push_back(Sent { serial: self.serial, what });
        if what == What::Status {
            self.check_at = u64::MAX;
        }
        let line = format!("{{\"execute\":\"{command}\",\"id\":{}{arguments}}}\n", self.serial);
        self.line.send(line.as_bytes());
    }

    fn hear(&mut self, line: &[u8], now: u64, news: &mut Vec<News>) {
        // A line that is no message is as good as none: the answer it may have been is overdue some day.
        let Ok(message) = serde_json::from_slice::<Message>(line) else {
            return;
        };
        if let Some(event) = message.event {
            return self.take_event(&event, message.data, now, news);
        }
        let Some(at) = self.waiting.iter().position(|sent| Some(sent.serial) == message.id) else {
            return;
        };
        let Some(sent) = self.waiting.remove(at) else {
            return;
        };
        self.overdue_at = now + ANSWER;
        self.warned = false;
        match (sent.what, message.done, message.error) {
            (What::Asked(ask @ (Ask::Pause | Ask::Resume)), _, Some(error)) => {
                news.push(News::Refused(ask, shortened(error.desc)));
            }
            (What::Asked(ask @ (Ask::Pause | Ask::Resume)), ..) => news.push(News::Did(ask)),
            (What::Capabilities, _, Some(error)) => {
                news.push(News::Wedged(format!("QEMU refuses its control line: {}", shortened(error.desc))));
            }
            (What::Begin, _, Some(error)) => {
                news.push(News::Wedged(format!("QEMU refuses to run its guest: {}", shortened(error.desc))));
            }
            (What::Begin, ..) => {
                self.check_at = now + CHECK;
                self.say_alive(news);
            }
            (What::Status, Some(Answer { status }), _) => self.take_status(&status, now, news),
            (What::Status, ..) => self.check_at = now + CHECK,
            _ => {}
        }
    }

    fn take_status(&mut self, status: &str, now: u64, news: &mut Vec<News>) {
        self.check_at = now + CHECK;
        // KVM met an instruction that it cannot emulate: the guest stands still for ever.
        if status == "internal-error" {
            news.push(News::Wedged("the hypervisor cannot run the guest (internal-error)".into()));
        }
    }

    fn say_alive(&mut self, news: &mut Vec<News>) {
        if !self.said_alive {
            self.said_alive = true;
            news.push(News::Alive);
        }
    }

    fn take_event(&mut self, event: &str, data: Option<EventData>, now: u64, news: &mut Vec<News>) {
        match event {
            "SHUTDOWN" => {
                self.shutdown = Some(data.map(|data| data.reason).unwrap_or_default());
                self.gone_by = Some(now + LAST_WORDS);
                // An end within the first moments: it has run all the same.
                self.say_alive(news);
            }
            "GUEST_PANICKED" => self.panicked = true,
            // Also how an internal error begins: look at once.
            "STOP" => self.send(What::Status, now),
            _ => {}
        }
    }

    /// What is to be done about a QEMU that does not do what it should.
    fn overdue(&mut self, now: u64) -> Option<News> {
        if let Some(by) = self.gone_by {
            let closed = || News::Wedged("QEMU closed its control line and did not exit".into());
            return (now >= by).then(|| self.shutdown.as_ref().map_or_else(closed, |_| News::Over));
        }
        if self.waiting.is_empty() || now < self.overdue_at {
            return None;
        }
        if self.warned {
            return Some(News::Wedged("QEMU does not answer on its control line".into()));
        }
        self.warned = true;
        self.send(What::Status, now);
        self.overdue_at = now + SECOND_CHANCE;
        None
    }
}

impl Controller for Qmp {
    fn fds(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        self.line.fd().into_iter().collect()
    }

    fn due(&self) -> Option<u64> {
        let overdue_at = if self.waiting.is_empty() { u64::MAX } else { self.overdue_at };
        let times = [self.line.due().unwrap_or(u64::MAX), self.check_at];
        let due = times.into_iter().fold(self.gone_by.unwrap_or(overdue_at), u64::min);
        (due < u64::MAX).then_some(due)
    }

    fn turn(&mut self, now: u64) -> Vec<News> {
        let mut news = Vec::new();
        self.line.turn(now);
        while let Some(line) = self.line.take_line() {
            self.hear(&line, now, &mut news);
        }
        if self.line.is_closed() {
            self.check_at = u64::MAX;
            self.gone_by.get_or_insert(now + LAST_WORDS);
        } else if now >= self.check_at {
            self.send(What::Status, now);
        }
        news.extend(self.overdue(now));
        news
    }

    fn ask(&mut self, ask: Ask, now: u64) -> Result<(), String> {
        if self.line.is_closed() {
            return Err("QEMU has closed its control line".into());
        }
        self.send(What::Asked(ask), now);
        if ask == Ask::PowerDown && self.has_keyboard {
            self.send(What::Keys, now);
        }
        Ok(())
    }

    fn end(&mut self, status: Option<WaitStatus>) -> Ended {
        // All that held the other end are dead: this reads to the end and cannot wait.
        let _ = self.turn(0);
        let by_status = by_status(status);
        if self.panicked {
            return Ended::new(How::Crashed, "the guest panicked");
        }
        match self.shutdown.as_deref() {
            Some("guest-shutdown") => Ended::new(How::PoweredOff, "the guest powered itself off"),
            Some("guest-reset") => Ended::new(How::Crashed, "the guest reset itself"),
            Some("guest-panic") => Ended::new(How::Crashed, "the guest panicked"),
            Some("host-signal") => Ended::new(How::Crashed, "QEMU was told to end by a signal"),
            Some("host-qmp-quit") => Ended::new(How::Crashed, "QEMU was told to quit"),
            Some(other) => {
                Ended::new(How::Crashed, format!("{}, {}", shortened(other.into()), by_status.detail))
            }
            // Its status tells a crash alone: with 0 end a power-off, a reset and a panic.
            None if self.said_alive && by_status.how == How::PoweredOff => {
                Ended::new(How::Crashed, "QEMU ended without giving a reason, exit status 0")
            }
            None => by_status,
        }
    }
}

#[cfg(test)]
mod tests;
