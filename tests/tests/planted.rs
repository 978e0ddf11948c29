//! Bugs that are planted must be found, by a property that fits. The seed that finds one holds without it, so it is the bug that
//! is found. `cargo test --release -p blixard-tests --features planted --test planted`
//!
//! Eleven are sought in scenarios that ship, and all of the catalogue in the swarm; `cargo xtask teeth` measures how long each takes.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use blixard_node::planted::Planted;
use blixard_sim::sabotage::{Bug, catalogue};
use blixard_sim::scenario::{Outcome, Scenario};
use blixard_sim::swarm;
use blixard_sim::world::{self, Lie, Report, Sabotage};

/// Every planted bug is found within so many seeds.
const SEEDS_MAX: u64 = 200;

fn scenario(name: &str) -> Scenario {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&file).expect("a scenario that ships");
    Scenario::parse(&file.display().to_string(), &text).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Seeks the first seed that shows the bug; it must be one of `properties` that is violated.
fn found(name: &str, sabotage: Sabotage, properties: &[&str]) -> Report {
    let scenario = scenario(name);
    for seed in 0..SEEDS_MAX {
        let report = world::run(&scenario, seed, sabotage, None);
        if !matches!(report.outcome, Outcome::Safety) {
            continue;
        }
        let violation = report.violation.as_ref().expect("a violated run says what was violated");
        println!("found by seed {seed} of {name}: {}: {}", violation.property, violation.message);
        assert!(
            properties.contains(&violation.property),
            "seed {seed} shows {} where one of {properties:?} was expected: {}",
            violation.property,
            violation.message
        );
        let sound = world::run(&scenario, seed, Sabotage::default(), None);
        assert_eq!(
            sound.outcome,
            Outcome::Held,
            "seed {seed} fails without the bug too: {:?}",
            sound.violation
        );
        return report;
    }
    panic!("not found within {SEEDS_MAX} seeds of {name}");
}

fn bug(planted: Planted) -> Sabotage {
    Sabotage { planted, ..Sabotage::default() }
}

#[test]
fn a_disk_whose_sync_lies() {
    let properties =
        ["durability", "election-safety", "log-matching", "leader-completeness", "state-hash", "panic"];
    found("crash", Sabotage::from(Lie::Syncs), &properties);
}

#[test]
fn a_hypervisor_that_ignores_deadlines() {
    found("leases", Sabotage::from(Lie::Deadlines), &["single-run", "leases"]);
}

#[test]
fn releases_before_the_commit() {
    let properties =
        ["durability", "election-safety", "log-matching", "leader-completeness", "state-hash", "panic"];
    found("crash", bug(Planted::ReleasedBeforeCommit), &properties);
}

#[test]
fn reads_without_asking_the_quorum() {
    found(
        "elections",
        bug(Planted::ReadIndexSkipped),
        &["linearizability", "reads-match-revisions", "real-time-order"],
    );
}

#[test]
fn leases_without_asking_the_quorum() {
    found("leases", bug(Planted::LeaseWithoutQuorum), &["single-run", "leases"]);
}

#[test]
fn stale_assignments_accepted() {
    found("leases", bug(Planted::StaleSetAccepted), &["single-run", "leases"]);
}

#[test]
fn artifacts_ignored() {
    found("hypervisor", bug(Planted::ArtifactIgnored), &["artifacts"]);
}

#[test]
fn a_level_raised_too_early() {
    found("mixed-versions", bug(Planted::LevelRaisedTooEarly), &["feature-level"]);
}

#[test]
fn volumes_removed_too_early() {
    found("calm", bug(Planted::PurgedWhenStopped), &["volumes"]);
}

#[test]
fn the_term_not_persisted() {
    found("crash", bug(Planted::TermNotPersisted), &["election-safety", "log-matching", "panic"]);
}

#[test]
fn the_vote_not_persisted() {
    found("elections", bug(Planted::VoteNotPersisted), &["election-safety", "log-matching", "panic"]);
}

/// What a seed of the swarm shows of a bug: the property that is violated and how, if it is the bug that shows.
fn shown(bug: &Bug, seed: u64) -> Option<(&'static str, String)> {
    let scenario = swarm::draw(seed);
    let report = world::run(&scenario, seed, bug.sabotage, None);
    let failed = matches!(report.outcome, Outcome::Safety | Outcome::Liveness);
    let violation =
        report.violation.filter(|violation| failed && bug.shown_by.contains(&violation.property))?;
    let sound = world::run(&scenario, seed, Sabotage::default(), None);
    let holds = matches!(sound.outcome, Outcome::Held | Outcome::Inconclusive);
    holds.then_some((violation.property, violation.message))
}

#[test]
fn the_swarm_finds_the_catalogue() {
    let bugs = catalogue();
    let missed = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = (0..SEEDS_MAX).find_map(|seed| Some((seed, shown(bug, seed)?)));
                    match found {
                        Some((seed, (property, message))) => {
                            println!(
                                "{}: found by seed {seed} of the swarm: {property}: {message}",
                                bug.name
                            );
                        }
                        None => missed.lock().expect("no search panics").push(bug.name),
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().expect("no search panics");
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} seeds of the swarm: {missed:?}");
}

#[test]
fn the_page_lists_the_catalogue() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/teeth.md");
    let page = std::fs::read_to_string(page).expect("docs/teeth.md");
    for bug in catalogue() {
        let row =
            page.lines().find(|line| line.starts_with(&format!("| `{}` | {} |", bug.name, bug.area.name())));
        let row = row.unwrap_or_else(|| panic!("docs/teeth.md has no row of {}", bug.name));
        assert!(row.ends_with(&format!("| {} |", bug.wrong)), "docs/teeth.md says otherwise: {row}");
    }
}

#[test]
fn names_are_unique_and_so_are_the_sentences() {
    let bugs = catalogue();
    assert!(bugs.len() >= 40, "only {} bugs are in the catalogue", bugs.len());
    for (place, bug) in bugs.iter().enumerate() {
        let kebab = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        assert!(bug.name.chars().all(kebab), "{} is not in kebab case", bug.name);
        assert!(bug.wrong.ends_with('.'), "{}: {:?} is no sentence", bug.name, bug.wrong);
        assert!(!bug.shown_by.is_empty(), "{} breaks nothing", bug.name);
        let twin = bugs[..place].iter().find(|other| other.name == bug.name || other.wrong == bug.wrong);
        assert_eq!(twin, None, "{} is listed twice", bug.name);
    }
}

/// The control of `no_bug_can_be_planted_in_what_ships`: this binary has the mark.
#[test]
fn a_binary_that_bugs_can_be_planted_in_is_marked() {
    let own =
        std::fs::read(std::env::current_exe().expect("this binary has a path")).expect("it can be read");
    let mark = blixard_node::planted::MARK;
    assert_eq!(mark, "bugs can be planted in this binary", "real_processes/planted.rs looks for it");
    assert!(String::from_utf8_lossy(&own).contains(mark));
}
