//! Files that the user asked for. No run reads them.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use blixard_sim::scenario::Scenario;
use blixard_sim::trace::file::FORMAT;

/// Reads a scenario file; `instead` says what to give when it is none.
pub(crate) fn scenario(path: &Path, instead: &str) -> Result<Scenario, String> {
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}; {instead}"))?;
    if text.starts_with('{') && text.contains(FORMAT) {
        return Err(format!("{name} is a trace, no scenario: `explain {name}` reads it; here {instead}"));
    }
    Scenario::parse(&name, &text).map_err(|problem| problem.to_string())
}

#[expect(clippy::disallowed_methods, reason = "the user asked for this file; no run reads it")]
pub(crate) fn create(path: &Path) -> std::io::Result<BufWriter<File>> {
    File::create(path).map(BufWriter::new)
}

#[expect(clippy::disallowed_methods, reason = "the user asked for this file; no run reads it")]
pub(crate) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)
}

/// Writes a file whole or not at all.
#[expect(clippy::disallowed_methods, reason = "the user asked for this file; no run reads it")]
pub(crate) fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, path)
}
