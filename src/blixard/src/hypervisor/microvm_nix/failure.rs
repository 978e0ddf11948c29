//! What went wrong in nix. Its exit status is 1 whatever happens, so this is read from what it says.

use std::time::Duration;

use super::LINES_MAX;

/// The kinds of failures that call for different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nix is not there, or cannot be run.
    Missing,
    /// The daemon of nix does not answer, or the store may not be written to.
    NoStore,
    /// The expression is wrong.
    Evaluation,
    /// The flake has inputs that are not locked, so that hosts would build different things.
    Unlocked,
    /// Something cannot be fetched, or is not what was locked.
    Fetch,
    /// A builder failed.
    Builder,
    /// It took too long.
    TimedOut,
    /// Others held a lock for too long.
    Blocked,
    /// A disk is full.
    Full,
    /// Anything else.
    Other,
}

/// What went wrong: its kind, and what to tell people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NixError {
    /// Of which kind it is.
    pub kind: Failure,
    /// What it is, with the lines that nix said of it, and what to do.
    pub reason: String,
}

impl NixError {
    pub(super) fn new(kind: Failure, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }
}

/// What nix says of a failure of each kind; the first that fits decides. A full disk comes first, because it makes
/// builders fail; evaluation last, because every failure begins with `error:`.
const SIGNS: &[(Failure, &[&str])] = &[
    (Failure::Full, &["No space left on device", "database or disk is full", "Disk quota exceeded"]),
    (
        Failure::NoStore,
        &[
            "cannot connect to socket at",
            "cannot connect to daemon",
            "error: opening lock file",
            "error: creating directory '/nix",
            "is not allowed to connect",
            "attempt to write a readonly database",
        ],
    ),
    (Failure::TimedOut, &["timed out after"]),
    (Failure::Builder, &["builder for '", "builder failed with", "hash mismatch in fixed-output derivation"]),
    (Failure::Unlocked, &["requires lock file changes"]),
    (
        Failure::Fetch,
        &[
            "NAR hash mismatch in input",
            "unable to download",
            "cannot fetch",
            "Failed to fetch",
            "failed to fetch",
            "Could not resolve host",
            "Git error",
            "program 'git' failed",
            "unable to fork: executing 'git'",
            "cannot find flake",
            "does not contain a 'flake.nix'",
            "does not contain a '/flake.nix'",
            "getting status of '",
            "could not find a flake.nix",
            "is not owned by current user",
        ],
    ),
    (Failure::Evaluation, &["error:"]),
];

/// What others' locks look like while they are waited for.
const WAITING: &[&str] =
    &["waiting for lock on", "waiting for the big Nix store lock", "waiting for exclusive access"];

/// Reads what nix said. `cut` is how long it had when it was cut off; none when it ended by itself.
pub(super) fn read(said: &str, cut: Option<Duration>) -> NixError {
    let said = plain(said);
    if let Some(patience) = cut {
        return cut_off(&said, patience);
    }
    let sign = |signs: &[&str]| said.lines().position(|line| signs.iter().any(|sign| line.contains(sign)));
    let found = SIGNS.iter().find_map(|(kind, signs)| Some((*kind, sign(signs)?)));
    let (kind, at) = found.unwrap_or((Failure::Other, 0));
    let lines = match kind {
        // Builders fail before what depends on them, which says nothing new.
        Failure::Builder | Failure::TimedOut | Failure::NoStore => block(&said, at),
        Failure::Full => said.lines().nth(at).unwrap_or_default().trim().to_owned(),
        Failure::Other => last_lines(&said),
        _ => block(&said, last_error(&said).unwrap_or(at)),
    };
    let reason = match kind {
        Failure::Full => format!(
            "no space is left for nix: free some, as with nix-collect-garbage, and start the VM again: {lines}"
        ),
        Failure::NoStore => format!(
            "nix's store cannot be used: see that nix-daemon runs and that the user of blixard may use it: {lines}"
        ),
        Failure::TimedOut => format!("a build took too long: {lines}"),
        Failure::Builder => format!("a build failed: {lines}"),
        Failure::Unlocked => format!(
            "the flake's inputs are not locked, and hosts would build different things: run `nix flake lock` and commit flake.lock: {lines}"
        ),
        Failure::Fetch => format!("a flake cannot be fetched: {lines}"),
        Failure::Evaluation => format!("the configuration cannot be evaluated: {lines}"),
        _ => format!("nix failed: {lines}"),
    };
    NixError::new(kind, reason)
}

fn cut_off(said: &str, patience: Duration) -> NixError {
    let patience = humantime::format_duration(patience);
    // Its answer to being ended is no news.
    let is_news = |line: &&str| !line.is_empty() && !line.contains("interrupted by the user");
    let last = said.lines().rev().map(str::trim).find(is_news).unwrap_or("it said nothing");
    if WAITING.iter().any(|sign| last.contains(sign)) {
        let reason = format!("another nix held a lock for {patience}, and this one gave up: {last}");
        return NixError::new(Failure::Blocked, reason);
    }
    let reason = format!(
        "the build was not done after {patience} and was ended (BLIXARD_NIX_TIMEOUT on the host says how long it may take): {last}"
    );
    NixError::new(Failure::TimedOut, reason)
}

/// The line of the last error: the one that the earlier ones only lead to.
fn last_error(said: &str) -> Option<usize> {
    said.lines()
        .enumerate()
        .filter(|(_, line)| line.trim_start().starts_with("error:"))
        .map(|(at, _)| at)
        .last()
}

