//! VM files: what `blixard vm create --config FILE` reads. Strict TOML; every complaint has its place and a remedy.
//!
//! ```toml
//! memory = "512MiB"            # or a number of MiB
//! vcpus = 2                    # default 1
//! hypervisor = "process"       # may be left out when there is just one backend's table
//! restart = "on-failure"       # always (default), on-failure, never
//! failover = "wait"            # move (default), wait
//! local_volume = false         # default false
//!
//! [requires]                   # labels its host must carry
//! zone = "a"
//!
//! [process]                    # the backend's own table
//! command = ["sleep", "1000"]
//! ```

use std::ops::Range;

use blixard_node::spec::{FailoverPolicy, Labels, Resources, RestartPolicy, VmSpec};
use toml::de::{DeTable, DeValue};

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
const BACKENDS: &[&str] = &["process", "qemu", "microvm-nix"];

const KEYS: &[&str] =
    &["name", "vcpus", "memory", "hypervisor", "restart", "failover", "local_volume", "requires"];

const PROCESS_KEYS: &[&str] = &["command", "env", "workdir"];

/// How close a word must be to be suggested.
const CLOSE: f64 = 0.75;

/// Reads a VM file's text. `file` is for the complaints.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn read(file: &str, text: &str) -> Result<VmFile, FileError> {
    Reader { file, text }.read()
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
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
            ports: Vec::new(),
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
            if found.key == "process" {
                self.check_keys(content, PROCESS_KEYS)?;
            }
        }
        let Some(found) = tables.iter().find(|found| found.key == name) else {
            return Err(
                self.error(&(0..0), format!("the hypervisor is {name}, and its table [{name}] is missing"))
            );
        };
        // Read once more, for the values without their places.
        let values: toml::Table = self.text.parse().map_err(|error: toml::de::Error| {
            self.error(&error.span().unwrap_or(0..0), error.message().to_owned())
        })?;
        let content = values.get(&name).and_then(|value| value.as_table()).cloned().unwrap_or_default();
        let payload = content.to_string();
        let parsed = match name.as_str() {
            "process" => ProcessSpec::parse(&payload).map(|_| ()),
            "qemu" => QemuSpec::parse(&payload).map(|_| ()),
            "microvm-nix" => NixSpec::parse(&payload).map(|_| ()),
            _ => Ok(()),
        };
        parsed.map_err(|reason| {
            let reason = reason.trim_end();
            let reason = reason.rsplit('\n').next().unwrap_or(reason);
            self.error(&found.at, format!("[{name}] cannot be taken: {reason}"))
        })?;
        Ok((name, payload))
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

/// MiB of a text such as `512MiB`.
fn parse_memory(text: &str) -> Option<u64> {
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
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        match read("web.toml", text) {
            Ok(file) => expected.assert_eq(&format!("{file:?}")),
            Err(error) => expected.assert_eq(&error.to_string()),
        }
    }

    #[test]
    fn a_whole_file() {
        check(
            "name = 'web'\nvcpus = 2\nmemory = '2GiB'\nhypervisor = 'process'\nrestart = 'never'\nfailover = 'wait'\n\
             local_volume = true\n[requires]\nzone = 'a'\n[process]\ncommand = ['sleep', '9']\nenv = { A = 'b' }\n",
            expect![[
                r#"VmFile { name: Some("web"), spec: VmSpec { resources: Resources { vcpus: 2, memory_mib: 2048 }, requires: {"zone": "a"}, restart: Never, failover: Wait, local_volume: true, hypervisor: "process", payload: "command = [\"sleep\", \"9\"]\n\n[env]\nA = \"b\"\n", ports: [] } }"#
            ]],
        );
    }

    #[test]
    fn a_short_file() {
        check(
            "memory = 64\nprocess.command = ['true']",
            expect![[
                r#"VmFile { name: None, spec: VmSpec { resources: Resources { vcpus: 1, memory_mib: 64 }, requires: {}, restart: Always, failover: Move, local_volume: false, hypervisor: "process", payload: "command = [\"true\"]\n", ports: [] } }"#
            ]],
        );
    }

    #[test]
    fn complaints_have_a_place_and_a_remedy() {
        check(
            "memroy = 64\n[process]\ncommand = ['true']",
            expect![[r#"web.toml:1:1: unknown key "memroy"; did you mean "memory"?"#]],
        );
        check(
            "memory = 64\ncolour = 'red'\n[process]\ncommand = ['true']",
            expect![[
                r#"web.toml:2:1: unknown key "colour"; there are name, vcpus, memory, hypervisor, restart, failover, local_volume, requires, process, qemu, microvm-nix"#
            ]],
        );
        check(
            "memory = 64\n[process]\ncomand = ['true']",
            expect![[r#"web.toml:3:1: unknown key "comand"; did you mean "command"?"#]],
        );
        check(
            "memory = '64MB'\n[process]\ncommand = ['true']",
            expect![[
                r#"web.toml:1:10: memory is a text such as "512MiB" or "2GiB", or a whole number of MiB"#
            ]],
        );
        check(
            "vcpus = 0\nmemory = 64\n[process]\ncommand = ['true']",
            expect!["web.toml:1:9: vcpus is a whole number from 1 on, as in vcpus = 2"],
        );
        check(
            "memory = 64\nrestart = 'onfailure'\n[process]\ncommand = ['true']",
            expect![[
                r#"web.toml:2:11: restart is one of always, on-failure, never, not "onfailure"; did you mean "on-failure"?"#
            ]],
        );
        check(
            "memory = 64\nhypervisor = 'proces'\n[process]\ncommand = ['true']",
            expect![[
                r#"web.toml:2:14: hypervisor is one of process, qemu, microvm-nix, not "proces"; did you mean "process"?"#
            ]],
        );
        check(
            "memory = 64\nhypervisor = 'qemu'\n[process]\ncommand = ['true']",
            expect!["web.toml:1:1: the hypervisor is qemu, and its table [qemu] is missing"],
        );
        check(
            "memory = 64\n[process]\ncommand = ['true']\n[qemu]",
            expect![[
                r#"web.toml:4:2: there are tables of two backends: say which one with hypervisor = "…""#
            ]],
        );
        check(
            "memory = 64\n",
            expect![[
                r#"web.toml:1:1: a backend's table is missing, as in [process] with command = ["sleep", "1000"]"#
            ]],
        );
        check(
            "[process]\ncommand = ['true']",
            expect![[
                r#"web.toml:1:1: memory is missing: memory is a text such as "512MiB" or "2GiB", or a whole number of MiB"#
            ]],
        );
        check(
            "memory = 64\n[process]\ncommand = 'true'",
            expect![[
                r#"web.toml:2:2: [process] cannot be taken: invalid type: string "true", expected a sequence"#
            ]],
        );
        check(
            "memory = 64\n[process]\ncommand = []",
            expect![[
                r#"web.toml:2:2: [process] cannot be taken: command is empty: name a program, as in command = ["sleep", "1000"]"#
            ]],
        );
        check(
            "memory = 64\n[requires]\nzone = 1\n[process]\ncommand = ['true']",
            expect![[r#"web.toml:3:8: the label zone needs a text in quotes, as in zone = "true""#]],
        );
        check("memory = \n", expect!["web.toml:1:10: string values must be quoted, expected literal string"]);
    }
}
