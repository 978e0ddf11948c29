//! The mutants that cargo-mutants makes of the node, as it lists them.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// One change to one place of the node.
#[derive(Debug, Clone)]
pub(super) struct Mutant {
    /// Its number in the folded node; from 1, and another one when the node changes.
    pub(super) number: u32,
    /// The source it is in, from the root of the repository.
    pub(super) file: String,
    /// What is done where, in words and without a line: `replace & with | in Agent::open`. Not unique.
    pub(super) what: String,
    pub(super) kind: Kind,
    /// What stands there in its place; empty when something is left out.
    pub(super) replacement: String,
    /// Where what is replaced begins.
    pub(super) at: Position,
}

impl Mutant {
    /// Where the sources of the node are.
    pub(super) const FOLDER: &str = "src/node/src/";

    /// The file, line and column, and the change.
    pub(super) fn name(&self) -> String {
        format!("{}:{}:{}: {}", self.file, self.at.line, self.at.column, self.what)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Kind {
    /// The whole body of a function is one value.
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    /// A field of a struct expression that has a base: the base's value is taken.
    StructField,
}

/// A line and a column in characters, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

#[derive(Deserialize)]
struct Listed {
    file: String,
    genre: Kind,
    name: String,
    replacement: String,
    span: Span,
}

#[derive(Deserialize)]
struct Span {
    start: Position,
}

/// All mutants of the node in the checkout at `root`, in the order of their places.
pub(super) fn all(root: &Path) -> Result<Vec<Mutant>, String> {
    let output = Command::new("cargo")
        .args(["mutants", "--list", "--json"])
        .current_dir(root)
        .output()
        .map_err(|why| format!("cargo mutants: {why}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "cargo mutants --list: {}\nIf it is missing: cargo install cargo-mutants --locked",
            why.trim()
        ));
    }
    let listed: Vec<Listed> = serde_json::from_slice(&output.stdout)
        .map_err(|why| format!("what cargo mutants lists: {why}; it is written for version 27"))?;
    let mutant = |(index, listed): (usize, Listed)| Mutant {
        number: index as u32 + 1,
        what: without_place(&listed.name).to_owned(),
        file: listed.file,
        kind: listed.genre,
        replacement: listed.replacement,
        at: listed.span.start,
    };
    Ok(listed.into_iter().enumerate().map(mutant).collect())
}

/// `file:line:column: what` without all up to `what`.
pub(super) fn without_place(name: &str) -> &str {
    name.split_once(": ").map_or(name, |(_, what)| what)
}
