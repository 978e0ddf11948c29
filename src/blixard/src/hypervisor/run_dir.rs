//! The files of one run, and the lock of one VM.
//!
//! ```text
//! STATE/locks/vm12.lock          flock: held while any process of any run of the VM lives
//! STATE/runs/vm12.e3.9f86d081/   one attempt to run VM 12 under epoch 3
//!   record.json                  what to run; written before anything is spawned
//!   socket                       the supervisor listens here
//!   exit.json                    how it ended; written by the supervisor when all is dead, or by the daemon that found
//!                                the supervisor dead
//!   output, output.1             what the VM printed, the newest last
//!   console                      the supervisor serves the VM's console here
//!   cgroup                       names the cgroup that the run was given, if it was given one
//!   supervisor                   what the supervisor printed, normally nothing
//! ```
//!
//! The lock is an open file that the supervisor inherits from the daemon and every process of the VM from the
//! supervisor. So it is free exactly when all of them are gone, whoever dies first, also between spawning and any note
//! of it. A record without a held lock and without `exit.json` is a run that died without last words.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use blixard_node::hypervisor::Run;
use serde::{Deserialize, Serialize};

use super::wire::{Ended, RunKey};

/// The record's format; a supervisor refuses any other.
pub const FORMAT: u32 = 1;

/// What to run: written by the daemon, read by the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// Which run.
    pub run: RunKey,
    /// The VM's name, for people.
    pub name: String,
    /// Drawn at random for this attempt. Every process of the run carries it in its environment, by which a daemon finds
    /// them when their supervisor is gone.
    pub token: String,
    /// The kernel's boot id: after a reboot nothing of this run can be alive, and its deadline means nothing.
    pub boot: String,
    /// The first deadline, in nanoseconds of the boot-time clock.
    pub deadline: u64,
    /// The backend's plan.
    pub plan: Plan,
}

/// What a backend wants a supervisor to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Program and arguments; not empty.
    pub command: Vec<String>,
    /// The whole environment, but for what the supervisor adds.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub workdir: PathBuf,
    /// How it is asked for more than signals can say.
    #[serde(default)]
    pub control: Control,
    /// Commands run to their ends, one after the other, before `command`; one that fails is a failed start. `after` is run then, too.
    #[serde(default)]
    pub before: Vec<Vec<String>>,
    /// Commands that run beside `command` and are started before it; they die with it.
    #[serde(default)]
    pub beside: Vec<Vec<String>>,
    /// Commands run to their ends when all else is dead, whatever it died of; each is killed after a few seconds.
    #[serde(default)]
    pub after: Vec<Vec<String>>,
}

/// How a supervisor talks to the program that it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// By signals to its process group.
    #[default]
    Signals,
    /// By QEMU's QMP.
    Qmp {
        /// Where the program listens; none when it is handed its end of a socket as open file 3.
        listens_at: Option<PathBuf>,
    },
    /// By cloud-hypervisor's REST API.
    CloudHypervisor {
        /// The Unix socket at which the program listens.
        listens_at: PathBuf,
        /// Whether it was told to write its events to the open file 3, which it is handed then.
        #[serde(default)]
        events: bool,
    },
    /// By another program, which asks the guest to power off.
    Command {
        /// Program and arguments; not empty.
        shutdown: Vec<String>,
    },
}

/// The variable that carries [`Record::token`].
pub const TOKEN_VAR: &str = "BLIXARD_RUN_TOKEN";

