//! VM files: what `blixard vm create --config FILE` reads. Strict TOML; every complaint has its place and a remedy.
//!
//! ```toml
//! memory = "512MiB"            # or a number of MiB
//! vcpus = 2                    # default 1
//! hypervisor = "process"       # may be left out when there is just one backend's table
//! restart = "on-failure"       # always (default), on-failure, never
//! failover = "wait"            # move (default), wait
//! local_volume = false         # default false
//! ports = ["8080:80", { host = 53, guest = 53, protocol = "udp" }]
//!
//! [requires]                   # labels its host must carry
//! zone = "a"
//!
//! [process]                    # the backend's own table
//! command = ["sleep", "1000"]
//! ```
//!
//! In `[microvm-nix]` a `flake` may be relative, and `file` may name a file that ends with `.nix` instead of holding its
//! content: both from the folder of the VM file.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use blixard_node::spec::{FailoverPolicy, Labels, Port, Protocol, Resources, RestartPolicy, VmSpec};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::hypervisor::cloud_hypervisor::CloudHypervisorSpec;
use crate::hypervisor::microvm_nix::NixSpec;
use crate::hypervisor::process::ProcessSpec;
use crate::hypervisor::qemu::QemuSpec;

/// What is wrong with a VM file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct FileError {
    /// The file as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

/// A VM file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmFile {
    /// The name it gives the VM, if it does.
    pub name: Option<String>,
    /// All the rest.
    pub spec: VmSpec,
}

/// The backends whose tables a file may hold.
const BACKENDS: &[&str] = &["process", "qemu", "microvm-nix", "cloud-hypervisor"];

const KEYS: &[&str] =
    &["name", "vcpus", "memory", "hypervisor", "restart", "failover", "local_volume", "ports", "requires"];

/// The keys of the backends' tables.
const BACKEND_KEYS: &[(&str, &[&str])] = &[
    ("process", &["command", "env", "workdir"]),
    (
        "qemu",
        &[
            "kernel",
            "initrd",
            "cmdline",
            "disks",
            "network",
            "listen",
            "interface",
            "mac",
            "machine",
            "cpu",
            "accel",
        ],
    ),
    ("microvm-nix", &["flake", "locked", "file", "base"]),
    ("cloud-hypervisor", &["kernel", "firmware", "initramfs", "cmdline", "disks", "tap", "mac"]),
];

const PORTS_USAGE: &str = "as in ports = [\"8080:80\", \"53:53/udp\", { host = 8443, guest = 443 }]";

/// How close a word must be to be suggested.
const CLOSE: f64 = 0.75;

/// Reads a VM file's text. `file` is for the complaints, `folder` is where it stands.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn read(file: &str, text: &str, folder: &Path) -> Result<VmFile, FileError> {
    Reader { file, text, folder }.read()
}

/// Reads a NixOS module that a VM is made of.
///
/// # Errors
/// That it cannot be read, or is too long for the cluster.
pub fn read_module(path: &Path) -> Result<String, String> {
    let max = VmSpec::PAYLOAD_LEN_MAX;
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(max as u64 + 1).read_to_string(&mut text));
    read.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    if text.len() > max {
        return Err(format!(
            "{} has more than {max} bytes, which is all that the cluster stores of a VM: put the rest into a flake",
            path.display()
        ));
    }
    Ok(text)
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    folder: &'a Path,
}

/// A value with its place.
struct Found<'t, 'i> {
    key: String,
    at: Range<usize>,
    value: &'t DeValue<'i>,
    value_at: Range<usize>,
}

