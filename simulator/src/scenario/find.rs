//! Where scenario files are looked for.

use std::path::{Path, PathBuf};

/// Finds the file that `name` means: a path as it stands, or a file of the folder `scenarios/`, with or without `.toml`.
///
/// # Errors
/// A sentence that says where it was looked for, and what there is.
pub fn find(name: &str) -> Result<PathBuf, String> {
    let candidates = [
        PathBuf::from(name),
        PathBuf::from(format!("{name}.toml")),
        Path::new("scenarios").join(name),
        Path::new("scenarios").join(format!("{name}.toml")),
    ];
    if let Some(found) = candidates.iter().find(|path| path.is_file()) {
        return Ok(found.clone());
    }
    if Path::new(name).is_dir() {
        return Err(format!(
            "{name} is a folder: give one scenario file, or run all of the folder with the command sweep"
        ));
    }
    let known: Vec<String> = listed(Path::new("scenarios"))
        .unwrap_or_default()
        .iter()
        .filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .collect();
    let near = super::reader::nearest(name.trim_end_matches(".toml"), known.iter().map(String::as_str));
    let hint = match near {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.is_empty() => {
            "there is no folder scenarios/ here: run it from the project's root".into()
        }
        None => format!("scenarios/ has: {}", known.join(", ")),
    };
    Err(format!("there is no scenario {name:?}, neither here nor in scenarios/; {hint}"))
}

/// As [`find`]; a folder means every `.toml` file in it, by name.
///
/// # Errors
/// As [`find`], or that the folder holds none.
pub fn find_all(name: &str) -> Result<Vec<PathBuf>, String> {
    let path = Path::new(name);
    if !path.is_dir() {
        return Ok(vec![find(name)?]);
    }
    let files = listed(path).map_err(|error| format!("cannot read the folder {name}: {error}"))?;
    if files.is_empty() { Err(format!("the folder {name} holds no .toml file")) } else { Ok(files) }
}

fn listed(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
