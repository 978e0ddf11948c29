// The picture, from back to front. What was drawn is noted, for the pointer and for the line below.

const drawn = { arrows: 0, arrowsInSight: 0, bars: 0, points: 0, pointsInSight: 0, ms: 0, frames: 0 };
// Rectangles of bars and bands, and places of points, as they were drawn last.
const hits = { rects: [], points: [], arrows: [] };
let waiting = false;

function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
}

function draw() {
  const began = performance.now();
  const { context, width, height } = fit(document.getElementById("picture"));
  Object.assign(view, { width, height });
  hits.rects = [];
  hits.points = [];
  Object.assign(drawn, { bars: 0, points: 0, pointsInSight: 0 });
  drawGround(context);
  drawBands(context);
  drawBars(context);
  drawMessages(context);
  drawPoints(context);
  drawViolation(context);
  drawSteps(context);
  drawAxis();
  drawOverview();
  drawMarks();
  listFollows();
  drawn.ms = performance.now() - began;
  drawn.frames++;
  tellStatus();
}

function drawGround(context) {
  for (const [index, lane] of layout.lanes.entries()) {
    if (!lane) continue;
    const y = lane.y - view.top;
    if (lane.group === "host" && index % 2 === 0) {
      context.fillStyle = theme.stripe;
      context.fillRect(0, y, view.width, lane.height);
    }
    if (lane.group === "host" || lane.group === "client") {
      context.strokeStyle = theme.line;
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(0, Math.round(lane.line - view.top) + 0.5);
      context.lineTo(view.width, Math.round(lane.line - view.top) + 0.5);
      context.stroke();
    }
  }
  context.strokeStyle = theme.line;
  context.beginPath();
  for (const at of ticks().list) {
    const x = Math.round(xOf(at)) + 0.5;
    context.moveTo(x, 0);
    context.lineTo(x, layout.height - view.top);
  }
  context.stroke();
}

function drawViolation(context) {
  const mark = run.head.mark;
  if (!mark || mark.at < view.from || mark.at > view.to) return;
  const x = Math.round(xOf(mark.at)) + 0.5;
  context.strokeStyle = theme.alarm;
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(x, 0);
  context.lineTo(x, view.height);
  context.stroke();
  const text = run.head.property ?? "violation";
  context.font = `600 11px ${theme.sans}`;
  const wide = context.measureText(text).width + 12;
  const left = Math.min(Math.max(x - wide / 2, 0), view.width - wide);
  context.fillStyle = theme.alarm;
  context.beginPath();
  context.roundRect(left, 0, wide, 17, 4);
  context.fill();
  context.fillStyle = theme.paper;
  context.textBaseline = "middle";
  context.textAlign = "left";
  context.fillText(text, left + 6, 9);
  for (const lane of mark.lanes.map(index => layout.lanes[index]).filter(lane => lane)) {
    context.strokeStyle = theme.alarm;
    context.fillStyle = theme.paper;
    context.lineWidth = 2;
    circle(context, x, lane.line - view.top, 5, true);
  }
  hits.rects.push({ x0: left, x1: left + wide, y0: 0, y1: 17, event: mark.event, violation: true });
}

// The steps of the explanation, numbered, at their events.
function drawSteps(context) {
  context.font = `600 10px ${theme.sans}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  const taken = [];
  for (const { number, event } of run.steps) {
    const lane = layout.lanes[run.lane[event]];
    const x = xOf(run.at[event]);
    if (!lane || x < -10 || x > view.width + 10) continue;
    // Steps of one moment stand side by side.
    let y = Math.max(lane.line - view.top - 15, lane.group === "world" ? lane.y + lane.height - view.top - 8 : 0);
    while (taken.some(place => Math.hypot(place.x - x, place.y - y) < 14)) y -= 15;
    taken.push({ x, y });
    context.strokeStyle = theme.alarm;
    context.lineWidth = 1.2;
    context.beginPath();
    context.moveTo(x, y + 7);
    context.lineTo(x, lane.line - view.top);
    context.stroke();
    context.fillStyle = theme.alarm;
    circle(context, x, y, 7.5);
    context.fillStyle = theme.paper;
    context.fillText(number, x, y + 0.5);
    hits.points.push({ x, y, event });
  }
}

// Round times about 110 pixels apart.
function ticks() {
  const rough = (view.to - view.from) / Math.max(view.width / 110, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(times => times * power).find(step => step >= rough);
  const list = [];
  for (let at = Math.ceil(Math.max(view.from, 0) / step) * step; at <= view.to; at += step) list.push(at);
  return { list, digits: Math.max(0, Math.min(9, 9 - Math.floor(Math.log10(step) + 1e-9))) };
}

function drawAxis() {
  const { context, height } = fit(document.getElementById("axis"));
  const { list, digits } = ticks();
  context.font = `11px ${theme.sans}`;
  context.fillStyle = theme.soft;
  context.strokeStyle = theme.faint;
  context.textBaseline = "middle";
  context.textAlign = "left";
  for (const at of list) {
    const x = Math.round(xOf(at)) + 0.5;
    context.beginPath();
    context.moveTo(x, height - 6);
    context.lineTo(x, height);
    context.stroke();
    context.fillText(`${seconds(at, digits)} s`, x + 4, height / 2);
  }
}

function tellStatus() {
  const { arrows, arrowsInSight, points, pointsInSight } = drawn;
  const part = (some, all, what) => some === all ? `all ${grouped(all)} ${what}` : `${grouped(some)} of ${grouped(all)} ${what}`;
  const more = arrows < arrowsInSight || points < pointsInSight ? " · zoom in for the others" : "";
  document.getElementById("shown").textContent =
    `${span(view.to - view.from)} in sight · ${part(arrows, arrowsInSight, "messages")} · ${part(points, pointsInSight, "events")} drawn${more}`;
}
