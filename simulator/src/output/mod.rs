//! What is shown of a run: text, JSON, exit codes. Nothing is printed here; the binary does.

mod drawn;
mod explanation;
mod github;
mod history;
mod json;
mod junit;
mod parting;
mod shrunk;
mod sweep;
mod text;

pub use drawn::drawn;
pub use explanation::{explained, explanation, explanation_json};
pub use github::{is_github, workflow_error};
pub use history::{history_json, history_table};
pub use json::json_of;
pub use junit::junit;
pub use parting::{Parting, parting};
pub use shrunk::{compared, shrunk_summary};
pub use sweep::{progress, run_json, sweep_exit_code, sweep_json, sweep_summary, virtual_years};
pub use text::{divergence, grouped, summary};

pub(crate) use text::verdict;

use crate::scenario::Outcome;

/// Exit codes of the binary.
pub mod exit {
    /// Everything held.
    pub const HELD: u8 = 0;
    /// A safety property was violated, or node code panicked.
    pub const SAFETY: u8 = 1;
    /// The command line or a scenario file cannot be understood.
    pub const USAGE: u8 = 2;
    /// The healed core did not recover.
    pub const LIVENESS: u8 = 3;
    /// The same seed gave two runs.
    pub const NONDETERMINISM: u8 = 4;
    /// The faults exceeded what the design can survive.
    pub const INCONCLUSIVE: u8 = 5;
}

/// The exit code of an outcome.
#[must_use]
pub fn exit_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Held => exit::HELD,
        Outcome::Safety => exit::SAFETY,
        Outcome::Liveness => exit::LIVENESS,
        Outcome::Inconclusive => exit::INCONCLUSIVE,
    }
}

/// Measures how long the simulator itself takes. Stands outside of every trace hash.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Begins.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "tells people how fast the simulator is; no run sees it")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Milliseconds since.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Microseconds since.
    #[must_use]
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The command that gives this run again.
#[must_use]
pub fn reproduce(scenario: &str, seed: u64, overrides: &[String]) -> String {
    let mut line = format!("cargo sim --seed {seed} --scenario {scenario}");
    for each in overrides {
        line.push(' ');
        line.push_str(each);
    }
    line
}
