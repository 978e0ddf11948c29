//! `cargo xtask mutants`: what changes to the node would nobody notice?

mod build;
mod fold;
mod list;
mod results;
mod told;
mod trial;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use build::Built;
use list::Mutant;
use results::{Result as Outcome, Results};
use told::Told;
use trial::{By, Found, Ground, Plan};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only mutants whose name holds this text: a file, a function, or both; may be given more than once.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Only those that nothing caught when they were tried last; with --resume, those that have not been tried, too.
    #[arg(long)]
    missed: bool,
    /// Only this share of them, such as 3/16: the third of each sixteen.
    #[arg(long, value_name = "N/OF", value_parser = share, default_value = "1/1")]
    shard: (usize, usize),
    /// Keep the results of earlier runs on the same sources, and try what they have not tried.
    #[arg(long)]
    resume: bool,
    /// Seeds of the swarm that each is tried on.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Seeds of each shipped scenario that each is tried on.
    #[arg(long, default_value_t = 3)]
    scenario_seeds: u64,
    /// What seeks them: the node's own tests, the simulator, or first the tests, and the simulator what they leave.
    #[arg(long, value_enum, default_value_t = Seekers::TestsFirst)]
    by: Seekers,
    /// Processes side by side; all cores by default.
    #[arg(long)]
    jobs: Option<usize>,
    /// Where the copy, its build and the results are.
    #[arg(long, value_name = "FOLDER", default_value = "target/mutants")]
    work: PathBuf,
    /// List the mutants and try none.
    #[arg(long)]
    list: bool,
    /// Show the results there are and try none.
    #[arg(long)]
    results: bool,
}

impl Args {
    /// Whether it belongs to the share that is asked for.
    fn has(&self, mutant: &Mutant) -> bool {
        let (part, of) = self.shard;
        mutant.number as usize % of == part - 1
    }
}

/// Tries the mutants and tells what came of them; whether each was caught, or is told of in `docs/mutants.md`.
pub(crate) fn run(args: &Args) -> Result<bool, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let work = std::path::absolute(root.join(&args.work)).map_err(|why| why.to_string())?;
    std::fs::create_dir_all(&work).map_err(|why| format!("{}: {why}", work.display()))?;
    let mut results = Results::open(&work.join("results.jsonl"))?;
    let told = Told::read(&root.join("docs/mutants.md"))?;
    let mutants = list::all(&root)?;
    results.keep(&mutants);
    if args.results {
        print(&results.text(&told));
        return Ok(results.untold(&told).next().is_none());
    }
    let named = |mutant: &Mutant| {
        args.only.is_empty() || args.only.iter().any(|text| mutant.name().contains(text.as_str()))
    };
    let untried = |mutant: &Mutant| match results.get(&mutant.name()) {
        Some(outcome) if args.missed => outcome.is_missed(),
        Some(_) => !args.resume,
        None => !args.missed || args.resume,
    };
    let chosen: Vec<Mutant> = mutants
        .iter()
        .filter(|mutant| args.has(mutant) && named(mutant) && untried(mutant))
        .cloned()
        .collect();
    if args.list {
        chosen.iter().for_each(|mutant| print(&format!("{}\n", mutant.name())));
        return Ok(true);
    }
    let plan = Plan { seeds: args.seeds, scenario_seeds: args.scenario_seeds };
    // Also those that are not chosen: so that the build is the same for the next choice.
    let built = build::build(&root, &work, &mutants, args.by.ways(), &tell)?;
    tell("running without a mutant");
    let ground = |by: &By| Ok((*by, by.ground(&built, &plan, &work)?));
    let grounds = args.by.ways().iter().map(ground).collect::<Result<_, String>>()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let tries = Tries { built: &built, plan: &plan, grounds };
    tries.all(&chosen, args.jobs.unwrap_or(cores), &mut results)?;
    print(&results.text(&told));
    Ok(results.untold(&told).next().is_none())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Seekers {
    Tests,
    Simulator,
    TestsFirst,
}

impl Seekers {
    /// What takes a second, before what takes ten.
    fn ways(self) -> &'static [By] {
        match self {
            Self::Tests => &[By::Tests],
            Self::Simulator => &[By::Simulator],
            Self::TestsFirst => &[By::Tests, By::Simulator],
        }
    }
}

struct Tries<'a> {
    built: &'a Built,
    plan: &'a Plan,
    /// In the order in which they are asked, up to the first that catches.
    grounds: Vec<(By, Ground)>,
}

impl Tries<'_> {
    fn all(&self, mutants: &[Mutant], jobs: usize, results: &mut Results) -> Result<(), String> {
        let bar = bar(mutants.len() as u64);
        let next = AtomicUsize::new(0);
        let results = Mutex::new(results);
        let work = || -> Result<(), String> {
            while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = self.one(mutant)?;
                let mut results = results.lock().map_err(|_| "another thread has panicked")?;
                let outcome = outcome.after(results.get(&mutant.name()));
                bar.inc(1);
                bar.set_message(mutant.name());
                if outcome.is_missed() {
                    bar.suspend(|| tell(&format!("missed: {}", mutant.name())));
                }
                results.put(outcome)?;
            }
            Ok(())
        };
        let ends: Vec<Result<(), String>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|_| Err("a thread has panicked".into()))
            };
            threads.into_iter().map(join).collect()
        });
        bar.finish_and_clear();
        ends.into_iter().collect()
    }

    fn one(&self, mutant: &Mutant) -> Result<Outcome, String> {
        let mut outcome = Outcome::of(mutant);
        if self.built.refused.contains(&mutant.number) || self.built.unfolded.contains(&mutant.number) {
            outcome.unfolded = self.built.unfolded.contains(&mutant.number);
            return Ok(outcome);
        }
        for (by, ground) in &self.grounds {
            let found = by.seek(self.built, self.plan, ground, mutant.number)?;
            let is_caught = matches!(found, Found::Caught(_));
            outcome.put(*by, found);
            if is_caught {
                break;
            }
        }
        Ok(outcome)
    }
}

/// `3/16`: the third of sixteen.
fn share(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    parts.filter(|(part, of)| (1..=*of).contains(part)).ok_or_else(|| "not a share, such as 3/16".into())
}

fn print(text: &str) {
    // Whoever has stopped reading does not want it.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn bar(len: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_share_is_one_of_so_many() {
        assert_eq!(share("3/16"), Ok((3, 16)));
        assert_eq!(share("16/16"), Ok((16, 16)));
        for wrong in ["0/16", "17/16", "1/0", "3", "a/b", ""] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
