//! What an update would change, found out where nix is: also on the machine of who asks for it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use blixard_node::spec::{VmName, VmSpec};

use super::nix::{Nix, Options};
use super::{Artifact, DIFF_PATIENCE, Job, MicrovmNix, NixSpec};

/// How the closures of two store paths differ, a line a package as `nix store diff-closures` tells it; empty when no package
/// comes, goes, or changes its version. Both must be in the store.
///
/// # Errors
/// Why that cannot be told.
pub fn diff_closures(options: &Options, old: &Path, new: &Path) -> Result<String, String> {
    let nix = Nix { options: options.clone() };
    nix.diff(old, new, Instant::now() + DIFF_PATIENCE).map_err(|error| error.reason)
}

/// How long it may take to find out what a flake's reference means now.
const SETTLE_PATIENCE: Duration = Duration::from_secs(60);

/// Settles what the flake of `new` is at the moment (`locked`), so that an update runs what was looked at, also when it
/// names the same branch as before. When that is what the VM was made of all along, by its old spec or by what it is pinned
/// to, `new` names it as the old spec does: nothing changes. Specs of other kinds, and those that are settled already, are
/// left alone. Needs nix.
///
/// # Errors
/// Why it cannot be found out; `new` is as it was.
pub fn settle(
    options: &Options,
    (old, pinned): (&VmSpec, Option<&str>),
    new: &mut VmSpec,
) -> Result<(), String> {
    if new.hypervisor != "microvm-nix" {
        return Ok(());
    }
    let NixSpec::Flake { reference, name, locked: None } = NixSpec::parse(&new.payload)? else {
        return Ok(());
    };
    let nix = Nix { options: options.clone() };
    let now = nix.lock(&reference, Instant::now() + SETTLE_PATIENCE).map_err(|error| error.reason)?;
    let (before, same) = match NixSpec::parse(&old.payload) {
        Ok(NixSpec::Flake { reference: of, locked, .. }) => (locked, of == reference),
        _ => (None, false),
    };
    let pinned = pinned.and_then(|pinned| Artifact::parse(pinned).ok()).map(|pinned| pinned.locked);
    let is_same = same && before.as_ref().or(pinned.as_ref()) == Some(&now);
    let locked = if is_same { before } else { Some(now) };
    new.payload = NixSpec::Flake { reference, name, locked }.payload();
    Ok(())
}

/// What `blixard vm update` would change of a VM of `microvm-nix`, for people: builds `old` (what it is `pinned` to) and `new`
/// on this machine, which needs nix, and compares them. Keeps neither. Takes as long as two builds.
///
/// # Errors
/// What of the two cannot be built, and why.
pub fn preview(
    options: &Options,
    name: &VmName,
    (old, pinned): (&VmSpec, Option<&str>),
    new: &VmSpec,
) -> Result<String, String> {
    for spec in [old, new] {
        if spec.hypervisor != "microvm-nix" {
            return Err(format!("what changes can be told of microvm-nix alone, not of {}", spec.hypervisor));
        }
    }
    let folder = Scratch::new()?;
    let backend = MicrovmNix::with(&folder.0, options.clone());
    let build = |what: &str, spec: &VmSpec, artifact: Option<&str>| {
        let built = backend.build(Job { name, spec, artifact });
        built.map_err(|reason| format!("what {what} cannot be built here: {reason}"))
    };
    let old = build("runs now", old, pinned)?;
    let new = build("it would become", new, None)?;
    if old.path == new.path {
        return Ok(format!("nothing changes: {}\n", new.path.display()));
    }
    let diff = diff_closures(options, &old.path, &new.path)?;
    let diff = if diff.is_empty() { "no package changes its version" } else { &diff };
    Ok(format!("- {}\n+ {}\n{diff}\n", old.path.display(), new.path.display()))
}

/// A folder that only its maker may look into, gone when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let mut drawn = [0_u8; 8];
        let _ = rustix::rand::getrandom(&mut drawn, rustix::rand::GetRandomFlags::empty());
        let name = format!("blixard-preview-{:016x}", u64::from_ne_bytes(drawn));
        let path = std::env::temp_dir().join(name);
        // Fails when it is there: somebody else's.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
