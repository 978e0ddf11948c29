//! Tries the counter: the sound one holds; each broken one is found, shrunk and shown.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use blixard_sim::output::exit;
use blixard_sim::scenario::Scenario;
use blixard_sim::sweep::Seeds;
use clap::Parser;
use replicated_counter::{Bug, picture, scenario, shrink, sweep};

/// Swarms a replicated counter, a sound one and two that are broken on purpose.
#[derive(Debug, Parser)]
struct Args {
    /// The seeds, from A up to but not including B.
    #[arg(long, value_name = "A..B", default_value = "0..200", value_parser = |text: &str| text.parse::<Seeds>())]
    seeds: Seeds,
    /// The folder for the shrunk scenarios and their pictures.
    #[arg(long, value_name = "FOLDER", default_value = "target/replicated-counter")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::from(exit::HELD),
        Ok(false) => ExitCode::from(exit::SAFETY),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(exit::USAGE)
        }
    }
}

/// Whether all came out as it should.
fn run(args: &Args) -> Result<bool, String> {
    let scenario = scenario()?;
    let sound = sweep(Bug::None, &scenario, args.seeds.clone());
    match sound.failed.first() {
        None => println!("{:<15} held in {} runs", "sound", sound.runs),
        Some(failure) => println!("{:<15} seed {}: {}", "sound", failure.seed, failure.message),
    }
    std::fs::create_dir_all(&args.out).map_err(|error| format!("{}: {error}", args.out.display()))?;
    let mut as_it_should = sound.failures == 0;
    for (name, bug) in [("answers-alone", Bug::AnswersAlone), ("sends-unsynced", Bug::SendsUnsynced)] {
        as_it_should &= show(name, bug, &scenario, args)?;
    }
    Ok(as_it_should)
}

/// Whether the bug was found.
fn show(name: &str, bug: Bug, scenario: &Scenario, args: &Args) -> Result<bool, String> {
    let swept = sweep(bug, scenario, args.seeds.clone());
    let Some(failure) = swept.failed.first() else {
        println!("{name:<15} not found in {} runs", swept.runs);
        return Ok(false);
    };
    println!("{name:<15} found at seed {}: {}", failure.seed, failure.message);
    let shrunk = shrink(bug, scenario, failure.seed).map_err(|refused| refused.to_string())?;
    let (size, before) = (shrunk.size, shrunk.before);
    println!(
        "{:<15} shrunk to {} of {} faults and {} of {} operations",
        "", size.faults, before.faults, size.operations, before.operations
    );
    for (file, text) in [
        (args.out.join(format!("{name}.toml")), shrunk.case.scenario.to_toml()),
        (args.out.join(format!("{name}.html")), picture(bug, &shrunk)),
    ] {
        write(&file, &text)?;
        println!("{:<15} wrote {}", "", file.display());
    }
    Ok(true)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}
