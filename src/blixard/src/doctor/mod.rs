//! What this host can do: which hypervisors run here, what each lack means, and how to mend it.
//!
//! Looks alone: starts nothing but short probes, changes nothing (but for an empty file in nix's store), and needs no running
//! daemon.

mod checks;

use std::path::Path;

use serde::Serialize;

use crate::hypervisor::{Backends, Config};

/// How a thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// There, and it works.
    Ok,
    /// Missing; what runs here gets on without.
    Lacks,
    /// Missing, and nothing runs without.
    Fails,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it was found.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What it means that it is missing; empty when it is not.
    pub means: &'static str,
    /// How to mend it; empty when there is nothing to mend.
    pub mend: &'static str,
}

impl Check {
    /// From an answer: what is there, or what is in the way.
    fn new(
        name: &'static str,
        answer: Result<String, String>,
        otherwise: Status,
        means: &'static str,
        mend: &'static str,
    ) -> Self {
        match answer {
            Ok(found) => Self { name, status: Status::Ok, found, means: "", mend: "" },
            Err(found) => Self { name, status: otherwise, found, means, mend },
        }
    }
}

/// A backend, as this host has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hypervisor {
    /// Its name in VM files; the host's label is `hypervisor.NAME`.
    pub name: &'static str,
    /// Whether VMs of this kind run here.
    pub available: bool,
    /// Details, or why not.
    pub found: String,
    /// Who ends a VM at its deadline, and what outlives what.
    pub fencing: &'static str,
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether this host can run VMs of at least one kind.
    pub usable: bool,
    /// The backends.
    pub hypervisors: Vec<Hypervisor>,
    /// What they and the supervisor build on.
    pub checks: Vec<Check>,
}

/// Looks at this host. `data_dir` is where the daemon keeps, or would keep, its state. Takes seconds at most.
#[must_use]
pub fn examine(data_dir: &Path) -> Report {
    let config = Config::new(data_dir.join("vms"));
    let probe = |probe: crate::hypervisor::Probe| Hypervisor {
        name: probe.name,
        available: probe.result.is_ok(),
        fencing: fencing(probe.name),
        found: probe.result.unwrap_or_else(|reason| reason),
    };
    let hypervisors: Vec<_> = Backends::probe(&config).into_iter().map(probe).collect();
    let checks = checks::all(data_dir);
    let usable = hypervisors.iter().any(|one| one.available)
        && checks.iter().all(|check| check.status != Status::Fails);
    Report { usable, hypervisors, checks }
}

/// The guarantee behind a backend's deadlines.
fn fencing(backend: &str) -> &'static str {
    match backend {
        "process" => {
            "a supervisor a VM kills its whole process tree at the deadline, also without the daemon; when the supervisor \
             dies the kernel kills the first process, and the daemon what that leaves"
        }
        // Every other backend's VM is processes below such a supervisor, the hypervisor being the first of them.
        _ => {
            "a supervisor a VM kills the hypervisor at the deadline, also without the daemon; when the supervisor dies the \
             kernel kills the hypervisor with it"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_can_run_something() {
        let folder = tempfile::tempdir().unwrap();
        let report = examine(&folder.path().join("not/there/yet"));
        assert!(report.usable, "{report:#?}");
        assert!(report.hypervisors.iter().any(|one| one.name == "process" && one.available));
        for check in &report.checks {
            assert!(!check.found.is_empty(), "{check:?}");
            let is_ok = check.status == Status::Ok;
            assert_eq!((check.means.is_empty(), check.mend.is_empty()), (is_ok, is_ok), "{check:?}");
        }
        assert_eq!(fs_entries(folder.path()), 0, "nothing is made");
    }

    fn fs_entries(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }
}
