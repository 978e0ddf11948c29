//! What a VM keeps in nix's store: links that nix takes for roots of its garbage collection.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use blixard_node::spec::VmName;

use crate::hypervisor::run_dir::StateDir;

/// The folder of one VM.
#[derive(Clone, Debug)]
pub(super) struct Roots {
    folder: PathBuf,
}

impl Roots {
    pub(super) fn new(state_dir: &Path, name: &VmName) -> Self {
        Self { folder: state_dir.join("nix").join(name.as_str()) }
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.folder.clone()
    }

    /// The root of a store path. Nix remembers a root by where its link is: it is never renamed.
    pub(super) fn link(&self, path: &Path) -> PathBuf {
        let name = path.file_name().unwrap_or_default();
        self.folder.join("roots").join(name)
    }

    /// The root of what is built and has no name yet.
    pub(super) fn draft(&self) -> PathBuf {
        self.folder.join("draft")
    }

    /// Where a flake with this hash is written.
    pub(super) fn source(&self, hash: u64) -> PathBuf {
        self.folder.join(format!("source-{hash:016x}"))
    }

    /// What was prepared last.
    pub(super) fn current(&self) -> Option<PathBuf> {
        let text = fs::read_to_string(self.folder.join("current")).ok()?;
        Some(PathBuf::from(text.trim())).filter(|path| path.is_absolute())
    }

    pub(super) fn set_current(&self, path: &Path) -> io::Result<()> {
        super::write(&self.folder.join("current"), &format!("{}\n", path.display()))
    }

    /// Removes the roots of what was neither prepared last nor runs, and sources that are not the last ones.
    pub(super) fn tidy(&self, state_dir: &Path) {
        let current = self.current();
        let running = running(state_dir);
        for link in entries(&self.folder.join("roots")) {
            let target = fs::read_link(&link).ok();
            let is_used = target == current
                || target.is_some_and(|target| {
                    running.iter().any(|plan| plan.contains(&*target.to_string_lossy()))
                });
            if !is_used {
                let _ = fs::remove_file(link);
            }
        }
        let mut sources: Vec<PathBuf> = entries(&self.folder);
        sources.retain(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("source-"))
        });
        let newest = sources
            .iter()
            .max_by_key(|path| fs::metadata(path).and_then(|data| data.modified()).ok())
            .cloned();
        for source in sources.into_iter().filter(|source| Some(source) != newest.as_ref()) {
            let _ = fs::remove_dir_all(source);
        }
    }
}

/// The records of runs that have not ended, as text.
fn running(state_dir: &Path) -> Vec<String> {
    let attempts = StateDir::open(state_dir).and_then(|state| state.attempts()).unwrap_or_default();
    let alive = attempts.iter().filter(|run| run.end().is_none());
    alive.filter_map(|run| fs::read_to_string(run.path().join("record.json")).ok()).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
