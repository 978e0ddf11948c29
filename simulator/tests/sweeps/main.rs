//! Sweeps as a user runs them: the binary, its flags, what it prints and keeps, and what interrupts it.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests of a whole process on real files")]

mod failing;
mod flags;
mod hanging;
mod history;
mod interrupted;
mod shown;
mod unread;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A short scenario, so that debug builds run many seeds of it.
const SHORT: &str = "name = \"short\"\n[run]\nwarmup = \"1s\"\nduration = \"1s\"\n";

/// A folder with a scenario, for one test.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("short.toml"), SHORT).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The binary in this folder, with its own history.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blixard-sim"));
        command.current_dir(self.0.path()).args(arguments.split_whitespace());
        command.env("XDG_STATE_HOME", self.0.path()).env_remove("GITHUB_ACTIONS");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &str) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }

    fn spawn(&self, arguments: &str) -> Started {
        Started(Some(self.command(arguments).spawn().unwrap()))
    }

    /// Nobody reads what it prints, and it prints all the same.
    fn spawn_unread(&self, arguments: &str) -> Started {
        Started(Some(self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()))
    }

    /// The history as JSON.
    fn history(&self) -> Vec<Value> {
        let ran = self.run("history --format json");
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        serde_json::from_str::<Vec<Value>>(&ran.out).unwrap()
    }
}

/// A process that does not outlive its test.
struct Started(Option<Child>);

impl Started {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it is at work")
    }

    fn ended(mut self) -> Ran {
        let child = self.0.take().expect("it is at work");
        Ran::of(&child.wait_with_output().unwrap())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a process printed, and how it ended.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The lines of `--json`: those of the runs, and the summary.
    fn json(&self) -> (Vec<Value>, Value) {
        let lines = self.out.lines().map(serde_json::from_str::<Value>);
        let mut lines: Vec<Value> = lines.collect::<Result<_, _>>().unwrap_or_else(|why| panic!("{why}"));
        let summary = lines.pop().expect("a summary");
        assert_eq!(summary["type"], "summary");
        assert!(lines.iter().all(|line| line["type"] == "run"));
        (lines, summary)
    }
}

/// Waits, outside of every run.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    panic!("it took more than a minute until {what}");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
