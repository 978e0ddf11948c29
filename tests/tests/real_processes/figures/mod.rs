//! Figures of real processes, for docs/benchmarks.md. They assert little and print much; each takes minutes, so all are ignored:
//!
//! ```console
//! $ cargo build --release -p blixard
//! $ export BLIXARD_TEST_BINARY=$PWD/target/release/blixard
//! $ cargo test -p blixard-tests --test real_processes -- --ignored --nocapture --test-threads 1 figures::
//! ```
//!
//! `BLIXARD_ROUNDS` says how many rounds, where there are rounds.

mod failover;
mod hundred;
mod start;

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::cluster::Place;

/// How many rounds of a measurement; `usual` where nobody says.
fn rounds(usual: usize) -> usize {
    std::env::var("BLIXARD_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What was measured again and again.
struct Spread(Vec<Duration>);

impl Spread {
    /// The value that `hundredths` of all do not exceed.
    fn at(&self, hundredths: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let rank = (sorted.len() * hundredths).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, late, most) = (self.at(50), self.at(99), self.at(100));
        write!(f, "median {median:.1?}, p99 {late:.1?}, most {most:.1?}")
    }
}

/// Where a sync takes as long as it is said to: a folder in memory, and a shim between the daemon and its C library.
fn timed_sync(sync: Duration) -> Option<Place> {
    let folder = PathBuf::from("/dev/shm");
    let shim = shim()?;
    let env = vec![
        ("LD_PRELOAD".to_owned(), shim.display().to_string()),
        ("SHIM_SYNC_US".to_owned(), sync.as_micros().to_string()),
    ];
    folder.is_dir().then(|| Place { folder: Some(folder), env, ..Place::default() })
}

/// Builds the shim of `tests/shim`; none where there is no C compiler, which is said.
pub(crate) fn shim() -> Option<PathBuf> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("shim.so");
    let new = target.with_extension(std::process::id().to_string());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/shim/shim.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&new).arg(source).arg("-ldl").output();
    match built {
        Ok(done) if done.status.success() => {
            std::fs::rename(new, &target).unwrap();
            Some(target)
        }
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr);
            eprintln!("skipped: cc does not build the shim: {}", said.lines().next().unwrap_or_default());
            None
        }
        Err(error) => {
            eprintln!("skipped: the shim needs a C compiler, cc: {error}");
            None
        }
    }
}

/// How long syncs of a small write take in `folder`.
fn measure_sync(folder: &std::path::Path) -> Spread {
    use std::io::{Seek as _, Write as _};
    let mut file = tempfile::tempfile_in(folder).unwrap();
    let once = |_| {
        file.rewind().unwrap();
        file.write_all(&[7; 4096]).unwrap();
        let began = std::time::Instant::now();
        file.sync_data().unwrap();
        began.elapsed()
    };
    Spread((0..200).map(once).collect())
}
