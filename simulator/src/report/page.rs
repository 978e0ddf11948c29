//! The HTML around a picture. Everything it needs is inside: style, script, data.

use serde_json::{Map, Value, json};

use super::pack;
use super::picture::Picture;
use super::{ExplanationLine, Header};
use crate::trace::file::End;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
/// In the order in which they are to be read.
const SCRIPTS: [&str; 16] = [
    include_str!("page/unpack.js"),
    include_str!("page/run.js"),
    include_str!("page/theme.js"),
    include_str!("page/filter.js"),
    include_str!("page/layout.js"),
    include_str!("page/view.js"),
    include_str!("page/draw.js"),
    include_str!("page/bars.js"),
    include_str!("page/points.js"),
    include_str!("page/messages.js"),
    include_str!("page/overview.js"),
    include_str!("page/select.js"),
    include_str!("page/list.js"),
    include_str!("page/legend.js"),
    include_str!("page/keys.js"),
    include_str!("page/main.js"),
];

/// Which run is shown, and how it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    pub(super) scenario: &'a str,
    pub(super) seed: u64,
    pub(super) end: &'a End,
}

/// The page.
pub(super) fn assemble(header: &Header, run: &Run<'_>, picture: &Picture) -> String {
    let parts = [
        ("title", escaped(&format!("{} · seed {}", run.scenario, run.seed))),
        ("scenario", escaped(run.scenario)),
        ("description", escaped(&header.description)),
        ("seed", run.seed.to_string()),
        ("outcome", escaped(&run.end.outcome)),
        ("verdict", verdict(run.end)),
        ("figures", figures(run.end, picture)),
        ("explanation", explanation(&header.explanation)),
        ("reproduce", escaped(&header.reproduce)),
        ("style", STYLE.to_owned()),
        ("script", SCRIPTS.join("\n")),
        ("data", pack::pack(picture, head(run.end))),
    ];
    let mut page = String::new();
    let mut rest = PAGE;
    // One pass, so that nothing in a part is taken for a place of another.
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, behind)) = after.split_once("}}") else { break };
        page.push_str(before);
        let part = parts.iter().find(|(part, _)| *part == name);
        page.push_str(part.map_or("", |(_, text)| text));
        rest = behind;
    }
    page.push_str(rest);
    page
}

fn head(end: &End) -> Map<String, Value> {
    let mut head = Map::new();
    head.insert("property".into(), json!(end.violation.as_ref().map(|violation| &violation.property)));
    head
}

fn verdict(end: &End) -> String {
    let said = |html: String| format!("<p class=\"verdict\">{html}</p>");
    let Some(violation) = &end.violation else {
        return end.proof.as_ref().map_or_else(String::new, |proof| said(escaped(proof)));
    };
    said(format!(
        "<a href=\"#violation\" id=\"to-violation\">{}</a> <span class=\"when\">at {} s</span> <span>{}</span>",
        escaped(&violation.property),
        seconds(violation.at),
        escaped(&violation.message)
    ))
}

fn figures(end: &End, picture: &Picture) -> String {
    let grouped = crate::output::grouped;
    let all = [
        format!("{} s of virtual time", seconds(picture.end)),
        format!("{} events", grouped(picture.events.len() as u64)),
        format!("{} messages", grouped(picture.arrows.len() as u64)),
        format!("trace {:016x}", end.hash),
    ];
    all.map(|figure| format!("<li>{figure}</li>")).concat()
}

/// Nanoseconds as seconds with milliseconds.
fn seconds(nanos: u64) -> String {
    format!("{}.{:03}", nanos / 1_000_000_000, nanos / 1_000_000 % 1_000)
}

fn explanation(lines: &[ExplanationLine]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let items = lines.iter().map(|line| {
        let text = escaped(&line.text);
        match line.event {
            Some(event) => format!("<li><a href=\"#e{event}\">{text}</a></li>"),
            None => format!("<li>{text}</li>"),
        }
    });
    format!(
        "<details class=\"explanation\" id=\"explanation\" open><summary>What led to it</summary><ol>{}</ol></details>",
        items.collect::<String>()
    )
}

/// Text that stands for itself in HTML, also in an attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("<b a=\"'\">&"), "&lt;b a=&quot;&#39;&quot;&gt;&amp;");
    }
}
