//! Rules about the files themselves: their length, forbidden attributes, error codes and links.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::root;

/// A longer source file holds more than one idea.
const LINES_MAX: usize = 1_000;

/// Folders with sources of this project; nothing generated and nothing foreign is below them.
const SOURCES: [&str; 6] = ["src", "proto", "simulator", "tests", "xtask", "examples"];

/// All files below `folder` whose names end in `.{extension}`, in order.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder of the repository can be listed").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with("target") && !name.starts_with('.') {
                    left.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Every source file with its path from the root and its text.
fn sources() -> Vec<(String, String)> {
    let paths = SOURCES.iter().flat_map(|folder| files(&root().join(folder), "rs"));
    let named = paths.map(|path| (from_root(&path), read(&path)));
    let sources: Vec<_> = named.collect();
    assert!(sources.len() > 50, "only {} source files were found", sources.len());
    sources
}

fn from_root(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn too_long(text: &str) -> Option<usize> {
    Some(text.lines().count()).filter(|lines| *lines > LINES_MAX)
}

/// Lines with an attribute that silences a lint without noticing when it is no longer needed.
fn silenced(text: &str) -> Vec<usize> {
    // In two parts, so that this file does not find itself.
    let attributes = [concat!("#[", "allow("), concat!("#![", "allow(")];
    let numbered = text.lines().enumerate();
    let hits = numbered.filter(|(_, line)| {
        let line = line.trim_start();
        attributes.iter().any(|attribute| line.starts_with(attribute))
    });
    hits.map(|(number, _)| number + 1).collect()
}

/// Error codes such as `BLX-VM-003` in a text.
fn codes(text: &str) -> BTreeSet<String> {
    let is_code = |word: &&str| {
        let parts: Vec<_> = word.split('-').collect();
        matches!(parts[..], ["BLX", kind, number]
            if !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_uppercase())
            && number.len() == 3 && number.bytes().all(|b| b.is_ascii_digit()))
    };
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    words.filter(is_code).map(str::to_owned).collect()
}

/// Targets of the links in a page that point into the repository.
fn links(page: &str) -> Vec<String> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    local.map(|target| target.split('#').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn no_source_file_is_longer_than_a_thousand_lines() {
    let long: Vec<_> =
        sources().into_iter().filter_map(|(path, text)| Some((path, too_long(&text)?))).collect();
    assert_eq!(long, [], "look for the second idea in these files");
}

#[test]
fn lints_are_silenced_by_expect_alone() {
    let all = sources();
    let found = all.iter().flat_map(|(path, text)| silenced(text).into_iter().map(move |line| (path, line)));
    let found: Vec<_> = found.map(|(path, line)| format!("{path}:{line}")).collect();
    assert_eq!(found, [""; 0], "use #[expect(.., reason = ..)]: it says when it is no longer needed");
}

#[test]
fn every_error_code_is_documented_and_none_is_made_up() {
    let page = root().join("docs/errors.md");
    if !page.exists() {
        return;
    }
    let documented = codes(&read(&page));
    let of_program = sources().into_iter().filter(|(path, _)| !path.contains("tests"));
    let used: BTreeSet<_> = of_program.flat_map(|(_, text)| codes(&text)).collect();
    let undocumented: Vec<_> = used.difference(&documented).collect();
    assert_eq!(undocumented, [""; 0], "docs/errors.md lacks these");
    let made_up: Vec<_> = documented.difference(&used).collect();
    assert_eq!(made_up, [""; 0], "no source file knows these codes of docs/errors.md");
}

#[test]
fn links_between_pages_lead_somewhere() {
    let top = fs::read_dir(root()).expect("the root can be listed").filter_map(Result::ok);
    let top = top.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "md"));
    let mut broken = Vec::new();
    for page in top.chain(files(&root().join("docs"), "md")) {
        let folder = page.parent().unwrap_or(Path::new("."));
        for link in links(&read(&page)) {
            if !folder.join(&link).exists() {
                broken.push(format!("{}: {link}", from_root(&page)));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn the_pure_crates_forbid_the_same() {
    let rules =
        ["src/node", "src/runtime", "simulator"].map(|home| read(&root().join(home).join("clippy.toml")));
    assert_eq!(rules[0], rules[1]);
    assert_eq!(rules[0], rules[2]);
    for path in ["Instant::now", "SystemTime::now", "HashMap", "HashSet", "thread::spawn", "net::TcpStream"] {
        assert!(rules[0].contains(path), "clippy.toml of the pure crates does not forbid {path}");
    }
}

#[test]
fn the_looks_find_what_they_look_for() {
    assert_eq!(too_long(&"line\n".repeat(LINES_MAX)), None);
    assert_eq!(too_long(&"line\n".repeat(LINES_MAX + 1)), Some(LINES_MAX + 1));
    let text =
        format!("fn f() {{}}\n    {}dead_code)]\n// not #[expect(dead_code)]\n", concat!("#[", "allow("));
    assert_eq!(silenced(&text), [2]);
    let found = codes("`BLX-VM-003`, BLX-VM-3, blx-vm-003, XBLX-VM-001 (BLX-DISK-006)");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["BLX-DISK-006", "BLX-VM-003"]);
    let found = links("[a](docs/a.md#part) [b](https://example.org) [c](#here) [d](../d.md)");
    assert_eq!(found, ["docs/a.md", "../d.md"]);
}
