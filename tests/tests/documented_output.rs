//! What the pages show of simulator runs is what the simulator prints. `UPDATE_DOCS=1` writes it anew:
//! `UPDATE_DOCS=1 cargo test -p blixard-tests --test documented_output -- --include-ignored`.

use std::path::PathBuf;
use std::process::Command;

/// Pages with runs in them.
const PAGES: [&str; 2] = ["README.md", "HOW_TO_VERIFY_SIMULATION.md"];
/// How a run is asked for.
const CALLS: [&str; 2] = ["$ cargo run --release -p blixard-sim -- ", "$ cargo sim "];
/// Lines that tell of the machine, not of the run.
const OF_THE_MACHINE: [&str; 2] = ["wall ", "speed "];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The arguments of a run whose whole output is shown.
fn shown_run(line: &str) -> Option<&str> {
    let arguments = CALLS.iter().find_map(|call| line.strip_prefix(call))?;
    let whole = !arguments.contains(['|', '>', '#', ';'])
        && (arguments.contains("--seed ") || arguments.starts_with("replay "));
    whole.then_some(arguments.trim())
}

fn run(arguments: &str) -> Vec<String> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root()).args(["run", "--quiet", "--package", "blixard-sim", "--"]);
    let output = command.args(arguments.split_whitespace()).output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.is_empty(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(str::to_owned).collect()
}

fn of_the_machine(line: &str) -> bool {
    OF_THE_MACHINE.iter().any(|begin| line.starts_with(begin))
}

/// `new` with the lines that tell of the machine as they stand in `old`.
fn with_figures_of(old: &[&str], new: Vec<String>) -> Vec<String> {
    let keep = |line: String| {
        if !of_the_machine(&line) {
            return line;
        }
        let word = line.split_whitespace().next().unwrap_or_default();
        let old = old.iter().find(|old| old.split_whitespace().next() == Some(word));
        old.map_or(line, |old| (*old).to_owned())
    };
    new.into_iter().map(keep).collect()
}

/// The page with every shown run as it is now.
fn refreshed(page: &str, run: impl Fn(&str) -> Vec<String>) -> String {
    let mut out = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        out.push(line.to_owned());
        let Some(arguments) = shown_run(line) else { continue };
        let mut old = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("$ ") && *line != "```") {
            old.push(line);
        }
        if !old.is_empty() {
            out.extend(with_figures_of(&old, run(arguments)));
        }
    }
    out.join("\n") + "\n"
}

#[test]
#[ignore = "any change of the node gives other runs: .ci/run looks, with --include-ignored"]
fn runs_in_the_pages_are_as_shown() {
    for page in PAGES {
        let file = root().join(page);
        let Ok(old) = std::fs::read_to_string(&file) else { continue };
        let new = refreshed(&old, run);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&file, new).expect("the page is written");
        } else {
            assert!(
                new == old,
                "{page} shows another run than there is now: UPDATE_DOCS=1 writes it anew. Now:\n\n{new}"
            );
        }
    }
}

#[test]
fn only_what_a_run_printed_is_replaced() {
    let page = "text\n```console\n$ cargo sim --seed 1 --scenario calm\nwall 3\ntrace old\n$ cargo sim --seed 1 --scenario calm | grep trace\nkept\n```\nend\n";
    let printed = |_: &str| vec!["seed 1".to_owned(), "wall 9".to_owned(), "trace new".to_owned()];
    let new = "text\n```console\n$ cargo sim --seed 1 --scenario calm\nseed 1\nwall 3\ntrace new\n$ cargo sim --seed 1 --scenario calm | grep trace\nkept\n```\nend\n";
    assert_eq!(refreshed(page, printed), new);
}
