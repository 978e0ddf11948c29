//! The VM's console: what it prints goes to the disk and to all who have connected, what they write goes to the VM.
//!
//! Nothing of this may hold up the VM for long. A reader that does not keep up is dropped. A disk that stands still for
//! [`STALL`] loses what is printed until it goes on; one that is merely slow slows the VM down, so that nothing is lost.

use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use super::output::Output;

/// How much of the newest output whoever connects gets first, in bytes.
const NEWEST_LEN_MAX: usize = 16 << 10;

/// The most readers at a time; a new one takes the oldest one's place.
const READERS_MAX: usize = 8;

/// How far a reader may stay behind, in bytes, beyond what its socket holds.
const BEHIND_LEN_MAX: usize = 1 << 20;

/// The most that is taken of the VM's output at a turn, so that the loop looks at its deadline in between.
const TURN_LEN_MAX: usize = 64 << 10;

/// How much is taken at once.
const CHUNK_LEN: usize = 4 << 10;

/// How long the disk may take nothing before output is lost, in nanoseconds.
const STALL: u64 = 1_000_000_000;

/// How long output is left to gather after a little of it was taken, in nanoseconds: a hypervisor may write each letter by
/// itself.
const GATHER: u64 = 2_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Console {
    /// What the VM prints.
    from: PipeReader,
    /// What the VM reads.
    to: Option<PipeWriter>,
    /// Written by a reader and not taken by the VM yet. While there is any, nobody is listened to.
    typed: VecDeque<u8>,
    listener: OwnedFd,
    readers: Vec<Reader>,
    newest: VecDeque<u8>,
    disk: Disk,
    /// Output gathers until then, unless it is none.
    gathers_until: Option<u64>,
}

/// What was taken of the VM's output.
#[derive(Clone, Copy, Debug)]
struct Taken {
    len: usize,
    /// There may be more.
    more: bool,
}

#[derive(Debug)]
struct Reader {
    socket: OwnedFd,
    behind: VecDeque<u8>,
    /// It may still write.
    types: bool,
}

/// The way to the keeper's thread.
#[derive(Debug)]
struct Disk {
    pipe: PipeWriter,
    output: Output,
    waiting: VecDeque<u8>,
    /// Since when it takes nothing.
    stuck_since: Option<u64>,
    lost: u64,
}

impl Console {
    /// With the reading end of the VM's output, the writing end of its input, the socket that readers connect to, and
    /// who keeps the output.
    pub(super) fn new(
        from: PipeReader,
        to: PipeWriter,
        listener: OwnedFd,
        keep: impl FnOnce(PipeReader) -> io::Result<Output>,
    ) -> io::Result<Self> {
        let (keeper, pipe) = io::pipe()?;
        fcntl_setfl(&from, OFlags::NONBLOCK)?;
        fcntl_setfl(&to, OFlags::NONBLOCK)?;
        fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        let output = keep(keeper)?;
        let disk = Disk { pipe, output, waiting: VecDeque::new(), stuck_since: None, lost: 0 };
        Ok(Self {
            from,
            to: Some(to),
            typed: VecDeque::new(),
            listener,
            readers: Vec::new(),
            newest: VecDeque::new(),
            disk,
            gathers_until: None,
        })
    }

