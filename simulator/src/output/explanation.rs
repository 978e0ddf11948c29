//! An explanation as text for people, and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::explain::{Explanation, TooLong};

/// The steps with their times, and the violation last.
#[must_use]
pub fn explanation(explanation: &Explanation) -> String {
    let mut text = String::from("why\n");
    let mut line = |at: u64, what: &str| {
        let (seconds, micros) = (at / 1_000_000_000, at / 1_000 % 1_000_000);
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {seconds:>5}.{micros:06}  {what}");
    };
    for step in &explanation.steps {
        line(step.at, &step.text);
    }
    line(explanation.at, &format!("{}: {}", explanation.property, explanation.message));
    text
}

/// The same of what came of the attempt to explain a run; nothing where nothing was violated.
#[must_use]
pub fn explained(explained: &Result<Option<Explanation>, TooLong>) -> String {
    match explained {
        Ok(Some(told)) => explanation(told),
        Ok(None) => String::new(),
        Err(why) => format!("why          not told: {why}\n"),
    }
}

/// The steps: `at` is true time in nanoseconds, `entry` the place in the log, from 0.
#[must_use]
pub fn explanation_json(explanation: &Explanation) -> Value {
    let steps = explanation.steps.iter();
    steps.map(|step| json!({ "at": step.at, "entry": step.entry, "text": step.text })).collect()
}
