//! The commands of nix.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::failure::{self, Failure, NixError};
use super::spec::{check_locked, check_reference};
use crate::hypervisor::tool;

/// How long a build may take unless the host says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// How long nix may take to end its builders once it is asked to end. Killed at once it would leave them behind, with
/// their locks.
const GRACE: Duration = Duration::from_secs(20);

/// The most that is read of an answer, in bytes. The metadata of a flake holds all of its lock file.
const ANSWER_LEN_MAX: usize = 8 << 20;

/// The most that is kept of what nix says, in bytes; of longer sayings the end.
const SAID_LEN_MAX: usize = 64 << 10;

/// What is passed on of this program's environment: what says where things are, and nothing else.
const PASSED_ON: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "GIT_SSL_CAINFO",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// How nix is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of nix's programs; none for where they are found.
    pub programs: Option<PathBuf>,
    /// More variables, above those that are passed on.
    pub env: BTreeMap<String, String>,
    /// How long a build may take, with all that is fetched for it.
    pub patience: Duration,
    /// The flake that microvm.nix and nixpkgs come from when a file names none.
    pub base: String,
}

impl Options {
    /// As this host's environment says: `BLIXARD_NIX_BASE`, `BLIXARD_NIX_TIMEOUT` (as in `45m`), and what nix reads itself
    /// (`NIX_…`).
    ///
    /// # Errors
    /// Which variable makes no sense.
    pub fn of_host() -> Result<Self, String> {
        let patience = match std::env::var("BLIXARD_NIX_TIMEOUT") {
            Ok(text) => humantime::parse_duration(&text)
                .map_err(|error| format!("BLIXARD_NIX_TIMEOUT is {text:?}: {error}; write it as in 45m"))?,
            Err(_) => PATIENCE,
        };
        let base = std::env::var("BLIXARD_NIX_BASE").unwrap_or_else(|_| super::BASE.into());
        check_reference("BLIXARD_NIX_BASE", &base)?;
        Ok(Self { programs: None, env: BTreeMap::new(), patience, base })
    }
}

/// Runs nix.
#[derive(Clone, Debug)]
pub(super) struct Nix {
    pub(super) options: Options,
}

#[derive(Deserialize)]
struct Metadata {
    url: Option<String>,
    /// Its name in the future, as nix's sources say.
    #[serde(rename = "lockedUrl")]
    locked_url: Option<String>,
}

#[derive(Deserialize)]
struct Built {
    outputs: BTreeMap<String, PathBuf>,
}

impl Nix {
    pub(super) fn program(&self, name: &str) -> Result<PathBuf, NixError> {
        let beside = self.options.programs.as_ref().map(|folder| folder.join(name));
        beside.or_else(|| tool::find(name)).ok_or_else(|| {
            let reason =
                format!("{name} is not installed on this host: install Nix 2.8 or newer (nix-bin on Debian)");
            NixError::new(Failure::Missing, reason)
        })
    }

    /// What nix says of its version.
    pub(super) fn version(&self, until: Instant) -> Result<String, NixError> {
        self.run("nix", &["--version"], until).map(|said| said.trim().to_owned())
    }

    /// Writes a few bytes into the store by an expression: whether this user may build. Says where the store is.
    pub(super) fn try_store(&self, until: Instant) -> Result<PathBuf, NixError> {
        let probe = "if builtins ? getFlake then builtins.toFile \"blixard-probe\" \"\" else throw \"this nix has no flakes\"";
        let path = self.flakes(&["eval", "--raw", "--expr", probe], until)?;
        Ok(Path::new(path.trim()).parent().map(Path::to_path_buf).unwrap_or_default())
    }

