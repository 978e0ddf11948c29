//! Reads tables strictly: every key known, every value of its form, every complaint with its place.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::value::Value;

/// What is wrong with a scenario file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Problem {
    /// The file as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong, and what to write instead where that can be told.
    pub message: String,
}

/// A complaint with its place in bytes.
#[derive(Clone, Debug)]
pub(super) struct Complaint {
    pub(super) at: usize,
    pub(super) message: String,
}

impl Complaint {
    pub(super) fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    pub(super) fn in_file(self, file: &str, text: &str) -> Problem {
        let at = (0..=self.at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let before = &text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Problem {
            file: file.into(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: self.message,
        }
    }
}

/// One key of a section, for the documentation and for suggestions.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value looks like.
    pub form: &'static str,
    /// Its value when the file does not say.
    pub default: String,
    /// What it does.
    pub doc: &'static str,
}

/// A table that is being read. Keys are taken out one by one; those left over are unknown.
pub(super) struct Table<'a, 'i> {
    pub(super) name: String,
    /// Where the table begins, for complaints about a missing key.
    pub(super) at: usize,
    entries: BTreeMap<String, (usize, Range<usize>, &'a DeValue<'i>)>,
    spans: BTreeMap<String, usize>,
}

impl<'a, 'i> Table<'a, 'i> {
    pub(super) fn new(name: impl Into<String>, at: usize, table: &'a DeTable<'i>) -> Self {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            entries.insert(key.get_ref().to_string(), (key.span().start, value.span(), value.get_ref()));
        }
        Self { name: name.into(), at, entries, spans: BTreeMap::new() }
    }

    /// Takes a value out as it stands.
    pub(super) fn raw(&mut self, key: &str) -> Option<(Range<usize>, &'a DeValue<'i>)> {
        let (_, span, value) = self.entries.remove(key)?;
        self.spans.insert(key.into(), span.start);
        Some((span, value))
    }

    /// Takes a value out.
    pub(super) fn take<T: Value>(&mut self, key: &str) -> Result<Option<T>, Complaint> {
        let Some((span, value)) = self.raw(key) else { return Ok(None) };
        T::read(value).map(Some).map_err(|why| Complaint::new(span.start, format!("`{key}`: {why}")))
    }

    /// A complaint about the value of `key` (or about the table, when the file leaves the key out).
    pub(super) fn complain(&self, key: &str, message: impl Into<String>) -> Complaint {
        Complaint::new(
            self.spans.get(key).copied().unwrap_or(self.at),
            format!("`{key}`: {}", message.into()),
        )
    }

    /// The keys that were taken out and that the file writes.
    pub(super) fn written(&self) -> impl Iterator<Item = &str> {
        self.spans.keys().map(String::as_str)
    }

    /// Refuses the first key that nobody took.
    pub(super) fn finish(&self, known: &[&str]) -> Result<(), Complaint> {
        let Some((key, (at, _, _))) = self.entries.iter().min_by_key(|(_, (at, _, _))| *at) else {
            return Ok(());
        };
        let hint = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        Err(Complaint::new(*at, format!("unknown key `{key}` in {}; {hint}", self.name)))
    }
}

/// The known word that is near enough to `word` to be meant.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let far = (word.chars().count() / 3).max(2);
    known
        .map(|each| (distance(word, each), each))
        .filter(|(distance, each)| *distance <= far || each.starts_with(word) || word.starts_with(each))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, each)| each)
}

/// Edits between two words; swapping two neighbours counts as one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// A section of the file: a struct whose fields are the keys.
macro_rules! section {
    (
        $(#[$doc:meta])*
        pub struct $name:ident in $table:literal {
            $($(#[doc = $line:literal])+ $key:ident: $type:ty = $default:expr),* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[doc = $line])+ pub $key: $type),* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default),* }
            }
        }

        impl $name {
            /// Its table in the file.
            pub const TABLE: &'static str = $table;

            /// Its keys, in the order of the documentation.
            #[must_use]
            pub fn keys() -> Vec<$crate::scenario::reader::Key> {
                use $crate::scenario::value::Value as _;
                let default = Self::default();
                vec![$($crate::scenario::reader::Key {
                    name: stringify!($key),
                    form: <$type>::FORM,
                    default: default.$key.show(),
                    doc: concat!($($line),+).trim_ascii(),
                }),*]
            }

            /// Takes over the keys of `other` that `which` names.
            pub fn take_over(&mut self, other: &Self, which: impl Fn(&str) -> bool) {
                $(if which(stringify!($key)) {
                    self.$key = other.$key.clone();
                })*
            }

            /// Its keys that are probabilities.
            #[must_use]
            pub fn chances(&self) -> Vec<(&'static str, $crate::scenario::Chance)> {
                use $crate::scenario::value::Value as _;
                [$((stringify!($key), self.$key.chance())),*]
                    .into_iter()
                    .filter_map(|(key, chance)| Some((key, chance?)))
                    .collect()
            }

            /// The lines of its keys that do not stand at their defaults, and of those that are written all the same.
            pub(super) fn lines(&self, written: impl Fn(&str) -> bool) -> Vec<String> {
                use $crate::scenario::value::Value as _;
                let default = Self::default();
                let mut lines = Vec::new();
                $(if self.$key != default.$key || written(stringify!($key)) {
                    lines.push(format!("{} = {}", stringify!($key), self.$key.show()));
                })*
                lines
            }

            pub(super) fn read(
                table: &mut $crate::scenario::reader::Table<'_, '_>,
            ) -> Result<Self, $crate::scenario::reader::Complaint> {
                let default = Self::default();
                let read = Self { $($key: table.take(stringify!($key))?.unwrap_or(default.$key)),* };
                table.finish(&[$(stringify!($key)),*])?;
                Ok(read)
            }
        }
    };
}
pub(super) use section;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested() {
        let known = ["latency", "loss", "duplication"];
        assert_eq!(nearest("latncy", known.into_iter()), Some("latency"));
        assert_eq!(nearest("lsos", known.into_iter()), Some("loss"));
        assert_eq!(nearest("bandwidth", known.into_iter()), None);
    }
}
