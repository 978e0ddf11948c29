//! QEMU's command line.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use blixard_node::spec::{Port, Resources, VmName};

use super::accel::Accel;
use super::disk;
use super::spec::{Network, QemuSpec};

/// All that the arguments depend on.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub(super) program: &'a Path,
    pub(super) name: &'a VmName,
    pub(super) resources: Resources,
    pub(super) spec: &'a QemuSpec,
    pub(super) ports: &'a [Port],
    pub(super) accel: Accel,
    /// The folder of its volumes.
    pub(super) volumes: &'a Path,
    /// The processor's architecture, as Rust names it.
    pub(super) arch: &'a str,
}

impl Machine<'_> {
    /// Program and arguments. The console is standard input and output, the control line is the open file 3, and the guest
    /// waits (`-S`) until it is let go over that line.
    pub(super) fn command(&self) -> Vec<String> {
        let spec = self.spec;
        let mut command = vec![self.program.display().to_string()];
        let mut add = |option: &str, value: String| command.extend([option.to_owned(), value]);
        add("-name", self.name.to_string());
        add("-machine", self.machine().into());
        let (accel, model) = match self.accel {
            Accel::Kvm => ("kvm", "host"),
            Accel::Tcg => ("tcg", "max"),
        };
        add("-accel", accel.into());
        add("-cpu", spec.cpu.clone().unwrap_or_else(|| model.into()));
        add("-smp", self.resources.vcpus.to_string());
        add("-m", format!("{}M", self.resources.memory_mib));
        add("-kernel", spec.kernel.display().to_string());
        if let Some(initrd) = &spec.initrd {
            add("-initrd", initrd.display().to_string());
        }
        if !spec.cmdline.is_empty() {
            add("-append", spec.cmdline.clone());
        }
        add("-display", "none".into());
        add("-monitor", "none".into());
        add("-chardev", "stdio,id=console,signal=off".into());
        add("-serial", "chardev:console".into());
        add("-chardev", "socket,id=control,fd=3".into());
        add("-mon", "chardev=control,mode=control".into());
        if self.arch == "x86_64" {
            // By which a guest's panic is told from a reboot.
            add("-device", "pvpanic".into());
            add("-action", "panic=exit-failure".into());
        }
        for (at, disk) in spec.disks.iter().enumerate() {
            let file = escaped(&disk::path(self.volumes, disk).display().to_string());
            let (format, readonly) = (disk.format.as_str(), if disk.readonly { "on" } else { "off" });
            add("-drive", format!("id=disk{at},if=none,file={file},format={format},readonly={readonly}"));
            // A full host disk is the guest's to see as a write error: paused by QEMU it would seem alive for ever.
            add(
                "-device",
                format!(
                    "virtio-blk-{},drive=disk{at},serial={},werror=report,rerror=report",
                    self.bus(),
                    disk.volume
                ),
            );
        }
        if let Some(network) = self.network() {
            add("-netdev", network);
            let mac = spec.mac.clone().unwrap_or_else(|| mac_of(self.name));
            add("-device", format!("virtio-net-{},netdev=net0,mac={mac}", self.bus()));
        }
        command.extend(["-nodefaults", "-no-user-config", "-no-reboot", "-S"].map(String::from));
        command
    }

    fn machine(&self) -> &str {
        let usual = if self.arch == "x86_64" { "microvm" } else { "virt" };
        self.spec.machine.as_deref().unwrap_or(usual)
    }

    /// How virtio devices are attached.
    fn bus(&self) -> &'static str {
        if matches!(self.machine(), "microvm" | "virt") { "device" } else { "pci" }
    }

    fn network(&self) -> Option<String> {
        let interface = self.spec.interface.as_deref().unwrap_or_default();
        match self.spec.network {
            Network::None => None,
            Network::User => {
                let listen = match self.spec.listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)) {
                    IpAddr::V4(ip) => ip.to_string(),
                    IpAddr::V6(ip) => format!("[{ip}]"),
                };
                let forward = |Port { protocol, host, guest }: &Port| {
                    format!(",hostfwd={protocol}:{listen}:{host}-:{guest}")
                };
                let forwards: String = self.ports.iter().map(forward).collect();
                Some(format!("user,id=net0{forwards}"))
            }
            Network::Tap => Some(format!("tap,id=net0,ifname={interface},script=no,downscript=no")),
            Network::Bridge => Some(format!("bridge,id=net0,br={interface}")),
        }
    }
}

