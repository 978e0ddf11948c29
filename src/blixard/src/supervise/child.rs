//! From the supervisor to the programs of its run.
//!
//! Between the two stands this program once more, as the supervisor's child: it binds its life to the supervisor's and
//! checks the deadline a last time before it becomes the program. Done in a process of its own because nothing but
//! `exec` may safely happen between `fork` and `exec`.

use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut, PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, set_parent_process_death_signal,
};

use crate::hypervisor::run_dir::{Control, Plan, RunDir, TOKEN_VAR};

/// The open file that carries a program's control line.
const CONTROL_FD: i32 = 3;

/// Where a shutdown program finds the VM's process id, as systemd calls it.
const MAIN_VAR: &str = "MAINPID";

/// A process that came of the run's plan.
#[derive(Debug)]
pub(super) struct Child {
    /// Its id, also that of its process group. Ours to use until it is waited for.
    pub(super) pid: Pid,
    /// Readable once it is dead.
    pub(super) pidfd: OwnedFd,
    /// Carries why the program could not be run; closed without a word, and then dropped, when it could.
    pub(super) report: Option<OwnedFd>,
}

/// Which program of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The VM itself.
    Main,
    /// One of [`Plan::before`](crate::hypervisor::run_dir::Plan::before).
    Before(usize),
    /// One of [`Plan::beside`](crate::hypervisor::run_dir::Plan::beside).
    Beside(usize),
    /// One of [`Plan::after`](crate::hypervisor::run_dir::Plan::after).
    After(usize),
    /// The program that asks the guest to power off, of [`Control::Command`].
    Shutdown,
}

impl Role {
    /// Its program and arguments; empty when the plan has none such.
    pub(super) fn command(self, plan: &Plan) -> &[String] {
        let command = match (self, &plan.control) {
            (Self::Main, _) => Some(&plan.command),
            (Self::Before(at), _) => plan.before.get(at),
            (Self::Beside(at), _) => plan.beside.get(at),
            (Self::After(at), _) => plan.after.get(at),
            (Self::Shutdown, Control::Command { shutdown }) => Some(shutdown),
            (Self::Shutdown, _) => None,
        };
        command.map_or(&[], Vec::as_slice)
    }

    fn to_arg(self) -> String {
        match self {
            Self::Main => "main".into(),
            Self::Before(at) => format!("before.{at}"),
            Self::Beside(at) => format!("beside.{at}"),
            Self::After(at) => format!("after.{at}"),
            Self::Shutdown => "shutdown".into(),
        }
    }

    fn from_arg(arg: &str) -> Option<Self> {
        let (word, at) = arg.split_once('.').unwrap_or((arg, "0"));
        let at = at.parse().ok()?;
        match word {
            "main" => Some(Self::Main),
            "before" => Some(Self::Before(at)),
            "beside" => Some(Self::Beside(at)),
            "after" => Some(Self::After(at)),
            "shutdown" => Some(Self::Shutdown),
            _ => None,
        }
    }
}

/// What the VM's first process is handed beyond its output.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// Its end of the control line.
    pub(super) control: Option<OwnedFd>,
    /// What it reads.
    pub(super) input: Option<PipeReader>,
}

/// What programs are spawned with.
#[derive(Debug)]
pub(super) struct Spawner {
    /// The run's folder; its record says what the programs are.
    pub(super) dir: RunDir,
    /// The run's token.
    pub(super) token: String,
    /// Where they print.
    pub(super) output: PipeWriter,
}

impl Spawner {
    /// Spawns the step between, which will become one of the plan's programs, unless it comes to that after `deadline`. `main`
    /// is the VM's first process, for a program that acts on it.
    pub(super) fn spawn(
        &self,
        role: Role,
        handed: &Handed,
        deadline: u64,
        main: Option<Pid>,
    ) -> io::Result<Child> {
        let flags = SocketFlags::CLOEXEC;
        let (report, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        hand_over(&report, handed)?;
        let child = Command::new("/proc/self/exe")
            .arg0("blixard")
            .args([super::SUBCOMMAND, "--dir"])
            .arg(self.dir.path())
            .args(["--guest", &getpid().as_raw_nonzero().to_string(), &role.to_arg(), &deadline.to_string()])
            .env_clear()
            .env(TOKEN_VAR, &self.token)
            .envs(main.map(|pid| (MAIN_VAR, pid.as_raw_nonzero().to_string())))
            .stdin(Stdio::from(theirs))
            .stdout(self.output.try_clone()?)
            .stderr(self.output.try_clone()?)
            .process_group(0)
            .spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the child has no process id"))?;
        Ok(Child { pid, pidfd: pidfd_open(pid, PidfdFlags::empty())?, report: Some(report) })
    }
}

impl Child {
    /// Why the program could not be run, once that is known. The report is closed when it could.
    pub(super) fn take_report(&mut self) -> Option<String> {
        let report = self.report.as_ref()?;
        let mut buffer = [0_u8; 2048];
        match recv(report, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                self.report = None;
                None
            }
            Ok((len, _)) => Some(String::from_utf8_lossy(&buffer[..len]).into_owned()),
            Err(_) => None,
        }
    }

