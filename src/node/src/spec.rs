//! What clients ask for: VM specs, resources, policies, names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Labels of a host, or the labels a VM requires of its host.
pub type Labels = BTreeMap<String, String>;

/// A VM's name: 1 to 63 of `a-z`, `0-9`, `-`, beginning and ending with a letter or digit (an RFC 1123 label).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmName(String);

impl VmName {
    /// The longest name, in bytes.
    pub const LEN_MAX: usize = 63;

    /// Checks `name` against the rule above.
    ///
    /// # Errors
    /// The rule, with the name, when it is broken.
    pub fn new(name: impl Into<String>) -> Result<Self, BadName> {
        let name = name.into();
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bytes = name.as_bytes();
        let edges = bytes.first().is_some_and(|c| fits(*c)) && bytes.last().is_some_and(|c| fits(*c));
        if edges && bytes.len() <= Self::LEN_MAX && bytes.iter().all(|c| fits(*c) || *c == b'-') {
            Ok(Self(name))
        } else {
            Err(BadName { name })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that is no [`VmName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is not a VM name: use 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit"
)]
pub struct BadName {
    /// The name as it was given.
    pub name: String,
}

/// An amount of a host's goods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Resources {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl Resources {
    /// Whether `other` fits into this amount.
    #[must_use]
    pub fn holds(self, other: Self) -> bool {
        other.vcpus <= self.vcpus && other.memory_mib <= self.memory_mib
    }

    /// The sum, saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_add(other.vcpus),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
        }
    }

    /// What is left without `other`, saturating.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_sub(other.vcpus),
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
        }
    }
}

/// What to do on the same host when a VM has exited although it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum RestartPolicy {
    /// Start it again, whatever its exit.
    #[default]
    Always,
    /// Start it again unless the guest powered itself off in good order.
    OnFailure,
    /// Leave it.
    Never,
}

/// What to do when a VM's host is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum FailoverPolicy {
    /// Start it on another host.
    #[default]
    Move,
    /// Wait for its host to come back.
    Wait,
}

/// A transport's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the guest that its host forwards to. A host's port belongs to one VM at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The host's port; never 0.
    pub host: u16,
    /// The guest's port; never 0.
    pub guest: u16,
    /// Of which protocol.
    pub protocol: Protocol,
}

/// A port of a host, as what can be taken.
pub type HostPort = (Protocol, u16);

/// What a VM is made of. The node hands `payload` to the hypervisor as it is and never looks inside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VmSpec {
    /// What the VM takes of its host.
    pub resources: Resources,
    /// Labels its host must carry.
    pub requires: Labels,
    /// After an exit.
    pub restart: RestartPolicy,
    /// After the loss of its host.
    pub failover: FailoverPolicy,
    /// Has a volume on its host: once assigned it never leaves that host, whatever `failover` says.
    pub local_volume: bool,
    /// The backend that runs it (`process`, `qemu`, `microvm-nix`, …); a host offers a backend by the label
    /// `hypervisor.NAME` = `true`.
    pub hypervisor: String,
    /// The backend's own configuration (an image, a command, a flake), as text, at most
    /// [`VmSpec::PAYLOAD_LEN_MAX`] bytes.
    pub payload: String,
    /// The ports it is reached by.
    pub ports: Vec<Port>,
}

impl VmSpec {
    /// The most entries in `ports`.
    pub const PORTS_LEN_MAX: usize = 64;
    /// The largest `payload`, in bytes.
    pub const PAYLOAD_LEN_MAX: usize = 256 * 1024;
    /// The most entries in `requires`.
    pub const REQUIRES_LEN_MAX: usize = 64;
    /// The longest label key or value, in bytes.
    pub const LABEL_LEN_MAX: usize = 253;

    /// Checks the bounds.
    ///
    /// # Errors
    /// A sentence that names the value and its bound.
    pub fn validate(&self) -> Result<(), String> {
        if self.resources.vcpus == 0 {
            return Err("vcpus is 0: a VM needs at least 1".into());
        }
        if self.resources.memory_mib == 0 {
            return Err("memory is 0 MiB: a VM needs at least 1".into());
        }
        if self.payload.len() > Self::PAYLOAD_LEN_MAX {
            let (len, max) = (self.payload.len(), Self::PAYLOAD_LEN_MAX);
            return Err(format!("the configuration has {len} bytes: at most {max} are stored"));
        }
        if self.hypervisor.is_empty() || self.hypervisor.len() > Self::LABEL_LEN_MAX {
            return Err(format!("hypervisor {:?} is not the name of a backend", self.hypervisor));
        }
        self.validate_ports()?;
        validate_labels(&self.requires)
    }

    fn validate_ports(&self) -> Result<(), String> {
        if self.ports.len() > Self::PORTS_LEN_MAX {
            return Err(format!("{} ports: at most {}", self.ports.len(), Self::PORTS_LEN_MAX));
        }
        let mut taken = BTreeSet::new();
        for port in &self.ports {
            if port.host == 0 || port.guest == 0 {
                return Err(format!("port {}:{}: ports go from 1 to 65535", port.host, port.guest));
            }
            if !taken.insert((port.protocol, port.host)) {
                return Err(format!("the host's port {}/{} is named twice", port.host, port.protocol));
            }
        }
        Ok(())
    }

    /// The host's ports it takes.
    pub fn host_ports(&self) -> impl Iterator<Item = HostPort> {
        self.ports.iter().map(|port| (port.protocol, port.host))
    }
}

/// Checks the bounds of `labels`.
///
/// # Errors
/// A sentence that names the label and its bound.
pub fn validate_labels(labels: &Labels) -> Result<(), String> {
    if labels.len() > VmSpec::REQUIRES_LEN_MAX {
        return Err(format!("{} labels: at most {}", labels.len(), VmSpec::REQUIRES_LEN_MAX));
    }
    for (key, value) in labels {
        if key.is_empty() || key.len() > VmSpec::LABEL_LEN_MAX || value.len() > VmSpec::LABEL_LEN_MAX {
            return Err(format!("label {key:?}={value:?}: keys have 1 to 253 bytes, values at most 253"));
        }
    }
    Ok(())
}

/// What the client wants of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Wanted {
    /// Let it run.
    Running,
    /// Keep it listed, not running.
    #[default]
    Stopped,
}

/// Where a VM stands, as its agent last reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Phase {
    /// Not running, and not wanted to.
    #[default]
    Stopped,
    /// Wanted, and no host has it yet.
    Pending,
    /// Its host builds or fetches what it needs.
    Preparing,
    /// Its host is starting it.
    Starting,
    /// It runs.
    Running,
    /// Its host is stopping it.
    Stopping,
    /// It exited or could not start; `reason` says why and whether it will be tried again.
    Failed,
    /// Its guest ended and the restart policy leaves it so.
    Exited,
    /// Its host is lost.
    Lost,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Pending => "pending",
            Self::Preparing => "preparing",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
            Self::Exited => "exited",
            Self::Lost => "lost",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_room_in_every_respect() {
        let host = Resources { vcpus: 4, memory_mib: 1_000 };
        assert!(host.holds(host), "full to the brim");
        assert!(!host.holds(Resources { vcpus: 5, memory_mib: 1 }));
        assert!(!host.holds(Resources { vcpus: 1, memory_mib: 1_001 }));
    }
}
