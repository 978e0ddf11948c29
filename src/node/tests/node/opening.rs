//! With what a node opens, and with what not: its configuration, the cluster's settings, a first disk.

use blixard_node::codec::MESSAGE_LEN_MAX;
use blixard_node::config::{NodeConfig, RaftConfig, Settings};
use blixard_node::ids::{ClusterId, Incarnation, NodeId};
use blixard_node::probes::Probe;
use blixard_node::spec::VmSpec;
use blixard_node::stored::{EntryKind, Identity, LogEntry, Stored};
use blixard_node::time::{Duration, Now};
use blixard_node::{Node, OpenError, bootstrap};

use crate::cluster::config;

/// What a first disk is refused for, with the settings and the configuration changed.
fn first_disk(change: impl Fn(&mut NodeConfig, &mut Settings)) -> Result<Stored, String> {
    let (mut config, mut settings) = (config(1, &RaftConfig::default(), &[]), Settings::default());
    change(&mut config, &mut settings);
    bootstrap(&config, &settings, ClusterId(7), 1).map_err(|error| error.to_string())
}

fn configured(why: &str, change: impl Fn(&mut NodeConfig)) {
    match first_disk(|config, _| change(config)) {
        Ok(_) => assert_eq!(why, "", "it is taken"),
        Err(reason) => assert_eq!(reason, format!("bad configuration: {why}")),
    }
}

