//! What every [`Disk`] owes, as one suite that runs against any of them.
//!
//! Call [`check_disk`] from a test of the crate that has the disk. It panics at the first promise that is broken.

use std::task::Poll;

use blixard_node::ids::{ClusterId, Incarnation, NodeId, Revision};
use blixard_node::rng::Rng;
use blixard_node::stored::{
    AgentRecord, EntryKind, HardState, Identity, LogEntry, Membership, Snapshot, Stored, WriteBatch,
};
use bytes::Bytes;

use crate::backend::Disk;

/// A place that holds one disk.
pub trait DiskPlace {
    /// The disk under test.
    type Disk: Disk;

    /// Opens the disk again. The disk opened before has been dropped.
    fn open(&mut self) -> Self::Disk;

    /// Puts an empty disk there.
    fn wipe(&mut self);

    /// Lets a batch that was begun come to its end, where that does not happen by itself.
    fn finish(&mut self, disk: &mut Self::Disk) {
        let _ = disk;
    }
}

/// Runs the whole suite.
///
/// # Panics
/// At the first promise of [`Disk`] that is broken.
pub fn check_disk(place: &mut impl DiskPlace) {
    an_empty_disk_holds_nothing(place);
    what_was_written_is_there(place);
    an_append_replaces_from_its_first_entry(place);
    a_snapshot_drops_what_it_covers(place);
    a_snapshot_may_reset_the_log(place);
    a_vote_is_never_lost(place);
    a_shorter_snapshot_replaces_a_longer_one(place);
    large_entries_come_back(place);
    for seed in 0..8 {
        random_batches_match_the_reference(place, seed);
    }
}

/// Writes a batch and waits until it is durable.
fn write<P: DiskPlace>(place: &mut P, disk: &mut P::Disk, batch: WriteBatch) {
    disk.begin(batch);
    place.finish(disk);
    assert_eq!(disk.poll(), Poll::Ready(Ok(())), "a batch that nothing disturbs is written");
    assert_eq!(disk.poll(), Poll::Ready(Ok(())), "asking again changes nothing");
}

fn reopened(place: &mut impl DiskPlace) -> Stored {
    let mut disk = place.open();
    let stored = disk.load().expect("a disk that nothing disturbed is read");
    assert_eq!(disk.load().as_ref(), Ok(&stored), "reading again gives the same");
    stored
}

fn written(place: &mut impl DiskPlace, batches: Vec<WriteBatch>) -> Stored {
    place.wipe();
    let mut reference = Stored::default();
    let mut disk = place.open();
    assert_eq!(disk.load(), Ok(Stored::default()));
    for batch in batches {
        reference.apply(&batch);
        write(place, &mut disk, batch);
    }
    drop(disk);
    let stored = reopened(place);
    assert_eq!(stored, reference);
    stored
}

fn entry(index: u64, term: u64, len: usize) -> LogEntry {
    let data = Bytes::from(vec![(index ^ term) as u8; len]);
    LogEntry { index, term, kind: EntryKind::Command, data }
}

fn entries(range: std::ops::RangeInclusive<u64>, term: u64) -> WriteBatch {
    WriteBatch { append: range.map(|index| entry(index, term, 20)).collect(), ..WriteBatch::default() }
}

fn snapshot(index: u64, len: usize) -> Snapshot {
    let membership = Membership { voters: vec![NodeId(1), NodeId(2)], ..Membership::default() };
    Snapshot { index, term: 1, membership, data: Bytes::from(vec![index as u8; len]) }
}

fn an_empty_disk_holds_nothing(place: &mut impl DiskPlace) {
    place.wipe();
    assert_eq!(reopened(place), Stored::default());
    assert_eq!(reopened(place), Stored::default(), "also when it has been opened before");
    written(place, vec![WriteBatch::default()]);
}

fn what_was_written_is_there(place: &mut impl DiskPlace) {
    let identity = Identity { cluster: ClusterId(u64::MAX), node: NodeId(1), incarnation: Incarnation(7) };
    let agent = AgentRecord { set_revision: Revision(4), members: vec![(NodeId(2), "[::1]:7001".into())] };
    let all = WriteBatch {
        identity: Some(identity),
        snapshot: Some(snapshot(3, 100)),
        hard_state: Some(HardState { term: 2, vote: 1, commit: 3 }),
        agent: Some(agent),
        ..entries(4..=6, 2)
    };
    let stored = written(place, vec![all]);
    assert_eq!(stored.identity, Some(identity));
    assert_eq!(stored.entries.len(), 3);
}

fn an_append_replaces_from_its_first_entry(place: &mut impl DiskPlace) {
    let stored = written(place, vec![entries(1..=9, 1), entries(5..=6, 2)]);
    assert_eq!(stored.entries.iter().map(|entry| entry.term).collect::<Vec<_>>(), [1, 1, 1, 1, 2, 2]);
    written(place, vec![entries(1..=9, 1), entries(1..=1, 2)]);
    written(place, vec![entries(5..=9, 1), entries(3..=4, 2)]);
}

fn a_snapshot_drops_what_it_covers(place: &mut impl DiskPlace) {
    let at = |index| WriteBatch { snapshot: Some(snapshot(index, 10)), ..WriteBatch::default() };
    let stored = written(place, vec![entries(1..=9, 1), at(4)]);
    assert_eq!(stored.entries.first().map(|entry| entry.index), Some(5));
    let stored = written(place, vec![entries(1..=9, 1), at(9)]);
    assert_eq!(stored.entries, []);
    written(place, vec![entries(1..=9, 1), at(9), entries(10..=12, 1), at(11), entries(12..=14, 2)]);
    let both = WriteBatch { snapshot: Some(snapshot(7, 10)), ..entries(8..=10, 3) };
    written(place, vec![entries(1..=9, 1), both]);
}

