//! A copy of the repository in which the node holds all mutants, and the programs built from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::fold::{self, Folded};
use super::list::Mutant;
use super::trial::By;

/// The node's own tests and the simulator, with all mutants in them and none on.
#[derive(Debug)]
pub(super) struct Built {
    /// The copy that they were built from.
    pub(super) tree: PathBuf,
    /// None when it is not asked.
    pub(super) simulator: Option<PathBuf>,
    pub(super) tests: Vec<PathBuf>,
    /// Mutants that the compiler does not take.
    pub(super) refused: BTreeSet<u32>,
    /// Mutants that have no place in a folded source.
    pub(super) unfolded: BTreeSet<u32>,
}

/// The switch, and the source that names it as a module.
const OURS: [&str; 2] = ["src/node/src/mutant.rs", "src/node/src/lib.rs"];

/// Copies the checkout at `root` into `work`, folds the mutants into the node, and builds; `tell` hears of each step.
pub(super) fn build(
    root: &Path,
    work: &Path,
    mutants: &[Mutant],
    ways: &[By],
    tell: &dyn Fn(&str),
) -> Result<Built, String> {
    let tree = work.join("tree");
    let sources = mutants.iter().map(|mutant| mutant.file.as_str()).chain(OURS).map(Path::new).collect();
    copy(root, &tree, &sources)?;
    let [switch, lib] = OURS;
    write(&tree.join(switch), fold::SWITCH)?;
    write(&tree.join(lib), &format!("{}\npub(crate) mod mutant;\n", read(&root.join(lib))?))?;
    let known = work.join("refused");
    let mut refused = remembered(&known, mutants);
    let unfolded = loop {
        let files = fold_all(root, &tree, mutants, &refused)?;
        let mut more = check(&tree, work, &files)?;
        more.extend(files.values().flat_map(|file| &file.refused));
        if more.is_empty() {
            break files.values().flat_map(|file| &file.left).copied().collect();
        }
        tell(&format!("{} mutants are left out that the compiler does not take", more.len()));
        refused.extend(more);
    };
    let names =
        mutants.iter().filter(|mutant| refused.contains(&mutant.number)).map(|mutant| mutant.name() + "\n");
    write(&known, &names.collect::<String>())?;
    let (mut simulator, mut tests) = (Vec::new(), Vec::new());
    for way in ways {
        tell(&format!("building the {way:?}").to_lowercase());
        match way {
            By::Simulator => {
                simulator = programs(&tree, work, &["build", "-p", "blixard-sim", "--bin", "blixard-sim"])?;
            }
            By::Tests => tests = programs(&tree, work, &["test", "--no-run", "-p", "blixard-node"])?,
        }
    }
    let simulator = simulator.into_iter().next();
    Ok(Built { tree, simulator, tests, refused, unfolded })
}

/// Those that the compiler did not take in an earlier run; it is asked again about all others.
fn remembered(file: &Path, mutants: &[Mutant]) -> BTreeSet<u32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let names: BTreeSet<&str> = text.lines().collect();
    mutants
        .iter()
        .filter(|mutant| names.contains(mutant.name().as_str()))
        .map(|mutant| mutant.number)
        .collect()
}

/// All that git knows or would take up, and nothing that an earlier run has left. A source that will hold mutants is left alone, and
/// so is what has not changed: cargo builds anew what is written.
fn copy(root: &Path, tree: &Path, sources: &BTreeSet<&Path>) -> Result<(), String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .map_err(|why| format!("git ls-files: {why}"))?;
    let names = String::from_utf8_lossy(&output.stdout);
    // Without a file that is deleted and not yet committed so.
    let files: BTreeSet<&Path> =
        names.split('\0').map(Path::new).filter(|name| root.join(name).is_file()).collect();
    for name in files.difference(sources) {
        let (from, to) = (root.join(name), tree.join(name));
        let parent = to.parent().ok_or("a file without a folder")?;
        fs::create_dir_all(parent).map_err(|why| format!("{}: {why}", parent.display()))?;
        let wanted = fs::read(&from).map_err(|why| format!("{}: {why}", from.display()))?;
        if fs::read(&to).ok().as_ref() != Some(&wanted) {
            // With its permissions: scripts are run.
            fs::copy(&from, &to).map_err(|why| format!("{}: {why}", from.display()))?;
        }
    }
    remove_others(tree, tree, &files)
}

