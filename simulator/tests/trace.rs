//! Trace files: what a run writes is read again, and `docs/trace.md` lists every kind of line with every field.

use std::path::Path;

use blixard_sim::scenario::{self, Scenario};
use blixard_sim::subject::{Blixard, Subject as _};
use blixard_sim::trace::file::{End, Header, Writer, parse};
use blixard_sim::trace::{self, Entry, Sink};

const MARK: &str = "do not edit below. -->\n\n";

#[test]
fn every_kind_is_documented() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/trace.md");
    let page = std::fs::read_to_string(&file).expect("docs/trace.md");
    let (prose, tables) = page.split_once(MARK).expect("the mark before the tables");
    let reference = trace::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        #[expect(clippy::disallowed_methods, reason = "the test rewrites the page when asked to")]
        std::fs::write(&file, format!("{prose}{MARK}{reference}")).expect("docs/trace.md is written");
        return;
    }
    assert!(tables == reference, "docs/trace.md is not up to date: UPDATE_DOCS=1 writes it anew");
}

/// Keeps the lines, and writes them.
struct Both(Vec<Entry>, Writer<Vec<u8>>);

impl Sink for Both {
    fn entry(&mut self, entry: &Entry) {
        self.0.push(*entry);
        self.1.entry(entry);
    }
}

#[test]
fn a_run_can_be_read_again() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/everything.toml");
    let text = std::fs::read_to_string(&file).expect("a scenario that ships");
    let mut scenario = Scenario::parse("everything", &text).expect("a scenario");
    scenario.run.duration = scenario::duration("20s").expect("a span");
    let header = Header::new(&scenario, 7, String::new());
    let mut both = Both(Vec::new(), Writer::new(Vec::new(), &header).expect("memory"));
    let report = Blixard::default().run(&scenario, 7, Some(&mut both));
    let end = End::of(&report);
    let Both(entries, writer) = both;
    let content = String::from_utf8(writer.finish(&end).expect("memory")).expect("text");
    let read = parse("everything", &content).unwrap_or_else(|error| panic!("{error}"));
    assert!(read.entries == entries, "what was read is not what was written");
    assert_eq!((read.header, read.end), (header, end));
}
