//! The disks of a VM: files in its folder of volumes.
//!
//! A disk is made once, may grow, and never shrinks; what a guest has written is never overwritten. Its format is that of
//! its file's name: nothing that a guest can write decides how its disk is read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::spec::{Disk, Format};
use crate::hypervisor::tool;

/// What a qcow2 image begins with.
const QCOW2_MAGIC: &[u8] = b"QFI\xfb";

/// How long `qemu-img` may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The disk's file in the VM's folder.
pub(in crate::hypervisor) fn path(folder: &Path, disk: &Disk) -> PathBuf {
    folder.join(format!("{}.{}", disk.volume, disk.format.as_str()))
}

/// Makes the disk, or grows it. Done already, it does nothing.
///
/// # Errors
/// What is in the way, and how to mend it.
pub(in crate::hypervisor) fn prepare(folder: &Path, disk: &Disk) -> Result<(), String> {
    let told = |error: io::Error| explain(&format!("volume {:?}", disk.volume), folder, &error);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(told)?;
    let other = match disk.format {
        Format::Raw => Format::Qcow2,
        Format::Qcow2 => Format::Raw,
    };
    let elsewhere = path(folder, &Disk { format: other, ..disk.clone() });
    if elsewhere.exists() {
        return Err(format!(
            "volume {:?} is a {} disk already and the spec says {}: convert {} by hand, or give the disk another volume",
            disk.volume,
            other.as_str(),
            disk.format.as_str(),
            elsewhere.display()
        ));
    }
    let path = path(folder, disk);
    if !path.exists() {
        // Under another name until it is whole: a crash in between leaves no half disk that is taken for one.
        let draft = path.with_extension("draft");
        let _ = fs::remove_file(&draft);
        let made = match disk.format {
            Format::Raw => make_raw(&draft, disk).map_err(told),
            Format::Qcow2 => make_qcow2(&draft, disk),
        };
        let placed = made.and_then(|()| {
            // A link, because a rename would replace a disk that somebody has made meanwhile.
            let synced = File::open(&draft).and_then(|file| file.sync_all());
            synced.and_then(|()| fs::hard_link(&draft, &path)).map_err(told)
        });
        let _ = fs::remove_file(&draft);
        placed?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(told)?;
    }
    match disk.format {
        Format::Raw => grow_raw(&path, disk).map_err(told),
        Format::Qcow2 => grow_qcow2(&path, disk),
    }
}

fn make_raw(path: &Path, disk: &Disk) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if let Some(base) = &disk.base {
        let mut from = File::open(base).map_err(|error| at(base, &error))?;
        if starts_as_qcow2(base)? {
            let what = format!("{} is a qcow2 image: a raw disk needs a raw one", base.display());
            return Err(io::Error::other(what));
        }
        // Shares the blocks where the file system can.
        io::copy(&mut from, &mut file)?;
    }
    Ok(())
}

fn grow_raw(path: &Path, disk: &Disk) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() < disk.size.0 {
        file.set_len(disk.size.0)?;
        file.sync_all()?;
    }
    Ok(())
}

fn make_qcow2(path: &Path, disk: &Disk) -> Result<(), String> {
    let (path, size) = (path.display().to_string(), disk.size.0.to_string());
    let Some(base) = &disk.base else {
        return qemu_img(&["create", "-q", "-f", "qcow2", &path, &size]);
    };
    let is_qcow2 = starts_as_qcow2(base).map_err(|error| at(base, &error).to_string())?;
    let base_format = if is_qcow2 { "qcow2" } else { "raw" };
    let base_text = base.display().to_string();
    // Without a size it has its base's; growing comes after, and a smaller size cuts nothing off.
    qemu_img(&["create", "-q", "-f", "qcow2", "-F", base_format, "-b", &base_text, &path])
}

fn grow_qcow2(path: &Path, disk: &Disk) -> Result<(), String> {
    let size = qcow2_size(path).map_err(|error| at(path, &error).to_string())?;
    if size >= disk.size.0 {
        return Ok(());
    }
    qemu_img(&["resize", "-q", "-f", "qcow2", &path.display().to_string(), &disk.size.0.to_string()])
}

/// The size of the disk in a qcow2 image: bytes 24 to 31 of its header (QEMU, `docs/interop/qcow2.txt`).
fn qcow2_size(path: &Path) -> io::Result<u64> {
    let mut header = [0_u8; 32];
    File::open(path)?.read_exact(&mut header)?;
    if !header.starts_with(QCOW2_MAGIC) {
        return Err(io::Error::other("it is no qcow2 image"));
    }
    let mut size = [0_u8; 8];
    size.copy_from_slice(&header[24..]);
    Ok(u64::from_be_bytes(size))
}

