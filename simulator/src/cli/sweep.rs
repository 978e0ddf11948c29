//! Many seeds.

use std::path::PathBuf;

use blixard_sim::output::{self, exit};
use blixard_sim::scenario;
use blixard_sim::swarm;
use blixard_sim::sweep::{Checkpoint, Seeds, Shard, Source, Sweep};
use clap::Args;

use super::failing::FailingArgs;
use super::files;
use super::kept::Keeping;
use super::overrides::Overrides;
use super::print;
use super::signals::Asked;
use super::subject::SubjectArgs;
use super::watching::Watching;

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// A scenario file, the name of one in scenarios/, a folder of them, or "swarm"; may be given more than once.
    #[arg(long, required = true)]
    scenario: Vec<String>,
    #[command(flatten)]
    many: Many,
}

#[derive(Debug, Args)]
pub(crate) struct SwarmArgs {
    #[command(flatten)]
    many: Many,
}

#[derive(Debug, Args)]
struct Many {
    /// The seeds, from A up to but not including B; several ranges with commas between, or by giving it again.
    #[arg(long, value_name = "A..B", required = true, value_parser = seeds)]
    seeds: Vec<Seeds>,
    /// Run this share of it alone, such as 3/16 on the third of sixteen machines.
    #[arg(long, value_name = "N/OF", default_value = "1/1")]
    shard: Shard,
    /// Threads; all cores by default.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096))]
    jobs: Option<u16>,
    /// Begin no further seed after this long, such as 60s.
    #[arg(long, value_name = "SPAN")]
    time: Option<String>,
    /// Begin no further seed after so many failures.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_failures: Option<u64>,
    /// Give up a seed that has taken this long, such as 10m: it has failed as "hung", and the others go on. Without, it is only told.
    #[arg(long, value_name = "SPAN")]
    hang: Option<String>,
    /// Run each seed twice and compare.
    #[arg(long)]
    check_determinism: bool,
    /// End with exit code 5 when a probe was never hit, though nothing failed.
    #[arg(long)]
    require_probes: bool,
    /// Print a JSON object for each run as it ends and one for the whole, a line each, instead of the summary.
    #[arg(long)]
    json: bool,
    /// Write a JUnit report to this file.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    keeping: Keeping,
    #[command(flatten)]
    failing: FailingArgs,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    subject: SubjectArgs,
}

fn seeds(text: &str) -> Result<Seeds, String> {
    text.parse()
}

/// Sweeps scenarios that stand in files.
pub(crate) fn fixed(args: &SweepArgs) -> Result<u8, String> {
    sweep(args.many.sources(&args.scenario)?, &args.many)
}

/// Sweeps scenarios that are drawn.
pub(crate) fn drawn(args: &SwarmArgs) -> Result<u8, String> {
    sweep(args.many.sources(&[swarm::NAME.to_owned()])?, &args.many)
}

