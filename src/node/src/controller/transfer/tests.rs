use super::*;
use crate::command::HostSpec;
use crate::config::NodeConfig;
use crate::context::Me;
use crate::effects::Effects;
use crate::ids::{ClusterId, Incarnation};
use crate::probes::Probes;
use crate::spec::Resources;
use crate::stored::Identity;
use crate::time::{Now, WallMs};

fn me() -> Me {
    let capacity = Resources { vcpus: 1, memory_mib: 1 };
    let host = HostSpec { address: "a:1".into(), capacity, labels: BTreeMap::new() };
    let identity = Identity { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(1) };
    let config = NodeConfig::new(NodeId(1), host, Vec::new());
    Me { config, identity, process: 1, probes: Probes::default(), outgrown: None, loopback: Vec::new() }
}

/// The piece of four bytes at `offset` of a snapshot of eight, which all are the term.
fn piece(term: u64, offset: u64) -> SnapshotChunk {
    let mut message = eraftpb::Message { term, ..Default::default() };
    message.mut_snapshot().mut_metadata().index = 10;
    let whole = [term as u8; 8];
    let data = Bytes::copy_from_slice(&whole[..4]);
    SnapshotChunk { message: Box::new(message), offset, len: 8, crc: crc32fast::hash(&whole), data }
}

/// Hands pieces in, one after the other; the terms of the snapshots that became whole.
fn taken(pieces: &[(u64, u64)]) -> Vec<u64> {
    let (mut transfers, mut me, mut out) = (Transfers::default(), me(), Effects::default());
    let ctx = &mut Context { now: Now { boot: Time(0), wall: WallMs(0) }, me: &mut me, out: &mut out };
    let whole = |(term, offset): &(u64, u64)| transfers.piece(NodeId(2), piece(*term, *offset), ctx);
    pieces.iter().filter_map(whole).map(|message| message.term).collect()
}

#[test]
fn an_older_leaders_snapshot_does_not_take_the_place_of_a_newer_ones() {
    assert_eq!(taken(&[(5, 0), (5, 4)]), [5]);
    assert_eq!(taken(&[(5, 0), (4, 0), (5, 4)]), [5]);
    assert_eq!(taken(&[(5, 0), (3, 0), (3, 4), (5, 4)]), [5]);
    assert_eq!(taken(&[(5, 0), (6, 0), (5, 4), (6, 4)]), [6]);
}

const TO: NodeId = NodeId(2);

/// A leader with snapshots to send, in pieces of four bytes.
struct Sender {
    transfers: Transfers,
    me: Me,
    now: Time,
}

impl Sender {
    fn new() -> Self {
        let mut me = me();
        me.config.raft.chunk_bytes = 4;
        Self { transfers: Transfers::default(), me, now: Time(0) }
    }

