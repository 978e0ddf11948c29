//! Whether KVM boots a guest here. That `/dev/kvm` can be opened says little: inside some VMs it is there and stops at the
//! first instruction that it cannot emulate, and QEMU does not even exit then.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::hypervisor::tool;

/// How long the guest of the probe may take. With working KVM it is done in a twentieth of a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// What QEMU exits with when the guest has written 42 to its `isa-debug-exit` device.
const REACHED: i32 = 42 << 1 | 1;

/// Who executes a guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The processor.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

/// As [`probe_kvm`], once in the life of this process.
pub(super) fn kvm(qemu: &Path) -> &'static Result<(), String> {
    static FOUND: OnceLock<Result<(), String>> = OnceLock::new();
    FOUND.get_or_init(|| probe_kvm(qemu))
}

/// Boots a guest under KVM. Takes a twentieth of a second where KVM works, [`PATIENCE`] at most.
///
/// # Errors
/// Why KVM cannot be used.
pub fn probe_kvm(qemu: &Path) -> Result<(), String> {
    let kvm = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    kvm.map_err(|error| format!("/dev/kvm cannot be opened: {error}"))?;
    if std::env::consts::ARCH != "x86_64" {
        // The guest below is x86 code.
        return Ok(());
    }
    boot(qemu, "kvm")
}

/// Boots the guest of the probe under `accel`.
fn boot(qemu: &Path, accel: &str) -> Result<(), String> {
    // Without a name, so that nothing is left of it, however this ends. QEMU opens it through this process.
    let guest =
        memfd_create("probe.elf", MemfdFlags::CLOEXEC).map_err(std::io::Error::from).and_then(|guest| {
            let mut guest = File::from(guest);
            guest.write_all(&probe_guest())?;
            Ok(guest)
        });
    let guest = guest.map_err(|error| format!("no memory for the probe's guest: {error}"))?;
    let kernel = format!("/proc/{}/fd/{}", std::process::id(), guest.as_raw_fd());
    let args = [
        "-M",
        "microvm",
        "-accel",
        accel,
        "-m",
        "32",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-kernel",
        &kernel,
        "-device",
        "isa-debug-exit,iobase=0xf4,iosize=1",
    ];
    let outcome = run_bounded(qemu, &args);
    let outcome = outcome.map_err(|error| format!("{} cannot be run: {error}", qemu.display()))?;
    if outcome.code == Some(REACHED) {
        return Ok(());
    }
    let trouble = outcome.err.lines().find(|line| line.contains("KVM") || line.contains("failed"));
    Err(match trouble {
        Some(line) => format!("a guest does not boot: {}", line.trim()),
        None => format!("a guest does not boot: {}", outcome.complaint()),
    })
}

/// Runs QEMU for [`PATIENCE`] at most, also when this process is killed meanwhile: one that KVM has stopped would stay for ever.
fn run_bounded(qemu: &Path, args: &[&str]) -> std::io::Result<tool::Outcome> {
    let (Some(timeout), Some(program)) = (tool::find("timeout"), qemu.to_str()) else {
        return tool::run(qemu, args, PATIENCE);
    };
    let seconds = PATIENCE.as_secs().to_string();
    let mut all = vec!["-s", "KILL", &seconds, program];
    all.extend(args);
    tool::run(&timeout, &all, PATIENCE + Duration::from_secs(1))
}

/// Where the guest's code lies in its memory.
const CODE_AT: u32 = 0x10_0000;

/// 32-bit code that returns from an interrupt frame of its own making, as every kernel does within its first moments,
/// and then says 42 to the port 0xf4.
#[rustfmt::skip]
const CODE: [u8; 80] = [
    0xfc,                                     // cld
    0xbc, 0x00, 0x10, 0x10, 0x00,             // mov esp, 0x101000
    0x0f, 0x01, 0x15, 0x48, 0x00, 0x10, 0x00, // lgdt [gdtr]
    0xea, 0x14, 0x00, 0x10, 0x00, 0x08, 0x00, // jmp 8:next
    0x66, 0xb8, 0x10, 0x00,                   // next: mov ax, 16
    0x8e, 0xd8, 0x8e, 0xd0,                   // mov ds, ax; mov ss, ax
    0x9c, 0x6a, 0x08,                         // pushfd; push 8
    0x68, 0x25, 0x00, 0x10, 0x00,             // push there
    0xcf,                                     // iretd
    0xb0, 0x2a, 0xe6, 0xf4,                   // there: mov al, 42; out 0xf4, al
    0xf4, 0xeb, 0xfd,                         // halt: hlt; jmp halt
    0x90, 0x90, 0x90, 0x90,
    0, 0, 0, 0, 0, 0, 0, 0,                         // gdt: null
    0xff, 0xff, 0, 0, 0, 0x9a, 0xcf, 0,             // 8: flat code
    0xff, 0xff, 0, 0, 0, 0x92, 0xcf, 0,             // 16: flat data
    0x17, 0x00, 0x30, 0x00, 0x10, 0x00, 0x00, 0x00, // gdtr
];

/// An ELF file with that code, and the note by which QEMU boots it without firmware (Xen's PVH entry, type 18).
fn probe_guest() -> Vec<u8> {
    const HEADERS_LEN: u32 = 52 + 2 * 32;
    const CODE_LEN: u32 = CODE.len() as u32;
    const NOTE_LEN: u32 = 20;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |elf: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| elf.extend(v.to_le_bytes()));
    let word = |elf: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|v| elf.extend(v.to_le_bytes()));
    // An executable for the 386; entry; program headers after the header, no section headers.
    half(&mut elf, &[2, 3]);
    word(&mut elf, &[1, CODE_AT, 52, 0, 0]);
    half(&mut elf, &[52, 32, 2, 0, 0, 0]);
    // LOAD: offset, address twice, size twice, read and execute, alignment. NOTE likewise.
    word(&mut elf, &[1, HEADERS_LEN, CODE_AT, CODE_AT, CODE_LEN, CODE_LEN, 5, 4]);
    word(&mut elf, &[4, HEADERS_LEN + CODE_LEN, 0, 0, NOTE_LEN, NOTE_LEN, 4, 4]);
    elf.extend(CODE);
    word(&mut elf, &[4, 4, 18]);
    elf.extend(b"Xen\0");
    word(&mut elf, &[CODE_AT]);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_of_the_probe_boots_under_the_translator() {
        let Some(qemu) = tool::find("qemu-system-x86_64") else {
            eprintln!("skipped: qemu-system-x86_64 is not installed");
            return;
        };
        assert_eq!(boot(&qemu, "tcg"), Ok(()));
    }

    #[test]
    fn a_qemu_that_boots_nothing_is_told() {
        let error = boot(Path::new("/bin/false"), "tcg").unwrap_err();
        assert_eq!(error, "a guest does not boot: exit status 1");
    }
}
