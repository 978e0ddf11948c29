//! cloud-hypervisor, by its REST API over a Unix socket, one request at a time (`vmm/src/api/openapi/cloud-hypervisor.yaml` in
//! its sources), and by the events that it writes to the open file 3 when it is told to (`docs/event-monitor.md` there).
//!
//! A guest that resets itself is an end, as it is with QEMU's `-no-reboot`: cloud-hypervisor would boot it anew in the same
//! process, and nobody would hear of it.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use rustix::event::PollFlags;
use rustix::process::WaitStatus;
use serde::Deserialize;

use super::http::{Answer, Answers, request};
use super::line::Line;
use super::{Ask, Controller, News, by_status, shortened};
use crate::hypervisor::wire::{Ended, How};

const SECOND: u64 = 1_000_000_000;

/// How long a request may be unanswered.
const ANSWER: u64 = 30 * SECOND;

/// How much longer when asked again, over another connection.
const SECOND_CHANCE: u64 = 10 * SECOND;

/// How often it is asked whether its guest runs, until it does.
const POLL: u64 = SECOND / 20;

/// How often it is asked whether it is well after that.
const CHECK: u64 = 20 * SECOND;

/// How long after a connection was closed the next one is tried.
const RECONNECT: u64 = SECOND / 50;

/// How long it may live when it has said that it ends, or has closed its events.
const LAST_WORDS: u64 = 3 * SECOND;

/// Events that have come in part, in bytes at most. What is beyond is dropped.
const EVENTS_LEN_MAX: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct CloudHypervisor {
    socket: PathBuf,
    api: Line,
    answers: Answers,
    /// To be asked, each thing once.
    queue: VecDeque<What>,
    /// Asked and not answered.
    asked: Option<What>,
    /// Where its events come from, if it was told to write them.
    events: Option<Line>,
    event_bytes: Vec<u8>,
    said_alive: bool,
    /// When it is asked how it is.
    check_at: u64,
    /// When the answer is overdue.
    overdue_at: u64,
    /// It was asked a last time.
    warned: bool,
    /// When it is to be dead.
    gone_by: Option<u64>,
    panicked: bool,
    reset: bool,
    /// The guest powered itself off, or somebody had it shut down.
    shut_down: bool,
}

/// What it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// How the guest is.
    Info,
    Ask(Ask),
    /// How the guest is after this was refused, in these words: it may have been so before.
    Verify(Ask, String),
}

/// `VmInfo` of the API.
#[derive(Debug, Deserialize)]
struct Info {
    state: String,
}

#[derive(Debug, Deserialize)]
struct Event {
    source: String,
    event: String,
}

impl CloudHypervisor {
    /// For the program that will listen at `socket` and may write events to the other end of `events`.
    pub(super) fn new(socket: PathBuf, events: Option<Line>, now: u64) -> Self {
        Self {
            api: Line::calling(socket.clone(), now),
            socket,
            answers: Answers::default(),
            queue: VecDeque::new(),
            asked: None,
            events,
            event_bytes: Vec::new(),
            said_alive: false,
            check_at: now,
            overdue_at: u64::MAX,
            warned: false,
            gone_by: None,
            panicked: false,
            reset: false,
            shut_down: false,
        }
    }

    fn enqueue(&mut self, what: What) {
        if self.asked.as_ref() != Some(&what) && !self.queue.contains(&what) {
            self.queue.push_back(what);
        }
    }

    /// Asks the next thing when nothing is under way.
    fn pump(&mut self, now: u64) {
        if self.asked.is_some() {
            return;
        }
        let Some(what) = self.queue.pop_front() else { return };
        let (method, path) = match &what {
            What::Info | What::Verify(..) => ("GET", "vm.info"),
            What::Ask(Ask::PowerDown) => ("PUT", "vm.power-button"),
            What::Ask(Ask::Quit) => ("PUT", "vmm.shutdown"),
            What::Ask(Ask::Pause) => ("PUT", "vm.pause"),
            What::Ask(Ask::Resume) => ("PUT", "vm.resume"),
        };
        self.asked = Some(what);
        if !self.warned {
            self.overdue_at = now + ANSWER;
        }
        self.api.send(&request(method, &format!("/api/v1/{path}")));
    }

