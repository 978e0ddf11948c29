//! Which build of the program a sweep was run by.

use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// A file that only a checkout of this project has at this place.
const LANDMARK: &str = "simulator/src/logbook/build.rs";

/// A build: what people call it, and what tells it from others. Found out when the program runs; nothing of it is compiled in but the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The commit of the checkout that the program runs in, if it runs in one, else its version.
    pub name: String,
    /// Files of the checkout differ from the commit.
    pub dirty: bool,
    /// Optimized, or with all assertions.
    pub profile: String,
    /// Checksum and length of the program's file.
    pub binary: String,
}

impl Build {
    /// The build that runs.
    #[must_use]
    pub fn of_this_process() -> Self {
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        let binary = std::env::current_exe().ok().and_then(|path| checksum(&path).ok());
        let (name, dirty) = commit().unwrap_or_else(|| (env!("CARGO_PKG_VERSION").to_owned(), false));
        Self { name, dirty, profile: profile.to_owned(), binary: binary.unwrap_or_default() }
    }

    /// As people read it: marked where files differ from the commit, or where it is no optimized build.
    #[must_use]
    pub fn label(&self) -> String {
        let dirty = if self.dirty { "-dirty" } else { "" };
        let debug = if self.profile == "debug" { " (debug)" } else { "" };
        format!("{}{dirty}{debug}", self.name)
    }
}

/// The commit of the checkout around the working directory, and whether files differ from it.
fn commit() -> Option<(String, bool)> {
    let root = git(&["rev-parse", "--show-toplevel"])?;
    if !Path::new(root.trim()).join(LANDMARK).exists() {
        return None;
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some((commit.trim().to_owned(), !changed.trim().is_empty()))
}

/// What git answers, or `None` where there is no git, no checkout, or nothing to tell.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[expect(clippy::disallowed_methods, reason = "tells one build from another; no run reads it")]
fn checksum(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = crc32fast::Hasher::new();
    let mut length = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(format!("{:08x}-{length}", hash.finalize()));
        }
        hash.update(&buffer[..read]);
        length += read;
    }
}
