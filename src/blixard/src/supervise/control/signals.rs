//! A program that understands signals alone. Also one that another program asks to power off
//! ([`Control::Command`](crate::hypervisor::run_dir::Control::Command)): the loop runs that, and falls back on these.

use rustix::process::{Pid, Signal, WaitStatus, kill_process_group};

use super::{Ask, Controller, News, by_status};
use crate::hypervisor::wire::Ended;
use crate::supervise::tree::signal_all;

/// See the module.
#[derive(Debug)]
pub(super) struct Signals {
    /// The program's first process, whose group has the same id. Ours to signal until it is waited for.
    first: Pid,
    terminated: bool,
    news: Vec<News>,
}

impl Signals {
    pub(super) fn new(first: Pid) -> Self {
        Self { first, terminated: false, news: vec![News::Alive] }
    }
}

impl Controller for Signals {
    fn turn(&mut self, _now: u64) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    fn ask(&mut self, ask: Ask, _now: u64) -> Result<(), String> {
        match ask {
            Ask::Quit if self.terminated => return Err("it has not heeded SIGTERM".into()),
            Ask::PowerDown | Ask::Quit => {
                self.terminated = true;
                let _ = kill_process_group(self.first, Signal::TERM);
                return Ok(());
            }
            // All that came of it, not the group alone: a shell's jobs may have groups of their own.
            Ask::Pause => signal_all(Signal::STOP),
            Ask::Resume => signal_all(Signal::CONT),
        }
        self.news.push(News::Did(ask));
        Ok(())
    }

    fn end(&mut self, status: Option<WaitStatus>) -> Ended {
        by_status(status)
    }
}
