//! Every stable error code is explained in `docs/errors.md`, and every explained one exists.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn codes_in(text: &str, before: &str) -> BTreeSet<String> {
    let start = format!("{before}BLX-");
    let found = text.match_indices(&start).map(|(at, _)| {
        let rest = &text[at + before.len()..];
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect::<String>()
    });
    found.filter(|code| code.len() > 4 && code.ends_with(|c: char| c.is_ascii_digit())).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().unwrap() != "target" {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_code_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for part in ["src/node/src", "src/runtime/src", "src/blixard/src", "proto/src"] {
        sources(&root.join(part), &mut files);
    }
    let used: BTreeSet<String> =
        files.iter().flat_map(|file| codes_in(&fs::read_to_string(file).unwrap(), "\"")).collect();
    let explained = codes_in(&fs::read_to_string(root.join("docs/errors.md")).unwrap(), "\n### ");
    assert!(used.len() > 25, "the search finds too little: {used:?}");
    assert_eq!(used.difference(&explained).collect::<Vec<_>>(), Vec::<&String>::new(), "not explained");
    assert_eq!(explained.difference(&used).collect::<Vec<_>>(), Vec::<&String>::new(), "not used");
}