    /// Whether the program has taken over.
    pub(super) fn has_taken_over(&self) -> bool {
        self.report.is_none()
    }
}

/// Sends the open files, to be taken by [`take_over`]. The message says which they are.
fn hand_over(line: &OwnedFd, handed: &Handed) -> io::Result<()> {
    let mut names = vec![b'-'];
    let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
    if let Some(control) = &handed.control {
        names.push(b'c');
        fds.push(control.as_fd());
    }
    if let Some(input) = &handed.input {
        names.push(b'i');
        fds.push(input.as_fd());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    sendmsg(line, &[IoSlice::new(&names)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes what was handed over. The control line becomes the open file that it has to be, because that is the lowest free one:
/// all others of the supervisor were closed on exec.
fn take_over(line: impl AsFd) -> Result<(Option<OwnedFd>, Option<OwnedFd>), String> {
    let mut names = [0_u8; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut buffer = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(line, &mut [IoSliceMut::new(&mut names)], &mut buffer, RecvFlags::CMSG_CLOEXEC);
    let len = got.map_err(|error| format!("its open files cannot be received: {error}"))?.bytes;
    let mut fds = buffer.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let (mut control, mut input) = (None, None);
    for name in &names[..len] {
        match name {
            b'c' => control = fds.next(),
            b'i' => input = fds.next(),
            _ => {}
        }
    }
    if let Some(control) = &control {
        if control.as_raw_fd() != CONTROL_FD {
            return Err(format!(
                "its control line needs open file {CONTROL_FD}, which is taken: start the daemon without other open files than 0, 1 and 2"
            ));
        }
        let kept = rustix::io::fcntl_setfd(control, FdFlags::empty());
        kept.map_err(|error| format!("its control line cannot be handed on: {error}"))?;
    }
    Ok((control, input))
}

/// Becomes the program. Returns only with the reason why it could not, after telling the supervisor.
pub(super) fn become_program(dir: &Path, parent: &str, role: &str, deadline: &str) -> String {
    let handed = take_over(io::stdin());
    match io::stdin().as_fd().try_clone_to_owned() {
        Ok(report) => {
            // What is handed on stays open in this scope.
            let reason = match handed {
                Ok((_control, input)) => exec(dir, parent, role, deadline, input),
                Err(reason) => reason,
            };
            // Nobody listens when the supervisor is dead; then nobody needs to know.
            let _ = send(&report, reason.as_bytes(), SendFlags::NOSIGNAL);
            reason
        }
        Err(error) => format!("it has no channel to its supervisor: {error}"),
    }
}

fn exec(dir: &Path, parent: &str, role: &str, deadline: &str, input: Option<OwnedFd>) -> String {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("its life cannot be bound to the supervisor's: {error}");
    }
    // A parent that died before that line sends no signal any more.
    if getppid().map(|pid| pid.as_raw_nonzero().to_string()).as_deref() != Some(parent) {
        return "the supervisor is gone".into();
    }
    let record = match RunDir::new(dir).record() {
        Ok(record) => record,
        Err(error) => return format!("{} cannot be read: {error}", dir.join("record.json").display()),
    };
    let Some(role) = Role::from_arg(role) else {
        return format!("{role:?} is no part of a plan");
    };
    let Some((program, args)) = role.command(&record.plan).split_first() else {
        return "the command is empty".into();
    };
    if let Err(error) = fs::metadata(&record.plan.workdir) {
        return format!("the working directory {} cannot be used: {error}", record.plan.workdir.display());
    }
    if deadline.parse().is_ok_and(|deadline: u64| super::boot_time() >= deadline) {
        return "the deadline has passed".into();
    }
    let nothing = || File::open("/dev/null").map_or_else(|_| Stdio::null(), Stdio::from);
    let error = Command::new(program)
        .args(args)
        .env_clear()
        .envs(&record.plan.env)
        .env(TOKEN_VAR, &record.token)
        .envs(std::env::var(MAIN_VAR).map(|pid| (MAIN_VAR, pid)))
        .current_dir(&record.plan.workdir)
        .stdin(input.map_or_else(nothing, Stdio::from))
        .exec();
    format!("{program:?} cannot be run: {error}")
}