impl Reader<'_> {
    fn read(&self) -> Result<VmFile, FileError> {
        let table = DeTable::parse(self.text).map_err(|error| {
            self.error(&error.span().unwrap_or(0..0), error.message().trim_end().replace('\n', ", "))
        })?;
        let table = table.get_ref();
        let known: Vec<&str> = KEYS.iter().chain(BACKENDS).copied().collect();
        self.check_keys(table, &known)?;
        let (hypervisor, payload) = self.backend(table)?;
        let spec = VmSpec {
            resources: Resources { vcpus: self.vcpus(table)?, memory_mib: self.memory(table)? },
            requires: self.requires(table)?,
            restart: self.choice(
                table,
                "restart",
                &[
                    ("always", RestartPolicy::Always),
                    ("on-failure", RestartPolicy::OnFailure),
                    ("never", RestartPolicy::Never),
                ],
            )?,
            failover: self.choice(
                table,
                "failover",
                &[("move", FailoverPolicy::Move), ("wait", FailoverPolicy::Wait)],
            )?,
            local_volume: self.local_volume(table)?,
            hypervisor,
            payload,
            ports: self.ports(table)?,
        };
        spec.validate().map_err(|reason| self.error(&(0..0), reason))?;
        Ok(VmFile { name: self.text_of(table, "name")?.map(|(name, _)| name), spec })
    }

    fn vcpus(&self, table: &DeTable<'_>) -> Result<u32, FileError> {
        let Some(found) = get(table, "vcpus") else {
            return Ok(1);
        };
        let vcpus = integer(found.value).and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
        vcpus.ok_or_else(|| self.error(&found.value_at, "vcpus is a whole number from 1 on, as in vcpus = 2"))
    }

    fn memory(&self, table: &DeTable<'_>) -> Result<u64, FileError> {
        let usage = "memory is a text such as \"512MiB\" or \"2GiB\", or a whole number of MiB";
        let Some(found) = get(table, "memory") else {
            return Err(self.error(&(0..0), format!("memory is missing: {usage}")));
        };
        let mib = match found.value {
            DeValue::String(text) => parse_memory(text),
            value => integer(value).and_then(|n| u64::try_from(n).ok()),
        };
        mib.filter(|mib| *mib > 0).ok_or_else(|| self.error(&found.value_at, usage))
    }

    fn requires(&self, table: &DeTable<'_>) -> Result<Labels, FileError> {
        let Some(found) = get(table, "requires") else {
            return Ok(Labels::new());
        };
        let DeValue::Table(labels) = found.value else {
            let usage = "requires is a table of labels, as in requires = { zone = \"a\" }";
            return Err(self.error(&found.value_at, usage));
        };
        let mut requires = Labels::new();
        for label in all(labels) {
            let DeValue::String(value) = label.value else {
                let key = &label.key;
                let what = format!("the label {key} needs a text in quotes, as in {key} = \"true\"");
                return Err(self.error(&label.value_at, what));
            };
            requires.insert(label.key, value.to_string());
        }
        Ok(requires)
    }

    fn local_volume(&self, table: &DeTable<'_>) -> Result<bool, FileError> {
        match get(table, "local_volume") {
            None => Ok(false),
            Some(Found { value: DeValue::Boolean(value), .. }) => Ok(*value),
            Some(found) => Err(self.error(&found.value_at, "local_volume is true or false")),
        }
    }

    fn ports(&self, table: &DeTable<'_>) -> Result<Vec<Port>, FileError> {
        let Some(found) = get(table, "ports") else {
            return Ok(Vec::new());
        };
        let DeValue::Array(entries) = found.value else {
            return Err(self.error(&found.value_at, format!("ports is a list, {PORTS_USAGE}")));
        };
        let mut ports: Vec<Port> = Vec::new();
        for entry in entries {
            let port = match entry.get_ref() {
                DeValue::String(text) => short_port(text).ok_or_else(|| {
                    self.error(&entry.span(), format!("{text:?} is no port: write HOST:GUEST, {PORTS_USAGE}"))
                }),
                DeValue::Table(port) => self.port(port, &entry.span()),
                _ => Err(self.error(&entry.span(), format!("a port is a text or a table, {PORTS_USAGE}"))),
            }?;
            if ports.iter().any(|other| (other.protocol, other.host) == (port.protocol, port.host)) {
                let what = format!("the host's port {}/{} is named twice", port.host, port.protocol);
                return Err(self.error(&entry.span(), what));
            }
            ports.push(port);
        }
        Ok(ports)
    }

    fn port(&self, table: &DeTable<'_>, at: &Range<usize>) -> Result<Port, FileError> {
        self.check_keys(table, &["host", "guest", "protocol"])?;
        let number = |key: &str| {
            let found = get(table, key)
                .ok_or_else(|| self.error(at, format!("the port's {key} is missing, {PORTS_USAGE}")))?;
            let port = integer(found.value).and_then(|n| u16::try_from(n).ok()).filter(|port| *port > 0);
            port.ok_or_else(|| self.error(&found.value_at, format!("{key} is a port, from 1 to 65535")))
        };
        Ok(Port {
            host: number("host")?,
            guest: number("guest")?,
            protocol: self.choice(table, "protocol", &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)])?,
        })
    }

    fn choice<T: Copy + Default>(
        &self,
        table: &DeTable<'_>,
        key: &str,
        choices: &[(&str, T)],
    ) -> Result<T, FileError> {
        let Some((given, at)) = self.text_of(table, key)? else {
            return Ok(T::default());
        };
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let choice = choices.iter().find(|(word, _)| *word == given).map(|(_, choice)| *choice);
        choice.ok_or_else(|| {
            let hint = suggestion(&given, &words);
            self.error(&at, format!("{key} is one of {}, not {given:?}{hint}", words.join(", ")))
        })
    }

    /// The backend's name, and its table as text.
    fn backend(&self, table: &DeTable<'_>) -> Result<(String, String), FileError> {
        let tables: Vec<Found<'_, '_>> =
            all(table).filter(|found| BACKENDS.contains(&found.key.as_str())).collect();
        let name = match (self.text_of(table, "hypervisor")?, &tables[..]) {
            (Some((name, at)), _) if !BACKENDS.contains(&name.as_str()) => {
                let hint = suggestion(&name, BACKENDS);
                let known = BACKENDS.join(", ");
                return Err(self.error(&at, format!("hypervisor is one of {known}, not {name:?}{hint}")));
            }
            (Some((name, _)), _) => name,
            (None, [only]) => only.key.clone(),
            (None, []) => {
                let usage = "as in [process] with command = [\"sleep\", \"1000\"]";
                return Err(self.error(&(0..0), format!("a backend's table is missing, {usage}")));
            }
            (None, [_, second, ..]) => {
                let what = "there are tables of two backends: say which one with hypervisor = \"…\"";
                return Err(self.error(&second.at, what));
            }
        };
        for found in &tables {
            let DeValue::Table(content) = found.value else {
                return Err(self.error(&found.value_at, format!("{0} is a table, as in [{0}]", found.key)));
            };
            if let Some((_, known)) = BACKEND_KEYS.iter().find(|(backend, _)| *backend == found.key) {
                self.check_keys(content, known)?;
            }
        }
        let Some(found) = tables.iter().find(|found| found.key == name) else {
            return Err(
                self.error(&(0..0), format!("the hypervisor is {name}, and its table [{name}] is missing"))
            );
        };
        match name.as_str() {
            "process" => self.check_types::<ProcessSpec>(found)?,
            "qemu" => self.check_types::<QemuSpec>(found)?,
            "cloud-hypervisor" => self.check_types::<CloudHypervisorSpec>(found)?,
            _ => {}
        }
        // Read once more, for the values without their places.
        let values: toml::Table = self.text.parse().map_err(|error: toml::de::Error| {
            self.error(&error.span().unwrap_or(0..0), error.message().to_owned())
        })?;
        let mut content = values.get(&name).and_then(|value| value.as_table()).cloned().unwrap_or_default();
        if name == "microvm-nix" {
            self.resolve(&mut content, found)?;
        }
        let payload = content.to_string();
        let parsed = match name.as_str() {
            "process" => ProcessSpec::parse(&payload).map(|_| ()),
            "qemu" => QemuSpec::parse(&payload).map(|_| ()),
            "microvm-nix" => NixSpec::parse(&payload).map(|_| ()),
            "cloud-hypervisor" => CloudHypervisorSpec::parse(&payload).map(|_| ()),
            _ => Ok(()),
        };
        parsed.map_err(|reason| {
            let reason = reason.trim_end();
            let reason = reason.rsplit('\n').next().unwrap_or(reason);
            self.error(&found.at, format!("[{name}] cannot be taken: {reason}"))
        })?;
        Ok((name, payload))
    }

    /// Makes what is named from the VM file's folder mean the same on every host.
    fn resolve(&self, content: &mut toml::Table, found: &Found<'_, '_>) -> Result<(), FileError> {
        for key in ["flake", "base"] {
            if let Some(toml::Value::String(reference)) = content.get_mut(key) {
                *reference = NixSpec::absolute(reference, self.folder);
            }
        }
        if let Some(toml::Value::String(file)) = content.get_mut("file")
            && file.ends_with(".nix")
            && !file.contains('\n')
        {
            let at = match found.value {
                DeValue::Table(table) => get(table, "file").map(|file| file.value_at),
                _ => None,
            };
            let text = read_module(&self.folder.join(&*file));
            *file = text.map_err(|reason| self.error(&at.unwrap_or(found.at.clone()), reason))?;
        }
        Ok(())
    }

    /// Reads a backend's table where it stands, so that a value of the wrong kind has its place.
    fn check_types<T: DeserializeOwned>(&self, found: &Found<'_, '_>) -> Result<(), FileError> {
        let spanned = Spanned::new(found.value_at.clone(), found.value.clone());
        T::deserialize(ValueDeserializer::from(spanned)).map(|_| ()).map_err(|error: toml::de::Error| {
            let at = error.span().unwrap_or(found.at.clone());
            self.error(&at, format!("[{}] cannot be taken: {}", found.key, error.message()))
        })
    }

    fn text_of(&self, table: &DeTable<'_>, key: &str) -> Result<Option<(String, Range<usize>)>, FileError> {
        match get(table, key) {
            None => Ok(None),
            Some(Found { value: DeValue::String(text), value_at, .. }) => {
                Ok(Some((text.to_string(), value_at)))
            }
            Some(found) => Err(self.error(&found.value_at, format!("{key} is a text in quotes"))),
        }
    }

    fn check_keys(&self, table: &DeTable<'_>, known: &[&str]) -> Result<(), FileError> {
        match all(table).find(|found| !known.contains(&found.key.as_str())) {
            None => Ok(()),
            Some(found) => {
                let hint = suggestion(&found.key, known);
                let hint = if hint.is_empty() { format!("; there are {}", known.join(", ")) } else { hint };
                Err(self.error(&found.at, format!("unknown key {:?}{hint}", found.key)))
            }
        }
    }

    fn error(&self, at: &Range<usize>, message: impl Into<String>) -> FileError {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        FileError { file: self.file.to_owned(), line, column, message: message.into() }
    }
}

