//! What plays a VM: a process that keeps a journal of its life, by which runs of one VM are told apart and held against
//! each other. It stands outside of all that is tested: the kernel's clock, the kernel's lock, a file.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::processes::boot_time;

/// Names the folder of the journals, and turns the test below into a VM.
const JOURNALS: &str = "BLIXARD_TEST_JOURNALS";

/// How often a VM says that it lives.
const BEAT: Duration = Duration::from_millis(50);

/// A VM. It takes its name's lock and lives until it is killed, or its folder is gone. The lock ends with the process,
/// so a second run that finds it taken has proved that two live at once.
#[test]
#[ignore = "plays a VM when a daemon under test starts it"]
fn play_vm() {
    let Some(folder) = env::var_os(JOURNALS).map(PathBuf::from) else { return };
    let name = env::var("BLIXARD_VM").unwrap();
    let token = env::var("BLIXARD_RUN_TOKEN").unwrap();
    let open =
        |ending| OpenOptions::new().create(true).append(true).open(folder.join(format!("{name}.{ending}")));
    let (lock, mut journal) = (open("lock").unwrap(), open("journal").unwrap());
    let word = if lock.try_lock().is_ok() { "starts" } else { "doubles" };
    let mut say = |word: &str| {
        let (host, pid, now) = (host(), std::process::id(), (boot_time() - set_ahead()).as_nanos());
        let _ = journal.write_all(format!("{word} {token} {pid} {host} {now}\n").as_bytes());
    };
    say(word);
    while folder.exists() {
        std::thread::sleep(BEAT);
        say("lives");
    }
}

/// How far this process's boot-time clock is ahead of the machine's: it may be in a time namespace.
fn set_ahead() -> Duration {
    let offsets = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    let ahead = offsets
        .lines()
        .find_map(|line| line.strip_prefix("boottime")?.split_whitespace().next()?.parse().ok());
    Duration::from_secs(ahead.unwrap_or(0))
}

/// The member whose supervisor runs this process, by the supervisor's arguments; 0 when it is dead, and this process as
/// good as.
fn host() -> u64 {
    let Some(parent) = rustix::process::getppid() else { return 0 };
    let args = fs::read_to_string(format!("/proc/{}/cmdline", parent.as_raw_nonzero())).unwrap_or_default();
    let part = args.split(['/', '\0']).find_map(|part| part.strip_prefix("member-")?.parse().ok());
    part.unwrap_or(0)
}

/// Whether the process is one of the run with this token.
pub(crate) fn carries(pid: u32, token: &str) -> bool {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let token = format!("BLIXARD_RUN_TOKEN={token}");
    environ.split(|byte| *byte == 0).any(|var| var == token.as_bytes())
}

/// The payload of a VM that keeps its journal in `folder`.
pub(crate) fn payload(folder: &Path) -> String {
    let test = env::current_exe().unwrap();
    format!(
        "command = [{test:?}, \"--exact\", \"guest::play_vm\", \"--ignored\", \"--nocapture\"]\n\
         env = {{ {JOURNALS} = {folder:?} }}\n"
    )
}

/// One run of a VM, by its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) token: String,
    pub(crate) pid: u32,
    /// The member that runs it.
    pub(crate) host: u64,
    pub(crate) began: Duration,
    /// When it last said that it lives.
    pub(crate) last: Duration,
    /// Another one lived when it began.
    pub(crate) doubles: bool,
}

/// The journals of a test's VMs.
#[derive(Clone, Debug)]
pub(crate) struct Journals(PathBuf);

impl Journals {
    pub(crate) fn new(folder: PathBuf) -> Self {
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    /// The runs of a VM in the order in which they began.
    pub(crate) fn runs(&self, name: &str) -> Vec<Run> {
        let text = fs::read_to_string(self.0.join(format!("{name}.journal"))).unwrap_or_default();
        let mut runs: Vec<Run> = Vec::new();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [word, token, pid, host, now] = fields[..] else { panic!("{name}: a line {line:?}") };
            let now = Duration::from_nanos(now.parse().unwrap());
            if word == "lives" {
                runs.iter_mut().find(|run| run.token == token).unwrap().last = now;
            } else {
                let (pid, host) = (pid.parse().unwrap(), host.parse().unwrap());
                let doubles = word == "doubles";
                runs.push(Run { token: token.into(), pid, host, began: now, last: now, doubles });
            }
        }
        runs.sort_by_key(|run| run.began);
        runs
    }

    /// The run of the VM that is alive right now. It looks at the process, not at the lock: taking that, however
    /// shortly, could refuse a run that begins.
    pub(crate) fn alive(&self, name: &str) -> Option<Run> {
        self.runs(name).pop().filter(|run| {
            // What follows is the boot's id, of a run that a guest's output tells of.
            let token = run.token.split('-').next().unwrap();
            carries(run.pid, token)
        })
    }

    /// Asserts that no VM ever ran twice at once. Returns how many runs there were.
    pub(crate) fn assert_never_twice(&self) -> usize {
        let mut by_vm = BTreeMap::new();
        for file in fs::read_dir(&self.0).unwrap().flatten() {
            let file = file.file_name().into_string().unwrap();
            if let Some(name) = file.strip_suffix(".journal") {
                by_vm.insert(name.to_owned(), self.runs(name));
            }
        }
        for (name, runs) in &by_vm {
            assert_apart(name, runs);
        }
        by_vm.values().map(Vec::len).sum()
    }
}

fn assert_apart(name: &str, runs: &[Run]) {
    for run in runs {
        assert!(!run.doubles, "{name}: {run:?} began while another one lived: {runs:#?}");
    }
    for pair in runs.windows(2) {
        assert!(pair[0].last < pair[1].began, "{name}: two runs at once: {:#?}", pair);
    }
}

/// The judge must be able to condemn.
#[test]
fn two_runs_at_once_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let journals = Journals::new(folder.path().join("journals"));
    let journal = journals.folder().join("web.journal");
    fs::write(&journal, "starts a 7 1 10\nlives a 7 1 20\nstarts b 8 2 30\nlives b 8 2 40\n").unwrap();
    assert_eq!(journals.assert_never_twice(), 2);
    for twice in [
        "starts a 7 1 10\nstarts b 8 2 30\nlives a 7 1 31\nlives b 8 2 40\n",
        "starts a 7 1 10\nlives a 7 1 20\ndoubles b 8 2 30\n",
    ] {
        fs::write(&journal, twice).unwrap();
        let judged = std::panic::catch_unwind(|| journals.assert_never_twice());
        assert!(judged.is_err(), "{twice}");
    }
}
