//! The `cloud-hypervisor` backend: a cloud-hypervisor process a VM, controlled over its REST API.
//!
//! **Untested on the real thing**: written against its published API, and tested against a program that speaks it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use blixard_node::hypervisor::HypervisorError;
use blixard_node::spec::{VmName, VmSpec};
use serde::Deserialize;

use super::backend::{Backend, Job};
use super::qemu::{Disk, Format, check_interface, disk, mac_of};
use super::run_dir::{Control, Plan};
use super::tool;

/// The program's name.
const PROGRAM: &str = "cloud-hypervisor";

/// The API's socket, in the folder that the program runs in: a socket's path has 108 bytes at most.
const SOCKET: &str = "api.sock";

/// How long it may take to say its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// The payload of a VM with `hypervisor = "cloud-hypervisor"`, as TOML. All paths are of the host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudHypervisorSpec {
    /// The kernel: an ELF file with a PVH entry, or a bzImage. Either this or `firmware`.
    #[serde(default)]
    pub kernel: Option<PathBuf>,
    /// A firmware that boots what is on the first disk.
    #[serde(default)]
    pub firmware: Option<PathBuf>,
    /// The initial RAM disk.
    #[serde(default)]
    pub initramfs: Option<PathBuf>,
    /// The kernel's command line.
    #[serde(default)]
    pub cmdline: String,
    /// In the order in which the guest finds them; all of format `raw`.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// A tap that exists. Without one the guest has no network.
    #[serde(default)]
    pub tap: Option<String>,
    /// For the tap; default: derived from the VM's name.
    #[serde(default)]
    pub mac: Option<String>,
}

impl CloudHypervisorSpec {
    /// Reads a payload.
    ///
    /// # Errors
    /// What is wrong, with line and column where there is one.
    pub fn parse(payload: &str) -> Result<Self, String> {
        let spec: Self = toml::from_str(payload).map_err(|error| error.to_string())?;
        if spec.kernel.is_some() == spec.firmware.is_some() {
            return Err("give either kernel or firmware, as in kernel = \"/images/vmlinux\"".into());
        }
        for (key, path) in spec.files() {
            let text = path.to_str().unwrap_or("\0");
            if !path.is_absolute() || text.contains('\0') {
                return Err(format!("{key} {} is not an absolute path in UTF-8", path.display()));
            }
        }
        for (at, disk) in spec.disks.iter().enumerate() {
            disk.check()?;
            if disk.format != Format::Raw {
                return Err(format!(
                    "volume {:?}: cloud-hypervisor gets raw disks alone; leave format out",
                    disk.volume
                ));
            }
            if spec.disks[..at].iter().any(|other| other.volume == disk.volume) {
                return Err(format!("two disks have the volume {:?}", disk.volume));
            }
        }
        // A comma would begin another option of cloud-hypervisor's.
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        for (key, value) in [("tap", &spec.tap), ("mac", &spec.mac)] {
            if let Some(value) = value.as_ref().filter(|value| value.is_empty() || !value.chars().all(fits)) {
                return Err(format!("{key} {value:?} is none: use letters, digits, '-', '_', '.' and ':'"));
            }
        }
        if spec.mac.is_some() && spec.tap.is_none() {
            return Err("mac needs a tap".into());
        }
        if spec.cmdline.contains('\0') {
            return Err("a NUL byte stands in cmdline: no program can be given one".into());
        }
        Ok(spec)
    }

    fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let files = [("kernel", &self.kernel), ("firmware", &self.firmware), ("initramfs", &self.initramfs)];
        files.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?)))
    }
}

/// See the module.
#[derive(Debug)]
pub struct CloudHypervisor {
    /// Holds a folder of disks a VM, in which its program runs.
    volumes: PathBuf,
    /// Where the program is, if not where programs are.
    program: Option<PathBuf>,
}

