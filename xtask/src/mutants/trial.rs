//! One mutant on, and what notices it.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::{Deserialize, Serialize};

use super::build::Built;

/// What runs with each mutant.
#[derive(Debug)]
pub(super) struct Plan {
    /// Drawn scenarios: the swarm's seeds from 0.
    pub(super) seeds: u64,
    /// Seeds of each shipped scenario, from 0.
    pub(super) scenario_seeds: u64,
}

/// How much CPU time, in seconds, a mutant may take: as a multiple of what is needed without, and beside it.
const CPU_FACTOR: u64 = 3;
const CPU_MORE: u64 = 5;
/// Virtual memory of each process, in KiB.
const MEMORY_MAX: u64 = 6 << 20;

/// Two ways to look for a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum By {
    Simulator,
    Tests,
}

/// What a run needs without a mutant, and where it comes by.
#[derive(Debug)]
pub(super) struct Ground {
    cpu_max: u64,
    reached: BTreeSet<u32>,
}

/// What came of looking for one mutant in one way.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Found {
    /// By this property, or test, or end.
    Caught(String),
    /// Its place was passed, and nothing failed.
    Missed,
    /// Its place is never passed.
    NotReached,
}

impl By {
    /// Runs without a mutant; an error when that fails.
    pub(super) fn ground(self, built: &Built, plan: &Plan, work: &Path) -> Result<Ground, String> {
        let file = work.join(format!("reached-{self:?}").to_lowercase());
        let _ = std::fs::remove_file(&file);
        let reached =
            [("BLIXARD_MUTANT", "reached".into()), ("BLIXARD_MUTANTS_REACHED", file.display().to_string())];
        let mut begun = std::time::Instant::now();
        for variables in [&reached[..], &[]] {
            begun = std::time::Instant::now();
            if let Some(how) = self.failure(built, plan, variables, u64::MAX)? {
                return Err(format!("{self:?} fails without a mutant: {how}"));
            }
        }
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Ok(Ground {
            cpu_max: CPU_FACTOR * begun.elapsed().as_secs() + CPU_MORE,
            reached: text.lines().filter_map(|line| line.parse().ok()).collect(),
        })
    }

    pub(super) fn seek(
        self,
        built: &Built,
        plan: &Plan,
        ground: &Ground,
        mutant: u32,
    ) -> Result<Found, String> {
        if !ground.reached.contains(&mutant) {
            return Ok(Found::NotReached);
        }
        let switched = [("BLIXARD_MUTANT", mutant.to_string())];
        Ok(match self.failure(built, plan, &switched, ground.cpu_max)? {
            Some(how) => Found::Caught(how),
            None => Found::Missed,
        })
    }

    /// How it fails, if it does.
    fn failure(
        self,
        built: &Built,
        plan: &Plan,
        variables: &[(&str, String)],
        cpu_max: u64,
    ) -> Result<Option<String>, String> {
        match self {
            Self::Simulator => {
                let simulator = built.simulator.as_ref().ok_or("the simulator is not built")?;
                let sweeps = [("swarm", plan.seeds), ("scenarios", plan.scenario_seeds)];
                for (scenario, seeds) in sweeps {
                    let seeds = format!("0..{seeds}");
                    let arguments = ["sweep", "--scenario", scenario, "--seeds", &seeds, "--jobs", "1"];
                    let more = ["--max-failures", "1", "--no-history", "--json"];
                    let output =
                        run(simulator, &built.tree, &[&arguments[..], &more].concat(), variables, cpu_max)?;
                    if !output.status.success() {
                        return Ok(Some(ended(&output).unwrap_or_else(|| property(&output))));
                    }
                }
            }
            Self::Tests => {
                for tests in &built.tests {
                    let folder = built.tree.join("src/node");
                    let output = run(tests, &folder, &[], variables, cpu_max)?;
                    if !output.status.success() {
                        return Ok(Some(ended(&output).unwrap_or_else(|| test(&output))));
                    }
                }
            }
        }
        Ok(None)
    }
}

fn run(
    program: &PathBuf,
    folder: &Path,
    arguments: &[&str],
    variables: &[(&str, String)],
    cpu_max: u64,
) -> Result<Output, String> {
    let limits = match cpu_max {
        u64::MAX => format!("ulimit -v {MEMORY_MAX}; exec \"$@\""),
        cpu_max => format!("ulimit -v {MEMORY_MAX}; ulimit -t {cpu_max}; exec \"$@\""),
    };
    Command::new("sh")
        .args(["-c", &limits, "sh"])
        .arg(program)
        .args(arguments)
        .current_dir(folder)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .map_err(|why| format!("{}: {why}", program.display()))
}

/// How a process was ended that did not end by itself.
fn ended(output: &Output) -> Option<String> {
    const KILLED: i32 = 9;
    const CPU_EXCEEDED: i32 = 24;
    output.status.signal().map(|signal| match signal {
        KILLED | CPU_EXCEEDED => "it never ends".into(),
        _ => format!("signal {signal}"),
    })
}

#[derive(Deserialize)]
struct Summary {
    failed: Vec<Failed>,
}

#[derive(Deserialize)]
struct Failed {
    property: String,
}

/// The property that the first failed run violates.
fn property(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().and_then(|line| serde_json::from_str::<Summary>(line).ok());
    let first = last.and_then(|summary| summary.failed.into_iter().next());
    first.map_or_else(|| otherwise(output), |failed| failed.property)
}

/// The first test that failed.
fn test(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = text.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    failed.map_or_else(|| otherwise(output), str::to_owned)
}

/// How a process failed that does not say what failed: its exit code, and the last it had to say.
fn otherwise(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    format!("exit code {}: {}", output.status.code().unwrap_or_default(), last.trim())
}