impl Many {
    /// The scenarios that these names mean, each with what reproduces it.
    fn sources(&self, names: &[String]) -> Result<Vec<(String, Source)>, String> {
        let mut scenarios = Vec::new();
        for name in names {
            if name == swarm::NAME {
                scenarios.push((self.again(name), self.swarm()?));
                continue;
            }
            for path in scenario::find_all(name)? {
                let scenario = self.overrides.load(&path)?;
                scenarios.push((self.again(&path.display().to_string()), Source::Fixed(Box::new(scenario))));
            }
        }
        let mut names: Vec<&str> = scenarios.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("--scenario: {} is there twice", pair[0])),
            None => Ok(scenarios),
        }
    }

    /// The scenario drawn whole, but for what the user has said.
    fn swarm(&self) -> Result<Source, String> {
        if self.overrides.arguments().is_empty() {
            return Ok(Source::Drawn);
        }
        let mut whole = swarm::whole();
        self.overrides.apply(&mut whole)?;
        Ok(Source::Fixed(Box::new(whole)))
    }

    /// A scenario's name with the arguments that change it.
    fn again(&self, name: &str) -> String {
        let arguments = [self.overrides.arguments(), self.subject.arguments()].concat();
        [vec![name.to_owned()], arguments].concat().join(" ")
    }

    fn sweep(&self, scenarios: Vec<(String, Source)>) -> Result<Sweep, String> {
        let time = self.time.as_deref().map(scenario::duration).transpose();
        let time = time.map_err(|why| format!("--time: {why}"))?;
        let hang = self.hang.as_deref().map(scenario::duration).transpose();
        let hang = hang.map_err(|why| format!("--hang: {why}"))?;
        let all = Sweep::default();
        let sweep = Sweep {
            scenarios,
            seeds: Seeds::of(self.seeds.iter().flat_map(Seeds::ranges)),
            shard: self.shard,
            jobs: self.jobs.map_or(all.jobs, usize::from),
            time_max_ms: time.map(|time| time.as_millis()),
            failures_max: self.max_failures,
            hang_ms: hang.map(|hang| hang.as_millis()),
            twice: self.check_determinism,
        };
        if sweep.is_empty() {
            return Err(format!("--shard {}: this share of seeds {} holds no run", self.shard, sweep.seeds));
        }
        Ok(sweep)
    }
}

fn sweep(scenarios: Vec<(String, Source)>, args: &Many) -> Result<u8, String> {
    let sweep = args.sweep(scenarios)?;
    if let Some(file) = &args.junit {
        // Found out before the sweep, not after it.
        files::create(file).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    let failing = args.failing.ready(sweep.jobs)?;
    let (subject, arguments) = (args.subject.subject(), args.subject.arguments());
    let begun = args.keeping.begin(&sweep, &arguments.join(" "))?;
    let asked = Asked::listen();
    let go_on = begun.entry.is_some().then(go_on);
    let watching = Watching::new(&sweep, &begun.from, begun.entry, asked.clone(), go_on, args.json);
    begun.notes.iter().for_each(|note| watching.tell(note));
    let before = begun.from.swept.runs;
    let at = sweep.run_from(begun.from, &subject, &watching);
    watching.end(&at);
    if !args.json {
        print::text(output::sweep_summary(&sweep, &at.swept, at.swept.wall_us));
    }
    if let Some(failing) = failing {
        failing.all(&sweep, &at.swept.failed, &subject, &arguments, &|| asked.is_asked(), &mut |kept| {
            print::text(if args.json { format!("{}\n", kept.json()) } else { kept.text() });
        });
    }
    if args.json {
        print::line(output::sweep_json(&sweep, &at.swept, before));
    }
    if let Some(file) = &args.junit {
        let report = output::junit(&sweep, &at.swept)?;
        files::write(file, &report).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(exit_code(&at, &asked, args))
}

fn exit_code(at: &Checkpoint, asked: &Asked, args: &Many) -> u8 {
    let code = output::sweep_exit_code(&at.swept);
    if code != exit::HELD {
        return code;
    }
    if let Some(code) = asked.exit_code() {
        return code;
    }
    if args.require_probes && !at.swept.never_hit().is_empty() {
        print::tell(format_args!("--require-probes: {} probes were never hit", at.swept.never_hit().len()));
        return exit::INCONCLUSIVE;
    }
    exit::HELD
}

/// The command that goes on with this sweep.
fn go_on() -> String {
    let mut line = "cargo sim".to_owned();
    let arguments = std::env::args_os().skip(1).map(|each| each.to_string_lossy().into_owned());
    for each in arguments.filter(|each| each != "--resume").chain(["--resume".to_owned()]) {
        line.push(' ');
        line.push_str(&quoted(&each));
    }
    line
}

/// An argument as a shell reads it.
fn quoted(argument: &str) -> String {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "-_./,:=+@%".contains(sign);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("0..10,20..30"), "0..10,20..30");
        assert_eq!(quoted("my scenarios/it's.toml"), r"'my scenarios/it'\''s.toml'");
        assert_eq!(quoted(""), "''");
    }
}
