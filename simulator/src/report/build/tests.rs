use super::super::picture::{Arrow, Bar, Fate};
use super::*;
use crate::trace::file::Accusation;
use crate::trace::text;
use crate::trace::words::{MESSAGES, place};

fn end() -> End {
    End { outcome: "held".into(), violation: None, proof: None, hash: 0, lines: 0 }
}

/// Nodes 1 and 2 at home on hosts 1 and 2, then `entries`.
fn drawn(entries: &[Entry]) -> Picture {
    let homes = [1, 2].map(|node| Entry::new(0, Kind::Home, node, &[u64::from(node)]));
    let all: Vec<Entry> = homes.into_iter().chain(entries.iter().copied()).collect();
    picture(&all, &end())
}

fn sent(at: u64, message: u64) -> Entry {
    Entry::new(at, Kind::Sent, 1, &[message, 2, place(MESSAGES, "append"), 3])
}

fn delivered(at: u64, message: u64) -> Entry {
    Entry::new(at, Kind::Delivered, 2, &[message, 1, place(MESSAGES, "append"), 3])
}

fn lost(at: u64, host: u16, message: u64) -> Entry {
    Entry::new(at, Kind::Lost, host, &[message, 2, place(MESSAGES, "append"), 1])
}

fn fates(picture: &Picture) -> Vec<(Fate, u64, u64)> {
    picture.arrows.iter().map(|arrow| (arrow.fate, arrow.at, arrow.until)).collect()
}

fn bars(picture: &Picture, kind: BarKind) -> Vec<&Bar> {
    picture.bars.iter().filter(|bar| bar.kind == kind as u16).collect()
}

#[test]
fn messages_arrive_once_twice_or_not_at_all() {
    let entries = [
        sent(10, 1),
        sent(11, 2),
        lost(11, 1, 2),
        sent(12, 3),
        delivered(20, 3),
        delivered(21, 1),
        delivered(30, 3),
        sent(31, 4),
        lost(40, 2, 4),
        sent(41, 5),
    ];
    let picture = drawn(&entries);
    let expected = [
        (Fate::Arrives, 10, 21),
        (Fate::Lost, 11, 11),
        (Fate::Arrives, 12, 20),
        (Fate::Again, 12, 30),
        (Fate::Refused, 31, 40),
        (Fate::Lost, 41, 41),
    ];
    assert_eq!(fates(&picture), expected);
    let Arrow { kind, from, to, left, came, .. } = picture.arrows[0];
    assert_eq!((from, to, left, came), (1, 2, 2, 7));
    assert_eq!(picture.message_kinds[usize::from(kind)].name, "append");
}

#[test]
fn a_lease_is_one_bar_until_it_runs_out_or_is_given_up() {
    let lease = |at, until| Entry::new(at, Kind::Lease, 1, &[until, 0]);
    let entries = [lease(10, 100), lease(50, 150), lease(200, 300), lease(250, 0), lease(260, 900)];
    let picture = drawn(&[&entries[..], &[Entry::new(400, Kind::Frozen, 2, &[])]].concat());
    let spans: Vec<_> = bars(&picture, BarKind::Lease).iter().map(|bar| (bar.from, bar.until)).collect();
    assert_eq!(spans, [(10, 150), (200, 250), (260, 400)]);
}

#[test]
fn what_a_process_does_ends_with_it() {
    let entries = [
        Entry::new(1, Kind::Started, 1, &[1, 1]),
        Entry::new(2, Kind::Leads, 1, &[4]),
        Entry::new(3, Kind::WriteBegan, 1, &[1, 1, 1, 1]),
        Entry::new(9, Kind::Ended, 1, &[1, 0, 1, 1]),
        Entry::new(20, Kind::Thawed, 1, &[]),
    ];
    let picture = drawn(&entries);
    for kind in [BarKind::Alive, BarKind::Leads, BarKind::Term, BarKind::Write] {
        let ends: Vec<_> = bars(&picture, kind).iter().map(|bar| (bar.until, bar.ended)).collect();
        assert_eq!(ends, [(9, Some(5))], "{kind:?}");
    }
    assert_eq!(bars(&picture, BarKind::Leads)[0].tint, 4);
}