    /// The reference with what locks it (a revision, a hash): the same content on every host.
    pub(super) fn lock(&self, reference: &str, until: Instant) -> Result<String, NixError> {
        // Otherwise nix takes what a branch was an hour ago for what it is.
        let fresh = ["flake", "metadata", "--json", "--no-write-lock-file", "--refresh", reference];
        let answer = self.flakes(&fresh, until)?;
        let metadata: Metadata = serde_json::from_str(&answer).map_err(|error| {
            NixError::new(Failure::Other, format!("nix flake metadata {reference}: {error}"))
        })?;
        let locked = without_time(&metadata.locked_url.or(metadata.url).unwrap_or_default());
        check_locked(&locked).map_err(|reason| NixError::new(Failure::Other, reason))?;
        if !says_content(&locked) {
            let reason = format!(
                "{reference} has changes that are not committed, and other hosts could not build it: commit them, or name \
                 the folder by path:, which takes it as it is"
            );
            return Err(NixError::new(Failure::Unlocked, reason));
        }
        Ok(locked)
    }

    /// Builds `installable`; `root` becomes a link to it that keeps it from being collected as garbage.
    pub(super) fn build(
        &self,
        installable: &str,
        root: &Path,
        more: &[&str],
        until: Instant,
    ) -> Result<PathBuf, NixError> {
        let (root, limit) = (root.display().to_string(), self.options.patience.as_secs().max(1).to_string());
        // Nix's own limit too: it holds when this program is gone.
        let mut args = vec!["build", "--json", "--timeout", &limit, "--out-link", &root];
        // So that it says what it builds, and that it waits for a lock.
        args.extend(["--log-format", "raw", "--verbose"]);
        args.extend(more);
        args.push(installable);
        let answer = self.flakes(&args, until)?;
        let built: Vec<Built> = serde_json::from_str(&answer)
            .map_err(|error| NixError::new(Failure::Other, format!("nix build {installable}: {error}")))?;
        let out = built.into_iter().next().and_then(|mut built| built.outputs.remove("out"));
        out.ok_or_else(|| NixError::new(Failure::Other, format!("{installable} has no output `out`")))
    }

    /// Has `path` in the store, from there or from a cache, and `root` point to it.
    pub(super) fn realise(&self, path: &Path, root: &Path, until: Instant) -> Result<(), NixError> {
        let (path, root) = (path.display().to_string(), root.display().to_string());
        self.run("nix-store", &["--realise", &path, "--add-root", &root], until).map(drop)
    }

    /// How the closures of two store paths differ, a line a package; empty when they are the same.
    pub(super) fn diff(&self, old: &Path, new: &Path, until: Instant) -> Result<String, NixError> {
        let (old, new) = (old.display().to_string(), new.display().to_string());
        let said = self.flakes(&["store", "diff-closures", &old, &new], until)?;
        Ok(failure::plain(&said).trim_end().to_owned())
    }

    fn flakes(&self, args: &[&str], until: Instant) -> Result<String, NixError> {
        let (command, rest) = args.split_first().unwrap_or((&"", &[]));
        let features = ["--extra-experimental-features", "nix-command flakes"];
        // After the subcommand, as nix's own help has it.
        let args: Vec<&str> = std::iter::once(*command).chain(rest.iter().copied()).chain(features).collect();
        self.run("nix", &args, until)
    }