    /// The connection is of no use any more: what was asked over it is asked again over the next one.
    fn reconnect(&mut self, now: u64) {
        self.api = Line::calling(self.socket.clone(), now + RECONNECT);
        self.answers = Answers::default();
        if let Some(what) = self.asked.take() {
            self.queue.push_front(what);
        }
    }

    fn hear_answers(&mut self, now: u64, news: &mut Vec<News>) {
        self.api.turn(now);
        self.answers.push(&self.api.take_all());
        loop {
            match self.answers.take(self.api.is_closed()) {
                Ok(Some(answer)) => {
                    let is_last = answer.is_last;
                    self.take_answer(&answer, now, news);
                    if is_last {
                        return self.reconnect(now);
                    }
                }
                Ok(None) if self.api.is_closed() => return self.reconnect(now),
                Ok(None) => return,
                Err(_) => return self.reconnect(now),
            }
        }
    }

    fn take_answer(&mut self, answer: &Answer, now: u64, news: &mut Vec<News>) {
        let Some(what) = self.asked.take() else { return };
        self.warned = false;
        self.overdue_at = u64::MAX;
        let state =
            || serde_json::from_slice::<Info>(&answer.body).map(|info| info.state).unwrap_or_default();
        match what {
            What::Info => {
                self.check_at = now + if self.said_alive { CHECK } else { POLL };
                if answer.is_ok() {
                    self.take_state(&state(), now, news);
                }
            }
            What::Ask(ask @ (Ask::Pause | Ask::Resume)) if answer.is_ok() => news.push(News::Did(ask)),
            // A guest that is paused is not paused again: cloud-hypervisor calls that an error.
            What::Ask(ask @ (Ask::Pause | Ask::Resume)) => {
                self.queue.push_front(What::Verify(ask, words(answer)));
            }
            What::Ask(Ask::PowerDown | Ask::Quit) => {}
            What::Verify(ask, words) => {
                let wanted = if ask == Ask::Pause { "Paused" } else { "Running" };
                let is_so = answer.is_ok() && state() == wanted;
                news.push(if is_so { News::Did(ask) } else { News::Refused(ask, words) });
            }
        }
    }

    fn take_state(&mut self, state: &str, now: u64, news: &mut Vec<News>) {
        match state {
            "Running" | "Paused" => self.say_alive(now, news),
            "Shutdown" if self.said_alive => {
                self.shut_down = true;
                news.push(News::Over);
            }
            _ => {}
        }
    }

    fn say_alive(&mut self, now: u64, news: &mut Vec<News>) {
        if !self.said_alive {
            self.said_alive = true;
            self.check_at = now + CHECK;
            news.push(News::Alive);
        }
    }

    fn hear_events(&mut self, now: u64, news: &mut Vec<News>) {
        let Some(line) = &mut self.events else { return };
        line.turn(now);
        self.event_bytes.extend(line.take_all());
        if line.is_closed() {
            self.gone_by.get_or_insert(now + LAST_WORDS);
        }
        let mut events = serde_json::Deserializer::from_slice(&self.event_bytes).into_iter::<Event>();
        let mut heard = Vec::new();
        let garbled = loop {
            match events.next() {
                Some(Ok(event)) => heard.push(event),
                Some(Err(error)) => break !error.is_eof(),
                None => break false,
            }
        };
        let taken = events.byte_offset();
        if garbled || self.event_bytes.len() - taken > EVENTS_LEN_MAX {
            // What else has come is not understood; events are words, the exit status is what counts.
            self.event_bytes.clear();
        } else {
            self.event_bytes.drain(..taken);
        }
        for event in heard {
            self.take_event(&event, now, news);
        }
    }