#[test]
fn operations_show_when_they_took_effect() {
    let [first, second] = text::pack("vm-3");
    let began = |at, operation, request| {
        Entry::new(at, Kind::OperationBegan, 0, &[operation, 0, 1, first, second, 0, request, 0])
    };
    let ended = |at, operation, outcome, revision| {
        Entry::new(at, Kind::OperationEnded, 0, &[operation, 0, outcome, 1, revision])
    };
    let decided =
        |at, index, request| Entry::new(at, Kind::Decided, 1, &[index, 3, 1, 0, 0, first, second, request]);
    let entries = [
        began(1, 1, 77),
        decided(3, 5, 77),
        ended(9, 1, 0, 5),
        began(10, 2, 0),
        ended(12, 2, 0, 5),
        began(13, 3, 78),
        ended(20, 3, 3, 0),
        decided(30, 6, 78),
        began(31, 4, 79),
        ended(32, 4, 2, 0),
        began(33, 5, 0),
        ended(34, 5, 0, 7),
        decided(40, 7, 0),
    ];
    let picture = drawn(&entries);
    let shown = bars(&picture, BarKind::Operation);
    let points: Vec<_> = shown.iter().map(|bar| (bar.from, bar.until, bar.tint, bar.point)).collect();
    let expected = [
        (1, 9, 0, Some(3)),
        // A read sees what was there when it began.
        (10, 12, 0, Some(10)),
        // Its client had given up when it took effect.
        (13, 20, 3, Some(30)),
        (31, 32, 2, None),
        // It cannot have seen what came only after its end.
        (33, 34, 0, None),
    ];
    assert_eq!(points, expected);
    assert_eq!((shown[0].label.as_str(), shown[0].lane), ("start vm-3", 3));
    assert_eq!(picture.lanes[3].name, "client 0");
}

#[test]
fn requests_and_answers_travel_between_clients_and_hosts() {
    let entries = [
        Entry::new(1, Kind::OperationBegan, 0, &[1, 0, 1, 0, 0, 0, 0, 0]),
        Entry::new(1, Kind::Asked, 0, &[8, 2, 0, 1]),
        Entry::new(3, Kind::Requested, 2, &[8]),
        Entry::new(5, Kind::Answered, 2, &[8, 0, 1]),
        Entry::new(7, Kind::Replied, 0, &[8, 0]),
    ];
    let picture = drawn(&entries);
    let ways: Vec<_> = picture.arrows.iter().map(|way| (way.from, way.to, way.at, way.until)).collect();
    assert_eq!(ways, [(3, 2, 1, 3), (2, 3, 5, 7)]);
    assert_eq!(picture.events[3].lane, 3, "the client's lane");
}

#[test]
fn faults_end_when_they_are_taken_back() {
    let entries = [
        Entry::new(5, Kind::Fault, 0, &[1, 0, 0b11, 100]),
        Entry::new(6, Kind::Fault, 0, &[2, 0, 0b10, 20]),
        Entry::new(50, Kind::FaultOver, 0, &[1, 0, 0b11]),
        Entry::new(60, Kind::Frozen, 1, &[]),
    ];
    let picture = drawn(&entries);
    let bands: Vec<_> =
        picture.bands.iter().map(|band| (band.from, band.until, band.row, band.lanes.clone())).collect();
    assert_eq!(bands, [(5, 50, 0, vec![1, 2]), (6, 26, 1, vec![2])]);
    assert_eq!(picture.lanes[0].rows, 2);
}

#[test]
fn a_cut_names_both_sides() {
    let cut = |host, strike, to| Entry::new(5, Kind::Cut, host, &[strike, to]);
    let entries = [
        Entry::new(5, Kind::Fault, 0, &[1, 0, 0b01, 9]),
        cut(1, 1, 0b110),
        cut(2, 1, 0b001),
        Entry::new(6, Kind::Fault, 0, &[2, 0, 0b10, 9]),
        cut(2, 2, 0b101),
        Entry::new(7, Kind::Fault, 0, &[3, 0, 0b10, 9]),
    ];
    let whom: Vec<_> = drawn(&entries).bands.into_iter().map(|band| band.whom).collect();
    assert_eq!(whom, ["1 | 2,3", "2 \u{219b} 1,3", "2"]);
}

#[test]
fn events_of_another_subject_are_shown_under_their_own_names() {
    let subject = |at, word: &str| {
        let [first, second] = text::pack(word);
        Entry::new(at, Kind::Subject, 1, &[first, second, 7])
    };
    let picture = drawn(&[subject(1, "counted"), subject(2, "merged"), subject(3, "counted")]);
    let names: Vec<_> = picture.event_kinds.iter().map(|kind| kind.name.as_str()).collect();
    assert_eq!(names, ["home", "counted", "merged"]);
    let kinds: Vec<_> = picture.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [0, 0, 1, 2, 1]);
    assert!(picture.events[2].text.contains("a=7"));
}

#[test]
fn a_violation_marks_its_moment_and_its_nodes() {
    let mut subjects = crate::checkers::Subjects::default();
    subjects.nodes.push(2);
    let violation = Accusation { property: "p".into(), message: "m".into(), at: 15, subjects };
    let entries = [
        Entry::new(0, Kind::Home, 2, &[2]),
        Entry::new(10, Kind::Frozen, 1, &[]),
        Entry::new(20, Kind::Thawed, 1, &[]),
    ];
    let picture = picture(&entries, &End { violation: Some(violation), ..end() });
    assert_eq!(picture.violation, Some(Mark { at: 15, event: 1, lanes: vec![2] }));
}
