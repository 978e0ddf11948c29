//! A sweep as a JUnit report.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{grouped, virtual_years};
use crate::sweep::{Failure, Sweep, Swept};

/// The report: a suite for each scenario, with one case for all its seeds together and one for each failure that was kept. A case for
/// each of a hundred thousand seeds would serve nobody.
///
/// # Errors
/// The XML cannot be written.
pub fn junit(sweep: &Sweep, swept: &Swept) -> Result<String, String> {
    let mut report = Report::new("blixard-sim");
    report.set_time(Duration::from_micros(swept.wall_us));
    for (place, (name, _)) in sweep.scenarios.iter().enumerate() {
        let failed = swept.failed.iter().filter(|failure| failure.place == place);
        report.add_test_suite(suite(sweep, swept, place, name, failed));
    }
    report.to_string().map_err(|error| error.to_string())
}

fn suite<'f>(
    sweep: &Sweep,
    swept: &Swept,
    place: usize,
    name: &str,
    failed: impl Iterator<Item = &'f Failure>,
) -> TestSuite {
    let share = swept.shares.get(place).copied().unwrap_or_default();
    let status = if share.failures == 0 {
        TestCaseStatus::success()
    } else {
        let message = format!("{} of {} runs failed", grouped(share.failures), grouped(share.runs));
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(message);
        status
    };
    let mut all = TestCase::new(format!("seeds {}, share {}", sweep.seeds, sweep.shard), status);
    all.set_classname(name).set_time(Duration::from_micros(share.busy_us));
    all.set_system_out(format!(
        "{} runs, {} virtual years",
        grouped(share.runs),
        virtual_years(share.virtual_ms)
    ));
    let mut suite = TestSuite::new(name);
    suite.set_time(Duration::from_micros(share.busy_us));
    suite.add_test_case(all);
    suite.add_test_cases(failed.map(|failure| case(failure, name)));
    suite
}

fn case(failure: &Failure, name: &str) -> TestCase {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type(failure.property.clone().unwrap_or_else(|| failure.ending.word().to_owned()));
    status.set_message(failure.message.as_str());
    status.set_description(format!("{}\n{}", failure.message, failure.reproduce));
    let mut case = TestCase::new(format!("seed {}", failure.seed), status);
    case.set_classname(name);
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::{Ending, Seeds, Share, Source};

    #[test]
    fn a_report_is_xml_with_every_failure_and_survives_odd_messages() {
        let failure = Failure {
            number: 3,
            place: 1,
            scenario: "b".into(),
            seed: 1,
            ending: Ending::Safety,
            property: Some("single-run".into()),
            message: "vm <7> & \"8\" ]]> \u{1b}[31mred\u{0} ran twice".into(),
            reproduce: "cargo sim --seed 1 --scenario b".into(),
        };
        let sweep = Sweep {
            scenarios: vec![("a".into(), Source::Drawn), ("b".into(), Source::Drawn)],
            seeds: Seeds::from(0..2),
            ..Sweep::default()
        };
        let held = Share { runs: 2, ..Share::default() };
        let shares = vec![held, Share { failures: 1, ..held }];
        let swept = Swept { runs: 4, failures: 1, failed: vec![failure], shares, ..Swept::default() };
        let text = junit(&sweep, &swept).unwrap();
        let document = roxmltree::Document::parse(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
        let suites: Vec<_> = document.descendants().filter(|node| node.has_tag_name("testsuite")).collect();
        let counts = |name| suites.iter().map(|suite| suite.attribute(name)).collect::<Vec<_>>();
        assert_eq!(counts("name"), [Some("a"), Some("b")]);
        assert_eq!(counts("tests"), [Some("1"), Some("2")]);
        assert_eq!(counts("failures"), [Some("0"), Some("2")]);
        let failure = document.descendants().filter(|node| node.has_tag_name("failure")).nth(1).unwrap();
        assert_eq!(failure.attribute("type"), Some("single-run"));
        assert!(failure.attribute("message").unwrap().starts_with("vm <7> & \"8\" ]]> "));
        assert!(failure.text().unwrap().ends_with("cargo sim --seed 1 --scenario b"));
    }
}
