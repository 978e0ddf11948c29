//! The `microvm-nix` backend: VMs that microvm.nix builds, from a flake or from a NixOS module that the cluster keeps.
//!
//! ```text
//! STATE/nix/web/current           the store path that was prepared last
//! STATE/nix/web/roots/HASH-NAME   links that keep store paths from being collected as garbage: the last one, and what runs
//! STATE/nix/web/source-HASH/      the flake around a file
//! STATE/volumes/web/              where the runner runs: its volumes and sockets
//! ```
//!
//! What is built is pinned for all hosts: see [`Artifact`].

mod artifact;
mod failure;
mod nix;
mod preview;
mod roots;
mod runner;
mod spec;
mod units;
mod wrapper;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use blixard_node::hypervisor::{HypervisorError, REASON_LEN_MAX};
use blixard_node::spec::VmName;

pub use artifact::Artifact;
pub use failure::{Failure, NixError};
pub use nix::{Options, PATIENCE};
pub use preview::{diff_closures, preview, settle};
pub use spec::{NixSpec, REFERENCE_LEN_MAX};
pub use units::enabled_units;

use super::backend::{Backend, Job};
use super::run_dir::Plan;
use super::tool;
use nix::Nix;
use roots::Roots;
use runner::Runner;

/// The flake that microvm.nix and nixpkgs come from unless the host or the spec says otherwise: microvm.nix of August 2026
/// with the nixpkgs of its lock file.
pub const BASE: &str = "github:microvm-nix/microvm.nix/71beea0076cd46dafcee97a5a2e7d00cbba5bd2f";

/// The most lines of what nix says that are passed on.
const LINES_MAX: usize = 12;

/// How long the probe may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// How long it may take to tell what changes.
const DIFF_PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub struct MicrovmNix {
    state_dir: PathBuf,
    /// Or what is wrong with them.
    nix: Result<Nix, String>,
    /// Where systemd keeps its units, and microvm.nix its VMs.
    system: PathBuf,
}

impl MicrovmNix {
    /// With its files below a hypervisor's state folder, and nix as this host's environment says.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self::of(state_dir, Options::of_host())
    }

    /// As [`MicrovmNix::new`], with nix as `options` say.
    #[must_use]
    pub fn with(state_dir: &Path, options: Options) -> Self {
        Self::of(state_dir, Ok(options))
    }

    fn of(state_dir: &Path, options: Result<Options, String>) -> Self {
        // Nix and the runners do not run in this program's folder.
        let state_dir = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.into());
        Self { state_dir, nix: options.map(|options| Nix { options }), system: "/".into() }
    }

    fn nix(&self) -> Result<&Nix, String> {
        self.nix.as_ref().map_err(Clone::clone)
    }

    fn roots(&self, name: &VmName) -> Roots {
        Roots::new(&self.state_dir, name)
    }

    fn workdir(&self, name: &VmName) -> PathBuf {
        self.state_dir.join("volumes").join(name.as_str())
    }

    /// Builds what `job` is, or takes it from the store, and keeps it there.
    fn build(&self, job: Job<'_>) -> Result<Artifact, String> {
        let nix = self.nix()?;
        let until = Instant::now() + nix.options.patience;
        let spec = NixSpec::parse(&job.spec.payload)?;
        let roots = self.roots(job.name);
        make_folder(&roots.folder())?;
        let pinned = job.artifact.map(Artifact::parse).transpose()?;
        if let Some(pinned) = &pinned
            && nix.realise(&pinned.path, &roots.link(&pinned.path), until).is_ok()
        {
            return Ok(pinned.clone());
        }
        let told = |error: NixError| error.reason;
        let (reference, attribute) = match &spec {
            NixSpec::Flake { reference, name, .. } => {
                (reference.as_str(), name.as_deref().unwrap_or(job.name.as_str()))
            }
            NixSpec::File { base, .. } => {
                (base.as_deref().unwrap_or(&nix.options.base), wrapper::CONFIGURATION)
            }
        };
        let locked = match (&pinned, &spec) {
            (Some(Artifact { locked, .. }), _) | (_, NixSpec::Flake { locked: Some(locked), .. }) => {
                locked.clone()
            }
            _ => nix.lock(reference, until).map_err(told)?,
        };
        // What is not locked by the flake itself would differ between hosts; the flake around a file is locked by its text.
        let (flake, lock) = match &spec {
            NixSpec::Flake { .. } => (locked.clone(), "--no-update-lock-file"),
            NixSpec::File { text, .. } => {
                let folder = self.write_flake(job, text, &locked)?;
                (format!("path:{}", folder.display()), "--no-write-lock-file")
            }
        };
        let installable =
            format!("{flake}#nixosConfigurations.\"{attribute}\".config.microvm.declaredRunner");
        let path = nix.build(&installable, &roots.draft(), &[lock], until).map_err(told)?;
        if let Some(pinned) = pinned.filter(|pinned| pinned.path != path) {
            let _ = fs::remove_file(roots.draft());
            return Err(differs(&pinned.path, &path, &locked));
        }
        nix.realise(&path, &roots.link(&path), until).map_err(told)?;
        let _ = fs::remove_file(roots.draft());
        Ok(Artifact { path, locked })
    }

    /// Writes the flake around a module. Its folder is named for its content, so that two builds at a time do not mix.
    fn write_flake(&self, job: Job<'_>, text: &str, base: &str) -> Result<PathBuf, String> {
        let flake = wrapper::flake(job.name, job.spec.resources, &job.spec.ports, base);
        let mut hasher = DefaultHasher::new();
        (&flake, text).hash(&mut hasher);
        let folder = self.roots(job.name).source(hasher.finish());
        make_folder(&folder)?;
        for (file, text) in [("flake.nix", flake.as_str()), (wrapper::MODULE, text)] {
            let path = folder.join(file);
            write(&path, text).map_err(|error| explain(&path, &error))?;
        }
        Ok(folder)
    }

    /// Says what is new when another store path was prepared before.
    fn tell_change(&self, name: &VmName, path: &Path) {
        let Some(old) = self.roots(name).current().filter(|old| old != path) else { return };
        let until = Instant::now() + DIFF_PATIENCE;
        match self.nix().map(|nix| nix.diff(&old, path, until)) {
            Ok(Ok(diff)) => {
                let diff = if diff.is_empty() { "no package changes its version" } else { &diff };
                tracing::info!(%name, old = %old.display(), new = %path.display(), "built anew:\n{diff}");
            }
            // The old one was collected, or not from this store: nobody needs it.
            _ => tracing::info!(%name, new = %path.display(), "built anew"),
        }
    }

    fn prepared(&self, job: Job<'_>) -> Result<Artifact, String> {
        if let Some(unit) = units::restarting(&self.system, job.name) {
            return Err(unit);
        }
        let artifact = self.build(job)?;
        Runner::read(&artifact.path)?;
        make_folder(&self.workdir(job.name))?;
        self.tell_change(job.name, &artifact.path);
        let roots = self.roots(job.name);
        roots.set_current(&artifact.path).map_err(|error| explain(&roots.folder(), &error))?;
        roots.tidy(&self.state_dir);
        Ok(artifact)
    }

    fn planned(&self, Job { name, spec, artifact }: Job<'_>) -> Result<Plan, String> {
        NixSpec::parse(&spec.payload)?;
        let path = match artifact {
            Some(artifact) => Artifact::parse(artifact)?.path,
            None => self.roots(name).current().ok_or("the VM was not prepared on this host")?,
        };
        let runner = Runner::read(&path)?;
        let workdir = self.workdir(name);
        let env = BTreeMap::from([
            ("PATH".to_owned(), tool::PATH.to_owned()),
            ("BLIXARD_VM".to_owned(), name.to_string()),
        ]);
        Ok(Plan {
            command: runner.command(),
            env,
            control: runner.control(&workdir),
            before: runner.before(),
            beside: runner.beside(),
            after: runner.after(),
            workdir,
        })
    }
}

