//! Failures as GitHub shows them: a workflow command for each, which becomes an annotation of the run.

use crate::sweep::Failure;

/// Whether a workflow of GitHub runs this.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "decides how failures are shown; no run reads it")]
pub fn is_github() -> bool {
    std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true")
}

/// The command, a line without its end.
#[must_use]
pub fn workflow_error(failure: &Failure) -> String {
    let title = format!("{} seed {}: {}", failure.scenario, failure.seed, failure.ending.word());
    let text = format!("{}\n{}", failure.message, failure.reproduce);
    format!("::error title={}::{}", escaped(&title).replace(':', "%3A").replace(',', "%2C"), escaped(&text))
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::Ending;

    #[test]
    fn a_failure_stays_one_line_and_keeps_its_signs() {
        let failure = Failure {
            number: 0,
            place: 0,
            scenario: "a,b".into(),
            seed: 7,
            ending: Ending::Safety,
            property: None,
            message: "100% gone:\nall".into(),
            reproduce: "cargo sim --seed 7 --scenario a,b".into(),
        };
        assert_eq!(
            workflow_error(&failure),
            "::error title=a%2Cb seed 7%3A safety::100%25 gone:%0Aall%0Acargo sim --seed 7 --scenario a,b"
        );
    }
}