fn a_snapshot_may_reset_the_log(place: &mut impl DiskPlace) {
    let reset =
        WriteBatch { snapshot: Some(snapshot(5, 10)), snapshot_resets_log: true, ..WriteBatch::default() };
    let stored = written(place, vec![entries(1..=9, 1), reset.clone()]);
    assert_eq!(stored.entries, []);
    let with_entries = WriteBatch { append: entries(6..=7, 4).append, ..reset };
    let stored = written(place, vec![entries(1..=9, 1), with_entries]);
    assert_eq!(stored.entries.last().map(|entry| (entry.index, entry.term)), Some((7, 4)));
}

fn a_vote_is_never_lost(place: &mut impl DiskPlace) {
    let vote = |term, vote, commit| WriteBatch {
        hard_state: Some(HardState { term, vote, commit }),
        ..WriteBatch::default()
    };
    written(place, vec![vote(1, 0, 0), vote(1, 2, 0), vote(3, 2, 0)]);
    let stored = written(place, vec![vote(3, 2, 5), vote(3, 2, 6), entries(1..=2, 1)]);
    assert_eq!(stored.hard_state, HardState { term: 3, vote: 2, commit: 6 });
    written(place, vec![vote(3, 2, 5), vote(3, 2, 6), vote(3, 1, 6)]);
    // A node writes a commit index alone when it has acted on a change of members: forgotten, it would elect itself by those of before.
    let stored = written(place, vec![vote(3, 2, 5), vote(3, 2, 6)]);
    assert_eq!(stored.hard_state.commit, 6);
}

fn a_shorter_snapshot_replaces_a_longer_one(place: &mut impl DiskPlace) {
    let of = |index, len| WriteBatch { snapshot: Some(snapshot(index, len)), ..WriteBatch::default() };
    written(place, vec![of(1, 3 << 20), of(2, 300 << 10), of(3, 0), of(4, 1 << 20)]);
}

fn large_entries_come_back(place: &mut impl DiskPlace) {
    let append = vec![entry(1, 1, 2 << 20), entry(2, 1, 0), entry(3, 1, 70_000)];
    written(place, vec![WriteBatch { append, ..WriteBatch::default() }]);
}

fn random_batches_match_the_reference(place: &mut impl DiskPlace, seed: u64) {
    place.wipe();
    let mut rng = Rng::new(seed, 0);
    let mut reference = Stored::default();
    let mut disk = place.open();
    assert_eq!(disk.load().as_ref(), Ok(&reference));
    for _ in 0..60 {
        let batch = random_batch(&mut rng, &reference);
        reference.apply(&batch);
        write(place, &mut disk, batch);
        if rng.ratio(1, 6) {
            drop(disk);
            let stored = reopened(place);
            assert_eq!(stored, reference);
            reference = stored;
            disk = place.open();
            assert_eq!(disk.load().as_ref(), Ok(&reference));
        }
    }
    drop(disk);
    assert_eq!(reopened(place), reference);
}

/// A batch as a node could write it on top of `stored`.
#[must_use]
pub fn random_batch(rng: &mut Rng, stored: &Stored) -> WriteBatch {
    let mut batch = WriteBatch::default();
    let old = stored.hard_state;
    let covered = stored.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
    let mut last = stored.entries.last().map_or(covered, |entry| entry.index);
    let mut first = stored.entries.first().map_or(last + 1, |entry| entry.index);
    if stored.identity.is_none() || rng.ratio(1, 50) {
        batch.identity = Some(Identity {
            cluster: ClusterId(rng.u64()),
            node: NodeId(1),
            incarnation: Incarnation(rng.u64()),
        });
    }
    if rng.ratio(1, 8) {
        batch.snapshot_resets_log = rng.ratio(1, 3);
        let beyond = if batch.snapshot_resets_log { 10 } else { 0 };
        let index = covered.max(rng.between(covered, last + beyond));
        let len = if rng.ratio(1, 8) { 600_000 } else { rng.below(3_000) as usize };
        batch.snapshot = Some(Snapshot { data: random_bytes(rng, len), ..snapshot(index, 0) });
        if batch.snapshot_resets_log {
            last = index;
        }
        first = index + 1;
        last = last.max(index);
    }
    if rng.ratio(2, 3) {
        let from = if rng.ratio(1, 5) { rng.between(first.min(last + 1), last + 1) } else { last + 1 };
        for index in from..from + rng.between(1, 12) {
            let len = if rng.ratio(1, 60) { 20_000 } else { rng.below(300) as usize };
            let kind = if rng.ratio(1, 10) { EntryKind::Membership } else { EntryKind::Command };
            batch.append.push(LogEntry { index, term: old.term + 1, kind, data: random_bytes(rng, len) });
        }
    }
    match rng.below(4) {
        0 => {
            let (term, vote) = (old.term + 1, rng.below(4));
            batch.hard_state = Some(HardState { term, vote, ..old });
        }
        1 => batch.hard_state = Some(HardState { commit: old.commit + rng.below(3), ..old }),
        _ => {}
    }
    if rng.ratio(1, 6) {
        let members = (0..rng.below(4)).map(|node| (NodeId(node + 1), format!("host-{node}:7001")));
        batch.agent = Some(AgentRecord { set_revision: Revision(rng.u64()), members: members.collect() });
    }
    batch
}

fn random_bytes(rng: &mut Rng, len: usize) -> Bytes {
    (0..len.div_ceil(8)).flat_map(|_| rng.u64().to_le_bytes()).take(len).collect()
}
