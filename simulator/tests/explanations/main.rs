//! Explanations: of recorded runs the very words, of live runs with a bug in them that the words name what matters.

mod live;
mod recorded;
#[cfg(feature = "planted")]
mod thin;

use std::path::{Path, PathBuf};

use blixard_sim::sabotage::Sabotage;
use blixard_sim::scenario::{Outcome, Scenario};
use blixard_sim::subject::{Blixard, Subject as _};
use blixard_sim::trace::file::{End, Header, Recording};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn scenario(name: &str) -> Scenario {
    let file = folder("../scenarios").join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&file).expect("a scenario that ships");
    Scenario::parse(name, &text).unwrap_or_else(|problem| panic!("{problem}"))
}

/// What is broken under this name.
fn sabotage(name: &str) -> Sabotage {
    Sabotage::named(name).unwrap_or_else(|| panic!("nothing is broken as {name:?}"))
}

/// The first run that violates one of `properties`, recorded.
fn violation(name: &str, sabotage: Sabotage, properties: &[&str]) -> Recording {
    let scenario = scenario(name);
    for seed in 0..60 {
        let mut entries = Vec::new();
        let report = Blixard(sabotage).run(&scenario, seed, Some(&mut entries));
        let violated = report.violation.as_ref().map_or("", |violation| violation.property);
        if report.outcome != Outcome::Inconclusive && properties.contains(&violated) {
            let header = Header::new(&scenario, seed, String::new());
            return Recording { header, entries, end: End::of(&report) };
        }
    }
    panic!("no seed below 60 of {name} violates any of {properties:?}")
}
