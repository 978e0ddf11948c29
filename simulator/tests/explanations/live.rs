//! Runs with something broken: an explanation is short, in order, ends before the violation, and says what was broken.

use blixard_sim::explain::{self, STEPS_MAX};
use blixard_sim::output;
use blixard_sim::sabotage::Sabotage;

use super::{sabotage, violation};

/// Each of `words` must be in the explanation, in this order of steps or within one; and it is no bare word or two.
fn explained(name: &str, sabotage: Sabotage, properties: &[&str], words: &[&str]) {
    explained_in(3, name, sabotage, properties, words);
}

/// The same, in `least` steps or more.
fn explained_in(least: usize, name: &str, sabotage: Sabotage, properties: &[&str], words: &[&str]) {
    let recording = violation(name, sabotage, properties);
    let explanation = explain::explain(&recording).expect("a violation");
    let shown = output::explanation(&explanation);
    let steps = &explanation.steps;
    assert!((least..=STEPS_MAX).contains(&steps.len()), "{} steps:\n{shown}", steps.len());
    assert!(steps.is_sorted_by_key(|step| step.entry), "{shown}");
    assert!(steps.iter().all(|step| step.at <= explanation.at), "{shown}");
    let told = steps.iter().map(|step| &*step.text).collect::<Vec<_>>().join("\n");
    let mut rest = &*told;
    for each in words {
        let Some(place) = rest.find(each) else {
            panic!("{each:?} is missing, or stands before what should come before it:\n{shown}")
        };
        rest = &rest[place + each.len()..];
    }
}

#[test]
fn a_disk_whose_sync_lies() {
    let broken = sabotage("lying-sync");
    let words = [
        "carry out entry",
        "have said that it is durable",
        "comes back with a log that ends at",
        "though its disk had said",
        "votes for",
        "leads term",
    ];
    explained("crash", broken, &["leader-completeness"], &words);
}

#[test]
fn a_hypervisor_that_ignores_deadlines() {
    let broken = sabotage("deadline-ignored");
    let words = [
        "assigns",
        "comes alive",
        "tells its hypervisor to let its VMs live until",
        "that deadline passes, and",
        "lives on",
    ];
    explained("leases", broken, &["leases", "single-run"], &words);
}

#[test]
fn a_hypervisor_that_calls_a_vm_stopped_too_early() {
    let broken = sabotage("stop-told-early");
    let words = [
        "assigns",
        "comes alive",
        "orders its hypervisor to stop",
        "and is told after",
        "that it is done",
        "'s report: ",
        "has stopped there; it lives on",
    ];
    explained("calm", broken, &["confirmation"], &words);
}

#[cfg(feature = "planted")]
mod planted {
    use super::*;

    #[test]
    fn a_stop_that_is_not_awaited() {
        let words = ["comes alive", "orders its hypervisor to stop", "and has no answer", "it lives on"];
        explained("calm", sabotage("stop-not-awaited"), &["confirmation"], &words);
    }

    #[test]
    fn an_orphan_ignored() {
        let words =
            ["comes alive", "is killed", "opens its disk", "asks its hypervisor what runs", "it lives on"];
        explained("hypervisor", sabotage("orphan-ignored"), &["confirmation"], &words);
    }

    #[test]
    fn a_lost_host_used() {
        let words = ["lose-host", "assigns", "under e"];
        explained("leases", sabotage("lost-host-used"), &["placement"], &words);
    }

    #[test]
    fn a_cordon_ignored() {
        let words = ["cordon n", "assigns", "under e"];
        // What was said of the host, and what was done all the same: there is no more to it.
        explained_in(2, "churn", sabotage("cordon-ignored"), &["placement"], &words);
    }

    #[test]
    fn the_vote_not_persisted() {
        let words = [
            "votes for",
            "was given term",
            "but no vote",
            "comes back: its disk holds term",
            "and no vote",
            "too, in the same term",
        ];
        explained("elections", sabotage("vote-not-persisted"), &["election-safety"], &words);
    }

    #[test]
    fn the_level_raised_too_early() {
        let words = [
            "starts as an older version: it speaks level 1",
            "first carried out by",
            "raises the cluster's level to 2",
        ];
        explained("mixed-versions", sabotage("level-raised-too-early"), &["feature-level"], &words);
    }

    #[test]
    fn the_process_that_goes_on_below_the_level() {
        let words = ["raises the cluster's level to 2", "is given another version", "it speaks level 1"];
        explained("mixed-versions", sabotage("below-level-opens"), &["feature-level"], &words);
    }

    #[test]
    fn who_speaks_too_little_is_taken_in() {
        let words = ["raises the cluster's level to 2", "it speaks level 1", "what n"];
        explained("mixed-versions", sabotage("join-below-level-accepted"), &["feature-level"], &words);
    }

    #[test]
    fn the_term_not_persisted() {
        let words = [
            "votes for",
            "was given to its disk",
            "comes back: its disk holds term",
            "it knows nothing of term",
            "too, in the same term",
        ];
        explained("crash", sabotage("term-not-persisted"), &["election-safety"], &words);
    }

    #[test]
    fn stale_assignments_accepted() {
        let words = ["assigns", "works from the assignments as of entry", "comes alive"];
        explained("leases", sabotage("stale-set-accepted"), &["single-run"], &words);
    }

    #[test]
    fn leases_without_asking_the_quorum() {
        let words =
            ["comes alive", "a lease until", "is given up, although the lease it works with runs until"];
        explained("leases", sabotage("lease-without-quorum"), &["leases"], &words);
    }

    #[test]
    fn reads_without_asking_the_quorum() {
        let words = ["and is told", "asks to get", "answers", "has carried out entries up to", "is told"];
        explained(
            "elections",
            sabotage("read-index-skipped"),
            &["linearizability", "real-time-order"],
            &words,
        );
    }

    #[test]
    fn releases_before_the_commit() {
        let words =
            ["answers", "only now", "begins the write of that turn", "is told that its write is done"];
        explained("crash", sabotage("released-before-commit"), &["durability"], &words);
    }

    #[test]
    fn artifacts_ignored() {
        explained(
            "hypervisor",
            sabotage("artifact-ignored"),
            &["artifacts"],
            &["executes", "though nothing has updated it"],
        );
    }

    #[test]
    fn volumes_removed_too_early() {
        explained(
            "calm",
            sabotage("purged-when-stopped"),
            &["volumes"],
            &["removes for good", "no entry deletes"],
        );
    }
}
