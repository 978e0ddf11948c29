//! What came of each mutant, kept as JSON lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::list::{self, Mutant};
use super::told::Told;
use super::trial::{By, Found};

/// What came of one mutant. Neither way was tried when the compiler does not take it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Result {
    name: String,
    file: String,
    /// It has no place in a folded source: for cargo-mutants itself.
    #[serde(default)]
    pub(super) unfolded: bool,
    simulator: Option<Found>,
    tests: Option<Found>,
}

impl Result {
    pub(super) fn of(mutant: &Mutant) -> Self {
        Self { name: mutant.name(), file: mutant.file.clone(), unfolded: false, simulator: None, tests: None }
    }

    pub(super) fn put(&mut self, by: By, found: Found) {
        match by {
            By::Simulator => self.simulator = Some(found),
            By::Tests => self.tests = Some(found),
        }
    }

    /// With what an earlier run has found by the way that was not asked now.
    pub(super) fn after(self, earlier: Option<&Self>) -> Self {
        let Some(earlier) = earlier.filter(|_| self.is_built()) else { return self };
        let simulator = self.simulator.or_else(|| earlier.simulator.clone());
        Self { simulator, tests: self.tests.or_else(|| earlier.tests.clone()), ..self }
    }

    fn is_built(&self) -> bool {
        self.simulator.is_some() || self.tests.is_some()
    }

    fn is_caught(&self) -> bool {
        [&self.simulator, &self.tests].into_iter().any(|found| matches!(found, Some(Found::Caught(_))))
    }

    /// Whether it runs and nothing notices it.
    pub(super) fn is_missed(&self) -> bool {
        self.is_built() && !self.is_caught()
    }
}

#[derive(Debug)]
pub(super) struct Results {
    file: File,
    by_name: BTreeMap<String, Result>,
}

impl Results {
    /// Those of earlier runs; the last word on each mutant counts.
    pub(super) fn open(path: &Path) -> std::result::Result<Self, String> {
        let text = match std::fs::read_to_string(path) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|why| format!("{}: {why}", path.display()))?,
        };
        let file = OpenOptions::new().create(true).append(true).open(path);
        let mut by_name = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let result: Result = serde_json::from_str(line).map_err(|why| {
                format!("{}, line {}: {why}; delete it to begin anew", path.display(), index + 1)
            })?;
            by_name.insert(result.name.clone(), result);
        }
        Ok(Self { file: file.map_err(|why| format!("{}: {why}", path.display()))?, by_name })
    }

    /// Forgets what an earlier source had.
    pub(super) fn keep(&mut self, mutants: &[Mutant]) {
        let names: BTreeSet<String> = mutants.iter().map(Mutant::name).collect();
        self.by_name.retain(|name, _| names.contains(name));
    }

    pub(super) fn get(&self, name: &str) -> Option<&Result> {
        self.by_name.get(name)
    }

    pub(super) fn put(&mut self, result: Result) -> std::result::Result<(), String> {
        let line = serde_json::to_string(&result).map_err(|why| why.to_string())? + "\n";
        // All at once: who is ended in the middle leaves no half of a line.
        self.file.write_all(line.as_bytes()).map_err(|why| format!("the results cannot be kept: {why}"))?;
        self.by_name.insert(result.name.clone(), result);
        Ok(())
    }

    /// Those that nothing catches and nobody has told of.
    pub(super) fn untold<'a>(&'a self, told: &'a Told) -> impl Iterator<Item = &'a Result> {
        self.by_name
            .values()
            .filter(|result| result.is_missed() && !told.has(&result.file, list::without_place(&result.name)))
    }

    /// The shares by file, and each that was missed and is not told of.
    pub(super) fn text(&self, told: &Told) -> String {
        let mut files: BTreeMap<&str, Vec<&Result>> = BTreeMap::new();
        for result in self.by_name.values() {
            files.entry(&result.file).or_default().push(result);
        }
        let mut out = String::from(
            "| source | mutants | built | caught by tests | of the others, by the simulator | left | caught |\n",
        );
        out.push_str("|---|---|---|---|---|---|---|\n");
        let all: Vec<&Result> = self.by_name.values().collect();
        for (file, results) in files.iter().map(|(file, results)| (*file, results)).chain([("all", &all)]) {
            let _ = writeln!(out, "{}", row(file, results));
        }
        for result in self.untold(told) {
            let reached = match (&result.simulator, &result.tests) {
                (Some(Found::NotReached), Some(Found::NotReached)) => "nobody comes by",
                (Some(Found::NotReached), _) => "the simulator does not come by",
                _ => "nothing fails",
            };
            let _ = writeln!(out, "{} ({reached})", result.name);
        }
        out
    }
}

fn row(file: &str, results: &[&Result]) -> String {
    let count = |is: &dyn Fn(&Result) -> bool| results.iter().filter(|result| is(result)).count();
    let built = count(&Result::is_built);
    let caught = count(&Result::is_caught);
    let tests = count(&|result| matches!(result.tests, Some(Found::Caught(_))));
    let share = 1000 * caught / built.max(1);
    format!(
        "| {} | {} | {built} | {tests} | {} | {} | {}.{} % |",
        file.trim_start_matches(Mutant::FOLDER),
        results.len(),
        caught - tests,
        built - caught,
        share / 10,
        share % 10
    )
}
