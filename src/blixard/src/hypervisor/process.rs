//! The `process` backend: runs a command as if it were a VM, for trying Blixard out without virtualization.
//!
//! It isolates nothing and limits nothing: `vcpus` and `memory` count for the scheduler alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use blixard_node::hypervisor::HypervisorError;
use serde::Deserialize;

use super::backend::{Backend, Job};
use super::run_dir::Plan;
use super::tool::PATH;

/// The payload of a VM with `hypervisor = "process"`, as TOML.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSpec {
    /// Program and arguments. A program without a slash is looked for in `PATH`.
    pub command: Vec<String>,
    /// The environment; nothing of the daemon's is passed on. Default: a usual `PATH`, and `BLIXARD_VM`, the VM's name.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it runs; default `/`.
    #[serde(default)]
    pub workdir: Option<PathBuf>,
}

impl ProcessSpec {
    /// Reads a payload.
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub fn parse(payload: &str) -> Result<Self, String> {
        let spec: Self = toml::from_str(payload).map_err(|error| error.to_string())?;
        if spec.command.first().is_none_or(String::is_empty) {
            return Err("command is empty: name a program, as in command = [\"sleep\", \"1000\"]".into());
        }
        let holds_nul = |text: &String| text.contains('\0');
        if spec.command.iter().any(holds_nul) || spec.env.iter().any(|(k, v)| holds_nul(k) || holds_nul(v)) {
            return Err("a NUL byte stands in command or env: no program can be given one".into());
        }
        if let Some(key) = spec.env.keys().find(|key| key.is_empty() || key.contains('=')) {
            return Err(format!("{key:?} in env is not a variable's name"));
        }
        if let Some(workdir) = spec.workdir.as_ref().filter(|dir| !dir.is_absolute()) {
            return Err(format!("workdir {} is not an absolute path", workdir.display()));
        }
        Ok(spec)
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process;

impl Backend for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    fn probe(&self) -> Result<String, String> {
        Ok("runs any program; isolates nothing".into())
    }

    fn prepare(&self, job: Job<'_>) -> Result<Option<String>, HypervisorError> {
        self.plan(job).map(|_| None)
    }

    fn plan(&self, job: Job<'_>) -> Result<Plan, HypervisorError> {
        let spec =
            ProcessSpec::parse(&job.spec.payload).map_err(|reason| HypervisorError::Prepare { reason })?;
        let mut env = spec.env;
        env.entry("PATH".into()).or_insert_with(|| PATH.into());
        env.entry("BLIXARD_VM".into()).or_insert_with(|| job.name.to_string());
        let workdir = spec.workdir.unwrap_or_else(|| "/".into());
        Ok(Plan { command: spec.command, env, workdir, ..Plan::default() })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(payload: &str, expected: Expect) {
        match ProcessSpec::parse(payload) {
            Ok(spec) => expected.assert_eq(&format!("{spec:?}")),
            Err(error) => expected.assert_eq(&error),
        }
    }

    #[test]
    fn payloads() {
        check(
            "command = ['sleep', '9']\nenv = { A = 'b' }",
            expect![[r#"ProcessSpec { command: ["sleep", "9"], env: {"A": "b"}, workdir: None }"#]],
        );
        check(
            "command = []",
            expect![[r#"command is empty: name a program, as in command = ["sleep", "1000"]"#]],
        );
        check(
            "command = ['a']\ncomand = 1",
            expect![[r#"
                TOML parse error at line 2, column 1
                  |
                2 | comand = 1
                  | ^^^^^^
                unknown field `comand`, expected one of `command`, `env`, `workdir`
            "#]],
        );
        check("command = ['a']\nworkdir = 'b'", expect!["workdir b is not an absolute path"]);
        check("command = ['a']\nenv = { 'A=B' = '' }", expect![[r#""A=B" in env is not a variable's name"#]]);
        check(
            "command = [\"a\\u0000\"]",
            expect!["a NUL byte stands in command or env: no program can be given one"],
        );
    }
}
