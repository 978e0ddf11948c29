//! Two recorded runs beside each other.

use std::fmt::Write as _;

use crate::determinism::{Divergence, compare};
use crate::trace::file::{Accusation, End, Recording};

/// In what two recordings differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parting {
    /// What their headers say otherwise: what, the first's, the second's.
    pub headers: Vec<(&'static str, String, String)>,
    /// The first line in which they part.
    pub line: Option<Divergence>,
    /// How they ended, when that is not the same.
    pub ends: Option<(End, End)>,
    /// How many lines each has.
    pub lens: (usize, usize),
}

impl Parting {
    /// Compares two recordings.
    #[must_use]
    pub fn of(first: &Recording, second: &Recording) -> Self {
        let (one, other) = (&first.header, &second.header);
        let mut headers = vec![
            ("subject", one.subject.clone(), other.subject.clone()),
            ("scenario", one.scenario.clone(), other.scenario.clone()),
            ("seed", one.seed.to_string(), other.seed.to_string()),
            ("hosts", one.hosts.to_string(), other.hosts.to_string()),
            ("build", one.build.clone(), other.build.clone()),
        ];
        headers.retain(|(_, one, other)| one != other);
        Self {
            headers,
            line: compare(&first.entries, &second.entries),
            ends: (verdict(&first.end) != verdict(&second.end))
                .then(|| (first.end.clone(), second.end.clone())),
            lens: (first.entries.len(), second.entries.len()),
        }
    }

    /// Whether all that happened is the same, and how it ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.line.is_none() && self.ends.is_none()
    }
}

/// What is shown of it; `names` are the two files'.
#[must_use]
pub fn parting(parting: &Parting, names: &[String; 2]) -> String {
    let [first, second] = names;
    let width = first.len().max(second.len());
    let mut text = String::new();
    for (what, one, other) in &parting.headers {
        // Writing to a string does not fail.
        let _ = writeln!(text, "other {what}: {one} and {other}");
    }
    if parting.is_empty() {
        let _ = writeln!(text, "the same: {} lines", super::grouped(parting.lens.0 as u64));
        return text;
    }
    if let Some(found) = &parting.line {
        // The header is the file's first line.
        let _ = writeln!(text, "they part at line {}:", found.line + 2);
        for entry in &found.before {
            let _ = writeln!(text, "  {:width$}  {entry}", "both");
        }
        for (name, entry) in [(first, &found.first), (second, &found.second)] {
            let shown = entry.map_or("(ends here)".into(), |entry| entry.to_string());
            let _ = writeln!(text, "  {name:width$}  {shown}");
        }
    }
    if let Some((one, other)) = &parting.ends {
        let _ = writeln!(text, "they end otherwise:");
        let _ = writeln!(text, "  {first:width$}  {}", ending(one, parting.lens.0));
        let _ = writeln!(text, "  {second:width$}  {}", ending(other, parting.lens.1));
    }
    text
}

fn verdict(end: &End) -> (&str, Option<&Accusation>, Option<&str>) {
    (&end.outcome, end.violation.as_ref(), end.proof.as_deref())
}

fn ending(end: &End, len: usize) -> String {
    let what = match (&end.violation, &end.proof) {
        (Some(Accusation { property, message, .. }), _) => format!(": {property}: {message}"),
        (None, Some(proof)) => format!(": {proof}"),
        (None, None) => String::new(),
    };
    format!("{} after {} lines{what}", end.outcome, super::grouped(len as u64))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::trace::file::Header;
    use crate::trace::{Entry, Kind};

    fn recording(seed: u64, ats: &[u64]) -> Recording {
        let entries: Vec<Entry> = ats.iter().map(|at| Entry::new(*at, Kind::Started, 1, &[1, *at])).collect();
        let lines = entries.len() as u64;
        Recording {
            header: Header {
                subject: "blixard".into(),
                scenario: "calm".into(),
                seed,
                hosts: 3,
                build: "0.1.0 debug".into(),
                reproduce: String::new(),
            },
            end: End { outcome: "held".into(), violation: None, proof: None, hash: ats.iter().sum(), lines },
            entries,
        }
    }

    fn shown(first: &Recording, second: &Recording) -> String {
        parting(&Parting::of(first, second), &["a".into(), "b.trace".into()])
    }

    #[test]
    fn the_same_run_is_the_same() {
        let one = recording(1, &[1, 2, 3]);
        assert!(Parting::of(&one, &one).is_empty());
        expect![[r#"
            the same: 3 lines
        "#]]
        .assert_eq(&shown(&one, &one));
    }

    #[test]
    fn headers_are_told_first() {
        let (one, other) = (recording(1, &[1, 2, 3]), recording(2, &[1, 2, 4]));
        assert!(!Parting::of(&one, &other).is_empty());
        expect![[r#"
            other seed: 1 and 2
            they part at line 4:
              both     0.000000001 host1 started node=n1 life=1
              both     0.000000002 host1 started node=n1 life=2
              a        0.000000003 host1 started node=n1 life=3
              b.trace  0.000000004 host1 started node=n1 life=4
        "#]]
        .assert_eq(&shown(&one, &other));
    }

    #[test]
    fn another_verdict_on_the_same_lines_is_told() {
        let one = recording(1, &[1]);
        let mut other = one.clone();
        other.end.outcome = "liveness".into();
        assert!(!Parting::of(&one, &other).is_empty());
        expect![[r#"
            they end otherwise:
              a        held after 1 lines
              b.trace  liveness after 1 lines
        "#]]
        .assert_eq(&shown(&one, &other));
    }

    #[test]
    fn a_run_that_goes_on_parts_where_the_other_ends() {
        expect![[r#"
            they part at line 8:
              both     0.000000002 host1 started node=n1 life=2
              both     0.000000003 host1 started node=n1 life=3
              both     0.000000004 host1 started node=n1 life=4
              both     0.000000005 host1 started node=n1 life=5
              both     0.000000006 host1 started node=n1 life=6
              a        0.000000007 host1 started node=n1 life=7
              b.trace  (ends here)
        "#]]
        .assert_eq(&shown(&recording(1, &[1, 2, 3, 4, 5, 6, 7]), &recording(1, &[1, 2, 3, 4, 5, 6])));
    }
}
