//! Daemons that must not start: they say why, with the value, end with the documented code, and change nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::cluster::{Cluster, wait};

/// Runs a command that must end by itself. Its exit code and what it wrote to stderr.
fn fails(command: &mut Command) -> (Option<i32>, String) {
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let status = wait(&mut process);
    let mut said = String::new();
    process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = status.unwrap_or_else(|| panic!("it did not end, and said\n{said}"));
    (status.code(), said)
}

/// Asserts how a daemon refuses: its exit code, and its last line, by the stable code and words.
#[track_caller]
fn refused(command: &mut Command, exit: i32, code: &str, words: &[&str]) {
    let (ended, said) = fails(command);
    assert_eq!(ended, Some(exit), "{said}");
    let last = said.lines().next_back().unwrap_or_default();
    assert!(last.starts_with(&format!("error[{code}]: ")), "{said}");
    for word in words {
        assert!(last.contains(word), "{word:?} is not said in {last:?}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// All files below a folder with their content; sockets have none.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(&at).unwrap().flatten() {
            let name = entry.path().display().to_string();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() {
                found.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

/// A cluster of one that has lived and listed a VM, and ended in good order.
async fn lived() -> Cluster {
    let mut cluster = Cluster::new(2);
    cluster.start(1);
    cluster.until("it leads", |view| view.leader.is_some()).await;
    cluster.run_vms(1).await;
    cluster.signal(1, Signal::TERM);
    let status = cluster.wait(1);
    assert_eq!(status.code(), Some(0), "{}", cluster.logged(1));
    cluster
}

/// It still opens under its own id, and has what it had.
async fn still_works(mut cluster: Cluster) {
    cluster.start(1);
    cluster.until("it leads again", |view| view.leader.is_some()).await;
    let vms = cluster.until_vms("the VMs are listed", |_| true).await;
    assert_eq!(vms.iter().map(|vm| vm.name.as_str()).collect::<Vec<_>>(), ["vm-0"]);
}

#[test]
fn a_foreign_file_is_left_alone() {
    let cluster = Cluster::new(1);
    let (folder, store) = (cluster.data_dir(1), cluster.data_dir(1).join("store.redb"));
    fs::create_dir(folder).unwrap();
    let path = store.display().to_string();
    for foreign in ["a letter to a friend, longer than any header\n".repeat(500), String::new(), "x".into()] {
        fs::write(&store, &foreign).unwrap();
        refused(&mut cluster.command(1), 1, "BLX-DISK-001", &[&path]);
        assert_eq!(fs::read_to_string(&store).unwrap(), foreign);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_is_noticed_and_left_as_it_is() {
    let cluster = lived().await;
    let store = cluster.data_dir(1).join("store.redb");
    let path = store.display().to_string();
    let whole = fs::read(&store).unwrap();
    let damaged = |from: usize, to: usize| {
        let mut bytes = whole.clone();
        bytes[from..to].iter_mut().for_each(|byte| *byte ^= 0x5a);
        bytes
    };
    let cut = whole[..whole.len() / 2].to_vec();
    let (foreign, corrupt) = ("BLX-DISK-001", "BLX-DISK-003");
    let cases = [(damaged(0, 64), foreign), (damaged(8_192, whole.len()), corrupt), (cut, corrupt)];
    for (bytes, code) in cases {
        fs::write(&store, &bytes).unwrap();
        refused(&mut cluster.command(1), 1, code, &[&path]);
        assert!(fs::read(&store).unwrap() == bytes, "a store that was refused was changed");
    }
    fs::write(&store, &whole).unwrap();
    still_works(cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_members_data_directory_is_refused() {
    let cluster = lived().await;
    let before = content(&cluster.data_dir(1).join("vms"));
    refused(&mut cluster.command_in(2, cluster.data_dir(1)), 1, "BLX-NODE-001", &["n1", "n2"]);
    assert!(content(&cluster.data_dir(1).join("vms")) == before, "the VMs of the other member were touched");
    still_works(cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_has_one_daemon() {
    let mut cluster = Cluster::new(1);
    cluster.start(1);
    cluster.until("it leads", |view| view.leader.is_some()).await;
    let folder = cluster.data_dir(1).display().to_string();
    let mut second = Command::new(super::binary::blixard());
    let elsewhere = cluster.address(1).replace(":7001", ":7002");
    second.env_clear().args(["node", "--id", "1", "--bind", &elsewhere, "--data-dir", &folder]);
    refused(&mut second, 1, "BLX-NODE-005", &[&folder]);
    // The same address is another reason.
    refused(&mut cluster.command(1), 1, "BLX-NODE-007", &[cluster.address(1)]);
    cluster.until("the first one goes on", |view| view.leader.is_some()).await;
}

#[test]
fn listening_beyond_loopback_must_be_asked_for() {
    let cluster = Cluster::new(1);
    for ip in ["0.0.0.0", "192.0.2.1"] {
        let mut command = Command::new(super::binary::blixard());
        let bind = format!("{ip}:7001");
        command.env_clear().args(["node", "--id", "1", "--bind", &bind, "--data-dir"]);
        refused(command.arg(cluster.data_dir(1)), 2, "BLX-NODE-008", &[ip, "--insecure"]);
        assert!(!cluster.data_dir(1).exists(), "a refused daemon made its data directory");
    }
}
