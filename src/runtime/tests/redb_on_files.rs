//! The redb store on real files: the conformance suite, and the files that must be refused.
#![expect(clippy::disallowed_methods, reason = "these tests are about real files")]
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::task::Poll;

use blixard_node::stored::{HardState, Stored, WriteBatch};
use blixard_runtime::conformance::{DiskPlace, check_disk};
use blixard_runtime::store::{FORMAT, FileBackend};
use blixard_runtime::{Disk, DiskError, RedbDisk};

/// A folder of a test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("blixard-store-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> PathBuf {
        self.0.join("store")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl DiskPlace for Folder {
    type Disk = RedbDisk<FileBackend>;

    fn open(&mut self) -> Self::Disk {
        RedbDisk::open_path(self.store()).unwrap()
    }

    fn wipe(&mut self) {
        let _ = fs::remove_file(self.store());
    }
}

fn vote(term: u64) -> WriteBatch {
    WriteBatch { hard_state: Some(HardState { term, vote: 1, commit: 0 }), ..WriteBatch::default() }
}

/// A store that holds a vote in term 7.
fn with_vote(folder: &mut Folder) -> PathBuf {
    let mut disk = folder.open();
    disk.begin(vote(7));
    assert_eq!(disk.poll(), Poll::Ready(Ok(())));
    folder.store()
}

fn patch(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

fn refused(path: &Path) -> DiskError {
    RedbDisk::open_path(path).unwrap_err()
}

#[test]
fn it_keeps_the_promises_of_a_disk() {
    check_disk(&mut Folder::new("conformance"));
}

#[test]
fn only_its_owner_may_read_it() {
    let mut folder = Folder::new("mode");
    let path = with_vote(&mut folder);
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_second_process_is_refused() {
    let mut folder = Folder::new("in-use");
    let disk = folder.open();
    let error = refused(&folder.store());
    assert_eq!(error, DiskError::InUse { path: folder.store().display().to_string() });
    drop(disk);
    folder.open();
}

#[test]
fn a_creation_under_way_elsewhere_is_left_alone() {
    let folder = Folder::new("creating");
    let temporary = folder.0.join("store.new");
    let other = File::create(&temporary).unwrap();
    other.try_lock().unwrap();
    assert_eq!(refused(&folder.store()).code(), "BLX-DISK-004");
}

#[test]
fn what_a_crash_left_of_a_creation_is_swept_away() {
    let mut folder = Folder::new("half-created");
    fs::write(folder.0.join("store.new"), [7; 100_000]).unwrap();
    assert_eq!(folder.open().load(), Ok(Stored::default()));
    assert!(!folder.0.join("store.new").exists());
}

#[test]
fn a_file_of_another_program_is_refused_and_kept() {
    let folder = Folder::new("foreign");
    for content in [&b""[..], b"hello", &[0; 50_000]] {
        fs::write(folder.store(), content).unwrap();
        let error = refused(&folder.store());
        assert!(matches!(error, DiskError::Foreign { .. }), "{error}");
        assert!(error.to_string().starts_with(&folder.store().display().to_string()), "{error}");
        assert_eq!(fs::read(folder.store()).unwrap(), content);
    }
}

#[test]
fn a_redb_database_of_another_program_is_refused() {
    let folder = Folder::new("foreign-redb");
    drop(redb::Database::create(folder.store()).unwrap());
    let error = refused(&folder.store());
    assert!(error.to_string().contains("the redb database of another program"), "{error}");
}

#[test]
fn a_newer_format_is_refused_with_its_number() {
    let mut folder = Folder::new("newer");
    let path = with_vote(&mut folder);
    let mut start = [0; 20];
    File::open(&path).unwrap().read_exact(&mut start).unwrap();
    start[16..].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    patch(&path, 0, &start);
    patch(&path, 20, &crc32fast::hash(&start).to_le_bytes());
    let known = FORMAT;
    let named = path.display().to_string();
    assert_eq!(refused(&path), DiskError::NewerFormat { path: named, found: known + 1, known });
}

#[test]
fn a_file_cut_short_is_corrupt() {
    let mut folder = Folder::new("cut");
    let path = with_vote(&mut folder);
    let len = fs::metadata(&path).unwrap().len();
    for len in [len - 1, len / 2, 8192, 4096, 1000] {
        File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
        let error = refused(&path);
        assert!(matches!(error, DiskError::Corrupt { .. }), "cut to {len}: {error}");
    }
}

#[test]
fn an_acknowledged_batch_that_redb_gives_up_is_missed() {
    let mut folder = Folder::new("rolled-back");
    let path = with_vote(&mut folder);
    let before = fs::read(&path).unwrap();
    let mut disk = folder.open();
    disk.begin(vote(8));
    assert_eq!(disk.poll(), Poll::Ready(Ok(())));
    drop(disk);
    // The frame is the newest, all of redb's is from before: a state that is whole, but no longer the truth.
    let frame = fs::read(&path).unwrap()[..4096].to_vec();
    fs::write(&path, before).unwrap();
    patch(&path, 0, &frame);
    let error = refused(&path);
    assert!(error.to_string().contains("was acknowledged"), "{error}");
}

#[test]
fn a_missing_folder_is_an_error_that_names_the_file() {
    let error = refused(Path::new("/nonexistent/blixard/store"));
    assert!(matches!(&error, DiskError::Io { path, .. } if path == "/nonexistent/blixard/store"), "{error}");
}