fn starts_as_qcow2(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(QCOW2_MAGIC.len() as u64).read_to_end(&mut start)?;
    Ok(start == QCOW2_MAGIC)
}

fn qemu_img(args: &[&str]) -> Result<(), String> {
    let Some(program) = tool::find("qemu-img") else {
        return Err(
            "qemu-img is not installed: qcow2 disks need it; use format = \"raw\" or install it".into()
        );
    };
    let outcome = tool::run(&program, args, PATIENCE).map_err(|error| format!("qemu-img: {error}"))?;
    if outcome.is_ok() {
        return Ok(());
    }
    Err(format!("qemu-img {}: {}", args[0], outcome.complaint()))
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn explain(what: &str, folder: &Path, error: &io::Error) -> String {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return format!("{what}: no space is left in {}: free some and start the VM again", folder.display());
    }
    format!("{what} in {}: {error}", folder.display())
}

/// Removes all disks of a VM.
///
/// # Errors
/// What cannot be removed.
pub(in crate::hypervisor) fn purge(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("the volumes in {} cannot be removed: {error}", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::spec::Size;
    use super::*;

    fn disk(format: Format, size: u64) -> Disk {
        Disk { volume: "data".into(), size: Size(size), format, base: None, readonly: false }
    }

    #[test]
    fn a_raw_disk_grows_and_is_neither_shrunk_nor_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("web");
        prepare(&folder, &disk(Format::Raw, 1 << 20)).unwrap();
        let file = folder.join("data.raw");
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let mut content = b"QFI\xfbof the guest".to_vec();
        content.resize(1 << 20, 0);
        fs::write(&file, &content).unwrap();
        prepare(&folder, &disk(Format::Raw, 1 << 19)).unwrap();
        assert_eq!(fs::read(&file).unwrap(), content, "a smaller size changes nothing");
        prepare(&folder, &disk(Format::Raw, 1 << 21)).unwrap();
        content.resize(1 << 21, 0);
        assert_eq!(fs::read(&file).unwrap(), content);
        let error = prepare(&folder, &disk(Format::Qcow2, 1 << 20)).unwrap_err();
        assert!(
            error.starts_with("volume \"data\" is a raw disk already and the spec says qcow2"),
            "{error}"
        );
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no draft is left");
        purge(&folder).unwrap();
        purge(&folder).unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn a_raw_disk_begins_with_its_base() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base.img");
        fs::write(&base, b"system").unwrap();
        let with_base = Disk { base: Some(base.clone()), ..disk(Format::Raw, 4096) };
        prepare(folder.path(), &with_base).unwrap();
        let made = fs::read(folder.path().join("data.raw")).unwrap();
        assert_eq!((&made[..6], made.len()), (&b"system"[..], 4096));
        fs::write(&base, b"another").unwrap();
        prepare(folder.path(), &with_base).unwrap();
        assert_eq!(fs::read(folder.path().join("data.raw")).unwrap(), made);
        fs::write(&base, b"QFI\xfb").unwrap();
        let error = prepare(folder.path(), &Disk { volume: "other".into(), ..with_base }).unwrap_err();
        assert!(error.contains("is a qcow2 image"), "{error}");
        assert!(!folder.path().join("other.raw").exists());
    }

    #[test]
    fn a_full_disk_is_told_as_such() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(
            explain("volume \"a\"", Path::new("/v"), &full),
            "volume \"a\": no space is left in /v: free some and start the VM again"
        );
    }

    #[test]
    fn qcow2_disks_are_made_above_their_base_and_grown() {
        if tool::find("qemu-img").is_none() {
            eprintln!("skipped: qemu-img is not installed");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base.img");
        fs::write(&base, vec![1; 1 << 20]).unwrap();
        let file = folder.path().join("data.qcow2");
        prepare(folder.path(), &Disk { base: Some(base), ..disk(Format::Qcow2, 1 << 16) }).unwrap();
        assert_eq!(qcow2_size(&file).unwrap(), 1 << 20, "all of its base");
        prepare(folder.path(), &disk(Format::Qcow2, 1 << 24)).unwrap();
        assert_eq!(qcow2_size(&file).unwrap(), 1 << 24);
        fs::write(&file, "no image, but long enough to have a header").unwrap();
        assert!(prepare(folder.path(), &disk(Format::Qcow2, 1)).unwrap_err().contains("no qcow2 image"));
    }
}
