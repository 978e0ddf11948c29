//! The payload of a VM with `hypervisor = "qemu"`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The most disks of a VM: the machine `microvm` has 8 virtio slots on every QEMU, and the network needs one.
const DISKS_MAX: usize = 7;

/// The payload, as TOML.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QemuSpec {
    /// The kernel on this host: a Linux image, or an ELF file with a PVH entry.
    pub kernel: PathBuf,
    /// The initial RAM disk on this host.
    #[serde(default)]
    pub initrd: Option<PathBuf>,
    /// The kernel's command line, as it is.
    #[serde(default)]
    pub cmdline: String,
    /// In the order in which the guest finds them.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// How it reaches others.
    #[serde(default)]
    pub network: Network,
    /// The address of this host on which the VM's ports are; default 127.0.0.1. For `network = "user"`.
    #[serde(default)]
    pub listen: Option<IpAddr>,
    /// The tap or the bridge, for a network of that kind.
    #[serde(default)]
    pub interface: Option<String>,
    /// Default: derived from the VM's name.
    #[serde(default)]
    pub mac: Option<String>,
    /// QEMU's machine type; default `microvm`, on ARM `virt`.
    #[serde(default)]
    pub machine: Option<String>,
    /// QEMU's CPU model; default `host` with KVM, otherwise `max`.
    #[serde(default)]
    pub cpu: Option<String>,
    /// Who executes the guest's instructions.
    #[serde(default)]
    pub accel: AccelChoice,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Its name among those of the VM.
    pub volume: String,
    /// Its size, as in "1GiB". A larger one than it has makes it grow, a smaller one changes nothing.
    pub size: Size,
    /// How it is stored.
    #[serde(default)]
    pub format: Format,
    /// An image on this host that it begins with: a raw disk gets a copy of it, a qcow2 disk lies above it.
    #[serde(default)]
    pub base: Option<PathBuf>,
    /// Whether the guest may only read it.
    #[serde(default)]
    pub readonly: bool,
}

/// A size, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let units = [("KiB", 1_u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
        let usage =
            || format!("{text:?} is no size: write a whole number with KiB, MiB, GiB or TiB, as in \"1GiB\"");
        let unit = units.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
        let (number, bytes) = unit.ok_or_else(usage)?;
        let number: u64 = number.trim().parse().map_err(|_| usage())?;
        let size = number.checked_mul(bytes).filter(|size| (1..=1 << 50).contains(size));
        size.map(Self).ok_or_else(usage)
    }
}

/// How a disk is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Byte by byte, holes left out.
    #[default]
    Raw,
    /// QEMU's own format; needs `qemu-img`.
    Qcow2,
}

impl Format {
    /// QEMU's word for it, which is also the file's extension.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// How a VM reaches others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Not at all.
    #[default]
    None,
    /// Through this host's own sockets, behind address translation; its ports are forwarded. Needs no rights.
    User,
    /// Over a tap that exists.
    Tap,
    /// Over a bridge that exists, by QEMU's bridge helper.
    Bridge,
}

/// What a spec says of acceleration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccelChoice {
    /// KVM where it boots a guest, otherwise TCG.
    #[default]
    Auto,
    /// The processor; refused where it does not boot a guest.
    Kvm,
    /// QEMU's translator: works everywhere, ten times slower or more.
    Tcg,
}