    /// What comes of `act`, and the pieces it sends, each with its snapshot's index and offset.
    fn does<T>(&mut self, act: impl FnOnce(&mut Transfers, &mut Context<'_>) -> T) -> (T, Vec<(u64, u64)>) {
        let mut out = Effects::default();
        let now = Now { boot: self.now, wall: WallMs(0) };
        let done = act(&mut self.transfers, &mut Context { now, me: &mut self.me, out: &mut out });
        let sent = out.sends.into_iter().map(|(to, message)| match message.body {
            Body::SnapshotChunk(chunk) if to == TO => (index_of(&chunk.message), chunk.offset),
            other => panic!("{to} is sent {other:?}"),
        });
        (done, sent.collect())
    }

    /// Begins with the snapshot of that index, term and length.
    fn begins(&mut self, index: u64, term: u64, len: usize) -> Vec<(u64, u64)> {
        let mut message = eraftpb::Message { to: TO.0, term, ..Default::default() };
        message.mut_snapshot().mut_metadata().index = index;
        message.mut_snapshot().data = vec![1; len].into();
        self.does(|transfers, ctx| transfers.begin(message, ctx)).1
    }

    /// Hears that all of the snapshot of that index and term below `offset` is there.
    fn hears(&mut self, index: u64, term: u64, offset: u64) -> (bool, Vec<(u64, u64)>) {
        self.does(|transfers, ctx| transfers.confirmed(TO, (index, term, offset), ctx))
    }

    fn wakes(&mut self) -> (Vec<NodeId>, Vec<(u64, u64)>) {
        self.does(Transfers::wake)
    }
}

#[test]
fn a_piece_is_sent_when_the_one_before_it_has_arrived() {
    let mut sender = Sender::new();
    assert!(!sender.transfers.is_sending());
    assert_eq!(sender.begins(10, 5, 10), [(10, 0)]);
    assert!(sender.transfers.is_sending());
    assert_eq!(sender.hears(10, 5, 4), (false, vec![(10, 4)]));
    for (index, term, offset) in [(9, 5, 8), (11, 5, 8), (10, 4, 8), (10, 6, 8), (10, 5, 4), (10, 5, 0)] {
        let heard = sender.hears(index, term, offset);
        assert_eq!(
            heard,
            (false, Vec::new()),
            "of another snapshot, or nothing new: {index} {term} {offset}"
        );
    }
    assert_eq!(sender.hears(10, 5, 8), (false, vec![(10, 8)]));
    assert_eq!(sender.hears(10, 5, 10), (true, Vec::new()));
    assert!(!sender.transfers.is_sending());
    assert_eq!(sender.hears(10, 5, 10), (false, Vec::new()), "it is told once");
}

#[test]
fn a_snapshot_under_way_is_not_begun_again_but_a_newer_one_is() {
    let mut sender = Sender::new();
    assert_eq!(sender.begins(10, 5, 4), [(10, 0)]);
    assert!(!sender.me.probes.has(Probe::SnapshotInPieces), "it is one piece");
    assert_eq!(sender.begins(10, 5, 4), []);
    assert!(!sender.me.probes.has(Probe::SnapshotSuperseded));
    assert_eq!(sender.begins(20, 5, 5), [(20, 0)]);
    assert!(sender.me.probes.has(Probe::SnapshotInPieces));
    assert_eq!(sender.begins(20, 6, 5), [(20, 0)], "its message is of another term");
    assert_eq!(sender.hears(20, 6, 4), (false, vec![(20, 4)]));
}

#[test]
fn a_piece_that_is_not_confirmed_is_sent_again_and_at_last_given_up() {
    let mut sender = Sender::new();
    assert_eq!(sender.transfers.deadline(), None);
    sender.begins(10, 5, 10);
    for _ in 1..TRIES_MAX - 1 {
        let due = sender.now + REPEAT_AFTER;
        assert_eq!(sender.transfers.deadline(), Some(due));
        sender.now = due;
        sender.now.0 -= 1;
        assert_eq!(sender.wakes(), (vec![], vec![]));
        sender.now = due;
        assert_eq!(sender.wakes(), (vec![], vec![(10, 0)]));
    }
    assert_eq!(sender.hears(10, 5, 4), (false, vec![(10, 4)]), "that counts anew");
    for _ in 1..TRIES_MAX {
        sender.now += REPEAT_AFTER;
        assert_eq!(sender.wakes(), (vec![], vec![(10, 4)]));
    }
    sender.now += REPEAT_AFTER;
    assert_eq!(sender.wakes(), (vec![TO], vec![]));
    assert_eq!(sender.transfers.deadline(), None);
    assert_eq!(sender.begins(10, 5, 10), [(10, 0)], "it may begin again");
    sender.transfers.deposed();
    sender.now += REPEAT_AFTER;
    assert_eq!(sender.wakes(), (vec![], vec![]), "a deposed leader sends no more");
}

/// Hands pieces of the snapshot of index 10 and term 5 in, as `change` makes them: the snapshots that became whole, and the offsets
/// that were confirmed.
fn received(change: impl Fn(&mut SnapshotChunk, usize), offsets: &[u64]) -> (Vec<Bytes>, Vec<u64>) {
    let (mut transfers, mut me, mut out) = (Transfers::default(), me(), Effects::default());
    let ctx = &mut Context { now: Now { boot: Time(0), wall: WallMs(0) }, me: &mut me, out: &mut out };
    let mut whole = Vec::new();
    for (place, offset) in offsets.iter().enumerate() {
        let mut chunk = piece(5, *offset);
        change(&mut chunk, place);
        let message = transfers.piece(TO, chunk, ctx);
        whole.extend(message.map(|message| message.get_snapshot().data.clone()));
    }
    let confirmed = out.sends.into_iter().map(|(to, message)| match message.body {
        Body::SnapshotAck { offset, .. } if to == TO => offset,
        other => panic!("{to} is sent {other:?}"),
    });
    (whole, confirmed.collect())
}

#[test]
fn a_snapshot_is_whole_when_all_of_its_pieces_are_there() {
    let whole = Bytes::copy_from_slice(&[5; 8]);
    assert_eq!(received(|_, _| {}, &[0, 4]), (vec![whole.clone()], vec![4, 8]));
    assert_eq!(received(|_, _| {}, &[4, 0, 0, 4]), (vec![whole], vec![4, 4, 8]), "doubled and out of order");
}

#[test]
fn a_snapshot_that_does_not_keep_its_promise_is_dropped() {
    let none = (Vec::new(), vec![4]);
    let garbled = |chunk: &mut SnapshotChunk, place: usize| {
        if place == 1 {
            chunk.data = Bytes::from_static(&[6; 4]);
        }
    };
    assert_eq!(received(garbled, &[0, 4]), none, "its checksum is another");
    let longer = |chunk: &mut SnapshotChunk, place: usize| {
        chunk.crc = crc32fast::hash(&[5; 9]);
        if place == 1 {
            chunk.data = Bytes::from_static(&[5; 5]);
        }
    };
    assert_eq!(received(longer, &[0, 4]), none, "it is longer than it said");
}

#[test]
fn pieces_that_belong_to_different_snapshots_are_not_put_together() {
    let differ: [fn(&mut SnapshotChunk); 4] = [
        |chunk| chunk.message.mut_snapshot().mut_metadata().index = 11,
        |chunk| chunk.message.term = 6,
        |chunk| chunk.len = 12,
        |chunk| chunk.crc ^= 1,
    ];
    for differs in differ {
        let second = |chunk: &mut SnapshotChunk, place: usize| {
            if place == 1 {
                differs(chunk);
            }
        };
        assert_eq!(received(second, &[0, 4]), (Vec::new(), vec![4]));
        // It is the first piece of a newer one.
        assert_eq!(received(second, &[0, 0]).1, [4, 4]);
    }
}

#[test]
fn a_snapshot_of_no_bytes_or_too_many_is_not_taken() {
    let long = |len: u64| received(move |chunk, _| chunk.len = len, &[0]);
    assert_eq!(long(0), (vec![], vec![]));
    assert_eq!(long(LEN_MAX + 1), (vec![], vec![]));
    assert_eq!(long(LEN_MAX), (vec![], vec![4]));
}
