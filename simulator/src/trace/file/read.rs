//! Reading a trace file, and saying where and why one cannot be read.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Accusation, End, FORMAT, Header, Recording, VERSION};
use crate::checkers::Subjects;
use crate::trace::{Entry, Hash, Kind, SLOTS_MAX, Shape, text};

/// Why a trace file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {what}; {way_out}", if *.line > 0 { format!(":{line}") } else { String::new() })]
pub struct ReadError {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// What was found.
    pub what: String,
    /// What to do.
    pub way_out: String,
}

const WRITE_ANEW: &str = "write it anew with --trace, by the seed and scenario of its first line";

/// Reads a file.
///
/// # Errors
/// When it is missing, is none of this format and version, or was cut off or changed.
pub fn read(path: &Path) -> Result<Recording, ReadError> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(content) => parse(&file, &content),
        Err(error) => {
            let way_out = "give a file that --trace has written".into();
            Err(ReadError { file, line: 0, what: format!("cannot be read: {error}"), way_out })
        }
    }
}

/// Reads the content of a file; `file` names it in errors.
///
/// # Errors
/// When it is none of this format and version, or was cut off or changed.
pub fn parse(file: &str, content: &str) -> Result<Recording, ReadError> {
    let failed = |line, what: String, way_out: &str| ReadError {
        file: file.into(),
        line,
        what,
        way_out: way_out.into(),
    };
    let mut lines = content.lines().zip(1..);
    let (first, _) = lines.next().unwrap_or(("", 1));
    let header = header(first).map_err(|(what, way_out)| failed(1, what, way_out))?;
    let mut entries = Vec::with_capacity(content.len() / 100);
    let mut hash = Hash::EMPTY;
    for (line, number) in lines.by_ref() {
        let object = object(line).map_err(|what| failed(number, what, WRITE_ANEW))?;
        if object.contains_key("end") {
            let end = end(&object).map_err(|what| failed(number, what, WRITE_ANEW))?;
            if let Some((_, number)) = lines.next() {
                return Err(failed(number, "a line after the last one".into(), WRITE_ANEW));
            }
            if (end.lines, end.hash) != (entries.len() as u64, hash.get()) {
                let what = format!(
                    "the last line tells of {} entries with hash {:016x}, here are {} with {:016x}",
                    end.lines,
                    end.hash,
                    entries.len(),
                    hash.get()
                );
                return Err(failed(number, what, WRITE_ANEW));
            }
            return Ok(Recording { header, entries, end });
        }
        let entry = entry(&object).map_err(|what| failed(number, what, WRITE_ANEW))?;
        hash.line(&entry);
        entries.push(entry);
    }
    Err(failed(0, format!("it ends after {} entries without its last line", entries.len()), WRITE_ANEW))
}

fn object(line: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("no JSON object".into()),
        Err(error) => Err(format!("no JSON object: {error}")),
    }
}

fn number(object: &Map<String, Value>, label: &str) -> Result<u64, String> {
    let value = object.get(label).ok_or_else(|| format!("no field {label:?}"))?;
    value.as_u64().ok_or_else(|| format!("{label} is {value}, no whole number"))
}

fn string<'a>(object: &'a Map<String, Value>, label: &str) -> Result<&'a str, String> {
    let value = object.get(label).ok_or_else(|| format!("no field {label:?}"))?;
    value.as_str().ok_or_else(|| format!("{label} is {value}, no text"))
}

fn hash(object: &Map<String, Value>, label: &str) -> Result<u64, String> {
    let text = string(object, label)?;
    u64::from_str_radix(text, 16).map_err(|_| format!("{label} is {text:?}, no 16 hexadecimal digits"))
}

fn header(line: &str) -> Result<Header, (String, &'static str)> {
    let foreign = |what: String| (what, "give a file that --trace has written");
    let object = object(line).map_err(foreign)?;
    match object.get("format").and_then(Value::as_str) {
        Some(FORMAT) => {}
        Some(format) => return Err(foreign(format!("its format is {format:?}, not {FORMAT:?}"))),
        None => return Err(foreign(format!("its first line is no header of {FORMAT:?}"))),
    }
    let version = number(&object, "version").map_err(foreign)?;
    if version != VERSION {
        return Err((
            format!("it has version {version} of {FORMAT}, this program reads {VERSION}"),
            WRITE_ANEW,
        ));
    }
    let read = || -> Result<Header, String> {
        Ok(Header {
            subject: string(&object, "subject")?.into(),
            scenario: string(&object, "scenario")?.into(),
            seed: number(&object, "seed")?,
            hosts: number(&object, "hosts")?,
            build: string(&object, "build")?.into(),
            reproduce: string(&object, "reproduce")?.into(),
        })
    };
    read().map_err(foreign)
}

