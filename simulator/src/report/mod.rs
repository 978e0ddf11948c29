//! A run as a picture: one HTML file with a space-time diagram of everything that happened. It needs nothing beside itself.
//!
//! Only `build` knows what a trace holds; `picture` is lanes, bars, arrows and bands of any run, `pack` puts them into few bytes, and
//! the files of `page/` draw them. Nothing here is under a trace hash.

mod build;
mod pack;
mod page;
mod picture;

use crate::trace::Entry;
use crate::trace::file::{End, Recording};
use crate::world::Report;

/// What stands above the picture and neither the trace nor its end says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// What the scenario is about, in a sentence.
    pub description: String,
    /// The command that gives the run again.
    pub reproduce: String,
    /// What led to the violation, a line each; empty when nobody has explained it.
    pub explanation: Vec<ExplanationLine>,
}

/// A step on the way to a violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplanationLine {
    /// The step in words.
    pub text: String,
    /// The place of its event among the entries, from 0, if it is one event.
    pub event: Option<usize>,
}

/// The page for a run: `entries` is its whole trace, `report` what it came to. Events are named by their places in `entries`: a link
/// ends in `#e123` for the one at place 123.
#[must_use]
pub fn html(header: &Header, entries: &[Entry], report: &Report) -> String {
    let end = End::of(report);
    let run = page::Run { scenario: &report.scenario, seed: report.seed, end: &end };
    page::assemble(header, &run, &build::picture(entries, &end))
}

/// The page for a run that was recorded.
#[must_use]
pub fn html_of_recording(header: &Header, recording: &Recording) -> String {
    let Recording { header: about, entries, end } = recording;
    let run = page::Run { scenario: &about.scenario, seed: about.seed, end };
    page::assemble(header, &run, &build::picture(entries, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sabotage::{Lie, Sabotage};
    use crate::scenario::Scenario;
    use crate::trace::file;
    use crate::world;

    #[test]
    fn a_run_and_its_recording_give_the_same_page() {
        let mut scenario = Scenario { name: "two <b>".into(), ..Scenario::default() };
        scenario.run.duration = blixard_node::time::Duration::from_secs(2);
        let mut entries: Vec<Entry> = Vec::new();
        let report = world::run(&scenario, 7, Sabotage::from(Lie::None), Some(&mut entries));
        let header = Header { description: "</script>".into(), ..Header::default() };
        let page = html(&header, &entries, &report);
        let about = file::Header::new(&scenario, 7, String::new());
        let recording = Recording { header: about, entries, end: End::of(&report) };
        assert_eq!(page, html_of_recording(&header, &recording));
        assert!(page.contains("two &lt;b&gt;") && page.matches("</script>").count() == 2);
    }
}
