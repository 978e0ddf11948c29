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

    #[test]
    fn amounts_neither_overflow_nor_fall_below_nothing() {
        let (some, most) =
            (Resources { vcpus: 4, memory_mib: 1_000 }, Resources { vcpus: u32::MAX, memory_mib: u64::MAX });
        let more = Resources { vcpus: 1, memory_mib: 24 };
        assert_eq!(some.plus(more), Resources { vcpus: 5, memory_mib: 1_024 });
        assert_eq!(some.minus(more), Resources { vcpus: 3, memory_mib: 976 });
        assert_eq!((some.plus(most), some.minus(most)), (most, Resources::default()));
    }

    #[test]
    fn a_name_is_a_label_of_1_to_63_bytes() {
        let longest = "x".repeat(VmName::LEN_MAX);
        for good in ["a", "7", "web-1", "0--a", &longest] {
            assert_eq!(VmName::new(good).map(|name| name.as_str().to_owned()), Ok(good.to_owned()));
        }
        for bad in ["", "-web", "web-", "Web", "we b", "w.b", "wéb", &(longest + "x")] {
            assert_eq!(VmName::new(bad), Err(BadName { name: bad.to_owned() }));
        }
    }

    fn sound() -> VmSpec {
        VmSpec {
            resources: Resources { vcpus: 1, memory_mib: 1 },
            requires: Labels::new(),
            restart: RestartPolicy::Always,
            failover: FailoverPolicy::Move,
            local_volume: false,
            hypervisor: "process".into(),
            payload: String::new(),
            ports: Vec::new(),
        }
    }

    /// A refusal begins with `why`; none for "".
    fn check(why: &str, change: impl Fn(&mut VmSpec)) {
        let mut spec = sound();
        change(&mut spec);
        match spec.validate() {
            Ok(()) => assert!(why.is_empty(), "{spec:?} is taken"),
            Err(reason) => assert!(!why.is_empty() && reason.starts_with(why), "{reason}"),
        }
    }

    fn port(host: u16, guest: u16, protocol: Protocol) -> Port {
        Port { host, guest, protocol }
    }

    #[test]
    fn a_spec_is_refused_by_the_bound_that_it_breaks() {
        check("", |_| {});
        check("vcpus is 0", |spec| spec.resources.vcpus = 0);
        check("memory is 0 MiB", |spec| spec.resources.memory_mib = 0);
        for (len, why) in
            [(1, ""), (262_144, ""), (262_145, "the configuration has 262145 bytes"), (300_000, "the conf")]
        {
            check(why, |spec| spec.payload = "x".repeat(len));
        }
        for (len, why) in
            [(0, "hypervisor \"\""), (253, ""), (254, "hypervisor \"x"), (300, "hypervisor \"x")]
        {
            check(why, |spec| spec.hypervisor = "x".repeat(len));
        }
        check("65 labels", |spec| spec.requires = many_labels(65));
    }

    #[test]
    fn a_ports_number_is_from_1_and_taken_once() {
        use Protocol::{Tcp, Udp};
        check("port 0:80", |spec| spec.ports = vec![port(0, 80, Tcp)]);
        check("port 80:0", |spec| spec.ports = vec![port(80, 0, Tcp)]);
        check("", |spec| spec.ports = vec![port(80, 80, Tcp), port(80, 80, Udp), port(81, 80, Tcp)]);
        check("the host's port 80/udp is named twice", |spec| {
            spec.ports = vec![port(80, 1, Udp), port(80, 2, Udp)];
        });
        for (count, why) in [(64, ""), (65, "65 ports: at most 64"), (70, "70 ports")] {
            check(why, |spec| spec.ports = (1..=count).map(|number| port(number, 1, Tcp)).collect());
        }
    }

    fn many_labels(count: u32) -> Labels {
        (0..count).map(|number| (number.to_string(), String::new())).collect()
    }

    #[test]
    fn labels_are_few_and_short() {
        let one = |key: usize, value: usize| {
            validate_labels(&[("k".repeat(key), "v".repeat(value))].into()).is_ok()
        };
        assert!(one(1, 0) && one(1, 253) && one(253, 1) && one(253, 253));
        assert!(!one(0, 1) && !one(254, 1) && !one(300, 1) && !one(1, 254) && !one(1, 300));
        assert_eq!(
            [63, 64, 65, 70].map(|count| validate_labels(&many_labels(count)).is_ok()),
            [true, true, false, false]
        );
    }
}
