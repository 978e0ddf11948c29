//! `cargo xtask teeth`: the simulator against bugs that were planted.

mod hunt;
mod small;
mod table;

use std::io::Write as _;
use std::time::Duration;

use blixard_sim::sabotage::{Area, Bug, Lie, Planted, Sabotage, catalogue};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use hunt::{Plan, Searched};
use small::Small;
use table::Row;

/// No bug: every failure is one of the node as it ships, or of the simulator.
const SOUND: Bug = Bug {
    name: "none",
    area: Area::Environment,
    wrong: "Nothing.",
    shown_by: &[],
    sabotage: Sabotage { lie: Lie::None, planted: Planted::None },
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seek this bug alone; may be given more than once. "none" is the node as it ships: the control.
    #[arg(long, value_name = "NAME")]
    bug: Vec<String>,
    /// The most seeds tried in each range.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Ranges of seeds that a bug is sought in; the table shows the median.
    #[arg(long, default_value_t = 5)]
    ranges: u64,
    /// The first seed of the first range.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads; all cores by default.
    #[arg(long)]
    jobs: Option<usize>,
    /// The CPU time that one bug may take in all ranges together, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    time_per_bug: u64,
    /// Shrink the first find of each bug, and show the strikes of faults, client operations and hosts that are left.
    #[arg(long)]
    shrink: bool,
    /// How long to search for a smaller case of each.
    #[arg(long, value_name = "SPAN", default_value = "2m", requires = "shrink")]
    shrink_time: String,
    /// Print the table as Markdown.
    #[arg(long)]
    markdown: bool,
    /// List the catalogue and seek nothing.
    #[arg(long)]
    list: bool,
}

/// Seeks the bugs and prints the table; whether all were found.
pub(crate) fn run(args: &Args) -> Result<bool, String> {
    let bugs = chosen(&args.bug)?;
    if args.list {
        for bug in &bugs {
            print(&format!("{:30} {:12} {}\n", bug.name, bug.area.name(), bug.wrong));
        }
        return Ok(true);
    }
    let shrink_time =
        blixard_sim::scenario::duration(&args.shrink_time).map_err(|why| format!("--shrink-time: {why}"))?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let plan = Plan {
        from: args.from,
        ranges: args.ranges,
        seeds: args.seeds,
        jobs: args.jobs.unwrap_or(cores),
        bug_cpu_max: Duration::from_secs(args.time_per_bug).as_nanos() as u64,
    };
    let bar = bar(args.ranges * bugs.len() as u64);
    let searched = plan.run(&bugs, &|bug, searched| {
        let line = format!("{}: {}", bug.name, told(searched));
        if bar.is_hidden() {
            tell(&line);
        }
        bar.set_message(line);
        bar.inc(1);
    });
    bar.finish_and_clear();
    let smalls = match args.shrink {
        true => shrunk(&bugs, &searched, plan.jobs, shrink_time.as_millis()),
        false => vec![None; bugs.len()],
    };
    let rows: Vec<Row<'_>> = (bugs.iter().zip(&searched).zip(&smalls))
        .map(|((bug, searched), small)| Row { bug, searched, small: small.as_ref() })
        .collect();
    print(&if args.markdown { table::markdown(&rows) } else { table::text(&rows) });
    tell(&table::summary(&rows));
    for remark in rows.iter().flat_map(Row::remarks) {
        tell(&remark);
    }
    let replay = smalls.iter().flatten().all(|small| !small.differs);
    Ok(replay && rows.iter().all(Row::is_found))
}

/// Shrinks what was found, and tells each size as it is there.
fn shrunk(bugs: &[Bug], searched: &[Vec<Searched>], jobs: usize, time_max_ms: u64) -> Vec<Option<Small>> {
    let found = searched.iter().filter(|each| each.iter().any(|range| range.found.is_some())).count();
    let bar = bar(found as u64);
    let smalls = small::all(bugs, searched, jobs, time_max_ms, &|bug, small| {
        let line = match small {
            Ok(Small { seed, size, runs, cut_short, .. }) => {
                let short = if *cut_short { ", cut short" } else { "" };
                format!("{}: seed {seed} shrunk to {} by {runs} runs{short}", bug.name, small::cell(*size))
            }
            Err(why) => format!("{}: not shrunk: {why}", bug.name),
        };
        bar.suspend(|| tell(&line));
        bar.inc(1);
    });
    bar.finish_and_clear();
    smalls
}

fn print(text: &str) {
    // Whoever has stopped reading does not want it.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn told(searched: &Searched) -> String {
    match &searched.found {
        Some(find) => format!("seed {} by {}: {}", find.seed, find.property, find.message),
        None => format!("not by {} seeds", searched.seeds),
    }
}

fn chosen(names: &[String]) -> Result<Vec<Bug>, String> {
    let all = catalogue();
    if names.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| {
        if name == SOUND.name {
            return Ok(SOUND);
        }
        let unknown = || format!("there is no bug {name:?}; --list shows those there are");
        all.iter().find(|bug| bug.name == name).copied().ok_or_else(unknown)
    };
    names.iter().map(find).collect()
}

fn bar(len: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}
