//! The `blixard` binary under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The binary of this build. Cargo builds it for the tests of its own package alone, so it is asked to once, in the
/// profile and the target directory that this test comes from. `BLIXARD_TEST_BINARY` names another one instead.
pub(crate) fn blixard() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("BLIXARD_TEST_BINARY").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    // TARGET/PROFILE/deps/real_processes-HASH
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().filter(|folder| folder.ends_with("deps")).and_then(Path::parent);
    let folder = folder.unwrap_or_else(|| panic!("{} is not where cargo puts tests", test.display()));
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let done = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "blixard", "--bin", "blixard", "--profile", profile])
        .arg("--target-dir")
        .arg(folder.parent().unwrap())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .unwrap();
    assert!(done.success(), "blixard does not build");
    folder.join("blixard")
}
