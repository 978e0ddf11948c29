//! The values a scenario may hold: spans of time with units, chances as ratios of integers, whole numbers, words.

use std::fmt;

use blixard_node::rng::Rng;
use blixard_node::time::Duration;
use toml::de::DeValue;

/// A span of time drawn anew at each use: any nanosecond from `min` to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl Spread {
    /// Always the same.
    #[must_use]
    pub const fn fixed(span: Duration) -> Self {
        Self { min: span, max: span }
    }

    /// From microseconds.
    #[must_use]
    pub const fn micros(min: u64, max: u64) -> Self {
        Self { min: Duration::from_micros(min), max: Duration::from_micros(max) }
    }

    /// From milliseconds.
    #[must_use]
    pub const fn millis(min: u64, max: u64) -> Self {
        Self { min: Duration::from_millis(min), max: Duration::from_millis(max) }
    }

    /// A draw.
    pub fn draw(&self, rng: &mut Rng) -> Duration {
        if self.min == self.max { self.min } else { Duration(rng.between(self.min.0, self.max.0)) }
    }
}

/// A probability, as a ratio of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    /// In so many cases …
    pub numerator: u64,
    /// … of so many.
    pub denominator: u64,
}

impl Chance {
    /// Never.
    pub const NEVER: Self = Self { numerator: 0, denominator: 1 };

    /// One in `denominator`.
    #[must_use]
    pub const fn one_in(denominator: u64) -> Self {
        Self { numerator: 1, denominator }
    }

    /// A draw. Takes nothing from the stream when the outcome is certain.
    pub fn draw(&self, rng: &mut Rng) -> bool {
        self.numerator == self.denominator || rng.ratio(self.numerator, self.denominator)
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.numerator == 0 {
            return f.write_str("0");
        }
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

/// Something that stands to the right of a `=`.
pub trait Value: Sized {
    /// What such a value looks like, for messages and the documentation.
    const FORM: &'static str;

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, without its place.
    fn read(value: &DeValue<'_>) -> Result<Self, String>;

    /// Writes it as it stands in a file.
    fn show(&self) -> String;

    /// The probability, when it is one.
    fn chance(&self) -> Option<Chance> {
        None
    }
}

/// What a value is, for people.
pub(super) fn form_of(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text {text:?}"),
        DeValue::Integer(number) => format!("the bare number {number}"),
        DeValue::Float(number) => format!("the bare fraction {number}"),
        DeValue::Boolean(value) => format!("{value}"),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

fn refuse<T: Value>(value: &DeValue<'_>) -> String {
    format!("{} where {} is due", form_of(value), T::FORM)
}

impl Value for u64 {
    const FORM: &'static str = "a whole number";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Integer(number) => Self::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| format!("{number} is not a whole number from 0 to 2^64 - 1")),
            other => Err(refuse::<Self>(other)),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for bool {
    const FORM: &'static str = "true or false";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Boolean(value) => Ok(*value),
            other => Err(refuse::<Self>(other)),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    const FORM: &'static str = "text in quotes";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::String(text) => Ok(text.to_string()),
            other => Err(refuse::<Self>(other)),
        }
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Value for Duration {
    const FORM: &'static str = "a span of time such as \"200us\", \"15ms\", \"5s\" or \"2m\"";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::String(text) => duration(text),
            other => Err(refuse::<Self>(other)),
        }
    }

    fn show(&self) -> String {
        format!("\"{}\"", exact(*self))
    }
}

/// In the largest unit that leaves no fraction.
fn exact(span: Duration) -> String {
    let fits = |(_, nanos): &&(&str, u64)| span.0.is_multiple_of(*nanos);
    // Minutes and hours are left to people.
    let (name, nanos) = UNITS[..4].iter().rev().find(fits).unwrap_or(&UNITS[0]);
    format!("{}{name}", span.0 / nanos)
}

/// Numbers of hosts or the like.
impl Value for Vec<u64> {
    const FORM: &'static str = "a list of whole numbers such as [1, 3]";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let DeValue::Array(list) = value else { return Err(refuse::<Self>(value)) };
        list.iter().map(|each| u64::read(each.get_ref())).collect()
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Value for Spread {
    const FORM: &'static str =
        "a span of time such as \"5s\", or two with dots between, such as \"200us..5ms\"";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let DeValue::String(text) = value else { return Err(refuse::<Self>(value)) };
        let (min, max) = match text.split_once("..") {
            None => (duration(text)?, duration(text)?),
            Some((min, max)) => (duration(min)?, duration(max)?),
        };
        if min > max {
            return Err(format!("{min}..{max} runs backwards: write \"{max}..{min}\""));
        }
        Ok(Self { min, max })
    }

    fn show(&self) -> String {
        if self.min == self.max {
            format!("\"{}\"", exact(self.min))
        } else {
            format!("\"{}..{}\"", exact(self.min), exact(self.max))
        }
    }
}

impl Value for Chance {
    const FORM: &'static str = "a probability such as \"0.1%\" or \"1/1000\"";

    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::String(text) => chance(text),
            other => Err(refuse::<Self>(other)),
        }
    }

    fn show(&self) -> String {
        format!("\"{self}\"")
    }

    fn chance(&self) -> Option<Chance> {
        Some(*self)
    }
}

const UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads `"15ms"`.
///
/// # Errors
/// What is wrong with it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    if number.is_empty() || unit.starts_with('.') {
        return Err(format!(
            "{text:?} is no span of time: write a whole number and its unit, such as \"1500ms\""
        ));
    }
    if unit.is_empty() {
        return Err(format!("{text:?} has no unit: write {text}us, {text}ms or {text}s"));
    }
    let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("{unit:?} is no unit of time: ns, us, ms, s, m (minutes) and h are"));
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is too long"))?;
    number.checked_mul(*nanos).map(Duration).ok_or_else(|| format!("{text:?} is too long"))
}

