//! Planted bugs must be found: each within 200 seeds, by a checker that is named here. The same seeds without the bug
//! hold, so it is the bug that is found. `cargo test --release -p blixard-tests --features planted --test planted`

use std::path::Path;

use blixard_node::planted::Planted;
use blixard_sim::scenario::{Outcome, Scenario};
use blixard_sim::world::{self, Report, Sabotage};

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
    found("crash", Sabotage { disks_lie: true, ..Sabotage::default() }, &properties);
}

#[test]
fn a_hypervisor_that_ignores_deadlines() {
    found("leases", Sabotage { deadlines_ignored: true, ..Sabotage::default() }, &["single-run", "leases"]);
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
