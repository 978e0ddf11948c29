// What the colours and shapes mean, drawn by what draws them.

function buildLegend() {
  const panel = document.getElementById("legend-panel");
  const entries = [
    ["leads a term; each term has its own colour", (context, lane) => BARS.leads(context, { tint: 3, label: "" }, lane, 2, 46)],
    ["alive, in the term it knows", (context, lane) => BARS.term(context, { tint: 3 }, lane, 2, 46)],
    ["alive, its term not yet known", (context, lane) => BARS.alive(context, {}, lane, 2, 46)],
    ["starts", (context, lane) => point(context, "start", 24, lane, NONE)],
    ["ends: crash, loss of power, or its own end", (context, lane) => point(context, "end", 24, lane, NONE)],
    ["writes to its disk", (context, lane) => BARS.write(context, {}, { write: 7 + view.top }, 2, 46)],
    ["holds a lease", (context, lane) => BARS.lease(context, {}, { life: 12 + view.top }, 2, 46)],
    ["runs a VM; each VM has its own colour", (context, lane) => BARS.vm(context, { tint: 5, row: 0, label: "" }, { rows: 3 + view.top }, 2, 46)],
    ["applies an entry", (context, lane) => [10, 24, 38].forEach(x => point(context, "applied", x, lane, NONE))],
    ["snapshot taken or log cut", (context, lane) => point(context, "snapshot", 24, lane, NONE)],
    ["another event of a node", (context, lane) => point(context, "other", 24, lane, NONE)],
    ["a client's operation that succeeds", (context, lane) => operationBody(context, 0, lane)],
    ["the moment it took effect", (context, lane) => {
      operationBody(context, 0, lane);
      effect(context, 30, lane.line - view.top, 46, 46);
    }],
    ["answered, and no such moment is known", (context, lane) => {
      operationBody(context, 0, lane);
      noEffect(context, { tint: 0 }, 2, lane.line - view.top, 44);
    }],
    ["one that is refused with an error", (context, lane) => operationBody(context, 1, lane)],
    ["one whose end is unknown", (context, lane) => operationBody(context, 3, lane)],
    ...messageEntries(),
    ["numbered: the steps that led to the violation", context => {
      context.fillStyle = theme.alarm;
      circle(context, 24, 9, 7.5);
    }],
    ["lost", context => legendArrow(context, theme.append, [2, 2], true)],
    ["a second copy", context => legendArrow(context, theme.append, [5, 3], false)],
  ];
  // What is drawn here is not there to be pointed at.
  const saved = { ...hits };
  Object.assign(hits, { points: [], rects: [] });
  const terms = entries.flatMap(([words, paint]) => {
    const canvas = document.createElement("canvas");
    return [element("dt", "", canvas), element("dd", "", words), [canvas, paint]];
  });
  const list = element("dl", "", ...terms.filter(term => !Array.isArray(term)));
  panel.replaceChildren(list, element("p", "", "Zoomed out, messages without room become traffic above each host's line: blue what arrives, red what is lost."));
  for (const [canvas, paint] of terms.filter(Array.isArray)) {
    canvas.style.cssText = "width: 48px; height: 18px";
    const { context } = fit(canvas);
    paint(context, { line: 9 + view.top, life: 3 + view.top, group: "host", rows: 9 + view.top });
  }
  Object.assign(hits, saved);
}

function messageEntries() {
  const known = [["vote", "vote"], ["append", "append"], ["append-reply", "answer to an append"], ["lease-message", "heartbeat of a host"], ["lease-reply", "its lease"],
    ["snapshot", "snapshot"], ["forward", "forwarded request"], ["client", "a client's request"], ["member", "joining"]];
  return known.map(([style, words]) => [`message: ${words}`, context => legendArrow(context, theme[style], [], false)]);
}

function legendArrow(context, colour, dash, lost) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 1.3;
  context.setLineDash(dash);
  context.beginPath();
  context.moveTo(4, 3);
  context.lineTo(lost ? 28 : 43, lost ? 10 : 15);
  context.stroke();
  context.setLineDash([]);
  if (lost) {
    context.strokeStyle = theme.alarm;
    cross(context, 28, 10, 2.6);
  } else {
    context.beginPath();
    context.moveTo(45, 16);
    context.lineTo(37, 15.5);
    context.lineTo(39.5, 10.5);
    context.fill();
  }
}
