//! Numbers in words.

/// Nodes in a sentence: `n1, n3 and n5`.
pub(super) fn nodes(ids: impl IntoIterator<Item = u64>) -> String {
    list(ids.into_iter().map(|id| format!("n{id}")))
}

/// Things in a sentence.
pub(super) fn list(each: impl IntoIterator<Item = String>) -> String {
    let mut each: Vec<String> = each.into_iter().collect();
    match each.pop() {
        None => "nobody".into(),
        Some(last) if each.is_empty() => last,
        Some(last) => format!("{} and {last}", each.join(", ")),
    }
}

/// A span: `3.4 s`, `250 ms`, `12 µs`.
pub(super) fn span(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{}.{} s", ns / 1_000_000_000, ns / 100_000_000 % 10),
    }
}

/// A point in true time: `47.486 s`.
pub(super) fn time(ns: u64) -> String {
    format!("{}.{:03} s", ns / 1_000_000_000, ns / 1_000_000 % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([nodes([]), nodes([1]), nodes([1, 3, 5])], ["nobody", "n1", "n1, n3 and n5"]);
        assert_eq!([7, 12_000, 250_900_000, 3_490_000_000].map(span), ["7 ns", "12 µs", "250 ms", "3.4 s"]);
        assert_eq!(time(47_486_999_999), "47.486 s");
    }
}
