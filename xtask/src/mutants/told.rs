//! What `docs/mutants.md` tells of mutants that nothing catches: a sentence for each.

use std::collections::BTreeSet;
use std::path::Path;

use super::list::Mutant;

/// The mutants with a sentence: file, function and change, in the words of cargo-mutants.
#[derive(Debug)]
pub(super) struct Told(BTreeSet<(String, String)>);

impl Told {
    /// Reads the rows of its tables that begin with a source and a function.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(Self::of(&text))
    }

    fn of(text: &str) -> Self {
        let mut told = BTreeSet::new();
        for line in text.lines() {
            let cells: Vec<String> = cells(line);
            let [place, changes, sentence] = cells.as_slice() else { continue };
            let [file, function] = quoted(place)[..] else { continue };
            if sentence.is_empty() {
                continue;
            }
            let what = |change: &&str| (file.to_owned(), what(function, change));
            told.extend(quoted(changes).iter().map(what));
        }
        Self(told)
    }

    pub(super) fn has(&self, file: &str, what: &str) -> bool {
        let file = file.trim_start_matches(Mutant::FOLDER);
        self.0.contains(&(file.to_owned(), without_type(what)))
    }
}

/// The change in the words of cargo-mutants, without the type of what a function returns.
fn what(function: &str, change: &str) -> String {
    match change.strip_prefix("replace with ") {
        Some(value) => format!("replace {function} with {value}"),
        None => format!("{change} in {function}"),
    }
}

/// `replace f -> T with v` without `-> T`.
fn without_type(what: &str) -> String {
    let parts = || {
        let (function, rest) = what.split_once(" -> ")?;
        let (_, value) = rest.split_once(" with ")?;
        Some(format!("{function} with {value}"))
    };
    parts().unwrap_or_else(|| what.to_owned())
}

/// The cells of a row of a table; `\|` is a bar inside one.
fn cells(line: &str) -> Vec<String> {
    const BAR: &str = "\u{1}";
    let line = line.trim().replace("\\|", BAR);
    let Some(row) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else { return Vec::new() };
    row.split('|').map(|cell| cell.trim().replace(BAR, "|")).collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_of_each_change_that_it_names() {
        let told = Told::of(
            "| where | change | why |\n|---|---|---|\n| `a/mod.rs` `A::open` | `replace & with \\|`, `delete !`, `replace with None` | by chance |\n| `a/mod.rs` `A::shut` | `delete !` | |\n",
        );
        assert!(told.has("src/node/src/a/mod.rs", "replace & with | in A::open"));
        assert!(told.has("src/node/src/a/mod.rs", "delete ! in A::open"));
        assert!(told.has("src/node/src/a/mod.rs", "replace A::open -> Option<&T> with None"));
        assert!(!told.has("src/node/src/a/mod.rs", "replace & with ^ in A::open"));
        assert!(!told.has("src/node/src/b.rs", "delete ! in A::open"));
        assert!(!told.has("src/node/src/a/mod.rs", "delete ! in A::shut"), "a row without a sentence");
    }
}
