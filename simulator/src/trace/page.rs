//! The tables of `docs/trace.md`, from the very definitions that files are written and read by.

use std::fmt::Write as _;

use super::kind::{Kind, Shape};

/// Every kind of line with its fields, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = String::new();
    for kind in Kind::ALL {
        // Writing to a string does not fail.
        let _ = writeln!(page, "### `{}`\n\n{}\n", kind.word(), kind.about().trim());
        if kind.fields().is_empty() {
            page.push_str("No fields.\n\n");
            continue;
        }
        page.push_str("| field | value | meaning |\n|---|---|---|\n");
        for field in kind.fields() {
            let _ = writeln!(page, "| `{}` | {} | {} |", field.label, form(field.shape), field.about);
        }
        page.push('\n');
    }
    page.pop();
    page
}

fn form(shape: Shape) -> String {
    match shape {
        Shape::Number => "number".into(),
        Shape::Span => "span, ns".into(),
        Shape::Time => "true time, ns".into(),
        Shape::Local => "host's clock, ns".into(),
        Shape::Node => "node".into(),
        Shape::Nodes => "nodes".into(),
        Shape::Hosts => "hosts".into(),
        Shape::Hash => "fingerprint".into(),
        Shape::Text => "text".into(),
        Shape::Word(words) => {
            let each: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            each.join(", ")
        }
    }
}
