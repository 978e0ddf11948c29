//! Keeps the journals of guests under QEMU by what they print themselves: ticks with a growing number and an id that the guest
//! drew when it booted. It reads what the supervisors of all hosts put into the runs' output files, and nothing that Blixard
//! says of them.
//!
//! A guest cannot tell the time of its host, so the scribe notes when it read a tick: a hundredth of a second later, more on a busy
//! machine. What it reads late it may take for too long a life, never for too short a one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use blixard::hypervisor::tool;

use super::guest::carries;
use super::processes::boot_time;

/// How often the outputs are read.
const LOOK: Duration = Duration::from_millis(10);

/// Builds the tiny guest into `folder`; none where it cannot be built or run, which is said.
pub(crate) fn build_guest(folder: &Path) -> Option<PathBuf> {
    let missing: Vec<&str> =
        ["qemu-system-x86_64", "as", "ld"].into_iter().filter(|name| tool::find(name).is_none()).collect();
    if std::env::consts::ARCH != "x86_64" || !missing.is_empty() {
        eprintln!("skipped: guests under QEMU need x86_64, QEMU and binutils; missing here: {missing:?}");
        return None;
    }
    let kernel = folder.join("guest.elf");
    if !kernel.exists() {
        let build = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/build.sh");
        let built = Command::new("/bin/sh").arg(build).arg(&kernel).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }
    Some(kernel)
}

/// Writes journals until it is dropped.
#[derive(Debug)]
pub(crate) struct Scribe {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scribe {
    /// Of all hosts that have their data directories in `folder`.
    pub(crate) fn new(folder: &Path, journals: &Path) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (told, folder, journals) = (Arc::clone(&ends), folder.to_owned(), journals.to_owned());
        let thread = std::thread::spawn(move || {
            let mut outputs = BTreeMap::new();
            while !told.load(Ordering::SeqCst) {
                look(&folder, &journals, &mut outputs);
                std::thread::sleep(LOOK);
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The output of one run. Stays open when the run's folder is removed, so that no last word is lost.
struct Output {
    file: File,
    /// What was read of a line that is not whole yet.
    rest: String,
    vm: String,
    token: String,
    host: u64,
    boot: String,
    pid: u32,
}

fn look(folder: &Path, journals: &Path, outputs: &mut BTreeMap<PathBuf, Output>) {
    for (host, run) in runs(folder) {
        if !outputs.contains_key(&run)
            && let Some(output) = Output::open(&run, host)
        {
            outputs.insert(run, output);
        }
    }
    outputs.retain(|run, output| output.copy(journals) || run.exists());
}

/// The folders of all runs with the hosts that they are on.
pub(crate) fn runs(folder: &Path) -> Vec<(u64, PathBuf)> {
    let mut found = Vec::new();
    for member in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = member.file_name().into_string().unwrap_or_default();
        let Some(host) = name.strip_prefix("member-").and_then(|id| id.parse().ok()) else { continue };
        let runs = fs::read_dir(member.path().join("vms/runs")).into_iter().flatten().flatten();
        found.extend(runs.map(|run| (host, run.path())));
    }
    found
}

/// The record of a run.
pub(crate) fn record(run: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&fs::read(run.join("record.json")).ok()?).ok()
}

impl Output {
    fn open(run: &Path, host: u64) -> Option<Self> {
        let file = File::open(run.join("output")).ok()?;
        let record = record(run)?;
        let text = |key: &str| Some(record.get(key)?.as_str()?.to_owned());
        let (vm, token) = (text("name")?, text("token")?);
        Some(Self { file, rest: String::new(), vm, token, host, boot: String::new(), pid: 0 })
    }

    /// Notes the ticks that are new. False when there is nothing new.
    fn copy(&mut self, journals: &Path) -> bool {
        let mut new = Vec::new();
        if self.file.read_to_end(&mut new).is_err() || new.is_empty() {
            return false;
        }
        let text = std::mem::take(&mut self.rest) + &String::from_utf8_lossy(&new);
        let mut said = String::new();
        for line in text.split_inclusive('\n') {
            if !line.ends_with('\n') {
                self.rest = line.to_owned();
            } else if let ["GUEST-TICK", _, boot] = line.split_whitespace().collect::<Vec<_>>()[..] {
                let word = if boot == self.boot { "lives" } else { "starts" };
                if word == "starts" {
                    self.boot = boot.to_owned();
                    self.pid = process(&self.token).unwrap_or(self.pid);
                }
                let (token, pid, host) = (&self.token, self.pid, self.host);
                said += &format!("{word} {token}-{boot} {pid} {host} {}\n", boot_time().as_nanos());
            }
        }
        if !said.is_empty() {
            let journal = journals.join(format!("{}.journal", self.vm));
            let journal = OpenOptions::new().create(true).append(true).open(journal);
            let _ = journal.and_then(|mut journal| journal.write_all(said.as_bytes()));
        }
        true
    }
}

/// The QEMU process of a run.
pub(crate) fn process(token: &str) -> Option<u32> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let args = fs::read(process.path().join("cmdline")).ok()?;
        let program = args.split(|byte| *byte == 0).next()?;
        (String::from_utf8_lossy(program).contains("qemu-system") && carries(pid, token)).then_some(pid)
    })
}