/// Reads `"0.1%"` or `"1/1000"`.
fn chance(text: &str) -> Result<Chance, String> {
    let bad = || format!("{text:?} is no probability: write such as \"0.1%\" or \"1/1000\"");
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| bad());
    let chance = if let Some((above, below)) = text.split_once('/') {
        Chance { numerator: number(above)?, denominator: number(below)? }
    } else if let Some(percent) = text.trim().strip_suffix('%') {
        let (whole, fraction) = percent.split_once('.').unwrap_or((percent, ""));
        if fraction.len() > 9 || fraction.contains('+') {
            return Err(bad());
        }
        let scale = 10_u64.pow(fraction.len() as u32);
        let fraction = if fraction.is_empty() { 0 } else { number(fraction)? };
        let numerator = number(whole)?.checked_mul(scale).and_then(|n| n.checked_add(fraction));
        Chance { numerator: numerator.ok_or_else(bad)?, denominator: 100 * scale }
    } else if text.trim() == "0" {
        Chance::NEVER
    } else {
        return Err(bad());
    };
    if chance.denominator == 0 {
        return Err(format!("{text:?} divides by 0"));
    }
    if chance.numerator > chance.denominator {
        return Err(format!("{text:?} is more than certain: at most \"100%\""));
    }
    Ok(chance)
}

/// An enum written as a word. Defines it, its words, and how it is read.
macro_rules! words {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[doc = $line:literal])+ $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $line])+ $variant),* }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// How it is written.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// What it means.
            #[must_use]
            pub fn doc(self) -> &'static str {
                match self { $(Self::$variant => concat!($($line),+).trim_ascii()),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl $crate::scenario::value::Value for $name {
            const FORM: &'static str = concat!("one of", $(" \"", $word, "\""),*);

            fn read(value: &toml::de::DeValue<'_>) -> Result<Self, String> {
                let toml::de::DeValue::String(text) = value else {
                    return Err(format!("{} where {} is due", $crate::scenario::value::form_of(value), Self::FORM));
                };
                Self::ALL.iter().copied().find(|each| each.word() == *text).ok_or_else(|| {
                    let near = $crate::scenario::reader::nearest(text, Self::ALL.iter().map(|each| each.word()));
                    let hint = near.map_or(String::new(), |word| format!("; did you mean {word:?}?"));
                    format!("{text:?} is not {}{hint}", Self::FORM)
                })
            }

            fn show(&self) -> String {
                format!("\"{}\"", self.word())
            }
        }
    };
}
pub(super) use words;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_need_their_units() {
        assert_eq!(duration("200us"), Ok(Duration::from_micros(200)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("200").unwrap_err().contains("no unit"));
        assert!(duration("1.5s").unwrap_err().contains("1500ms"));
        assert!(duration("5 sec").unwrap_err().contains("no unit of time"));
        assert!(duration("99999999999999999h").unwrap_err().contains("too long"));
    }

    #[test]
    fn chances_are_ratios() {
        assert_eq!(chance("0.1%"), Ok(Chance { numerator: 1, denominator: 1_000 }));
        assert_eq!(chance("1/1000"), Ok(Chance::one_in(1_000)));
        assert_eq!(chance("100%"), Ok(Chance { numerator: 100, denominator: 100 }));
        assert!(chance("101%").unwrap_err().contains("more than certain"));
        assert!(chance("1/0").unwrap_err().contains("divides by 0"));
        assert!(chance("0.5").is_err());
    }
}
