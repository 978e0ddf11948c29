//! What was built, as all hosts of a VM are told: `STOREPATH from LOCKED`.
//!
//! ```text
//! /nix/store/v9w…-microvm-qemu-web from github:me/vms/8f3c2d…?narHash=sha256-…
//! ```
//!
//! The store path says what runs. The locked reference (of the flake; of its base when the VM is a file) says what every
//! other host builds it from, also when the branch that the spec names has moved meanwhile.

use std::fmt;
use std::path::{Path, PathBuf};

use blixard_node::hypervisor::ARTIFACT_LEN_MAX;

use super::spec::check_locked;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The runner.
    pub path: PathBuf,
    /// What it is built from.
    pub locked: String,
}

impl Artifact {
    /// Reads what another host has written.
    ///
    /// # Errors
    /// When it is nothing that this backend writes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once(" from ").filter(|(path, locked)| {
            let path = Path::new(path);
            let plain = path.to_str().is_some_and(|path| path.bytes().all(|b| b.is_ascii_graphic()));
            path.is_absolute()
                && !path.components().any(|part| part.as_os_str() == "..")
                && plain
                && check_locked(locked).is_ok()
        });
        let (path, locked) = parts.ok_or_else(|| {
            format!("the VM is pinned to {text:?}, which is no build of microvm-nix: `blixard vm update` pins it anew")
        })?;
        Ok(Self { path: path.into(), locked: locked.into() })
    }

    /// As all hosts are told.
    ///
    /// # Errors
    /// When it is too long for that.
    pub fn told(&self) -> Result<String, String> {
        let text = self.to_string();
        if text.len() > ARTIFACT_LEN_MAX {
            return Err(format!(
                "what was built is named {text:?}: that has {} bytes, at most {ARTIFACT_LEN_MAX} are stored",
                text.len()
            ));
        }
        Ok(text)
    }
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.path.display(), self.locked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_back() {
        let artifact = Artifact {
            path: "/nix/store/a-web".into(),
            locked: "github:me/vms/8f3c?narHash=sha256-b%2f=".into(),
        };
        assert_eq!(artifact.told().unwrap(), "/nix/store/a-web from github:me/vms/8f3c?narHash=sha256-b%2f=");
        assert_eq!(Artifact::parse(&artifact.told().unwrap()), Ok(artifact.clone()));
        for other in [
            "",
            "/nix/store/a",
            "/a from --option",
            "a from github:a/b",
            "/a/../b from github:a/b",
            "/a b from github:a/b",
        ] {
            let error = Artifact::parse(other).unwrap_err();
            assert!(error.contains("is no build of microvm-nix"), "{error}");
        }
        let long = Artifact { path: format!("/nix/{}", "a".repeat(1_024)).into(), ..artifact };
        assert!(long.told().unwrap_err().contains("at most 1024"));
    }
}