fn set(why: &str, change: impl Fn(&mut Settings)) {
    match first_disk(|_, settings| change(settings)) {
        Ok(_) => assert_eq!(why, "", "it is taken"),
        Err(reason) => assert_eq!(reason, format!("bad configuration: {why}")),
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    configured("", |_| {});
    configured("a node's id must not be 0", |config| config.id = NodeId(0));
    let times = "the tick must be longer than 0, and an election longer than a heartbeat";
    configured(times, |config| config.raft.tick = Duration::ZERO);
    configured(times, |config| config.raft.heartbeat_ticks = 0);
    configured(times, |config| config.raft.election_ticks = config.raft.heartbeat_ticks);
    configured(times, |config| config.raft.election_ticks = config.raft.heartbeat_ticks - 1);
    configured("", |config| config.raft.election_ticks = config.raft.heartbeat_ticks + 1);
    let sizes = "chunk_bytes, snapshot_every and inflight_max must not be 0";
    configured(sizes, |config| config.raft.chunk_bytes = 0);
    configured(sizes, |config| config.raft.snapshot_every = 0);
    configured(sizes, |config| config.raft.inflight_max = 0);
    let bytes = "uncommitted_bytes_max must be above append_bytes_max";
    configured(bytes, |config| config.raft.uncommitted_bytes_max = config.raft.append_bytes_max);
    configured(bytes, |config| config.raft.uncommitted_bytes_max = config.raft.append_bytes_max - 1);
    configured("", |config| config.raft.uncommitted_bytes_max = config.raft.append_bytes_max + 1);
}

/// Appends that wait for the same follower go as one message, and a message above its bound is never taken.
#[test]
fn what_waits_for_a_follower_fits_into_a_message() {
    let usual = RaftConfig::default();
    assert!(2 * usual.appends_bytes_max() <= MESSAGE_LEN_MAX as u64);
    let times = |appends: u64, inflight: usize| {
        move |config: &mut NodeConfig| {
            (config.raft.append_bytes_max, config.raft.inflight_max) = (appends, inflight);
        }
    };
    configured("", times(1 << 20, 32));
    configured("append_bytes_max 1048576 times inflight_max 33 must be at most 33554432", times(1 << 20, 33));
    configured(
        "append_bytes_max 1048577 times inflight_max 32 must be at most 33554432",
        times((1 << 20) + 1, 32),
    );
    let endless = "append_bytes_max 8 times inflight_max 18446744073709551615 must be at most 33554432";
    configured(endless, times(8, usize::MAX));
}

/// The label that announces the level counts: a host that could not announce the next one could not be upgraded.
#[test]
fn a_hosts_labels_leave_room_for_the_one_that_announces_its_level() {
    let labelled = |count: usize| {
        first_disk(|config, _| {
            config.host.labels = (0..count).map(|number| (number.to_string(), String::new())).collect();
        })
    };
    assert!(labelled(VmSpec::REQUIRES_LEN_MAX - 1).is_ok());
    let refused = labelled(VmSpec::REQUIRES_LEN_MAX).unwrap_err();
    assert_eq!(refused, "bad configuration: 65 labels: at most 64");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for voters in [1, 3, 5, 7] {
        set("", |settings| settings.voters_max = voters);
    }
    for voters in [0, 2, 4, 6, 8, 9] {
        let why = format!("voters_max is {voters}: use 1, 3, 5 or 7");
        set(&why, |settings| settings.voters_max = voters);
    }
    for (millis, why) in [
        (1_000, ""),
        (2_000, ""),
        (999, "lease_ttl is 999ms: use at least 1s"),
        (1, "lease_ttl is 1ms: use at least 1s"),
    ] {
        set(why, |settings| settings.lease_ttl = Duration::from_millis(millis));
    }
    let remembered = "sessions_max and answers_max must not be 0";
    set(remembered, |settings| settings.sessions_max = 0);
    set(remembered, |settings| settings.answers_max = 0);
}

#[test]
fn a_first_disk_belongs_to_a_cluster_with_one_voter() {
    let config = config(1, &RaftConfig::default(), &[]);
    let settings = Settings::default();
    let refused = bootstrap(&config, &settings, ClusterId(0), 1).unwrap_err();
    assert_eq!(refused.to_string(), "bad configuration: a cluster's id must not be 0");
    let disk = bootstrap(&config, &settings, ClusterId(7), 1).unwrap();
    let identity = disk.identity.unwrap();
    assert_eq!((identity.cluster, identity.node), (ClusterId(7), NodeId(1)));
    assert_ne!(identity.incarnation, Incarnation(0));
    assert_eq!(disk.snapshot.unwrap().membership.voters, [NodeId(1)]);
}

/// `join` and every later start check as `bootstrap` does: the node opens on nothing that cannot work.
#[test]
fn a_node_opens_on_its_own_disk_with_a_sound_configuration() {
    let open = |config: NodeConfig, disk: Stored| Node::open(config, 1, disk, Now::default());
    let sound = config(2, &RaftConfig::default(), &[1]);
    assert!(open(sound.clone(), Stored::default()).is_ok());
    let bad = NodeConfig { id: NodeId(0), ..sound.clone() };
    let refused = open(bad, Stored::default()).unwrap_err();
    assert_eq!(
        (refused.code(), refused.to_string()),
        ("BLX-NODE-003", "bad configuration: a node's id must not be 0".into())
    );
    let identity = Identity { cluster: ClusterId(7), node: NodeId(3), incarnation: Incarnation(5) };
    let others = Stored { identity: Some(identity), ..Stored::default() };
    let refused = open(sound, others).unwrap_err();
    assert_eq!(refused, OpenError::WrongNode { stored: NodeId(3), configured: NodeId(2) });
    assert_eq!(refused.code(), "BLX-NODE-001");
    assert_eq!(OpenError::Corrupt { reason: String::new() }.code(), "BLX-NODE-002");
}

/// Seeds are led to what is rare by it.
#[test]
fn what_is_rare_about_a_disk_is_noted() {
    let config = config(1, &RaftConfig::default(), &[]);
    let disk = bootstrap(&config, &Settings::default(), ClusterId(7), 1).unwrap();
    let met = |disk: &Stored| {
        let node = Node::open(config.clone(), 1, disk.clone(), Now::default()).unwrap();
        (node.probes().has(Probe::ReopenedWithTail), node.probes().has(Probe::ReopenedInJoint))
    };
    assert_eq!(met(&disk), (false, false));
    let entry = |index| LogEntry { index, term: 1, kind: EntryKind::Command, data: bytes::Bytes::new() };
    let mut longer = disk.clone();
    longer.entries = vec![entry(2), entry(3)];
    for (commit, tail) in [(1, true), (2, true), (3, false)] {
        longer.hard_state.commit = commit;
        assert_eq!(met(&longer), (tail, false), "commit {commit}");
    }
    let mut joint = disk;
    joint.snapshot.as_mut().unwrap().membership.voters_outgoing = vec![NodeId(1)];
    assert_eq!(met(&joint), (false, true));
}
