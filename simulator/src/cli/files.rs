//! Files that the user asked for. No run reads them.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

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