impl CloudHypervisor {
    /// With its volumes below a hypervisor's state folder.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { volumes: state_dir.join("volumes"), program: None }
    }

    /// With another program than the one that is installed.
    #[must_use]
    pub fn with_program(self, program: impl Into<PathBuf>) -> Self {
        Self { program: Some(program.into()), ..self }
    }

    fn program(&self) -> Result<PathBuf, String> {
        let installed = || {
            tool::find(PROGRAM).ok_or_else(|| {
                format!(
                    "{PROGRAM} is not installed: put it into /usr/local/bin, or install your distribution's"
                )
            })
        };
        self.program.clone().map_or_else(installed, Ok)
    }

    fn folder(&self, name: &VmName) -> PathBuf {
        self.volumes.join(name.as_str())
    }

    fn check(&self, name: &VmName, spec: &VmSpec) -> Result<(PathBuf, CloudHypervisorSpec), String> {
        let own = CloudHypervisorSpec::parse(&spec.payload)?;
        if !spec.ports.is_empty() {
            return Err(
                "cloud-hypervisor forwards no ports: leave ports out, and route to the VM's tap".into()
            );
        }
        let program = self.program()?;
        for (key, path) in own.files() {
            let data = fs::File::open(path).and_then(|file| file.metadata());
            let data = data.map_err(|error| format!("{key} {}: {error}", path.display()))?;
            if !data.is_file() {
                return Err(format!("{key} {} is not a file", path.display()));
            }
        }
        let folder = self.folder(name);
        // Its options have a grammar of their own.
        if !own.disks.is_empty() && folder.to_str().is_none_or(|text| text.contains([',', '"', '[', ']'])) {
            return Err(format!(
                "{}: cloud-hypervisor cannot be told such a path; use another --data-dir",
                folder.display()
            ));
        }
        if let Some(tap) = &own.tap {
            check_interface(super::qemu::Network::Tap, tap)?;
        }
        Ok((program, own))
    }

    fn command(&self, program: &Path, job: Job<'_>, spec: &CloudHypervisorSpec) -> Vec<String> {
        let mut command = vec![program.display().to_string()];
        let mut add = |option: &str, value: String| command.extend([option.to_owned(), value]);
        add("--api-socket", SOCKET.into());
        add("--event-monitor", "fd=3".into());
        add("--cpus", format!("boot={}", job.spec.resources.vcpus));
        add("--memory", format!("size={}M", job.spec.resources.memory_mib));
        for (key, path) in spec.files() {
            add(&format!("--{key}"), path.display().to_string());
        }
        if !spec.cmdline.is_empty() {
            add("--cmdline", spec.cmdline.clone());
        }
        add("--serial", "tty".into());
        add("--console", "off".into());
        if let Some(tap) = &spec.tap {
            let mac = spec.mac.clone().unwrap_or_else(|| mac_of(job.name));
            add("--net", format!("tap={tap},mac={mac}"));
        }
        let folder = self.folder(job.name);
        let disks = spec.disks.iter().map(|one| {
            let readonly = if one.readonly { "on" } else { "off" };
            format!("path={},readonly={readonly}", disk::path(&folder, one).display())
        });
        let disks: Vec<String> = disks.collect();
        if !disks.is_empty() {
            command.push("--disk".into());
            command.extend(disks);
        }
        command.push("--pvpanic".into());
        command
    }
}

impl Backend for CloudHypervisor {
    fn name(&self) -> &'static str {
        PROGRAM
    }

    fn probe(&self) -> Result<String, String> {
        let program = self.program()?;
        let outcome = tool::run(&program, &["--version"], PATIENCE);
        let outcome = outcome.map_err(|error| format!("{}: {error}", program.display()))?;
        let version = match outcome.out.lines().next() {
            Some(version) if outcome.is_ok() => version.trim().to_owned(),
            _ => return Err(format!("{} --version: {}", program.display(), outcome.complaint())),
        };
        let kvm = OpenOptions::new().read(true).write(true).open("/dev/kvm");
        kvm.map_err(|error| {
            format!(
                "{version} is installed, and runs guests by KVM alone: /dev/kvm cannot be opened: {error}"
            )
        })?;
        Ok(format!("{version}; this backend is untested on the real thing"))
    }

    fn prepare(&self, Job { name, spec, .. }: Job<'_>) -> Result<Option<String>, HypervisorError> {
        let prepare = || {
            let (_, own) = self.check(name, spec)?;
            let folder = self.folder(name);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(|error| format!("{}: {error}", folder.display()))?;
            own.disks.iter().try_for_each(|one| disk::prepare(&folder, one))
        };
        prepare().map(|()| None).map_err(|reason| HypervisorError::Prepare { reason })
    }

    fn plan(&self, job: Job<'_>) -> Result<Plan, HypervisorError> {
        let plan = || {
            let (program, spec) = self.check(job.name, job.spec)?;
            let folder = self.folder(job.name);
            let needed = spec.disks.iter().map(|one| disk::path(&folder, one)).chain([folder.clone()]);
            if let Some(missing) = needed.into_iter().find(|path| !path.exists()) {
                return Err(format!(
                    "{} is missing: the VM was not prepared on this host",
                    missing.display()
                ));
            }
            let env = BTreeMap::from([
                ("PATH".to_owned(), tool::PATH.to_owned()),
                ("BLIXARD_VM".to_owned(), job.name.to_string()),
            ]);
            // What a killed one has left would be taken for this one's. Removed under the VM's lock, so never a living one's.
            let clear = ["/bin/sh", "-c", "rm -f -- \"$@\"", "rm", SOCKET].map(String::from).to_vec();
            Ok(Plan {
                command: self.command(&program, job, &spec),
                env,
                control: Control::CloudHypervisor { listens_at: folder.join(SOCKET), events: true },
                workdir: folder,
                before: vec![clear.clone()],
                after: vec![clear],
                ..Plan::default()
            })
        };
        plan().map_err(|reason| HypervisorError::Prepare { reason })
    }

    fn purge(&self, name: &VmName) -> Result<(), String> {
        disk::purge(&self.folder(name))
    }
}

