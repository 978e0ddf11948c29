//! What looks at a host leaves nothing on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "not within 20 s: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// A QEMU that KVM has stopped neither runs its guest nor exits.
#[test]
fn a_probe_of_kvm_ends_also_when_whoever_probes_is_killed() {
    if fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        eprintln!("skipped: needs a /dev/kvm, whether or not it works");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (qemu, note) = (folder.path().join("qemu-system-x86_64"), folder.path().join("pid"));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && echo QEMU emulator version 9 && exit\necho $$ > '{0}.new'; mv '{0}.new' '{0}'\nexec sleep 1000\n",
        note.display()
    );
    fs::write(&qemu, script).unwrap();
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_blixard"))
        .arg("doctor")
        .env("PATH", path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it probes", || note.exists());
    doctor.kill().unwrap();
    doctor.wait().unwrap();
    let pid = fs::read_to_string(&note).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    assert!(process.exists(), "or this tests nothing");
    eventually("the QEMU of the probe is gone", || !process.exists());
}
