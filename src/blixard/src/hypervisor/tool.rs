//! Programs of the host: where they are, and what they say within a bounded time.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where programs are looked for unless a spec says otherwise.
pub const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";

/// The most that is kept of what a program says, in bytes. The rest is read and dropped, so that it is never blocked.
const SAID_LEN_MAX: usize = 64 << 10;

/// Where `program` is in this process's own `PATH`, else in [`PATH`]; none when it is nowhere, or no one may run it.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let own = std::env::var("PATH").unwrap_or_default();
    let folders = own.split(':').chain(PATH.split(':')).map(Path::new);
    // A relative folder would depend on where the daemon was started.
    folders
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// What came of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit status; none when it was killed: by a signal, or by us when its time was over.
    pub code: Option<i32>,
    /// Whether its time was over.
    pub timed_out: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Outcome {
    /// Whether it ended well.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.code == Some(0)
    }

    /// The last line of what it complained of, for people.
    #[must_use]
    pub fn complaint(&self) -> String {
        let last = self.err.lines().rev().map(str::trim).find(|line| !line.is_empty());
        match (last, self.timed_out, self.code) {
            (_, true, _) => "it did not end in time".into(),
            (Some(line), ..) => line.into(),
            (None, _, Some(code)) => format!("exit status {code}"),
            (None, _, None) => "it was killed by a signal".into(),
        }
    }
}

/// Runs a program to its end, for `patience` at most; then it is killed. It has no standard input.
///
/// # Errors
/// When it cannot be run.
pub fn run(program: &Path, args: &[&str], patience: Duration) -> io::Result<Outcome> {
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take().map(collect);
    let err = child.stderr.take().map(collect);
    let (code, timed_out) = wait(&mut child, patience)?;
    // A descendant may hold the pipes open for ever: what it would say is not waited for.
    let said = |reader: Option<std::sync::mpsc::Receiver<String>>| {
        reader.and_then(|said| said.recv_timeout(Duration::from_secs(1)).ok()).unwrap_or_default()
    };
    Ok(Outcome { code, timed_out, out: said(out), err: said(err) })
}

fn wait(child: &mut Child, patience: Duration) -> io::Result<(Option<i32>, bool)> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status.code(), false));
        }
        if Instant::now() >= until {
            let _ = child.kill();
            child.wait()?;
            return Ok((None, true));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn collect(mut from: impl Read + Send + 'static) -> std::sync::mpsc::Receiver<String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut said = Vec::new();
        let _ = (&mut from).take(SAID_LEN_MAX as u64).read_to_end(&mut said);
        let _ = io::copy(&mut from, &mut io::sink());
        let _ = sender.send(String::from_utf8_lossy(&said).into_owned());
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_run_and_cut_off() {
        assert_eq!(find("no-such-program-anywhere"), None);
        let sh = find("sh").unwrap();
        let said = run(&sh, &["-c", "echo out; echo err >&2; exit 3"], Duration::from_secs(20)).unwrap();
        let expected = Outcome { code: Some(3), timed_out: false, out: "out\n".into(), err: "err\n".into() };
        assert_eq!(said, expected);
        assert_eq!(said.complaint(), "err");
        let late = run(&sh, &["-c", "exec sleep 1000"], Duration::from_millis(50)).unwrap();
        assert!(late.timed_out && !late.is_ok());
        assert_eq!(late.complaint(), "it did not end in time");
    }
}