/// A comma ends a value, two are one.
fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}

/// An address of the kind that QEMU's guests have, the same each time for the same name (FNV-1a).
pub(in crate::hypervisor) fn mac_of(name: &VmName) -> String {
    let hash = name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [.., a, b, c] = hash.to_be_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

#[cfg(test)]
mod tests {
    use blixard_node::spec::Protocol;
    use expect_test::{Expect, expect};

    use super::*;

    fn check(payload: &str, ports: &[Port], accel: Accel, expected: Expect) {
        let spec = QemuSpec::parse(&format!("kernel = '/k'\n{payload}")).unwrap();
        let machine = Machine {
            program: Path::new("/usr/bin/qemu-system-x86_64"),
            name: &VmName::new("web").unwrap(),
            resources: Resources { vcpus: 2, memory_mib: 512 },
            spec: &spec,
            ports,
            accel,
            volumes: Path::new("/v,1/web"),
            arch: "x86_64",
        };
        expected.assert_eq(&machine.command().join(" ").replace(" -", "\n-"));
    }

    #[test]
    fn the_least_vm() {
        check(
            "",
            &[],
            Accel::Tcg,
            expect![[r#"
                /usr/bin/qemu-system-x86_64
                -name web
                -machine microvm
                -accel tcg
                -cpu max
                -smp 2
                -m 512M
                -kernel /k
                -display none
                -monitor none
                -chardev stdio,id=console,signal=off
                -serial chardev:console
                -chardev socket,id=control,fd=3
                -mon chardev=control,mode=control
                -device pvpanic
                -action panic=exit-failure
                -nodefaults
                -no-user-config
                -no-reboot
                -S"#]],
        );
    }

    #[test]
    fn a_vm_with_all() {
        check(
            "initrd = '/i'\ncmdline = 'console=ttyS0 a=b'\nmachine = 'q35'\ncpu = 'qemu64'\nnetwork = 'user'\n\
             disks = [{ volume = 'data', size = '1GiB', format = 'qcow2' }, { volume = 'ro', size = '1MiB', readonly = true }]",
            &[
                Port { protocol: Protocol::Tcp, host: 8080, guest: 80 },
                Port { protocol: Protocol::Udp, host: 5353, guest: 53 },
            ],
            Accel::Kvm,
            expect![[r#"
                /usr/bin/qemu-system-x86_64
                -name web
                -machine q35
                -accel kvm
                -cpu qemu64
                -smp 2
                -m 512M
                -kernel /k
                -initrd /i
                -append console=ttyS0 a=b
                -display none
                -monitor none
                -chardev stdio,id=console,signal=off
                -serial chardev:console
                -chardev socket,id=control,fd=3
                -mon chardev=control,mode=control
                -device pvpanic
                -action panic=exit-failure
                -drive id=disk0,if=none,file=/v,,1/web/data.qcow2,format=qcow2,readonly=off
                -device virtio-blk-pci,drive=disk0,serial=data,werror=report,rerror=report
                -drive id=disk1,if=none,file=/v,,1/web/ro.raw,format=raw,readonly=on
                -device virtio-blk-pci,drive=disk1,serial=ro,werror=report,rerror=report
                -netdev user,id=net0,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp:127.0.0.1:5353-:53
                -device virtio-net-pci,netdev=net0,mac=52:54:00:72:1e:f1
                -nodefaults
                -no-user-config
                -no-reboot
                -S"#]],
        );
    }

    #[test]
    fn a_vm_on_a_tap() {
        let spec = QemuSpec::parse(
            "kernel = '/k'\nnetwork = 'tap'\ninterface = 'vm-web'\nmac = '52:54:00:12:34:56'",
        );
        let spec = spec.unwrap();
        let machine = Machine {
            program: Path::new("q"),
            name: &VmName::new("web").unwrap(),
            resources: Resources { vcpus: 1, memory_mib: 32 },
            spec: &spec,
            ports: &[],
            accel: Accel::Tcg,
            volumes: Path::new("/v"),
            arch: "aarch64",
        };
        let command = machine.command().join(" ");
        assert!(command.contains("-machine virt"), "{command}");
        assert!(command.contains("-netdev tap,id=net0,ifname=vm-web,script=no,downscript=no"), "{command}");
        assert!(command.contains("virtio-net-device,netdev=net0,mac=52:54:00:12:34:56"), "{command}");
        assert!(!command.contains("pvpanic"), "{command}");
    }
}
