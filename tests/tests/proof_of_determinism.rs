//! The same seed gives the same run: twice in this process, in a process of its own, and in a release build. Another seed gives
//! another run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use blixard_node::time::Duration;
use blixard_sim::determinism;
use blixard_sim::output;
use blixard_sim::scenario::{self, Scenario};
use blixard_sim::subject::{Blixard, Subject as _};

/// Seeds of each scenario.
const SEEDS: u64 = if cfg!(feature = "simulation") { 20 } else { 2 };
/// The safety phase of each run here: long enough for every kind of fault to have struck somewhere.
const DURATION: &str = if cfg!(feature = "simulation") { "120s" } else { "40s" };

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files() -> Vec<PathBuf> {
    scenario::find_all(&root().join("scenarios").display().to_string()).expect("the folder scenarios/")
}

fn load(file: &Path) -> Scenario {
    let text = std::fs::read_to_string(file).expect("readable");
    let mut scenario =
        Scenario::parse(&file.display().to_string(), &text).unwrap_or_else(|problem| panic!("{problem}"));
    scenario.run.duration = duration();
    scenario
}

fn duration() -> Duration {
    scenario::duration(DURATION).expect("a span")
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    for file in files() {
        let scenario = load(&file);
        let mut seen = BTreeMap::new();
        for seed in 0..SEEDS {
            let (report, divergence) = determinism::check(&Blixard::default(), &scenario, seed);
            if let Some(divergence) = divergence {
                panic!("{} seed {seed}: {}", scenario.name, output::divergence(&divergence));
            }
            let other = seen.insert(report.trace_hash, seed);
            assert_eq!(other, None, "{}: seeds {other:?} and {seed} gave one run", scenario.name);
        }
    }
}

/// The trace hash that a build of the binary gives.
fn hash_of(binary: &Path, file: &Path, seed: u64) -> String {
    let mut command = Command::new(binary);
    command.args(["--json", "--seed", &seed.to_string(), "--duration", DURATION, "--scenario"]).arg(file);
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
    let text = String::from_utf8_lossy(&output.stdout);
    let told: serde_json::Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr)));
    told["trace_hash"].as_str().expect("a hash").to_owned()
}

/// Builds the binary; where it is.
fn build(profile: &str) -> PathBuf {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root()).args([
        "build",
        "--quiet",
        "--package",
        "blixard-sim",
        "--bin",
        "blixard-sim",
    ]);
    command.args(["--profile", profile, "--message-format", "json"]);
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let artifacts = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut binaries = artifacts.filter_map(|artifact| artifact["executable"].as_str().map(PathBuf::from));
    binaries.next_back().expect("cargo tells where the binary is")
}

/// Three builds and three processes agree: this test's own, the debug binary, the release binary.
#[test]
fn debug_and_release_give_the_same_run() {
    let (debug, release) = (build("dev"), build("release"));
    assert_ne!(debug, release);
    for file in files() {
        let scenario = load(&file);
        let seed = 7;
        let here = Blixard::default().run(&scenario, seed, None).trace_hash;
        let here = format!("{here:016x}");
        assert_eq!(
            hash_of(&debug, &file, seed),
            here,
            "{}: the debug binary gave another run",
            scenario.name
        );
        assert_eq!(
            hash_of(&release, &file, seed),
            here,
            "{}: the release binary gave another run",
            scenario.name
        );
    }
}