    /// What to wait for.
    pub(super) fn fds(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let mut fds = vec![(self.listener.as_fd(), PollFlags::IN)];
        if self.disk.is_behind() {
            fds.push((self.disk.pipe.as_fd(), PollFlags::OUT));
        } else if self.gathers_until.is_none() {
            fds.push((self.from.as_fd(), PollFlags::IN));
        }
        if let Some(to) = self.to.as_ref().filter(|_| !self.typed.is_empty()) {
            fds.push((to.as_fd(), PollFlags::OUT));
        }
        for reader in &self.readers {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reader.types && self.typed.is_empty());
            flags.set(PollFlags::OUT, !reader.behind.is_empty());
            // Without a wish it would still wake the loop for a hang-up, again and again.
            if !flags.is_empty() {
                fds.push((reader.socket.as_fd(), flags));
            }
        }
        fds
    }

    /// When to take a turn although nothing has happened, in nanoseconds of the boot-time clock.
    pub(super) fn due(&self) -> Option<u64> {
        let stall = self.disk.stuck_since.filter(|_| self.disk.is_behind()).map(|since| since + STALL);
        stall.into_iter().chain(self.gathers_until).min()
    }

    /// Does what can be done now.
    pub(super) fn turn(&mut self, now: u64) {
        self.take_readers();
        self.take_typed();
        if self.gathers_until.is_some_and(|until| now < until) {
            self.disk.flush(now);
        } else {
            let taken = self.take_printed(now);
            let little = !taken.more && (1..CHUNK_LEN).contains(&taken.len);
            self.gathers_until = little.then_some(now + GATHER);
        }
        self.readers.retain_mut(Reader::flush);
    }

    /// As [`Self::turn`], with all that was printed until now.
    pub(super) fn catch_up(&mut self, now: u64) {
        self.gathers_until = None;
        self.turn(now);
    }

    /// The last line that the VM has printed, for people; empty when it has printed none.
    pub(super) fn last_line(&self) -> String {
        let newest: Vec<u8> = self.newest.iter().copied().collect();
        let newest = String::from_utf8_lossy(&newest);
        let last = newest.lines().rev().map(str::trim).find(|line| !line.is_empty());
        last.unwrap_or_default().to_owned()
    }

    /// Brings the last output on its way, when nobody can print any more. Waits for the disk for `patience` at most.
    pub(super) fn finish(mut self, now: impl Fn() -> u64, patience: Duration) {
        let until = now() + u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        while self.take_printed(now()).more || self.disk.is_behind() {
            if now() >= until {
                break;
            }
            let moment = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
            let _ = poll(&mut [PollFd::new(&self.disk.pipe, PollFlags::OUT)], Some(&moment));
        }
        self.readers.retain_mut(Reader::flush);
        drop(self.disk.pipe);
        self.disk.output.finish(patience);
    }

    fn take_readers(&mut self) {
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            if self.readers.len() >= READERS_MAX {
                self.readers.remove(0);
            }
            self.readers.push(Reader { socket, behind: self.newest.clone(), types: true });
        }
    }

    /// From the readers to the VM. One that writes more than the VM takes waits with its socket full.
    fn take_typed(&mut self) {
        let mut buffer = [0_u8; CHUNK_LEN];
        let typed = &mut self.typed;
        self.readers.retain_mut(|reader| {
            if !typed.is_empty() || !reader.types {
                return true;
            }
            match recv(&reader.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                // It may have shut down its own half alone, and still read.
                Ok((0, _)) => reader.types = false,
                Ok((len, _)) => typed.extend(&buffer[..len]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return false,
            }
            true
        });
        while let Some(to) = self.to.as_ref().filter(|_| !self.typed.is_empty()) {
            match rustix::io::write(to, self.typed.as_slices().0) {
                Ok(len) => drop(self.typed.drain(..len)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The VM has closed its input: nothing typed goes anywhere.
                Err(_) => {
                    self.to = None;
                    self.typed.clear();
                }
            }
        }
        if self.to.is_none() {
            self.typed.clear();
        }
    }

    /// From the VM to the disk and the readers.
    fn take_printed(&mut self, now: u64) -> Taken {
        let mut len = 0;
        let mut buffer = [0_u8; CHUNK_LEN];
        while len < TURN_LEN_MAX {
            if !self.disk.flush(now) {
                return Taken { len, more: false };
            }
            let chunk = match rustix::io::read(&self.from, &mut buffer) {
                Err(Errno::INTR) => continue,
                Ok(0) | Err(_) => return Taken { len, more: false },
                Ok(len) => &buffer[..len],
            };
            len += chunk.len();
            self.disk.take(chunk, now);
            self.newest.extend(chunk);
            let beyond = self.newest.len().saturating_sub(NEWEST_LEN_MAX);
            self.newest.drain(..beyond);
            for reader in &mut self.readers {
                reader.behind.extend(chunk);
            }
            // That was all; to look again would be a race with a VM that writes letter by letter.
            if chunk.len() < CHUNK_LEN {
                self.disk.flush(now);
                return Taken { len, more: false };
            }
        }
        Taken { len, more: true }
    }
}

impl Reader {
    /// Sends what it can. False when it is gone, or too far behind.
    fn flush(&mut self) -> bool {
        while !self.behind.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(&self.socket, self.behind.as_slices().0, flags) {
                Ok(sent) => drop(self.behind.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return self.behind.len() <= BEHIND_LEN_MAX,
                Err(_) => return false,
            }
        }
        if self.types {
            return true;
        }
        // It has said that it writes no more: does it still read?
        let mut poll_fd = [PollFd::new(&self.socket, PollFlags::empty())];
        let _ = poll(&mut poll_fd, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        !poll_fd[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

impl Disk {
    /// The VM is not listened to until something has gone on.
    fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Passes on what waits. False while nothing more should be taken.
    fn flush(&mut self, now: u64) -> bool {
        while !self.waiting.is_empty() {
            match rustix::io::write(&self.pipe, self.waiting.as_slices().0) {
                Ok(len) => {
                    self.waiting.drain(..len);
                    self.stuck_since = None;
                }
                Err(Errno::INTR) => {}
                // A keeper that is gone keeps nothing.
                Err(error) => {
                    let since = *self.stuck_since.get_or_insert(now);
                    if error == Errno::AGAIN && now < since.saturating_add(STALL) {
                        return false;
                    }
                    self.lost += self.waiting.len() as u64;
                    self.waiting.clear();
                }
            }
        }
        true
    }

    fn take(&mut self, chunk: &[u8], now: u64) {
        if self.lost > 0 && self.stuck_since.is_none() {
            self.waiting.extend(format!("\n[{} bytes were lost: the disk stood still]\n", self.lost).bytes());
            self.lost = 0;
        }
        self.waiting.extend(chunk);
        let _ = self.flush(now);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    /// A console, the VM's end of its output, and the keeper's end of what is kept.
    fn console(folder: &std::path::Path) -> (Console, PipeWriter, PipeReader) {
        let (from, vm) = io::pipe().unwrap();
        let (_, to) = io::pipe().unwrap();
        let listener = UnixListener::bind(folder.join("console")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut kept = None;
        let keep = |from: PipeReader| {
            kept = Some(from);
            Output::keep(io::pipe()?.0, folder.join("output"))
        };
        let console = Console::new(from, to, listener.into(), keep).unwrap();
        fcntl_setfl(&vm, OFlags::NONBLOCK).unwrap();
        (console, vm, kept.unwrap())
    }

    /// The VM prints as much as it can at once. How much that was.
    fn print(vm: &PipeWriter) -> usize {
        let mut len = 0;
        while let Ok(more) = rustix::io::write(vm, &[b'x'; 4096]) {
            len += more;
        }
        len
    }

    #[test]
    fn a_disk_that_stands_still_loses_output_and_never_stops_the_vm() {
        let folder = tempfile::tempdir().unwrap();
        let (mut console, vm, mut kept) = console(folder.path());
        let mut reader = UnixStream::connect(folder.path().join("console")).unwrap();
        let mut printed = 0;
        for _ in 0..20 {
            printed += print(&vm);
            console.turn(0);
        }
        assert_eq!(print(&vm), 0, "a slow disk slows the VM down");
        assert_eq!(console.due(), Some(STALL));
        for now in 0..50 {
            console.turn(STALL + now);
            let more = print(&vm);
            assert!(more > 0, "one that stands still does not");
            printed += more;
        }
        console.turn(STALL + 50);
        // The disk goes on.
        fcntl_setfl(&kept, OFlags::NONBLOCK).unwrap();
        let mut text = Vec::new();
        let _ = kept.read_to_end(&mut text);
        rustix::io::write(&vm, b"more").unwrap();
        console.turn(2 * STALL);
        rustix::io::write(&vm, b" and more").unwrap();
        console.turn(2 * STALL + GATHER);
        let _ = kept.read_to_end(&mut text);
        let text = String::from_utf8(text).unwrap();
        let (before, after) = text.split_once("\n[").unwrap();
        let kept = before.matches('x').count();
        assert!(after.starts_with(&format!("{} bytes were lost", printed - kept)), "{after}");
        assert!(after.ends_with("and more"), "{after}");
        reader.set_nonblocking(true).unwrap();
        let mut seen = Vec::new();
        let _ = reader.read_to_end(&mut seen);
        assert!(!seen.is_empty(), "who looks on sees it all the same");
    }
}
