use super::*;
use crate::checkers::Subjects;
use crate::trace::{Kind, Sink as _, Trace, text};

fn recording() -> Recording {
    let mut entries = Vec::new();
    let mut trace = Trace::new(Some(&mut entries));
    let [first, second] = text::pack("vm-3");
    trace.write(0, Kind::Phase, 0, [1]);
    trace.write(1, Kind::Started, 2, [2, 1]);
    trace.write(u64::MAX, Kind::Decided, 2, [9, 14, 4, 3, 1, first, second, u64::MAX]);
    trace.write(7, Kind::Members, 2, [0b1010, 0, 1 << 63]);
    trace.write(8, Kind::Cut, 1, [1, 0b1001]);
    trace.write(9, Kind::Frozen, 2, []);
    let (hash, lines) = (trace.hash(), trace.count());
    let subjects =
        Subjects { nodes: vec![3, 4], vm: Some(7), name: Some("vm-3".into()), ..Subjects::default() };
    let violation = Accusation {
        property: "leases".into(),
        message: "a \"quoted\" line\nand another".into(),
        at: 9,
        subjects,
    };
    Recording {
        header: Header {
            subject: "blixard".into(),
            scenario: "crash".into(),
            seed: u64::MAX,
            hosts: 5,
            build: "0.1.0 debug".into(),
            reproduce: "cargo sim --seed 1 --scenario crash".into(),
        },
        entries,
        end: End { outcome: "safety".into(), violation: Some(violation), proof: None, hash, lines },
    }
}

fn written(recording: &Recording) -> String {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, &recording.header).expect("memory");
    recording.entries.iter().for_each(|entry| writer.entry(entry));
    writer.finish(&recording.end).expect("memory");
    String::from_utf8(out).expect("text")
}

#[test]
fn what_is_written_is_read() {
    let recording = recording();
    let content = written(&recording);
    assert_eq!(content.lines().count(), 8, "a line an entry, one before and one after:\n{content}");
    assert_eq!(parse("a", &content), Ok(recording));
}

#[test]
fn lines_can_be_searched() {
    let content = written(&recording());
    let line = content.lines().nth(3).expect("a line");
    let shown = r#""kind":"decided","index":9,"what":"assign","vm":4,"node":3,"epoch":1,"name":"vm-3","request":"ffffffffffffffff"}"#;
    assert!(line.ends_with(shown), "{line}");
    assert!(content.contains(r#""kind":"cut","strike":1,"to":[1,4]}"#), "{content}");
}

fn refused(change: impl Fn(&str) -> String) -> String {
    parse("a.trace", &change(&written(&recording()))).expect_err("it is not sound").to_string()
}

#[test]
fn other_files_are_refused() {
    assert!(refused(|_| String::new()).starts_with("a.trace:1: no JSON object"));
    let shown = refused(|_| "{\"x\":1}".into());
    assert_eq!(
        shown,
        "a.trace:1: its first line is no header of \"blixard-trace\"; give a file that --trace has written"
    );
    let shown = refused(|content| content.replace("\"version\":2", "\"version\":1"));
    assert!(
        shown
            .starts_with("a.trace:1: it has version 1 of blixard-trace, this program reads 2; write it anew")
    );
}

#[test]
fn broken_lines_are_refused_with_their_place() {
    let shown = refused(|content| content.replace("\"life\":1", "\"life\":-1"));
    assert!(shown.starts_with("a.trace:3: life is -1, no whole number"), "{shown}");
    let shown = refused(|content| content.replace("\"what\":\"assign\"", "\"what\":\"asign\""));
    assert!(shown.starts_with("a.trace:4: what is \"asign\", no word of decided"), "{shown}");
    let shown = refused(|content| content.replace("\"kind\":\"frozen\"", "\"kind\":\"frosen\""));
    assert!(shown.starts_with("a.trace:7: \"frosen\" is no kind of line"), "{shown}");
    let shown = refused(|content| content.replace("\"kind\":\"frozen\"", "\"kind\":\"frozen\",\"x\":1"));
    assert!(shown.starts_with("a.trace:7: a frozen line has 3 fields, not 4"), "{shown}");
    let shown = refused(|content| content.replace("\"to\":[1,4]", "\"to\":[0]"));
    assert!(shown.starts_with("a.trace:6: to is [0], no list of small numbers"), "{shown}");
}

#[test]
fn what_was_cut_off_or_changed_is_refused() {
    let shown = refused(|content| content.lines().take(4).collect::<Vec<_>>().join("\n"));
    assert!(shown.starts_with("a.trace: it ends after 3 entries without its last line"), "{shown}");
    let shown = refused(|content| content.replace("\"life\":1", "\"life\":2"));
    assert!(shown.starts_with("a.trace:8: the last line tells of 6 entries with hash"), "{shown}");
    let shown = refused(|content| format!("{content}{{}}\n"));
    assert!(shown.starts_with("a.trace:9: a line after the last one"), "{shown}");
}
