//! The units of microvm.nix's own host module. They restart a VM whatever becomes of it (`Restart=always`), so a VM must
//! not be under them and under Blixard at once.

use std::fs;
use std::path::{Path, PathBuf};

use blixard_node::spec::VmName;

/// The units of microvm.nix's own host module that systemd starts on this host by itself.
#[must_use]
pub fn enabled_units() -> Vec<String> {
    all(Path::new("/"))
}

/// Where systemd finds units that are enabled.
const UNITS: &[&str] = &["etc/systemd/system", "run/systemd/system"];

/// Why the VM cannot be run here: a unit of microvm.nix runs it. `system` is `/`.
pub(super) fn restarting(system: &Path, name: &VmName) -> Option<String> {
    let unit = format!("microvm@{name}.service");
    // `booted` is there while the unit runs.
    let runs = system.join("var/lib/microvms").join(name.as_str()).join("booted").symlink_metadata().is_ok();
    if !runs && !all(system).contains(&unit) {
        return None;
    }
    Some(format!(
        "{unit} is enabled or runs on this host and would run the VM a second time: `systemctl disable --now {unit}` \
         (on NixOS take it out of microvm.autostart), or give the VM another name"
    ))
}

/// The units that systemd starts by itself.
pub(super) fn all(system: &Path) -> Vec<String> {
    let wants = UNITS.iter().flat_map(|folder| entries(&system.join(folder))).filter(|path| {
        path.extension().is_some_and(|extension| extension == "wants" || extension == "requires")
    });
    let names = wants
        .flat_map(|folder| entries(&folder))
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let mut units: Vec<String> = names
        .filter(|name| {
            name.strip_prefix("microvm@").is_some_and(|rest| rest.ends_with(".service") && rest != ".service")
        })
        .collect();
    units.sort();
    units.dedup();
    units
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enabled_and_running_units_are_found() {
        let system = tempfile::tempdir().unwrap();
        let (web, db) = (VmName::new("web").unwrap(), VmName::new("db").unwrap());
        assert!(all(system.path()).is_empty());
        let wants = system.path().join("etc/systemd/system/microvms.target.wants");
        fs::create_dir_all(&wants).unwrap();
        std::os::unix::fs::symlink("/nix/store/x/microvm@.service", wants.join("microvm@web.service"))
            .unwrap();
        fs::write(wants.join("other.service"), "").unwrap();
        assert_eq!(all(system.path()), ["microvm@web.service"]);
        let told = restarting(system.path(), &web).unwrap();
        assert!(told.contains("systemctl disable --now microvm@web.service"), "{told}");
        assert_eq!(restarting(system.path(), &db), None);
        let booted = system.path().join("var/lib/microvms/db");
        fs::create_dir_all(&booted).unwrap();
        assert_eq!(restarting(system.path(), &db), None, "installed, and neither enabled nor running");
        std::os::unix::fs::symlink("/nix/store/gone", booted.join("booted")).unwrap();
        assert!(restarting(system.path(), &db).is_some());
    }
}
