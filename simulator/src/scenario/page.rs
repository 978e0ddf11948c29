//! The tables of `docs/scenarios.md`, from the very definitions that the parser uses.

use std::fmt::Write as _;

use blixard_node::time::Duration;

use super::{Aim, Chance, FaultKind, Scenario, Spread, Value as _, fault};

/// Every section's keys as Markdown tables, and the kinds of faults.
#[must_use]
pub fn reference() -> String {
    let mut page = String::new();
    for (section, keys) in Scenario::keys() {
        let title = if ["fault", "operation"].contains(&section) {
            format!("[[{section}]]")
        } else {
            format!("[{section}]")
        };
        // Writing to a string does not fail.
        let _ = writeln!(page, "### `{title}`\n\n| key | value | default | meaning |\n|---|---|---|---|");
        for key in keys {
            let form = short(key.form);
            let _ = writeln!(page, "| `{}` | {form} | `{}` | {} |", key.name, key.default, key.doc);
        }
        page.push('\n');
    }
    let _ = writeln!(
        page,
        "### Kinds of faults\n\n| kind | what happens | keys beside `at`, `every`, `draws`, `aim`, `within` |\n|---|---|---|"
    );
    for kind in FaultKind::ALL {
        let keys: Vec<String> = fault::keys_of(*kind).iter().map(|key| format!("`{key}`")).collect();
        let _ = writeln!(page, "| `{kind}` | {} | {} |", kind.doc(), keys.join(", "));
    }
    let _ = writeln!(page, "\n### Moments that a fault is aimed at\n\n| aim | moment |\n|---|---|");
    for aim in Aim::ALL {
        let _ = writeln!(page, "| `{aim}` | {} |", aim.doc());
    }
    page
}

/// The form in the words of the documentation's prose, which explains them.
fn short(form: &str) -> String {
    if form == Duration::FORM {
        return "span".into();
    }
    if form == Spread::FORM {
        return "span or bounds".into();
    }
    if form == Chance::FORM {
        return "probability".into();
    }
    if !form.starts_with("one of") {
        return form.into();
    }
    let each: Vec<String> = form.split('"').skip(1).step_by(2).map(|word| format!("`\"{word}\"`")).collect();
    format!("one of {}", each.join(", "))
}