#[cfg(test)]
mod tests {
    use blixard_node::spec::{Labels, Resources};
    use expect_test::{Expect, expect};

    use super::*;

    fn check(payload: &str, expected: Expect) {
        match CloudHypervisorSpec::parse(payload) {
            Ok(spec) => expected.assert_eq(&format!("{:?} {:?} {:?}", spec.kernel, spec.firmware, spec.tap)),
            Err(error) => expected.assert_eq(error.trim_end().rsplit('\n').next().unwrap_or_default()),
        }
    }

    #[test]
    fn payloads() {
        check("kernel = '/k'\ntap = 'vm-a'", expect![[r#"Some("/k") None Some("vm-a")"#]]);
        check("firmware = '/f'", expect![[r#"None Some("/f") None"#]]);
        for neither_or_both in ["", "kernel = '/k'\nfirmware = '/f'"] {
            let expected = expect![[r#"give either kernel or firmware, as in kernel = "/images/vmlinux""#]];
            check(neither_or_both, expected);
        }
        check("kernel = 'k'", expect!["kernel k is not an absolute path in UTF-8"]);
        check(
            "kernel = '/k'\ndisks = [{ volume = 'a', size = '1MiB', format = 'qcow2' }]",
            expect![[r#"volume "a": cloud-hypervisor gets raw disks alone; leave format out"#]],
        );
        check(
            "kernel = '/k'\ntap = 'a,fd=0'",
            expect![[r#"tap "a,fd=0" is none: use letters, digits, '-', '_', '.' and ':'"#]],
        );
        check("kernel = '/k'\nmac = '52:54:00:00:00:01'", expect!["mac needs a tap"]);
        check(
            "kernel = '/k'\ninitrd = '/i'",
            expect![
                "unknown field `initrd`, expected one of `kernel`, `firmware`, `initramfs`, `cmdline`, `disks`, `tap`, `mac`"
            ],
        );
    }

    #[test]
    fn the_command_line() {
        let payload = "kernel = '/k'\ninitramfs = '/i'\ncmdline = 'console=ttyS0 a=b'\ntap = 'vm-a'\n\
                       disks = [{ volume = 'data', size = '1MiB' }, { volume = 'ro', size = '1MiB', readonly = true }]";
        let spec = VmSpec {
            resources: Resources { vcpus: 2, memory_mib: 512 },
            requires: Labels::new(),
            restart: Default::default(),
            failover: Default::default(),
            local_volume: true,
            hypervisor: PROGRAM.into(),
            payload: payload.into(),
            ports: Vec::new(),
        };
        let own = CloudHypervisorSpec::parse(payload).unwrap();
        let backend = CloudHypervisor::new(Path::new("/s"));
        let job = Job { name: &VmName::new("web").unwrap(), spec: &spec, artifact: None };
        expect![[r#"
            /bin/ch
            --api-socket api.sock
            --event-monitor fd=3
            --cpus boot=2
            --memory size=512M
            --kernel /k
            --initramfs /i
            --cmdline console=ttyS0 a=b
            --serial tty
            --console off
            --net tap=vm-a,mac=52:54:00:72:1e:f1
            --disk path=/s/volumes/web/data.raw,readonly=off path=/s/volumes/web/ro.raw,readonly=on
            --pvpanic"#]]
        .assert_eq(&backend.command(Path::new("/bin/ch"), job, &own).join(" ").replace(" --", "\n--"));
    }
}
