//! Every seed that ever found a bug stays. A run changes when the node does, so a seed may not walk the same path again; what
//! it found is said beside it, and where the cause was small a test of its own stands in `src/node/tests/node/basics.rs`.

use std::path::Path;

use blixard_sim::output;
use blixard_sim::scenario::{self, Outcome, Scenario};
use blixard_sim::world::{self, Sabotage};

/// Scenario, seed, and what went wrong there.
const FOUND: [(&str, u64, &str); 22] = [
    ("hypervisor", 16, "two leaders in a term: the commit index of a membership change was not durable"),
    ("hypervisor", 41, "the same"),
    ("everything", 50, "the same"),
    ("disk", 63, "the same, seen as a leader without a committed entry"),
    ("churn", 227, "a proposal between raft-rs's ready and advance: panic"),
    ("churn", 1288, "the same"),
    ("elections", 1280, "the same"),
    ("everything", 1054, "the same"),
    ("calm", 42, "a worker never learned its members, so it was never heard"),
    ("partition", 1, "a demoted voter asked a leader long gone, for ever"),
    ("isolate-leader", 13, "the same"),
    ("leases", 1250, "two agents took each other's hearsay for a leader's word"),
    ("everything", 2067, "a host taken in by an earlier leader's entry was never given up"),
    ("everything", 12_000, "the same"),
    ("everything", 10_530, "a stop waited for a preparation whose completion was lost"),
    ("hypervisor", 23, "the simulator: a pause of a dead process never ended"),
    ("everything", 29, "the same"),
    ("hypervisor", 21, "a stop that the hypervisor has no way to carry out was asked for again for ever"),
    ("hypervisor", 145, "did not recover; held since the agent asks before it speaks"),
    ("everything", 57, "did not recover; held since the commit index is durable"),
    ("leases", 17, "an agent that looked for a leader never asked the members that knew"),
    ("churn", 10_520, "the simulator: a removed member lost its disk while it still voted"),
];

fn holds(scenario: &Scenario, seed: u64, found: &str) {
    let report = world::run(scenario, seed, Sabotage::default(), None);
    let name = &scenario.name;
    assert_eq!(
        report.outcome,
        Outcome::Held,
        "once found: {found}\n{}",
        output::summary(&report, &format!("scenarios/{name}.toml"), &[], 1)
    );
}

#[test]
fn what_was_found_stays_mended() {
    for (name, seed, found) in FOUND {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&file).expect("a scenario that ships");
        let scenario =
            Scenario::parse(&file.display().to_string(), &text).unwrap_or_else(|problem| panic!("{problem}"));
        holds(&scenario, seed, found);
    }
}

/// Drawn scenarios that found a bug, as they were drawn; the seed is the number in the name, what it found the description.
#[test]
fn what_drawn_scenarios_found_stays_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let files = scenario::find_all(&folder.display().to_string()).expect("the folder tests/regressions");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        let scenario =
            Scenario::parse(&file.display().to_string(), &text).unwrap_or_else(|problem| panic!("{problem}"));
        let seed = scenario.name.rsplit('-').next().and_then(|seed| seed.parse().ok());
        holds(&scenario, seed.expect("a name that ends with the seed"), &scenario.description);
    }
}

/// Found and shrunk by proptest: one voter, one worker, no fault at all. The simulator did not know the members of a cluster
/// that never changed them, and took the only voter out of the core.
#[test]
fn a_cluster_of_one_voter_keeps_it() {
    let mut scenario = Scenario { name: "one-voter".into(), ..Scenario::default() };
    scenario.cluster.voters = 1;
    scenario.cluster.workers = 1;
    scenario.cluster.snapshot_every = 20;
    scenario.workload.clients = 1;
    scenario.workload.operations_per_second = 1;
    scenario.workload.vms = 1;
    holds(&scenario, 10_103_144_259_410_187_487, "no core node leads");
}
