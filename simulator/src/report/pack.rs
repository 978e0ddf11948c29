//! A picture in few bytes: columns of variable-length integers, deflated, in base64. `page/unpack.js` is the other side.
//!
//! Layout before it is deflated: the length of the head in 4 bytes, little-endian; the head, in JSON, which lists the columns; the columns,
//! one after the other; the events' texts, a line each. A column is LEB128, of the values themselves or, where `delta` says so, of their
//! zigzagged differences.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::picture::{Kind, Picture};

/// Deflate's effort: higher levels take far longer for a few percent.
const LEVEL: u8 = 6;
/// Stands for no event.
const NONE: u64 = 0;

#[derive(Debug, Default)]
struct Columns {
    list: Vec<Value>,
    bytes: Vec<u8>,
}

impl Columns {
    fn plain(&mut self, name: &str, values: impl Iterator<Item = u64>) {
        let count = values.fold(0_u64, |count, value| {
            leb128(&mut self.bytes, value);
            count + 1
        });
        self.list.push(json!({ "name": name, "count": count, "delta": false }));
    }

    fn delta(&mut self, name: &str, values: impl Iterator<Item = u64>) {
        let mut last = 0_u64;
        let count = values.fold(0_u64, |count, value| {
            let step = value.wrapping_sub(last).cast_signed();
            leb128(&mut self.bytes, (step << 1 ^ step >> 63).cast_unsigned());
            last = value;
            count + 1
        });
        self.list.push(json!({ "name": name, "count": count, "delta": true }));
    }
}

fn leb128(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn kinds(kinds: &[Kind]) -> Value {
    kinds.iter().map(|kind| json!({ "name": kind.name, "style": kind.style })).collect()
}

/// The picture, with `head` beside what is listed of it.
pub(super) fn pack(picture: &Picture, mut head: Map<String, Value>) -> String {
    let mut columns = Columns::default();
    events(&mut columns, picture);
    arrows(&mut columns, picture);
    bars(&mut columns, picture);
    let lanes = picture.lanes.iter();
    let lanes: Vec<Value> = lanes
        .map(|lane| json!({ "name": lane.name, "group": lane.group.word(), "rows": lane.rows }))
        .collect();
    let bands = picture.bands.iter();
    let bands: Vec<Value> = bands
        .map(|band| {
            json!({
                "name": band.name, "whom": band.whom, "lanes": band.lanes, "row": band.row,
                "from": band.from, "until": band.until, "event": band.event,
            })
        })
        .collect();
    let labels: Vec<&str> = picture.bars.iter().map(|bar| bar.label.as_str()).collect();
    head.insert("lanes".into(), lanes.into());
    head.insert("bands".into(), bands.into());
    head.insert("labels".into(), labels.into());
    head.insert("eventKinds".into(), kinds(&picture.event_kinds));
    head.insert("messageKinds".into(), kinds(&picture.message_kinds));
    head.insert("barKinds".into(), kinds(&picture.bar_kinds));
    head.insert("end".into(), picture.end.into());
    let mark = picture.violation.as_ref();
    let mark = mark.map(|mark| json!({ "at": mark.at, "event": mark.event, "lanes": mark.lanes }));
    head.insert("mark".into(), mark.into());
    head.insert("columns".into(), std::mem::take(&mut columns.list).into());
    STANDARD.encode(miniz_oxide::deflate::compress_to_vec(&joined(&head, &columns.bytes, picture), LEVEL))
}

fn joined(head: &Map<String, Value>, columns: &[u8], picture: &Picture) -> Vec<u8> {
    let head = Value::Object(head.clone()).to_string().into_bytes();
    let mut all = u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    all.extend(head);
    all.extend(columns);
    for event in &picture.events {
        // A line is an event: what would break it is shown as a space.
        all.extend(event.text.bytes().map(|byte| if byte == b'\n' { b' ' } else { byte }));
        all.push(b'\n');
    }
    all
}

fn events(columns: &mut Columns, picture: &Picture) {
    let events = || picture.events.iter();
    columns.delta("event.at", events().map(|event| event.at));
    columns.plain("event.lane", events().map(|event| event.lane.into()));
    columns.plain("event.kind", events().map(|event| event.kind.into()));
    columns.plain("event.vm", events().map(|event| event.vm));
}

fn arrows(columns: &mut Columns, picture: &Picture) {
    let arrows = || picture.arrows.iter();
    columns.plain("arrow.kind", arrows().map(|arrow| arrow.kind.into()));
    columns.plain("arrow.from", arrows().map(|arrow| arrow.from.into()));
    columns.plain("arrow.to", arrows().map(|arrow| arrow.to.into()));
    columns.delta("arrow.at", arrows().map(|arrow| arrow.at));
    columns.plain("arrow.takes", arrows().map(|arrow| arrow.until.saturating_sub(arrow.at)));
    columns.plain("arrow.fate", arrows().map(|arrow| arrow.fate as u64));
    columns.delta("arrow.left", arrows().map(|arrow| arrow.left as u64));
    columns.plain("arrow.later", arrows().map(|arrow| arrow.came.saturating_sub(arrow.left) as u64));
}

fn bars(columns: &mut Columns, picture: &Picture) {
    let bars = || picture.bars.iter();
    columns.plain("bar.kind", bars().map(|bar| bar.kind.into()));
    columns.plain("bar.lane", bars().map(|bar| bar.lane.into()));
    columns.plain("bar.row", bars().map(|bar| bar.row.into()));
    columns.delta("bar.at", bars().map(|bar| bar.from));
    columns.plain("bar.takes", bars().map(|bar| bar.until.saturating_sub(bar.from)));
    columns.plain("bar.tint", bars().map(|bar| bar.tint));
    columns
        .plain("bar.point", bars().map(|bar| bar.point.map_or(NONE, |at| 1 + at.saturating_sub(bar.from))));
    columns.delta("bar.began", bars().map(|bar| bar.began as u64));
    columns.plain("bar.ended", bars().map(|bar| bar.ended.map_or(NONE, |event| 1 + event as u64)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], place: &mut usize) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[*place];
            *place += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    #[test]
    fn columns_come_out_as_they_went_in() {
        let values = [0, 1, 127, 128, 5, u64::MAX, 0, 1 << 53];
        let mut columns = Columns::default();
        columns.plain("a", values.into_iter());
        columns.delta("b", values.into_iter());
        let mut place = 0;
        let plain = values.map(|_| read(&columns.bytes, &mut place));
        let mut last = 0_u64;
        let delta = values.map(|_| {
            let step = read(&columns.bytes, &mut place);
            last = last.wrapping_add(step >> 1 ^ (step & 1).wrapping_neg());
            last
        });
        assert_eq!((plain, delta, place), (values, values, columns.bytes.len()));
    }
}
