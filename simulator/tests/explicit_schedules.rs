//! A run's schedule, written out as faults and operations one by one, gives the same run.

use blixard_sim::scenario::{Scenario, find};
use blixard_sim::subject::{Blixard, Subject as _};
use blixard_sim::swarm;

fn shipped(name: &str) -> Scenario {
    let path = format!("{}/../scenarios/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let path = find(&path).expect("a scenario that ships");
    let text = std::fs::read_to_string(&path).expect("readable");
    Scenario::parse(name, &text).unwrap_or_else(|problem| panic!("{problem}"))
}

/// As a file, read back, and run.
fn same(scenario: &Scenario, seed: u64) -> (usize, usize) {
    let drawn = Blixard::default().run(scenario, seed, None);
    let text = scenario.explicit(seed, &drawn.schedule).to_toml();
    let explicit =
        Scenario::parse("explicit.toml", &text).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
    let again = Blixard::default().run(&explicit, seed, None);
    let name = &scenario.name;
    for (again, drawn) in again.schedule.faults.iter().zip(&drawn.schedule.faults) {
        assert_eq!(again, drawn, "{name} with seed {seed}");
    }
    for (again, drawn) in again.schedule.operations.iter().zip(&drawn.schedule.operations) {
        assert_eq!(again, drawn, "{name} with seed {seed}");
    }
    assert_eq!(again.trace_hash, drawn.trace_hash, "{name} with seed {seed}");
    (explicit.faults.len(), explicit.operations.len())
}

#[test]
fn what_was_drawn_gives_the_same_run_when_it_is_written_out() {
    let seeds = if cfg!(debug_assertions) { 8 } else { 400 };
    let (mut faults, mut operations) = (0, 0);
    for seed in 0..seeds {
        let (struck, begun) = same(&swarm::draw(seed), seed);
        (faults, operations) = (faults + struck, operations + begun);
    }
    assert!(faults > 10 * seeds as usize && operations > 100 * seeds as usize, "{faults}, {operations}");
    for name in ["everything", "churn", "isolate-leader", "aimed", "bit-rot"] {
        same(&shipped(name), 7);
    }
}

#[test]
fn without_operations_clients_are_idle() {
    let scenario = shipped("calm");
    let drawn = Blixard::default().run(&scenario, 1, None);
    let mut idle = scenario.explicit(1, &drawn.schedule);
    assert!(!idle.operations.is_empty());
    idle.operations.clear();
    idle.workload.operations_per_second = 0;
    let report = Blixard::default().run(&idle, 1, None);
    assert!(report.schedule.operations.is_empty());
}
