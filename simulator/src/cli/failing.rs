//! What is done with the failures of a sweep when it has ended: the first ones are shrunk, and drawn.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use blixard_sim::output::{self, Stopwatch};
use blixard_sim::scenario::{self, Scenario};
use blixard_sim::shrink::{self, Options, Shrunk};
use blixard_sim::subject::Subject;
use blixard_sim::swarm;
use blixard_sim::sweep::{Ending, Failure, Sweep};
use blixard_sim::trace::file::Header;
use clap::Args;
use serde_json::{Value, json};

use super::files;
use super::listen::ListenArgs;

#[derive(Debug, Args)]
pub(crate) struct FailingArgs {
    /// Shrink the first failures when the sweep has ended.
    #[arg(long)]
    shrink: bool,
    /// How many of them.
    #[arg(long, value_name = "N", default_value_t = 3, requires = "shrink")]
    shrink_max: usize,
    /// How long to search for a smaller case of each.
    #[arg(long, value_name = "SPAN", default_value = "2m", requires = "shrink")]
    shrink_time: String,
    /// Where to write what they were shrunk to, repro-<scenario>-<seed>.toml, with a picture of each as HTML.
    #[arg(long, value_name = "FOLDER", default_value = ".", requires = "shrink")]
    artifacts: PathBuf,
}

/// What to do, checked before the sweep begins.
#[derive(Debug)]
pub(crate) struct Failing<'a> {
    args: &'a FailingArgs,
    options: Options,
}

impl FailingArgs {
    pub(crate) fn ready(&self, jobs: usize) -> Result<Option<Failing<'_>>, String> {
        if !self.shrink {
            return Ok(None);
        }
        let time = scenario::duration(&self.shrink_time).map_err(|why| format!("--shrink-time: {why}"))?;
        let folder = &self.artifacts;
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("--artifacts: cannot make the folder {}: {error}", folder.display()))?;
        Ok(Some(Failing { args: self, options: Options { jobs, time_max_ms: Some(time.as_millis()) } }))
    }
}

impl Failing<'_> {
    /// Shrinks the first failures; `done` hears of each. Ends early when `stop` says so.
    pub(crate) fn all(
        &self,
        sweep: &Sweep,
        failed: &[Failure],
        subject: &dyn Subject,
        arguments: &[String],
        stop: &dyn Fn() -> bool,
        done: &mut dyn FnMut(&Kept),
    ) {
        for failure in failed.iter().take(self.args.shrink_max) {
            if stop() {
                return;
            }
            // A panic of the simulator comes again while the case is shrunk: it is told, and the next failure has its turn.
            let kept = catch_unwind(AssertUnwindSafe(|| self.one(sweep, failure, subject, arguments)))
                .unwrap_or_else(|_| Err("the simulator panicked again".into()));
            done(&Kept { failure, result: kept });
        }
    }

    fn one(
        &self,
        sweep: &Sweep,
        failure: &Failure,
        subject: &dyn Subject,
        arguments: &[String],
    ) -> Result<Smaller, String> {
        if !matches!(failure.ending, Ending::Safety | Ending::Liveness) {
            return Err(format!("{} cannot be shrunk", failure.ending.word()));
        }
        let written = sweep.scenarios[failure.place].1.scenario(failure.seed);
        let scenario = swarm::resolve(&written, failure.seed);
        let watch = Stopwatch::start();
        let file = self.path(&scenario, failure.seed, "toml");
        let keep = |shrunk: &Shrunk| {
            files::replace(&file, &shrunk.case.scenario.to_toml())
                .map_err(|error| format!("cannot write {}: {error}", file.display()))
        };
        let mut kept = Ok(());
        let shrunk = shrink::shrink(subject, &scenario, failure.seed, self.options, &mut |progress| {
            if let (Some(better), Ok(())) = (progress.better, &kept) {
                kept = keep(better);
            }
        });
        kept?;
        let shrunk = shrunk.map_err(|refused| refused.to_string())?;
        keep(&shrunk)?;
        let replay = [vec![format!("cargo sim replay {}", file.display())], arguments.to_vec()].concat();
        let replay = replay.join(" ");
        let picture = self.path(&scenario, failure.seed, "html");
        let case = &shrunk.case;
        let header = Header::new(&case.scenario, case.seed, replay.clone());
        ListenArgs::picture(&picture).run(subject, &case.scenario, case.seed, &header)?;
        Ok(Smaller { shrunk, wall_ms: watch.elapsed_ms(), file, picture, replay })
    }

    fn path(&self, scenario: &Scenario, seed: u64, extension: &str) -> PathBuf {
        self.args.artifacts.join(format!("repro-{}-{seed}.{extension}", scenario.name))
    }
}

/// What a failure was shrunk to.
struct Smaller {
    shrunk: Shrunk,
    wall_ms: u64,
    file: PathBuf,
    picture: PathBuf,
    replay: String,
}

/// What was kept of a failure, or why it was not shrunk.
pub(crate) struct Kept<'f> {
    failure: &'f Failure,
    result: Result<Smaller, String>,
}

impl Kept<'_> {
    /// As text, with its last line's end.
    pub(crate) fn text(&self) -> String {
        let of = &self.failure.reproduce;
        match &self.result {
            Ok(smaller) => {
                let summary = output::shrunk_summary(&smaller.shrunk, smaller.wall_ms, &smaller.replay);
                format!("\nshrunk       {of}\n{summary}picture      {}\n", smaller.picture.display())
            }
            Err(why) => format!("\nnot shrunk   {of}\n      {why}\n"),
        }
    }

    /// As an object.
    pub(crate) fn json(&self) -> Value {
        let mut object = json!({
            "type": "shrunk",
            "scenario": self.failure.scenario,
            "seed": self.failure.seed,
            "reproduce": self.failure.reproduce,
        });
        let fields = match &self.result {
            Ok(smaller) => smaller.fields(),
            Err(why) => json!({ "refused": why }),
        };
        if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
            object.extend(fields);
        }
        object
    }
}

impl Smaller {
    fn fields(&self) -> Value {
        let show = |path: &Path| path.display().to_string();
        let size = self.shrunk.size;
        json!({
            "file": show(&self.file),
            "picture": show(&self.picture),
            "replay": self.replay,
            "faults": size.faults,
            "operations": size.operations,
            "hosts": size.hosts,
            "runs": self.shrunk.runs,
            "wall_ms": self.wall_ms,
            "cut_short": self.shrunk.cut_short,
        })
    }
}
