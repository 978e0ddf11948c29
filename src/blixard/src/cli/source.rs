//! What a VM is made of, as it is given on the command line: a VM file, a NixOS module, a flake.

use std::io::Read;
use std::path::{Path, PathBuf};

use blixard_node::spec::{FailoverPolicy, Labels, Resources, RestartPolicy, VmName, VmSpec};

use super::args::Source;
use super::error::CliError;
use super::output::Output;
use super::vm::check_name;
use super::vm_file;
use crate::hypervisor::microvm_nix::NixSpec;

/// As microvm.nix has it.
const VCPUS: u32 = 1;
const MEMORY_MIB: u64 = 512;

/// Reads what is given, and settles the VM's name: `given` goes first.
pub(super) fn read(source: &Source, given: Option<String>) -> Result<(VmName, VmSpec), CliError> {
    let folder = std::env::current_dir()
        .map_err(|error| CliError::Usage(format!("there is no working directory: {error}")))?;
    match (&source.flake, &source.config) {
        (Some(flake), _) => read_flake(source, flake, given, &folder),
        (None, Some(file)) if file.extension().is_some_and(|ending| ending == "nix") => {
            read_module(source, file, given)
        }
        (None, Some(file)) => read_file(source, file, given, folder),
        (None, None) => Err(CliError::Usage(
            "say what the VM is made of: --config FILE (TOML or .nix) or --flake REF#NAME".into(),
        )),
    }
}

fn read_flake(
    source: &Source,
    flake: &str,
    given: Option<String>,
    folder: &Path,
) -> Result<(VmName, VmSpec), CliError> {
    let reference = NixSpec::absolute(flake, folder);
    let name = match (given, reference.split_once('#')) {
        (Some(given), _) => check_name(&given)?,
        (None, Some((_, name))) => VmName::new(name).map_err(|_| {
            CliError::Usage(format!("{name:?}, the flake's configuration, is no VM name: add --name"))
        })?,
        (None, None) => {
            return Err(CliError::Usage("the VM has no name: add --name, or #NAME to the flake".into()));
        }
    };
    let spec = nix_spec(source, NixSpec::for_flake(&reference)).map_err(|reason| {
        let path = reference.split(['#', '?']).next().unwrap_or_default();
        match !path.contains([':', '/']) && folder.join(path).is_dir() {
            true => format!(
                "{path} is a name of nix's registry, which hosts do not share: for the folder write ./{flake}"
            ),
            false => reason,
        }
    });
    let spec = spec.map_err(CliError::Usage)?;
    Ok((name, spec))
}

fn read_module(source: &Source, file: &Path, given: Option<String>) -> Result<(VmName, VmSpec), CliError> {
    let text = vm_file::read_module(file).map_err(CliError::Usage)?;
    let name = match given {
        Some(given) => check_name(&given)?,
        None => {
            let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            VmName::new(stem.as_str()).map_err(|_| {
                CliError::Usage(format!("{stem:?}, the file's name, is no VM name: add --name"))
            })?
        }
    };
    let spec = nix_spec(source, NixSpec::for_file(&text));
    Ok((name, spec.map_err(|reason| CliError::Usage(format!("{}: {reason}", file.display())))?))
}

fn nix_spec(source: &Source, payload: String) -> Result<VmSpec, String> {
    NixSpec::parse(&payload)?;
    let spec = VmSpec {
        resources: Resources {
            vcpus: source.vcpus.unwrap_or(VCPUS),
            memory_mib: source.memory.unwrap_or(MEMORY_MIB),
        },
        requires: Labels::new(),
        restart: RestartPolicy::default(),
        failover: FailoverPolicy::default(),
        local_volume: false,
        hypervisor: "microvm-nix".into(),
        payload,
        ports: Vec::new(),
    };
    spec.validate()?;
    Ok(spec)
}

fn read_file(
    source: &Source,
    file: &Path,
    given: Option<String>,
    working: PathBuf,
) -> Result<(VmName, VmSpec), CliError> {
    let (file, text, folder) = if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| CliError::Usage(format!("standard input cannot be read: {error}")))?;
        ("<stdin>".into(), text, working)
    } else {
        let shown = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| CliError::Usage(format!("{shown} cannot be read: {error}")))?;
        let folder = file.parent().map_or(working.clone(), |folder| working.join(folder));
        (shown, text, folder)
    };
    if source.vcpus.is_some() || source.memory.is_some() {
        let usage = format!("--vcpus and --memory are for .nix files and flakes: {file} says both itself");
        return Err(CliError::Usage(usage));
    }
    let vm = vm_file::read(&file, &text, &folder).map_err(|error| CliError::Usage(error.to_string()))?;
    let name = match (given, vm.name) {
        (Some(given), Some(name)) if given != name => {
            let usage =
                format!("{file} is the file of a VM named {name}, not {given}: leave one of the names out");
            return Err(CliError::Usage(usage));
        }
        (Some(name), _) | (None, Some(name)) => check_name(&name)?,
        (None, None) => {
            return Err(CliError::Usage(format!(
                "the VM has no name: add --name, or name = \"…\" to {file}"
            )));
        }
    };
    Ok((name, vm.spec))
}

/// A flake on this machine is not on the others by itself.
pub(super) fn warn_of_path(spec: &VmSpec, output: Output) {
    if spec.hypervisor != "microvm-nix" {
        return;
    }
    if let Ok(NixSpec::Flake { reference, .. }) = NixSpec::parse(&spec.payload) {
        let schemes = ["path:", "git+file://", "tarball+file://"];
        let path = schemes.iter().find_map(|scheme| reference.strip_prefix(scheme)).unwrap_or(&reference);
        if path.starts_with('/') {
            output.progress(&format!(
                "note: each host that runs the VM builds it from its own {}; a git URL means the same everywhere",
                path.split('?').next().unwrap_or(path)
            ));
        }
    }
}
