// The run: what `picture.rs` holds, as columns, with what is looked up often.

const NONE = -1;
const FATE = { arrives: 0, again: 1, lost: 2, refused: 3 };
const run = {};

function loadRun({ head, columns, text }) {
  run.head = head;
  run.end = Math.max(head.end, 1);
  run.at = columns["event.at"];
  run.count = run.at.length;
  run.lane = Uint16Array.from(columns["event.lane"]);
  run.kind = Uint16Array.from(columns["event.kind"]);
  run.vm = columns["event.vm"];
  run.text = text;
  run.lines = new Uint32Array(run.count + 1);
  for (let i = 0, place = 0; i < run.count; i++) {
    place = text.indexOf("\n", place) + 1;
    run.lines[i + 1] = place;
  }
  loadArrows(columns);
  loadBars(columns);
}

function loadArrows(columns) {
  const at = columns["arrow.at"], takes = columns["arrow.takes"];
  const count = at.length;
  const arrows = {
    count, at, until: new Float64Array(count),
    kind: Uint16Array.from(columns["arrow.kind"]), fate: Uint8Array.from(columns["arrow.fate"]),
    from: Uint16Array.from(columns["arrow.from"]), to: Uint16Array.from(columns["arrow.to"]),
    left: Uint32Array.from(columns["arrow.left"]), came: new Uint32Array(count), longest: 0,
  };
  // The arrow of each event; of an event with several the first.
  run.arrowOf = new Int32Array(run.count).fill(NONE);
  for (let i = count - 1; i >= 0; i--) {
    arrows.until[i] = at[i] + takes[i];
    arrows.came[i] = arrows.left[i] + columns["arrow.later"][i];
    arrows.longest = Math.max(arrows.longest, takes[i]);
    run.arrowOf[arrows.left[i]] = run.arrowOf[arrows.came[i]] = i;
  }
  run.arrows = arrows;
}

// Bars by kind, each in the order of their beginnings, so that those in sight are found by halving.
function loadBars(columns) {
  const at = columns["bar.at"], takes = columns["bar.takes"], kind = columns["bar.kind"];
  run.bars = run.head.barKinds.map(({ name, style }) => ({ name, style, list: [], longest: 0 }));
  run.barsBegun = new Map();
  for (let i = 0; i < at.length; i++) {
    const bar = {
      kind: kind[i], lane: columns["bar.lane"][i], row: columns["bar.row"][i], at: at[i], until: at[i] + takes[i], tint: columns["bar.tint"][i],
      point: columns["bar.point"][i] === 0 ? NONE : at[i] + columns["bar.point"][i] - 1,
      began: columns["bar.began"][i], ended: columns["bar.ended"][i] - 1, label: run.head.labels[i],
    };
    const group = run.bars[bar.kind];
    group.list.push(bar);
    group.longest = Math.max(group.longest, takes[i]);
  }
}

function textOf(event) {
  return run.text.slice(run.lines[event], run.lines[event + 1] - 1);
}

function laneName(lane) {
  return run.head.lanes[lane].name;
}

// The first place in sorted `values` that is not below `value`.
function lowerBound(values, value) {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < value) low = middle + 1; else high = middle;
  }
  return low;
}

// The bars of a group that may reach into [from, to].
function barsBetween(group, from, to) {
  const list = group.list;
  let low = 0, high = list.length;
  const begin = from - group.longest;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle].at < begin) low = middle + 1; else high = middle;
  }
  return { first: low, to };
}

// Nanoseconds as seconds, with `digits` behind the point.
function seconds(at, digits = 6) {
  return (at / 1e9).toFixed(digits);
}

// A length of time in its own unit.
function span(length) {
  if (length >= 1e9) return `${(length / 1e9).toPrecision(3)} s`;
  if (length >= 1e6) return `${(length / 1e6).toPrecision(3)} ms`;
  if (length >= 1e3) return `${(length / 1e3).toPrecision(3)} µs`;
  return `${Math.round(length)} ns`;
}

function grouped(number) {
  return number.toLocaleString("en-US");
}
