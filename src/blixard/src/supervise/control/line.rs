//! A stream socket to the program, for controllers: connects, reads and writes without waiting, within bounds.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};

/// How long after one try to connect the next one comes, in nanoseconds.
const RETRY: u64 = 10_000_000;

/// The most that is kept of what has come and was not taken, in bytes. What is beyond it closes the line.
const INPUT_LEN_MAX: usize = 256 << 10;

/// The most that waits to be sent, in bytes. What is beyond it closes the line.
const OUTPUT_LEN_MAX: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Line {
    state: State,
    input: Vec<u8>,
    output: VecDeque<u8>,
}

#[derive(Debug)]
enum State {
    /// Not yet connected to the socket at `path`; the next try is at `retry_at`.
    Calling {
        path: PathBuf,
        retry_at: u64,
    },
    Open(OwnedFd),
    Closed,
}

impl Line {
    /// With one end of a pair of sockets; closed when there is none.
    pub(super) fn open(socket: Option<OwnedFd>) -> Self {
        Self::new(socket.map_or(State::Closed, State::Open))
    }

    /// To a socket at which the program will listen. What is sent before it does waits.
    pub(super) fn calling(path: PathBuf, now: u64) -> Self {
        Self::new(State::Calling { path, retry_at: now })
    }

    fn new(state: State) -> Self {
        Self { state, input: Vec::new(), output: VecDeque::new() }
    }

    /// Whether nothing can be sent any more, and nothing comes but what has already come.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// What to wait for.
    pub(super) fn fd(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let State::Open(socket) = &self.state else {
            return None;
        };
        let write = if self.output.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        Some((socket.as_fd(), PollFlags::IN | write))
    }

    /// When to try again to connect.
    pub(super) fn due(&self) -> Option<u64> {
        match self.state {
            State::Calling { retry_at, .. } => Some(retry_at),
            _ => None,
        }
    }

    /// Sends, now or as soon as it can be.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.output.extend(bytes);
        if self.output.len() > OUTPUT_LEN_MAX {
            self.state = State::Closed;
        }
        self.flush();
    }

    /// Connects, sends what waits and takes what has come.
    pub(super) fn turn(&mut self, now: u64) {
        self.call(now);
        self.flush();
        self.fill();
    }

    /// Takes the next line that has come, without its end.
    pub(super) fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.input.drain(..=end).collect();
        line.pop();
        Some(line)
    }

    /// Takes all that has come.
    pub(super) fn take_all(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    fn call(&mut self, now: u64) {
        let State::Calling { path, retry_at } = &mut self.state else {
            return;
        };
        if now < *retry_at {
            return;
        }
        match connect_to(path) {
            Ok(socket) => self.state = State::Open(socket),
            Err(_) => *retry_at = now + RETRY,
        }
    }

    fn flush(&mut self) {
        while let (State::Open(socket), false) = (&self.state, self.output.is_empty()) {
            match send(socket, self.output.as_slices().0, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // What was said before the other side went is still to be read: the end comes with it.
                Err(_) => return self.output.clear(),
            }
        }
    }

    fn fill(&mut self) {
        let mut buffer = [0_u8; 4096];
        while let State::Open(socket) = &self.state {
            match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => self.state = State::Closed,
                Ok((len, _)) => self.input.extend_from_slice(&buffer[..len]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.state = State::Closed,
            }
            if self.input.len() > INPUT_LEN_MAX {
                self.state = State::Closed;
            }
        }
    }
}

/// Through the folder's descriptor, because a socket's path has 108 bytes at most.
fn connect_to(path: &Path) -> io::Result<OwnedFd> {
    let folder = File::open(path.parent().unwrap_or(Path::new("/")))?;
    let mut address = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    address.extend(path.file_name().map_or(&b""[..], OsStr::as_bytes));
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(address)?)?;
    Ok(socket)
}
