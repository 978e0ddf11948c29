//! The shipped scenarios and some drawn ones, as a test that is quick to build: it stops at the first failure. It is what mutants of the
//! node are tried on (`docs/teeth.md`), with more seeds than here.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use blixard_sim::scenario::{self, Outcome, Scenario, Storage};
use blixard_sim::swarm;
use blixard_sim::world::{self, Report, Sabotage};

/// Drawn scenarios, unless the variable `BLIXARD_SHORT_SWEEP` gives another number.
const DRAWN: u64 = 8;
/// Of so many drawn seeds, each shipped scenario gets one.
const DRAWN_A_SHIPPED: u64 = 40;

#[expect(clippy::disallowed_methods, reason = "how much is run; what a seed does depends on nothing of it")]
fn drawn() -> u64 {
    std::env::var("BLIXARD_SHORT_SWEEP").ok().and_then(|text| text.parse().ok()).unwrap_or(DRAWN)
}

fn shipped() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let files = scenario::find_all(&folder.display().to_string()).expect("the folder scenarios/");
    let parse = |file: &std::path::PathBuf| {
        let text = std::fs::read_to_string(file).expect("readable");
        Scenario::parse(&file.display().to_string(), &text).unwrap_or_else(|problem| panic!("{problem}"))
    };
    files.iter().map(parse).collect()
}

#[test]
fn every_seed_holds() {
    let drawn = drawn();
    let shipped = shipped();
    let rounds = drawn.div_ceil(DRAWN_A_SHIPPED);
    let fixed = shipped.iter().filter(|scenario| scenario.cluster.storage == Storage::Modelled);
    let runs: Vec<(Scenario, u64)> = (0..rounds)
        .flat_map(|seed| fixed.clone().map(move |scenario| (scenario.clone(), seed)))
        .chain((0..drawn).map(|seed| (swarm::draw(seed), seed)))
        .collect();
    let next = AtomicU64::new(0);
    let failed = |report: &Report| !matches!(report.outcome, Outcome::Held | Outcome::Inconclusive);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                while let Some((scenario, seed)) = runs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let report = world::run(scenario, *seed, Sabotage::default(), None);
                    if failed(&report) {
                        next.store(u64::MAX / 2, Ordering::Relaxed);
                        panic!(
                            "seed {seed} of {}: {:?}: {:?}",
                            scenario.name, report.outcome, report.violation
                        );
                    }
                }
            });
        }
    });
}
