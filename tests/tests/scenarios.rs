//! The scenarios that ship: documented, well-formed, and held by the node over a share of seeds. With the feature
//! `simulation` the share is long.

use std::collections::BTreeMap;
use std::path::PathBuf;

use blixard_sim::output;
use blixard_sim::scenario::{self, Scenario, Storage};
use blixard_sim::sweep::Sweep;

/// Seeds of each scenario.
const SEEDS: u64 = if cfg!(feature = "simulation") { 200 } else { 4 };
/// Scenarios on redb take longer.
const SEEDS_REDB: u64 = if cfg!(feature = "simulation") { 40 } else { 2 };

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn shipped() -> BTreeMap<String, Scenario> {
    let folder = root().join("scenarios");
    let files = scenario::find_all(&folder.display().to_string()).expect("the folder scenarios/");
    let mut scenarios = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let scenario =
            Scenario::parse(&file.display().to_string(), &text).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(scenario.name, name, "a scenario has the name of its file");
        assert!(!scenario.description.is_empty(), "{name} says what it tries");
        scenarios.insert(name, scenario);
    }
    scenarios
}

/// Runs the quick or the long share of one scenario. Its faults must have struck, or it shows nothing.
fn holds(name: &str) {
    let scenario = shipped().remove(name).unwrap_or_else(|| panic!("scenarios/{name}.toml is gone"));
    let seeds = if scenario.cluster.storage == Storage::Redb { SEEDS_REDB } else { SEEDS };
    let kinds: Vec<&str> = scenario.faults.iter().map(|fault| fault.kind.word()).collect();
    let swarm = scenario.run.swarm;
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let sweep = Sweep {
        scenarios: vec![(name.into(), scenario)],
        seeds: 0..seeds,
        jobs,
        time_max_ms: None,
        twice: false,
    };
    let swept = sweep.run(&|_| {});
    assert_eq!(swept.runs, seeds);
    assert!(swept.failed.is_empty(), "{}", output::sweep_summary(&sweep, &swept, 1));
    assert!(swept.elections >= seeds, "a cluster elects at least once");
    for kind in kinds {
        assert!(swarm || swept.faults.contains_key(kind), "{name}: not one {kind} struck in {seeds} seeds");
    }
}

macro_rules! scenarios {
    ($($test:ident = $name:literal),* $(,)?) => {
        $(#[test] fn $test() { holds($name); })*

        /// A scenario that is added to the folder is added here.
        #[test]
        fn every_shipped_scenario_is_run() {
            let listed: Vec<&str> = vec![$($name),*];
            let shipped = shipped();
            assert_eq!(shipped.keys().map(String::as_str).collect::<Vec<_>>(), listed);
        }
    };
}

scenarios! {
    calm = "calm",
    churn = "churn",
    clock = "clock",
    crash = "crash",
    disk = "disk",
    elections = "elections",
    everything = "everything",
    flaky_network = "flaky-network",
    hypervisor = "hypervisor",
    isolate_leader = "isolate-leader",
    leases = "leases",
    partition = "partition",
}

/// The documentation's tables are those of the parser: no key is missing, none is stale.
#[test]
fn every_key_is_documented() {
    const MARK: &str = "do not edit below. -->\n\n";
    let file = root().join("docs/scenarios.md");
    let page = std::fs::read_to_string(&file).expect("docs/scenarios.md");
    let (prose, tables) = page.split_once(MARK).expect("the mark before the tables");
    let reference = scenario::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, format!("{prose}{MARK}{reference}")).expect("docs/scenarios.md is written");
        return;
    }
    assert!(tables == reference, "docs/scenarios.md is not up to date: UPDATE_DOCS=1 writes it anew");
}

/// What the documentation shows as an error is what the parser says.
#[test]
fn documented_complaints_are_those_of_the_parser() {
    let page = std::fs::read_to_string(root().join("docs/scenarios.md")).expect("docs/scenarios.md");
    let text = "name = \"mine\"\n\n[network]\n  latncy = \"1ms\"\n";
    let unknown = Scenario::parse("scenarios/mine.toml", text).expect_err("a wrong key").to_string();
    let text = "name = \"mine\"\n\n\n\n\n[run]\nwarmup = \"5\"\n";
    let unit = Scenario::parse("scenarios/mine.toml", text).expect_err("no unit").to_string();
    assert!(page.contains(&unknown) && page.contains(&unit), "{unknown}\n{unit}");
}