/// From line `at` to the next error, without empty lines and what is not for people.
fn block(said: &str, at: usize) -> String {
    let noise = [
        "For full logs, run",
        "(use '--show-trace'",
        "error: build of",
        "Output paths:",
        "note: trace involved",
    ];
    let mut lines = said.lines().skip(at).map(str::trim);
    let first = lines.next().unwrap_or_default().trim_start_matches("error:").trim();
    let rest = lines.take_while(|line| !line.starts_with("error:"));
    let rest = rest.filter(|line| !line.is_empty() && !noise.iter().any(|noise| line.contains(noise)));
    let kept: Vec<&str> = std::iter::once(first).chain(rest.filter(|line| !is_store_noise(line))).collect();
    // The first line says what, the last ones why.
    let skipped = kept.len().saturating_sub(LINES_MAX);
    let kept = kept.iter().enumerate().filter(|(at, line)| !line.is_empty() && (*at == 0 || *at > skipped));
    kept.map(|(_, line)| *line).collect::<Vec<_>>().join("\n")
}

fn is_store_noise(line: &str) -> bool {
    line.starts_with("/nix/store/") && !line.contains(' ')
}

fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let lines = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default();
    if lines.is_empty() { "it said nothing".into() } else { lines.join("\n") }
}

/// Without terminal codes (ECMA-48: ESC `[` … a letter) and carriage returns.
pub(super) fn plain(said: &str) -> String {
    let mut plain = String::with_capacity(said.len());
    let mut chars = said.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                if chars.next() == Some('[') {
                    let _ = chars.find(|c| ('@'..='~').contains(c));
                }
            }
            '\r' => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(said: &str, kind: Failure, expected: Expect) {
        let error = read(said, None);
        assert_eq!(error.kind, kind, "{}", error.reason);
        expected.assert_eq(&error.reason);
    }

    #[test]
    fn an_evaluation_error_of_today() {
        check(
            "\u{1b}[31;1merror:\u{1b}[0m\n       … while evaluating the attribute 'config'\n         at /nix/store/x/flake.nix:3:5:\n\n       \u{1b}[31;1merror:\u{1b}[0m attribute 'pkgz' missing\n       at /nix/store/x/vm.nix:7:9:\n            6|\n            7|   a = pkgz;\n       Did you mean pkgs?\n",
            Failure::Evaluation,
            expect![[r#"
                the configuration cannot be evaluated: attribute 'pkgz' missing
                at /nix/store/x/vm.nix:7:9:
                6|
                7|   a = pkgz;
                Did you mean pkgs?"#]],
        );
    }

    #[test]
    fn a_builder_that_fails_below_others() {
        let said = "building '/nix/store/a-dep.drv'...\nerror: builder for '/nix/store/a-dep.drv' failed with exit code 7;\n       last 2 log lines:\n       > compiling\n       > no such header\n       For full logs, run 'nix log /nix/store/a-dep.drv'.\nerror: 1 dependencies of derivation '/nix/store/b-web.drv' failed to build\n";
        check(
            said,
            Failure::Builder,
            expect![[r#"
                a build failed: builder for '/nix/store/a-dep.drv' failed with exit code 7;
                last 2 log lines:
                > compiling
                > no such header"#]],
        );
    }

    #[test]
    fn a_builder_on_a_full_disk() {
        check(
            "error: builder for '/nix/store/a.drv' failed with exit code 1;\n       last 1 log lines:\n       > cp: error writing 'x': No space left on device\n",
            Failure::Full,
            expect![
                "no space is left for nix: free some, as with nix-collect-garbage, and start the VM again: > cp: error writing 'x': No space left on device"
            ],
        );
    }

    #[test]
    fn others() {
        for (said, kind) in [
            (
                "error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Connection refused",
                Failure::NoStore,
            ),
            ("error: building of '/nix/store/a.drv!out' timed out after 3 seconds", Failure::TimedOut),
            (
                "error: NAR hash mismatch in input 'path:/x' (/nix/store/y), expected 'a', got 'b'",
                Failure::Fetch,
            ),
            ("warning: a\nerror: unable to download 'https://x': Could not resolve host: x", Failure::Fetch),
            (
                "error: flake 'path:/x' requires lock file changes but they're not allowed due to '--no-update-lock-file'",
                Failure::Unlocked,
            ),
            (
                "error: Cannot build '/nix/store/a.drv'.\n       Reason: builder failed with exit code 1.\n       Last 1 log lines:\n       > x",
                Failure::Builder,
            ),
            ("nothing that is known", Failure::Other),
            ("", Failure::Other),
        ] {
            let error = read(said, None);
            assert_eq!(error.kind, kind, "{said}: {}", error.reason);
        }
    }

    #[test]
    fn waiting_for_a_lock_is_told_from_slow_building() {
        let patience = Duration::from_secs(90);
        let error = read(
            "warning: x\nwaiting for lock on '/nix/store/a'...\nerror: interrupted by the user\n",
            Some(patience),
        );
        assert_eq!(error.kind, Failure::Blocked);
        assert_eq!(
            error.reason,
            "another nix held a lock for 1m 30s, and this one gave up: waiting for lock on '/nix/store/a'..."
        );
        let error = read("building '/nix/store/a.drv'...\n", Some(patience));
        assert_eq!(error.kind, Failure::TimedOut);
        assert!(error.reason.ends_with("building '/nix/store/a.drv'..."), "{}", error.reason);
    }

    #[test]
    fn long_logs_are_cut_in_the_middle() {
        let log: String = (0..40).map(|at| format!("       > line {at}\n")).collect();
        let error = read(&format!("error: builder for 'a' failed;\n{log}"), None);
        assert_eq!(error.reason.lines().count(), LINES_MAX);
        assert!(error.reason.starts_with("a build failed: builder for 'a' failed;"));
        assert!(error.reason.ends_with("> line 39"));
    }
}