fn remove_others(tree: &Path, folder: &Path, files: &BTreeSet<&Path>) -> Result<(), String> {
    let failed = |why: std::io::Error| format!("{}: {why}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.strip_prefix(tree).map_err(|why| why.to_string())?;
        if path.is_dir() {
            remove_others(tree, &path, files)?;
        } else if !files.contains(name) && !OURS.contains(&name.to_str().unwrap_or_default()) {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

/// Writes each source of the checkout into the copy with its mutants.
fn fold_all(
    root: &Path,
    tree: &Path,
    mutants: &[Mutant],
    left_out: &BTreeSet<u32>,
) -> Result<BTreeMap<String, Folded>, String> {
    let mut by_file: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        // A file of which all are left out is written, too.
        let of_file = by_file.entry(&mutant.file).or_default();
        of_file.extend((!left_out.contains(&mutant.number)).then_some(mutant));
    }
    let mut files = BTreeMap::new();
    for (file, mutants) in by_file {
        let folded =
            fold::fold(&read(&root.join(file))?, &mutants).map_err(|why| format!("{file}: {why}"))?;
        write(&tree.join(file), &folded.text)?;
        files.insert(file.to_owned(), folded);
    }
    Ok(files)
}

#[derive(Deserialize)]
struct Line {
    reason: String,
    message: Option<Diagnostic>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    rendered: Option<String>,
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
}

impl Diagnostic {
    /// The mutants that it is about.
    fn mutants(&self, files: &BTreeMap<String, Folded>) -> Vec<u32> {
        let at = |span: &Span| {
            let bytes = Range { start: span.byte_start, end: span.byte_end };
            files.get(&span.file_name).map(|file| file.at(&bytes)).filter(|found| !found.is_empty())
        };
        let primary = self.spans.iter().filter(|span| span.is_primary).find_map(at);
        primary.or_else(|| self.spans.iter().find_map(at)).unwrap_or_default()
    }
}

/// The mutants that the compiler complains of.
fn check(tree: &Path, work: &Path, files: &BTreeMap<String, Folded>) -> Result<BTreeSet<u32>, String> {
    let (ok, lines) = cargo(tree, work, &["check", "-p", "blixard-node"])?;
    let mut refused = BTreeSet::new();
    let mut others = String::new();
    for error in lines.into_iter().filter_map(|line| line.message).filter(|message| message.level == "error")
    {
        let mutants = error.mutants(files);
        if mutants.is_empty() {
            others.push_str(&error.rendered.unwrap_or_default());
        }
        refused.extend(mutants);
    }
    match ok || !refused.is_empty() {
        true => Ok(refused),
        false => Err(format!("the node with its mutants cannot be built:\n{others}")),
    }
}

fn programs(tree: &Path, work: &Path, arguments: &[&str]) -> Result<Vec<PathBuf>, String> {
    let (ok, lines) = cargo(tree, work, arguments)?;
    if !ok {
        let errors = lines.into_iter().filter_map(|line| line.message?.rendered);
        return Err(errors.collect());
    }
    let of_ours = |line: &Line| line.reason == "compiler-artifact";
    Ok(lines.into_iter().filter(of_ours).filter_map(|line| line.executable).collect())
}

/// Whether it succeeded, and what it said in JSON lines.
fn cargo(tree: &Path, work: &Path, arguments: &[&str]) -> Result<(bool, Vec<Line>), String> {
    let output = Command::new("cargo")
        .args(arguments)
        .args(["--profile", "mutants", "--locked", "--message-format", "json"])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", work.join("target"))
        .env("CARGO_INCREMENTAL", "0")
        // Nobody reads the warnings of such a source.
        .env("RUSTFLAGS", "-Awarnings")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|why| format!("cargo: {why}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines =
        text.lines().filter(|line| line.starts_with('{')).filter_map(|line| serde_json::from_str(line).ok());
    Ok((output.status.success(), lines.collect()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))
}

/// Writes what is not yet there.
fn write(path: &Path, text: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let failed = |why: std::io::Error| format!("{}: {why}", path.display());
    // A folder all whose files hold mutants is copied by nothing else.
    fs::create_dir_all(path.parent().ok_or("a file without a folder")?).map_err(failed)?;
    fs::write(path, text).map_err(failed)
}
