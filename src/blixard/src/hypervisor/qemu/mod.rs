//! The `qemu` backend: a QEMU process a VM, with KVM where that boots a guest and with QEMU's translator where not.

mod accel;
mod command;
pub(super) mod disk;
mod spec;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use blixard_node::hypervisor::HypervisorError;
use blixard_node::spec::{VmName, VmSpec};

pub use accel::{Accel, probe_kvm};
pub use spec::{AccelChoice, Disk, Format, Network, QemuSpec, Size};

use super::backend::{Backend, Job};
use super::run_dir::{Control, Plan};
use super::tool;
use command::Machine;
pub(super) use command::mac_of;

/// How long QEMU may take to say its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// The program for guests of this host's architecture.
#[must_use]
pub fn program() -> String {
    format!("qemu-system-{}", std::env::consts::ARCH)
}

/// See the module.
#[derive(Debug)]
pub struct Qemu {
    /// Holds a folder of disks a VM.
    volumes: PathBuf,
}

impl Qemu {
    /// With its volumes below a hypervisor's state folder.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { volumes: state_dir.join("volumes") }
    }

    fn accel(choice: AccelChoice, program: &Path) -> Result<Accel, String> {
        if choice == AccelChoice::Tcg {
            return Ok(Accel::Tcg);
        }
        match (accel::kvm(program), choice) {
            (Ok(()), _) => Ok(Accel::Kvm),
            (Err(_), AccelChoice::Auto) => Ok(Accel::Tcg),
            (Err(reason), _) => Err(format!(
                "accel = \"kvm\", and KVM cannot be used here: {reason}; accel = \"auto\" falls back to the translator"
            )),
        }
    }

    fn check(&self, name: &VmName, spec: &VmSpec) -> Result<(PathBuf, QemuSpec), String> {
        let qemu = QemuSpec::parse(&spec.payload)?;
        if qemu.network != Network::User && !spec.ports.is_empty() {
            return Err(
                "ports are forwarded with network = \"user\" alone: set it, or leave ports out".into()
            );
        }
        let program =
            tool::find(&program()).ok_or_else(|| format!("{} is not installed on this host", program()))?;
        for (key, path) in [("kernel", Some(&qemu.kernel)), ("initrd", qemu.initrd.as_ref())] {
            if let Some(path) = path {
                let readable = std::fs::File::open(path).and_then(|file| file.metadata());
                let data = readable.map_err(|error| format!("{key} {}: {error}", path.display()))?;
                if !data.is_file() {
                    return Err(format!("{key} {} is not a file", path.display()));
                }
            }
        }
        check_interface(qemu.network, qemu.interface.as_deref().unwrap_or_default())?;
        if let Some(disk) = qemu.disks.iter().find(|disk| !spec.local_volume && !disk.readonly) {
            tracing::debug!(%name, volume = disk.volume, "a writable disk without local_volume stays behind when the VM moves");
        }
        Ok((program, qemu))
    }

    fn folder(&self, name: &VmName) -> PathBuf {
        self.volumes.join(name.as_str())
    }
}

/// As root QEMU makes a tap that it does not find, and nothing is at the other end of it.
pub(super) fn check_interface(network: Network, name: &str) -> Result<(), String> {
    let net = Path::new("/sys/class/net").join(name);
    match network {
        Network::Tap if !net.join("tun_flags").exists() => Err(format!(
            "there is no tap {name:?} on this host: make it first, as in `ip tuntap add {name} mode tap`"
        )),
        Network::Bridge if !net.join("bridge").exists() => Err(format!(
            "there is no bridge {name:?} on this host: make it first, as in `ip link add {name} type bridge`"
        )),
        _ => Ok(()),
    }
}

impl Backend for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn probe(&self) -> Result<String, String> {
        let path = tool::find(&program()).ok_or_else(|| {
            format!("{} is not installed: install QEMU (qemu-system-x86 on Debian)", program())
        })?;
        let outcome = tool::run(&path, &["--version"], PATIENCE);
        let outcome = outcome.map_err(|error: io::Error| format!("{}: {error}", path.display()))?;
        match outcome.out.lines().next() {
            Some(version) if outcome.is_ok() => {
                // Where KVM does not work this takes seconds, which the first VM would wait for.
                thread::spawn(move || accel::kvm(&path).is_ok());
                Ok(version.trim().to_owned())
            }
            _ => Err(format!("{} --version: {}", path.display(), outcome.complaint())),
        }
    }

    fn prepare(&self, Job { name, spec, .. }: Job<'_>) -> Result<Option<String>, HypervisorError> {
        let prepare = || {
            let (program, qemu) = self.check(name, spec)?;
            Self::accel(qemu.accel, &program)?;
            qemu.disks.iter().try_for_each(|disk| disk::prepare(&self.folder(name), disk))
        };
        prepare().map(|()| None).map_err(|reason| HypervisorError::Prepare { reason })
    }

    fn plan(&self, Job { name, spec, .. }: Job<'_>) -> Result<Plan, HypervisorError> {
        let plan = || {
            let (program, qemu) = self.check(name, spec)?;
            let volumes = self.folder(name);
            for disk in &qemu.disks {
                let path = disk::path(&volumes, disk);
                if !path.exists() {
                    return Err(format!(
                        "{} is missing: the VM was not prepared on this host",
                        path.display()
                    ));
                }
            }
            let machine = Machine {
                program: &program,
                name,
                resources: spec.resources,
                spec: &qemu,
                ports: &spec.ports,
                accel: Self::accel(qemu.accel, &program)?,
                volumes: &volumes,
                arch: std::env::consts::ARCH,
            };
            let env = BTreeMap::from([
                ("PATH".to_owned(), tool::PATH.to_owned()),
                ("BLIXARD_VM".to_owned(), name.to_string()),
            ]);
            let control = Control::Qmp { listens_at: None };
            Ok(Plan { command: machine.command(), env, workdir: "/".into(), control, ..Plan::default() })
        };
        plan().map_err(|reason| HypervisorError::Prepare { reason })
    }

    fn purge(&self, name: &VmName) -> Result<(), String> {
        disk::purge(&self.folder(name))
    }
}
