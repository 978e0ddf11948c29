//! The daemons that a supervisor hears: the one that started it, and those that came later through its socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use rustix::process::umask;

use crate::hypervisor::run_dir::RunDir;
use crate::hypervisor::wire::{Heard, Notice, Order, hear, say};

/// The most daemons heard at a time; a new one takes the oldest one's place.
const DAEMONS_MAX: usize = 4;

/// Callers that may wait to be accepted.
const WAITING_MAX: i32 = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct Daemons {
    listener: OwnedFd,
    lines: Vec<OwnedFd>,
}

impl Daemons {
    pub(super) fn new(listener: OwnedFd, first: OwnedFd) -> Self {
        Self { listener, lines: vec![first] }
    }

    /// What to wait for until it is readable.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd()).chain(self.lines.iter().map(AsFd::as_fd))
    }

    /// Takes all that has come: callers, and orders in the order of their coming. Those that ask how the run stands are counted apart:
    /// they are to be told when all else is done, by [`Daemons::tell`].
    pub(super) fn hear(&mut self) -> (Vec<Order>, bool) {
        while let Ok(line) = accept_with(&self.listener, SocketFlags::CLOEXEC) {
            if self.lines.len() >= DAEMONS_MAX {
                self.lines.remove(0);
            }
            self.lines.push(line);
        }
        let (mut orders, mut status) = (Vec::new(), false);
        self.lines.retain(|line| {
            loop {
                match hear(line) {
                    Heard::Message(Order::Status) => status = true,
                    Heard::Message(order) => orders.push(order),
                    // From a newer daemon; it will notice that nothing comes of it.
                    Heard::Garbled => {}
                    Heard::Nothing => return true,
                    Heard::Closed => return false,
                }
            }
        });
        (orders, status)
    }

    /// Tells all of them. One that does not listen misses it, and asks some day.
    pub(super) fn tell(&self, notice: &Notice) {
        for line in &self.lines {
            let _ = say(line, notice);
        }
    }
}

/// Listens under `name` in the run's folder, for this user alone. From inside the folder, because a socket's path has 108 bytes at
/// most.
pub(super) fn listen_in(dir: &RunDir, name: &str, kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = socket_with(AddressFamily::UNIX, kind, flags, None)?;
    let address = SocketAddrUnix::new(name)?;
    std::env::set_current_dir(dir.path())?;
    let before = umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = bind(&listener, &address);
    umask(before);
    std::env::set_current_dir("/")?;
    bound?;
    listen(&listener, WAITING_MAX)?;
    Ok(listener)
}
