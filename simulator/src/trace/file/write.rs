//! Writing a trace file while the run goes on.

use std::io::{self, Write};

use serde_json::json;

use super::{Accusation, End, FORMAT, Header, VERSION};
use crate::trace::entry::members;
use crate::trace::{Entry, Shape, Sink, text};

/// Writes each line as it comes. An error is kept and told by [`Writer::finish`].
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    error: Option<io::Error>,
}

impl<W: Write> Writer<W> {
    /// A file that begins with `header`.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        let Header { subject, scenario, seed, hosts, build, reproduce } = header;
        let line = json!({
            "format": FORMAT,
            "version": VERSION,
            "subject": subject,
            "scenario": scenario,
            "seed": seed,
            "hosts": hosts,
            "build": build,
            "reproduce": reproduce,
        });
        writeln!(out, "{line}")?;
        Ok(Self { out, error: None })
    }

    /// Writes the last line. Gives back what was written to.
    ///
    /// # Errors
    /// The first that there was.
    pub fn finish(mut self, end: &End) -> io::Result<W> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let line = json!({
            "end": end.outcome,
            "violation": end.violation.as_ref().map(violation),
            "proof": end.proof,
            "hash": format!("{:016x}", end.hash),
            "lines": end.lines,
        });
        writeln!(self.out, "{line}")?;
        self.out.flush()?;
        Ok(self.out)
    }
}

fn violation(accusation: &Accusation) -> serde_json::Value {
    let subjects = &accusation.subjects;
    json!({
        "property": accusation.property,
        "message": accusation.message,
        "at": accusation.at,
        "nodes": subjects.nodes,
        "vm": subjects.vm,
        "name": subjects.name,
        "index": subjects.index,
        "term": subjects.term,
        "operations": subjects.operations,
    })
}

impl<W: Write> Sink for Writer<W> {
    fn entry(&mut self, entry: &Entry) {
        if let Err(error) = line(&mut self.out, entry) {
            self.error.get_or_insert(error);
        }
    }
}

/// One entry. Words and texts hold nothing that JSON would have escaped.
fn line(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    let (at, host, kind) = (entry.at, entry.host, entry.kind.word());
    write!(out, "{{\"at\":{at},\"host\":{host},\"kind\":\"{kind}\"")?;
    let numbers = entry.numbers();
    let mut place = 0;
    for field in entry.kind.fields() {
        let (label, value) = (field.label, numbers[place]);
        match field.shape {
            Shape::Word(words) => {
                write!(out, ",\"{label}\":\"{}\"", words.get(value as usize).unwrap_or(&"?"))?;
            }
            Shape::Hash => write!(out, ",\"{label}\":\"{value:016x}\"")?,
            Shape::Nodes | Shape::Hosts => {
                write!(out, ",\"{label}\":[")?;
                for (number, member) in members(field.shape, value).enumerate() {
                    write!(out, "{}{member}", if number > 0 { "," } else { "" })?;
                }
                write!(out, "]")?;
            }
            Shape::Text => {
                write!(out, ",\"{label}\":\"{}\"", text::unpack([value, numbers[place + 1]]))?;
            }
            Shape::Number | Shape::Span | Shape::Time | Shape::Local | Shape::Node => {
                write!(out, ",\"{label}\":{value}")?;
            }
        }
        place += field.shape.slots();
    }
    writeln!(out, "}}")
}
