//! One line of the log, and how it is shown to people.

use std::fmt;

use super::kind::{Kind, Shape};

/// The most numbers of a line.
pub const SLOTS_MAX: usize = 8;

/// One line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// True time in nanoseconds since the run began.
    pub at: u64,
    /// What.
    pub kind: Kind,
    /// On which host, from 1; 0 is the world.
    pub host: u16,
    /// The numbers of the kind's fields, then zeros.
    numbers: [u64; SLOTS_MAX],
}

impl Entry {
    /// A line; numbers that are missing are 0.
    #[must_use]
    pub fn new(at: u64, kind: Kind, host: u16, numbers: &[u64]) -> Self {
        let mut all = [0; SLOTS_MAX];
        all[..numbers.len()].copy_from_slice(numbers);
        Self { at, kind, host, numbers: all }
    }

    /// The numbers of its fields.
    #[must_use]
    pub fn numbers(&self) -> &[u64] {
        &self.numbers[..self.kind.slots()]
    }

    /// The field's number (of a text the first eight letters); none when the kind has no such field.
    #[must_use]
    pub fn get(&self, label: &str) -> Option<u64> {
        self.kind.field(label).map(|(place, _)| self.numbers[place])
    }

    /// The field's text or word; none when the kind has no such field, or it is a number.
    #[must_use]
    pub fn text(&self, label: &str) -> Option<String> {
        let (place, field) = self.kind.field(label)?;
        match field.shape {
            Shape::Word(words) => words.get(self.numbers[place] as usize).map(|word| (*word).to_owned()),
            Shape::Text => Some(text::unpack([self.numbers[place], self.numbers[place + 1]])),
            _ => None,
        }
    }

    /// Whether the field is this word.
    #[must_use]
    pub fn is(&self, label: &str, word: &str) -> bool {
        let Some((place, field)) = self.kind.field(label) else { return false };
        let Shape::Word(words) = field.shape else { return false };
        words.get(self.numbers[place] as usize) == Some(&word)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09} ", self.at / 1_000_000_000, self.at % 1_000_000_000)?;
        if self.host == 0 {
            f.write_str("world ")?;
        } else {
            write!(f, "host{} ", self.host)?;
        }
        f.write_str(self.kind.word())?;
        let mut place = 0;
        for field in self.kind.fields() {
            let (label, value) = (field.label, self.numbers[place]);
            match field.shape {
                Shape::Word(words) if label == "what" => {
                    write!(f, " {}", words.get(value as usize).unwrap_or(&"?"))?;
                }
                Shape::Word(words) => write!(f, " {label}={}", words.get(value as usize).unwrap_or(&"?"))?,
                Shape::Hash => write!(f, " {label}={value:016x}")?,
                Shape::Node if value == 0 => write!(f, " {label}=none")?,
                Shape::Node => write!(f, " {label}=n{value}")?,
                Shape::Nodes | Shape::Hosts => {
                    let each: Vec<String> = members(field.shape, value).map(|bit| bit.to_string()).collect();
                    write!(f, " {label}={}", each.join(","))?;
                }
                Shape::Text => {
                    write!(f, " {label}={}", text::unpack([value, self.numbers[place + 1]]))?;
                }
                Shape::Number | Shape::Span | Shape::Time | Shape::Local => write!(f, " {label}={value}")?,
            }
            place += field.shape.slots();
        }
        Ok(())
    }
}

/// What a bit mask holds: ids of nodes, or hosts from 1.
pub(super) fn members(shape: Shape, mask: u64) -> impl Iterator<Item = u64> {
    let first = u64::from(shape == Shape::Hosts);
    (0..64).filter(move |bit| mask >> bit & 1 == 1).map(move |bit| bit + first)
}

/// Short texts as numbers.
pub mod text {
    /// The longest, in letters.
    pub const LEN_MAX: usize = 16;

    fn is_plain(letter: u8) -> bool {
        letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'_' | b'.')
    }

    /// The first letters of `text`. What is no letter, digit, `-`, `_` or `.` becomes `_`.
    #[must_use]
    pub fn pack(text: &str) -> [u64; 2] {
        let mut letters = [0; LEN_MAX];
        for (place, letter) in letters.iter_mut().zip(text.bytes()) {
            *place = if is_plain(letter) { letter } else { b'_' };
        }
        let (first, second) = letters.split_at(8);
        let number = |half: &[u8]| half.iter().fold(0, |number, letter| number << 8 | u64::from(*letter));
        [number(first), number(second)]
    }

    /// The text again.
    #[must_use]
    pub fn unpack(numbers: [u64; 2]) -> String {
        let letters = numbers.into_iter().flat_map(u64::to_be_bytes).take_while(|letter| *letter != 0);
        letters.map(|letter| if is_plain(letter) { char::from(letter) } else { '_' }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_readable() {
        let entry = Entry::new(1_500_000_000, Kind::Fault, 0, &[3, 0, 0b101, 7]);
        assert_eq!(entry.to_string(), "1.500000000 world fault strike=3 partition hosts=1,3 lasts_ns=7");
        let [first, second] = text::pack("vm-3");
        let entry = Entry::new(7, Kind::Decided, 2, &[9, 14, 4, 3, 1, first, second, 0xab]);
        let shown = "0.000000007 host2 decided index=9 assign vm=4 node=n3 epoch=1 name=vm-3 request=00000000000000ab";
        assert_eq!(entry.to_string(), shown);
    }

    #[test]
    fn fields_are_found_by_name() {
        let [first, second] = text::pack("probe-1234567890x");
        let entry = Entry::new(7, Kind::Decided, 2, &[9, 14, 4, 3, 1, first, second, 0]);
        assert_eq!((entry.get("epoch"), entry.get("request"), entry.get("host")), (Some(1), Some(0), None));
        assert_eq!(entry.text("name").as_deref(), Some("probe-1234567890"));
        assert_eq!(entry.text("what").as_deref(), Some("assign"));
        assert!(entry.is("what", "assign") && !entry.is("what", "start") && !entry.is("vm", "4"));
    }

    #[test]
    fn what_would_need_an_escape_is_no_part_of_a_text() {
        assert_eq!(text::unpack(text::pack("a\"b\n\u{e9}")), "a_b___");
        assert_eq!(text::unpack([0x22 << 56, 0]), "_");
    }

    #[test]
    fn all_lines_have_room() {
        for kind in Kind::ALL {
            assert!(kind.slots() <= SLOTS_MAX, "{}", kind.word());
            assert_eq!(Kind::of(kind.word()), Some(*kind));
        }
    }
}