    fn take_event(&mut self, event: &Event, now: u64, news: &mut Vec<News>) {
        match (event.source.as_str(), event.event.as_str()) {
            ("vm", "booted") => self.say_alive(now, news),
            ("guest", "panic") => {
                self.panicked = true;
                self.say_alive(now, news);
                news.push(News::Over);
            }
            ("vm", "rebooting") => {
                self.reset = true;
                self.say_alive(now, news);
                news.push(News::Over);
            }
            ("vmm", "shutdown") => {
                self.shut_down = true;
                self.gone_by.get_or_insert(now + LAST_WORDS);
            }
            _ => {}
        }
    }

    /// What is to be done about one that does not do what it should.
    fn overdue(&mut self, now: u64) -> Option<News> {
        if let Some(by) = self.gone_by {
            let closed = || News::Wedged("cloud-hypervisor closed its events and did not exit".into());
            return (now >= by).then(|| if self.shut_down { News::Over } else { closed() });
        }
        if self.asked.is_none() || now < self.overdue_at {
            return None;
        }
        if self.warned {
            return Some(News::Wedged("cloud-hypervisor does not answer at its socket".into()));
        }
        self.warned = true;
        self.overdue_at = now + SECOND_CHANCE;
        self.reconnect(now);
        None
    }
}

impl Controller for CloudHypervisor {
    fn fds(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let events = self.events.as_ref().and_then(Line::fd);
        self.api.fd().into_iter().chain(events).collect()
    }

    fn due(&self) -> Option<u64> {
        let overdue_at = if self.asked.is_some() { self.overdue_at } else { u64::MAX };
        let next = if self.asked.is_none() { self.check_at } else { u64::MAX };
        let times = [self.api.due().unwrap_or(u64::MAX), next];
        Some(times.into_iter().fold(self.gone_by.unwrap_or(overdue_at), u64::min))
            .filter(|due| *due < u64::MAX)
    }

    fn turn(&mut self, now: u64) -> Vec<News> {
        let mut news = Vec::new();
        self.hear_events(now, &mut news);
        self.hear_answers(now, &mut news);
        if now >= self.check_at && self.gone_by.is_none() {
            self.check_at = u64::MAX;
            self.enqueue(What::Info);
        }
        self.pump(now);
        news.extend(self.overdue(now));
        news
    }

    fn ask(&mut self, ask: Ask, now: u64) -> Result<(), String> {
        if self.gone_by.is_some() {
            return Err("cloud-hypervisor has said that it ends".into());
        }
        self.enqueue(What::Ask(ask));
        self.pump(now);
        Ok(())
    }

    fn end(&mut self, status: Option<WaitStatus>) -> Ended {
        // All that held the other end are dead: this reads to the end and cannot wait.
        self.hear_events(0, &mut Vec::new());
        if self.panicked {
            return Ended::new(How::Crashed, "the guest panicked");
        }
        if self.reset {
            return Ended::new(How::Crashed, "the guest reset itself");
        }
        let by_status = by_status(status);
        let told = self.shut_down || self.events.is_none();
        match by_status.how {
            How::PoweredOff if told => Ended::new(How::PoweredOff, "the guest powered itself off"),
            How::PoweredOff if self.said_alive => {
                Ended::new(How::Crashed, "cloud-hypervisor ended without giving a reason, exit status 0")
            }
            // It had shut down and lived on: what killed it is known.
            _ if self.shut_down => Ended::new(How::PoweredOff, "the guest powered itself off"),
            _ => by_status,
        }
    }
}

/// Why it refuses: a list of texts, each the reason of the one before.
fn words(answer: &Answer) -> String {
    let texts = serde_json::from_slice::<Vec<String>>(&answer.body).map(|texts| texts.join(": "));
    let text = texts.unwrap_or_else(|_| String::from_utf8_lossy(&answer.body).trim().to_owned());
    let text = if text.is_empty() { format!("status {}", answer.status) } else { text };
    shortened(format!("cloud-hypervisor refuses: {text}"))
}

#[cfg(test)]
mod tests;