impl Backend for MicrovmNix {
    fn name(&self) -> &'static str {
        "microvm-nix"
    }

    fn probe(&self) -> Result<String, String> {
        let until = Instant::now() + PROBE_PATIENCE;
        let nix = self.nix()?;
        let version = nix.version(until).map_err(|error| error.reason)?;
        let store = nix.try_store(until).map_err(|error| error.reason)?;
        let mut told = format!("{version}, builds into {}", store.display());
        for unit in units::all(&self.system) {
            told += &format!("; {unit} is enabled on this host: a VM of that name is refused here");
        }
        Ok(told)
    }

    fn prepare(&self, job: Job<'_>) -> Result<Option<String>, HypervisorError> {
        let prepared = self.prepared(job).and_then(|artifact| artifact.told());
        prepared.map(Some).map_err(|reason| HypervisorError::Prepare { reason: cut(reason) })
    }

    fn plan(&self, job: Job<'_>) -> Result<Plan, HypervisorError> {
        self.planned(job).map_err(|reason| HypervisorError::Prepare { reason: cut(reason) })
    }

    fn purge(&self, name: &VmName) -> Result<(), String> {
        for folder in [self.roots(name).folder(), self.workdir(name)] {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(format!("{} cannot be removed: {error}", folder.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn differs(pinned: &Path, built: &Path, locked: &str) -> String {
    format!(
        "this host builds {} from {locked}, and the VM is pinned to {}: the hosts' systems or their nix differ; \
         give the VM labels that keep it on hosts of one kind, or share a binary cache",
        built.display(),
        pinned.display()
    )
}

fn make_folder(folder: &Path) -> Result<(), String> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| explain(folder, &error))
}

/// Writes a file that is whole whenever it is there.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&draft, path)
}

fn explain(path: &Path, error: &io::Error) -> String {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return format!("no space is left for {}: free some and start the VM again", path.display());
    }
    format!("{}: {error}", path.display())
}

/// Not longer than a reason is passed on.
fn cut(mut reason: String) -> String {
    if reason.len() > REASON_LEN_MAX {
        let end = (0..=REASON_LEN_MAX - "…".len()).rev().find(|at| reason.is_char_boundary(*at));
        reason.truncate(end.unwrap_or(0));
        reason.push('…');
    }
    reason
}
