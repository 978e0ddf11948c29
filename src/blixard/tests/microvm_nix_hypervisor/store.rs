//! A store of nix for tests, flakes for it, and a backend that uses it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use blixard::hypervisor::backend::{Backend, Job};
use blixard::hypervisor::microvm_nix::{Artifact, MicrovmNix, NixSpec, Options};
use blixard::hypervisor::tool;
use blixard_node::hypervisor::HypervisorError;
use blixard_node::spec::{VmName, VmSpec};
use tempfile::TempDir;

/// What is missing here for these tests; says so.
pub(crate) fn is_skipped(programs: &[&str]) -> bool {
    let missing: Vec<&str> =
        programs.iter().copied().filter(|program| tool::find(program).is_none()).collect();
    let foreign = std::env::consts::ARCH != "x86_64";
    if foreign || !missing.is_empty() {
        let what = if foreign { "x86_64".into() } else { missing.join(", ") };
        eprintln!("skipped: needs {what}");
    }
    foreign || !missing.is_empty()
}

/// Options of a nix that builds into `root`, offline and without a daemon.
pub(crate) fn options(root: &Path) -> Options {
    for folder in ["etc", "home"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    // Nix refuses a store behind a symbolic link.
    let root = root.canonicalize().unwrap();
    let config = "sandbox = false\nbuild-users-group =\nsubstitute = false\nuse-registries = false\nflake-registry =\n";
    let mut env: BTreeMap<String, String> = [
        ("NIX_STORE_DIR", "store"),
        ("NIX_STATE_DIR", "var"),
        ("NIX_LOG_DIR", "log"),
        ("NIX_CONF_DIR", "etc"),
        ("HOME", "home"),
    ]
    .map(|(key, folder)| (key.to_owned(), root.join(folder).display().to_string()))
    .into();
    env.insert("NIX_CONFIG".into(), config.into());
    env.insert("NIX_REMOTE".into(), String::new());
    env.insert("XDG_CACHE_HOME".into(), root.join("home/.cache").display().to_string());
    Options { programs: None, env, patience: Duration::from_secs(60), base: "path:/no/base".into() }
}

/// The options of a store that all tests share, also from one run to the next: what is there is not built again.
pub(crate) fn shared() -> Options {
    static SHARED: OnceLock<Options> = OnceLock::new();
    let begin = || {
        let options = options(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("nix"));
        // Two that begin a new store at once get in each other's way.
        nix(&options, "nix-store", &["--init"]);
        options
    };
    SHARED.get_or_init(begin).clone()
}

/// A host's state folder with a backend, and a folder for flakes.
pub(crate) struct Host {
    pub(crate) folder: TempDir,
    pub(crate) options: Options,
    pub(crate) backend: MicrovmNix,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(shared())
    }

    pub(crate) fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backend = MicrovmNix::with(&folder.path().join("state"), options.clone());
        Self { folder, options, backend }
    }

    /// Writes a flake whose `nixosConfigurations` are `configurations`, and returns the reference of one.
    pub(crate) fn flake(&self, name: &str, configurations: &str) -> String {
        let folder = self.folder.path().join(name);
        write_flake(&folder, configurations);
        format!("path:{}", folder.display())
    }

    pub(crate) fn prepare(&self, spec: &VmSpec, artifact: Option<&str>) -> Result<Artifact, String> {
        let told = self.backend.prepare(Job { name: &web(), spec, artifact });
        told.map(|artifact| Artifact::parse(&artifact.unwrap()).unwrap()).map_err(reason)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}

pub(crate) fn reason(error: HypervisorError) -> String {
    match error {
        HypervisorError::Prepare { reason } => reason,
        other => panic!("{other:?}"),
    }
}

/// Runs one of nix's programs on the store of `options`.
pub(crate) fn nix(options: &Options, program: &str, args: &[&str]) -> String {
    let output = Command::new(tool::find(program).unwrap()).args(args).envs(&options.env).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn write_flake(folder: &Path, configurations: &str) {
    write_flake_with(folder, "", configurations);
}

/// As [`write_flake`], with more functions than `runner` and `plain`.
pub(crate) fn write_flake_with(folder: &Path, functions: &str, configurations: &str) {
    fs::create_dir_all(folder).unwrap();
    let text = format!(
        r#"{{
  outputs = {{ self }}: let
    # What microvm.nix makes: programs and notes, here by a script of /bin/sh.
    runner = name: script: {{
      config.microvm.declaredRunner = derivation {{
        inherit name;
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-c" ("export PATH=/usr/local/bin:/usr/bin:/bin\n" + script) ];
      }};
    }};
    plain = name: text: runner name ''
      mkdir -p $out/bin $out/share/microvm
      echo "${{text}}" > $out/bin/microvm-run
      chmod 755 $out/bin/microvm-run
    '';
{functions}
  in {{ nixosConfigurations = {{ {configurations} }}; }};
}}
"#
    );
    fs::write(folder.join("flake.nix"), text).unwrap();
}

pub(crate) fn web() -> VmName {
    VmName::new("web").unwrap()
}

/// A VM with that payload.
pub(crate) fn vm(payload: String) -> VmSpec {
    crate::host::spec("microvm-nix", payload)
}

/// A VM from a flake.
pub(crate) fn from(reference: &str) -> VmSpec {
    vm(NixSpec::for_flake(reference))
}