fn get<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<Found<'t, 'i>> {
    all(table).find(|found| found.key == key)
}

fn all<'t, 'i>(table: &'t DeTable<'i>) -> impl Iterator<Item = Found<'t, 'i>> {
    table.iter().map(|(key, value)| Found {
        key: key.get_ref().to_string(),
        at: key.span(),
        value: value.get_ref(),
        value_at: value.span(),
    })
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    match value {
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok(),
        _ => None,
    }
}

/// A port written as `8080:80` or `53:53/udp`.
fn short_port(text: &str) -> Option<Port> {
    let (ports, protocol) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some(_) => return None,
    };
    let (host, guest) = ports.split_once(':')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|port| digits && *port > 0)
    };
    Some(Port { host: number(host)?, guest: number(guest)?, protocol })
}

/// MiB of a text such as `512MiB`.
pub(super) fn parse_memory(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = text.split_at(digits);
    let mib: u64 = match unit.trim_start() {
        "MiB" => 1,
        "GiB" => 1 << 10,
        "TiB" => 1 << 20,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(mib)
}

/// `; did you mean …?`, or nothing.
fn suggestion(word: &str, known: &[&str]) -> String {
    let near = |known: &&&str| (strsim::jaro_winkler(word, known) * 1_000.0) as u64;
    match known.iter().max_by_key(near) {
        Some(nearest) if strsim::jaro_winkler(word, nearest) >= CLOSE => {
            format!("; did you mean {nearest:?}?")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