/// A hypervisor's folder.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Opens the folder, making it where needed.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root)?;
        // Supervisors are told absolute paths: their working directory is not ours.
        let root = fs::canonicalize(root)?;
        // Records hold environments, and whoever reaches a socket rules a VM.
        for part in ["locks", "runs"] {
            DirBuilder::new().recursive(true).mode(0o700).create(root.join(part))?;
        }
        Ok(Self { root })
    }

    /// Takes the lock of the run's VM; none when a process of any of its runs holds it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn try_lock(&self, run: Run) -> io::Result<Option<File>> {
        let path = self.lock_path(run);
        loop {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
            // Whoever ends a run removes the file while holding the lock: make sure that ours is the one in the folder.
            let ours = file.metadata()?.ino();
            match fs::metadata(&path) {
                Ok(there) if there.ino() == ours => return Ok(Some(file)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where the lock of the run's VM is.
    #[must_use]
    pub fn lock_path(&self, run: Run) -> PathBuf {
        self.root.join("locks").join(format!("{}.lock", run.vm))
    }

    /// Where an attempt's files are.
    #[must_use]
    pub fn attempt(&self, run: Run, token: &str) -> RunDir {
        let short: String = token.chars().take(8).collect();
        RunDir { path: self.root.join("runs").join(format!("{}.{}.{short}", run.vm, run.epoch)) }
    }

    /// The attempt whose folder has this name.
    #[must_use]
    pub fn run_named(&self, name: &str) -> RunDir {
        RunDir { path: self.root.join("runs").join(name) }
    }

    /// All attempts there are, in the order of their names.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn attempts(&self) -> io::Result<Vec<RunDir>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.root.join("runs"))? {
            found.push(RunDir { path: entry?.path() });
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }
}

/// One attempt's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Which run it is, by its name; none for a folder that is none of ours.
    #[must_use]
    pub fn run(&self) -> Option<Run> {
        let mut parts = self.name().split('.');
        let vm = parts.next()?.strip_prefix("vm")?.parse().ok()?;
        let epoch = parts.next()?.strip_prefix('e')?.parse().ok()?;
        Some(RunKey { vm, epoch }.into())
    }

    /// Makes the folder and writes the record. Not synced: a power loss ends the run as well, and a record that is
    /// missing or torn then says no more than that.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(&self, record: &Record) -> io::Result<()> {
        fs::create_dir(&self.path)?;
        self.put("record.json", &serde_json::to_vec_pretty(record)?, false)
    }

    /// Reads the record.
    ///
    /// # Errors
    /// When there is none, or none of this format.
    pub fn record(&self) -> io::Result<Record> {
        let record: Record = serde_json::from_slice(&fs::read(self.path.join("record.json"))?)?;
        if record.format == FORMAT {
            Ok(record)
        } else {
            Err(io::Error::other(format!("the record has format {}, not {FORMAT}", record.format)))
        }
    }

    /// Writes down how it ended; durable when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_end(&self, ended: &Ended) -> io::Result<()> {
        self.put("exit.json", &serde_json::to_vec_pretty(ended)?, true)
    }

    /// How it ended, if that is known.
    #[must_use]
    pub fn end(&self) -> Option<Ended> {
        serde_json::from_slice(&fs::read(self.path.join("exit.json")).ok()?).ok()
    }

    /// Whether it has ended, as far as that was written down.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.path.join("exit.json").exists()
    }

    /// When it ended, for telling the oldest: nanoseconds of the wall clock, as the file system noted them.
    #[must_use]
    pub fn ended_at(&self) -> i128 {
        self.written_at("exit.json")
    }

    /// When it began, as [`RunDir::ended_at`].
    #[must_use]
    pub fn began_at(&self) -> i128 {
        self.written_at("record.json")
    }

    fn written_at(&self, name: &str) -> i128 {
        let noted = fs::metadata(self.path.join(name));
        noted.map_or(0, |m| i128::from(m.mtime()) * 1_000_000_000 + i128::from(m.mtime_nsec()))
    }

    /// Removes the folder with all that is in it.
    ///
    /// # Errors
    /// When something stays.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The supervisor's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path.join("socket")
    }

    /// Removes the sockets, at which nobody listens any more.
    pub fn remove_sockets(&self) {
        for socket in [self.socket(), self.console()] {
            let _ = fs::remove_file(socket);
        }
    }

    /// What the VM printed.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.path.join("output")
    }

    /// What it printed before that; there once [`RunDir::output`] was full.
    #[must_use]
    pub fn older_output(&self) -> PathBuf {
        self.path.join("output.1")
    }

    /// Where the supervisor lets the VM's serial console be read and written: a `SOCK_STREAM` socket. Whoever connects gets the
    /// newest output first, then what comes; what it writes goes to the guest.
    #[must_use]
    pub fn console(&self) -> PathBuf {
        self.path.join("console")
    }

    /// Notes which cgroup the run has been given.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_cgroup(&self, cgroup: &Path) -> io::Result<()> {
        self.put("cgroup", cgroup.as_os_str().as_bytes(), false)
    }

    /// The run's own cgroup, if it has been given one.
    #[must_use]
    pub fn cgroup(&self) -> Option<PathBuf> {
        let path = PathBuf::from(OsStr::from_bytes(&fs::read(self.path.join("cgroup")).ok()?));
        // All that is in it is killed some day: it has to be this run's beyond doubt.
        (path.is_absolute() && path.file_name()? == self.path.file_name()?).then_some(path)
    }

    /// What the supervisor printed.
    #[must_use]
    pub fn supervisor_output(&self) -> PathBuf {
        self.path.join("supervisor")
    }

    /// Writes a file all or nothing.
    fn put(&self, name: &str, content: &[u8], durable: bool) -> io::Result<()> {
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let mut file = File::create(&new)?;
        file.write_all(content)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&new, &path)?;
        if durable {
            File::open(&self.path)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use blixard_node::ids::{Epoch, VmId};

    use super::*;
    use crate::hypervisor::wire::How;

    const RUN: Run = Run { vm: VmId(12), epoch: Epoch(3) };

    #[test]
    fn a_vm_has_one_lock_whatever_the_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let held = state.try_lock(RUN).unwrap();
        assert!(held.is_some());
        assert!(state.try_lock(Run { epoch: Epoch(4), ..RUN }).unwrap().is_none());
        assert!(state.try_lock(Run { vm: VmId(13), ..RUN }).unwrap().is_some());
        drop(held);
        assert!(state.try_lock(RUN).unwrap().is_some());
    }

    #[test]
    fn a_lock_on_a_removed_file_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let held = state.try_lock(RUN).unwrap();
        fs::remove_file(state.lock_path(RUN)).unwrap();
        let second = state.try_lock(RUN).unwrap();
        assert!(second.is_some(), "the holder removed it: its run has ended");
        drop(held);
        assert!(state.try_lock(RUN).unwrap().is_none(), "the second one's file is the one in the folder");
    }

    #[test]
    fn records_and_ends_are_read_back_and_torn_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let dir = state.attempt(RUN, "0123456789abcdef");
        let plan = Plan { command: vec!["true".into()], workdir: "/".into(), ..Plan::default() };
        let record = Record {
            format: FORMAT,
            run: RUN.into(),
            name: "web".into(),
            token: "0123456789abcdef".into(),
            boot: "b".into(),
            deadline: 7,
            plan,
        };
        dir.create(&record).unwrap();
        assert!(dir.create(&record).is_err(), "one folder is one attempt");
        assert_eq!(dir.record().unwrap(), record);
        assert_eq!(dir.end(), None);
        let ended = Ended::new(How::Crashed, "exit status 1");
        dir.write_end(&ended).unwrap();
        assert_eq!(dir.end(), Some(ended));
        assert_eq!(state.attempts().unwrap(), std::slice::from_ref(&dir));
        assert_eq!(dir.run(), Some(RUN));
        fs::write(dir.path().join("record.json"), b"{\"format\":").unwrap();
        assert!(dir.record().is_err());
        dir.remove().unwrap();
        assert!(state.attempts().unwrap().is_empty());
    }
}
