//! A process below the cluster's level, and what warns it: its log, or a snapshot that comes in.

use blixard_node::OpenError;
use blixard_node::config::RaftConfig;
use blixard_node::input::Input;
use blixard_node::level::Level;
use blixard_node::stored::{LogEntry, Stored};
use blixard_node::time::Duration;

use crate::cluster::Cluster;
use crate::deposed::piece;
use crate::replication::{create, isolate};

const OLD: Level = Level::FIRST;
const NEW: Level = Level(2);

/// Two of three speak the newer level already.
fn held_back(raft: RaftConfig) -> Cluster {
    let mut cluster = Cluster::at_level(OLD, 1, raft);
    cluster.tell = true;
    for id in [2, 3] {
        cluster.add_at(id, NEW);
    }
    cluster.run(Duration::from_secs(20));
    cluster
}

/// Opens an old process on this disk of the second's.
fn opens(cluster: &mut Cluster, disk: &Stored) -> Result<(), OpenError> {
    cluster.machines.get_mut(&2).unwrap().disk = disk.clone();
    cluster.replace(2, OLD)
}

#[test]
fn an_entry_that_raises_the_level_counts_when_it_is_known_to_be_committed() {
    let mut cluster = held_back(RaftConfig::default());
    cluster.replace(1, NEW).unwrap();
    cluster.run(Duration::from_secs(10));
    assert_eq!(cluster.node(2).state().unwrap().level, NEW, "{}", cluster.log);
    let disk = cluster.machines[&2].disk.clone();
    let below = disk.snapshot.as_ref().unwrap().index;
    let committed = |commit| {
        let mut disk = disk.clone();
        disk.hard_state.commit = commit;
        disk
    };
    let last = disk.entries.last().unwrap().index;
    let refused = Err(OpenError::BelowLevel { cluster: NEW, own: OLD });
    let raises = (below..=last).find(|commit| opens(&mut cluster, &committed(*commit)).is_err()).unwrap();
    assert!(raises > below, "the snapshot is of before");
    for commit in [raises, last, last + 5] {
        assert_eq!(opens(&mut cluster, &committed(commit)), refused);
    }
    assert_eq!(opens(&mut cluster, &committed(raises - 1)), Ok(()), "another may yet take its place");

    // Entries that the snapshot covers are ignored, whatever they say.
    let entry = disk.entries.iter().find(|entry| entry.index == raises).unwrap();
    let mut disk = committed(below);
    disk.entries.clear();
    disk.entries.push(LogEntry { index: below, ..entry.clone() });
    assert_eq!(opens(&mut cluster, &disk), Ok(()));
}

#[test]
fn a_process_that_a_snapshot_outgrows_ends_and_does_not_take_it() {
    let raft = RaftConfig { snapshot_every: 10, keep_entries: 2, ..RaftConfig::default() };
    let mut cluster = held_back(raft);
    isolate(&mut cluster, 3);
    cluster.replace(1, NEW).unwrap();
    cluster.run(Duration::from_secs(10));
    let leader = cluster.leader().unwrap();
    assert_eq!(cluster.node(leader).state().unwrap().level, NEW, "{}", cluster.log);
    for count in 0..20 {
        cluster.done(create(&format!("vm{count}"))).unwrap();
    }
    assert_eq!(cluster.replace(3, OLD), Ok(()), "its disk says nothing");
    let disk = cluster.machines[&3].disk.clone();
    let term = cluster.node(leader).consensus().term;
    let piece = piece(&cluster, leader, 3, term);
    cluster.turn(3, Input::Deliver(Box::new(piece)));
    assert!(cluster.log.contains("n3 speaks level 1 and ends: the cluster is at 2"), "{}", cluster.log);
    assert_eq!(cluster.node(3).state().unwrap().level, OLD);
    assert_eq!(cluster.machines[&3].disk, disk);
}