fn entry(object: &Map<String, Value>) -> Result<Entry, String> {
    let word = string(object, "kind")?;
    let kind = Kind::of(word).ok_or_else(|| format!("{word:?} is no kind of line"))?;
    if object.len() != 3 + kind.fields().len() {
        return Err(format!("a {word} line has {} fields, not {}", 3 + kind.fields().len(), object.len()));
    }
    let mut numbers = [0; SLOTS_MAX];
    let mut place = 0;
    for field in kind.fields() {
        let label = field.label;
        match field.shape {
            Shape::Word(words) => {
                let value = string(object, label)?;
                let known = words.iter().position(|word| *word == value);
                numbers[place] =
                    known.ok_or_else(|| format!("{label} is {value:?}, no word of {word}"))? as u64;
            }
            Shape::Hash => numbers[place] = hash(object, label)?,
            Shape::Nodes | Shape::Hosts => numbers[place] = mask(object, label, field.shape)?,
            Shape::Text => {
                let value = string(object, label)?;
                let packed = text::pack(value);
                if text::unpack(packed) != value {
                    return Err(format!("{label} is {value:?}, no short plain text"));
                }
                numbers[place..place + 2].copy_from_slice(&packed);
            }
            Shape::Number | Shape::Span | Shape::Time | Shape::Local | Shape::Node => {
                numbers[place] = number(object, label)?;
            }
        }
        place += field.shape.slots();
    }
    let host = number(object, "host")?;
    let host = u16::try_from(host).map_err(|_| format!("host is {host}, no host"))?;
    Ok(Entry::new(number(object, "at")?, kind, host, &numbers[..kind.slots()]))
}

fn mask(object: &Map<String, Value>, label: &str, shape: Shape) -> Result<u64, String> {
    let bad = |value: &Value| format!("{label} is {value}, no list of small numbers");
    let value = object.get(label).ok_or_else(|| format!("no field {label:?}"))?;
    let first = u64::from(shape == Shape::Hosts);
    let each = value.as_array().ok_or_else(|| bad(value))?;
    each.iter().try_fold(0, |mask, member| {
        let bit = member.as_u64().and_then(|member| member.checked_sub(first)).filter(|bit| *bit < 64);
        bit.map(|bit| mask | 1 << bit).ok_or_else(|| bad(value))
    })
}

fn end(object: &Map<String, Value>) -> Result<End, String> {
    let optional = |label: &str| object.get(label).filter(|value| !value.is_null());
    let proof = optional("proof").map(|_| string(object, "proof").map(str::to_owned)).transpose()?;
    let violation = match optional("violation") {
        None => None,
        Some(Value::Object(violation)) => Some(accusation(violation)?),
        Some(other) => return Err(format!("violation is {other}, no object")),
    };
    Ok(End {
        outcome: string(object, "end")?.into(),
        violation,
        proof,
        hash: hash(object, "hash")?,
        lines: number(object, "lines")?,
    })
}

fn accusation(object: &Map<String, Value>) -> Result<Accusation, String> {
    let optional = |label: &str| match object.get(label) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => number(object, label).map(Some),
    };
    let list = |label: &str| -> Result<Vec<u64>, String> {
        let bad = || format!("{label} is no list of whole numbers");
        let each = object.get(label).and_then(Value::as_array).ok_or_else(bad)?;
        each.iter().map(|member| member.as_u64().ok_or_else(bad)).collect()
    };
    Ok(Accusation {
        property: string(object, "property")?.into(),
        message: string(object, "message")?.into(),
        at: number(object, "at")?,
        subjects: Subjects {
            nodes: list("nodes")?,
            vm: optional("vm")?,
            name: object.get("name").and_then(Value::as_str).map(str::to_owned),
            index: optional("index")?,
            term: optional("term")?,
            operations: list("operations")?,
        },
    })
}
