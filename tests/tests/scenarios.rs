//! The scenarios that ship: documented, well-formed, and held by the node over a share of seeds. With the feature
//! `simulation` the share is long.

use std::collections::BTreeMap;
use std::path::PathBuf;

use blixard_sim::output;
use blixard_sim::scenario::{self, Scenario, Storage};
use blixard_sim::subject::Blixard;
use blixard_sim::swarm;
use blixard_sim::sweep::{Source, Sweep};
use blixard_sim::world::{self, Sabotage};

/// Seeds of each scenario.
const SEEDS: u64 = if cfg!(feature = "simulation") { 200 } else { 4 };
/// Scenarios on redb take longer.
const SEEDS_REDB: u64 = if cfg!(feature = "simulation") { 40 } else { 2 };

/// Seeds whose scenarios are drawn.
const SEEDS_DRAWN: u64 = if cfg!(feature = "simulation") { 1_000 } else { 20 };

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
    let sweep = Sweep {
        scenarios: vec![(name.into(), Source::Fixed(Box::new(scenario)))],
        seeds: (0..seeds).into(),
        ..Sweep::default()
    };
    let swept = sweep.run(&Blixard::default(), &|_| {});
    assert_eq!(swept.runs, seeds);
    assert!(swept.failures == 0, "{}", output::sweep_summary(&sweep, &swept, 1));
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
    aimed = "aimed",
    bit_rot = "bit-rot",
    calm = "calm",
    churn = "churn",
    clock = "clock",
    crash = "crash",
    disk = "disk",
    elections = "elections",
    everything = "everything",
    flaky_network = "flaky-network",
    ghosts = "ghosts",
    hypervisor = "hypervisor",
    isolate_leader = "isolate-leader",
    leases = "leases",
    mixed_versions = "mixed-versions",
    newcomer = "newcomer",
    partition = "partition",
    turnover = "turnover",
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

/// A scenario that is written out is the same scenario.
#[test]
fn shipped_scenarios_survive_being_written() {
    for (name, scenario) in shipped() {
        let text = scenario.to_toml();
        let read = Scenario::parse(&name, &text).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
        assert_eq!(read, scenario, "{text}");
    }
}

/// A share of the scenarios that are drawn whole from their seeds, and one of them written out and run again.
#[test]
fn drawn_scenarios_hold() {
    let scenarios = vec![(swarm::NAME.to_owned(), Source::Drawn)];
    let sweep = Sweep { scenarios, seeds: (0..SEEDS_DRAWN).into(), ..Sweep::default() };
    let swept = sweep.run(&Blixard::default(), &|_| {});
    assert_eq!(swept.runs, SEEDS_DRAWN);
    assert!(swept.failures == 0, "{}", output::sweep_summary(&sweep, &swept, 1));
    let drawn = swarm::draw(3);
    let written = Scenario::parse("drawn", &drawn.to_toml()).expect("a scenario");
    let run = |scenario| world::run(scenario, 3, Sabotage::default(), None).trace_hash;
    assert_eq!(run(&drawn), run(&written));
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