    fn run(&self, name: &str, args: &[&str], until: Instant) -> Result<String, NixError> {
        let program = self.program(name)?;
        let begun = Instant::now();
        let cannot = |error: io::Error| {
            let reason = format!("{} cannot be run: {error}", program.display());
            NixError::new(Failure::Missing, reason)
        };
        let mut child = self.command(&program).args(args).spawn().map_err(cannot)?;
        let answer = child.stdout.take().map(|out| collect(out, Keep::Beginning(ANSWER_LEN_MAX)));
        let said = child.stderr.take().map(|err| collect(err, Keep::End(SAID_LEN_MAX)));
        let ended = wait(&mut child, until).map_err(cannot)?;
        // A descendant may hold the pipes open for ever: what it would say is not waited for.
        let read = |from: Option<Receiver<Vec<u8>>>| {
            let bytes = from.and_then(|from| from.recv_timeout(Duration::from_secs(1)).ok());
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        };
        let (answer, said) = (read(answer), read(said));
        match ended {
            Some(status) if status.success() => Ok(answer),
            Some(_) => Err(failure::read(&said, None)),
            None => Err(failure::read(&said, Some(whole(until.saturating_duration_since(begun))))),
        }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let passed =
            |(key, _): &(String, String)| PASSED_ON.contains(&key.as_str()) || key.starts_with("NIX_");
        let env = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        // Fetching needs git, which stands beside nix where nix was installed by itself.
        let path = std::env::var("PATH")
            .map_or_else(|_| tool::PATH.to_owned(), |path| format!("{path}:{}", tool::PATH));
        command
            .env_clear()
            .envs(env.filter(passed))
            .env("PATH", path)
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .envs(&self.options.env)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Whether a locked reference says what it refers to, by a revision or a hash. That of a working tree with changes does not.
fn says_content(locked: &str) -> bool {
    let is_revision = |part: &str| part.len() >= 40 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    locked.contains("narHash=") || locked.split(['/', '?', '&', '=']).any(is_revision)
}

/// Rounded for people.
fn whole(span: Duration) -> Duration {
    let ms = span.as_millis() as u64;
    Duration::from_millis(if ms < 1_000 { ms } else { (ms + 500) / 1_000 * 1_000 })
}

/// Without `lastModified`: of a folder that is copied to another host it is another one, and content decides.
fn without_time(url: &str) -> String {
    let Some((front, query)) = url.split_once('?') else {
        return url.into();
    };
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("lastModified=")).collect();
    if kept.is_empty() { front.into() } else { format!("{front}?{}", kept.join("&")) }
}

/// Waits for the end; none when it came only because the time was over.
fn wait(child: &mut Child, until: Instant) -> io::Result<Option<ExitStatus>> {
    let mut asked = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(asked.is_none().then_some(status));
        }
        let now = Instant::now();
        match asked {
            None if now >= until => {
                let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
                asked = Some(now);
            }
            Some(at) if now >= at + GRACE => {
                tracing::warn!(
                    pid = child.id(),
                    "nix does not end: killing it; its builders may live on and hold locks"
                );
                let _ = child.kill();
                child.wait()?;
                return Ok(None);
            }
            _ => {}
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// What is kept of a stream; the rest is read and dropped, so that its writer is never blocked.
enum Keep {
    Beginning(usize),
    End(usize),
}

fn collect(mut from: impl Read + Send + 'static, keep: Keep) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let (mut kept, mut chunk) = (Vec::new(), [0_u8; 8192]);
        loop {
            let read = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(len) => chunk.get(..len).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            match keep {
                Keep::Beginning(max) => {
                    kept.extend_from_slice(read.get(..max.saturating_sub(kept.len())).unwrap_or(read));
                }
                Keep::End(max) => {
                    kept.extend_from_slice(read);
                    if kept.len() > 2 * max {
                        kept.drain(..kept.len() - max);
                    }
                }
            }
        }
        let _ = sender.send(kept);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_say_content_and_no_times() {
        assert_eq!(
            without_time("path:/x?lastModified=1&narHash=sha256-a%2fb="),
            "path:/x?narHash=sha256-a%2fb="
        );
        assert_eq!(without_time("path:/x?lastModified=1"), "path:/x");
        assert_eq!(without_time("github:a/b/c0ffee"), "github:a/b/c0ffee");
    }

    #[test]
    fn a_lock_says_content_by_a_revision_or_a_hash() {
        let revision = "2c806962a3b17211a0adbce6ad818b7ed5562a89";
        assert!(says_content(&format!("github:a/b/{revision}")));
        assert!(says_content(&format!("git+file:///x?ref=main&rev={revision}")));
        assert!(says_content("path:/x?narHash=sha256-a"));
        assert!(!says_content("git+file:///x"));
        assert!(!says_content("github:a/b/main"));
    }

    #[test]
    fn of_long_sayings_the_end_is_kept_and_of_answers_the_beginning() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(|at| at.to_be_bytes()).collect();
        let end = collect(io::Cursor::new(text.clone()), Keep::End(64)).recv().unwrap();
        assert!(end.len() <= 128 + 8192 && text.ends_with(&end));
        let beginning = collect(io::Cursor::new(text.clone()), Keep::Beginning(10_000)).recv().unwrap();
        assert!(beginning == text[..10_000]);
    }
}
