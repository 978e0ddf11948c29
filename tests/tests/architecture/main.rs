//! The house rules that a compiler does not keep: who may know whom, and what the sources and pages must look like.

mod arrows;
mod tree;

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the tests run in the repository they were built from")
}