impl QemuSpec {
    /// Reads a payload.
    ///
    /// # Errors
    /// What is wrong, with line and column where there is one.
    pub fn parse(payload: &str) -> Result<Self, String> {
        let spec: Self = toml::from_str(payload).map_err(|error| error.to_string())?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), String> {
        absolute("kernel", &self.kernel)?;
        if let Some(initrd) = &self.initrd {
            absolute("initrd", initrd)?;
        }
        if self.disks.len() > DISKS_MAX {
            return Err(format!("{} disks: a VM has at most {DISKS_MAX}", self.disks.len()));
        }
        for (at, disk) in self.disks.iter().enumerate() {
            disk.check()?;
            if self.disks[..at].iter().any(|other| other.volume == disk.volume) {
                return Err(format!("two disks have the volume {:?}", disk.volume));
            }
        }
        for (key, value) in [("machine", &self.machine), ("cpu", &self.cpu), ("interface", &self.interface)] {
            // A comma would begin another option of QEMU's, such as a file to write to.
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if let Some(value) = value.as_ref().filter(|value| value.is_empty() || !value.chars().all(fits)) {
                return Err(format!("{key} {value:?} is no name: use letters, digits, '-', '_' and '.'"));
            }
        }
        if let Some(mac) = self.mac.as_ref().filter(|mac| !is_mac(mac)) {
            return Err(format!("mac {mac:?} is no MAC address of one host: write it as 52:54:00:12:34:56"));
        }
        match (self.network, &self.interface) {
            (Network::Tap | Network::Bridge, None) => {
                Err("interface is missing: name the tap or the bridge, as in interface = \"vm-web\"".into())
            }
            (Network::None | Network::User, Some(name)) => {
                Err(format!("interface {name:?} needs network = \"tap\" or network = \"bridge\""))
            }
            (network, _) if network != Network::User && self.listen.is_some() => {
                Err("listen needs network = \"user\"".into())
            }
            _ => no_nul(&self.cmdline),
        }
    }
}

impl Disk {
    pub(in crate::hypervisor) fn check(&self) -> Result<(), String> {
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if self.volume.is_empty() || self.volume.len() > 32 || !self.volume.bytes().all(fits) {
            return Err(format!("volume {:?} is no name: use 1 to 32 of a-z, 0-9 and '-'", self.volume));
        }
        self.base.as_deref().map_or(Ok(()), |base| absolute("base", base))
    }
}

fn absolute(key: &str, path: &Path) -> Result<(), String> {
    let text = path.to_str().ok_or_else(|| format!("{key} {} is not UTF-8", path.display()))?;
    no_nul(text)?;
    if path.is_absolute() { Ok(()) } else { Err(format!("{key} {text} is not an absolute path")) }
}

fn no_nul(text: &str) -> Result<(), String> {
    if text.contains('\0') {
        return Err("a NUL byte stands in the configuration: no program can be given one".into());
    }
    Ok(())
}

fn is_mac(text: &str) -> bool {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|part| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok()).flatten())
        .collect();
    bytes.is_some_and(|bytes| bytes.len() == 6 && bytes[0] & 1 == 0)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(payload: &str, expected: Expect) {
        match QemuSpec::parse(&format!("kernel = '/k'\n{payload}")) {
            Ok(spec) => expected.assert_eq(&format!("{:?} {:?}", spec.disks, spec.network)),
            Err(error) => expected.assert_eq(&error),
        }
    }

    #[test]
    fn payloads() {
        check(
            "network = 'user'\n[[disks]]\nvolume = 'data'\nsize = '1GiB'",
            expect![[
                r#"[Disk { volume: "data", size: Size(1073741824), format: Raw, base: None, readonly: false }] User"#
            ]],
        );
        check(
            "disks = [{ volume = '../x', size = '1GiB' }]",
            expect![[r#"volume "../x" is no name: use 1 to 32 of a-z, 0-9 and '-'"#]],
        );
        check(
            "disks = [{ volume = 'a', size = '1MiB' }, { volume = 'a', size = '2MiB' }]",
            expect![[r#"two disks have the volume "a""#]],
        );
        check(
            "machine = 'pc,dumpdtb=/etc/x'",
            expect![[r#"machine "pc,dumpdtb=/etc/x" is no name: use letters, digits, '-', '_' and '.'"#]],
        );
        check(
            "network = 'tap'",
            expect![[r#"interface is missing: name the tap or the bridge, as in interface = "vm-web""#]],
        );
        check("listen = '0.0.0.0'", expect![[r#"listen needs network = "user""#]]);
        check(
            "mac = '01:00:00:00:00:00'",
            expect![[
                r#"mac "01:00:00:00:00:00" is no MAC address of one host: write it as 52:54:00:12:34:56"#
            ]],
        );
        check("initrd = 'i'", expect!["initrd i is not an absolute path"]);
    }

    #[test]
    fn sizes() {
        let size = |text: &str| Size::try_from(text.to_owned()).ok().map(|size| size.0);
        assert_eq!(size("1GiB"), Some(1 << 30));
        assert_eq!(size("16 KiB"), Some(16 << 10));
        for wrong in ["", "1", "1GB", "0MiB", "-1MiB", "1.5GiB", "99999999999TiB", "2048TiB"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
