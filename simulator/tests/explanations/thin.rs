//! Writes the recorded runs anew: the first run that shows each bug, without the lines that its explanation does not need.
//! `cargo test --release -p blixard-sim --features planted --test explanations -- --ignored`; then look at the words again.

use blixard_sim::explain::{self, Explanation};
use blixard_sim::sabotage::Sabotage;
use blixard_sim::trace::file::{Recording, Writer};
use blixard_sim::trace::{Entry, Kind, Sink as _, Trace};

use super::{folder, sabotage, violation};

#[test]
#[ignore = "writes the recorded runs anew"]
fn recorded_runs_are_written() {
    let bugs: [(&str, &str, Sabotage, &[&str]); 10] = [
        ("disks-lie", "crash", sabotage("lying-sync"), &["leader-completeness"]),
        ("deadlines-ignored", "leases", sabotage("deadline-ignored"), &["leases", "single-run"]),
        ("vote-not-persisted", "elections", sabotage("vote-not-persisted"), &["election-safety"]),
        ("term-not-persisted", "crash", sabotage("term-not-persisted"), &["election-safety"]),
        ("stale-set-accepted", "leases", sabotage("stale-set-accepted"), &["single-run"]),
        ("lease-without-quorum", "leases", sabotage("lease-without-quorum"), &["leases"]),
        (
            "read-index-skipped",
            "elections",
            sabotage("read-index-skipped"),
            &["linearizability", "real-time-order"],
        ),
        ("released-before-commit", "crash", sabotage("released-before-commit"), &["durability"]),
        ("artifact-ignored", "hypervisor", sabotage("artifact-ignored"), &["artifacts"]),
        ("purged-when-stopped", "calm", sabotage("purged-when-stopped"), &["volumes"]),
    ];
    for (name, scenario, sabotage, properties) in bugs {
        let recording = thinned(violation(scenario, sabotage, properties));
        let file = folder("tests/explanations").join(format!("{name}.trace"));
        let mut writer = Writer::new(Vec::new(), &recording.header).expect("memory");
        recording.entries.iter().for_each(|entry| writer.entry(entry));
        let content = writer.finish(&recording.end).expect("memory");
        #[expect(clippy::disallowed_methods, reason = "the test writes its own data")]
        std::fs::write(&file, content).expect("a file");
        println!("{name}: {} lines", recording.entries.len());
    }
}

/// The steps with their times, whatever their places.
fn words(recording: &Recording) -> Vec<(u64, String)> {
    let explanation: Explanation = explain::explain(recording).expect("a violation");
    explanation.steps.into_iter().map(|step| (step.at, step.text)).collect()
}

fn thinned(mut recording: Recording) -> Recording {
    let wanted = words(&recording);
    for kind in Kind::ALL {
        let rest = recording.entries.iter().filter(|entry| entry.kind != *kind).copied().collect();
        keep_if_same(&mut recording, rest, &wanted);
    }
    let mut chunk = recording.entries.len().div_ceil(2);
    loop {
        let mut from = 0;
        while from < recording.entries.len() {
            let until = (from + chunk).min(recording.entries.len());
            let rest = [&recording.entries[..from], &recording.entries[until..]].concat();
            if !keep_if_same(&mut recording, rest, &wanted) {
                from = until;
            }
        }
        if chunk == 1 {
            break;
        }
        chunk = chunk.div_ceil(2);
    }
    let mut trace = Trace::new(None);
    recording.entries.iter().for_each(|entry| trace.take(entry));
    (recording.end.hash, recording.end.lines) = (trace.hash(), trace.count());
    recording
}

fn keep_if_same(recording: &mut Recording, rest: Vec<Entry>, wanted: &[(u64, String)]) -> bool {
    let all = std::mem::replace(&mut recording.entries, rest);
    let same = words(recording) == wanted;
    if !same {
        recording.entries = all;
    }
    same
}
