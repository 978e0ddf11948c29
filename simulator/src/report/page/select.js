// The pointer: what it is over, what is chosen, and the link to that.

const chosen = { event: NONE, hover: null };
const REACH = 6;

// What is at a place of the stage: a point, an arrow, a bar or a band; the smallest first.
function hitAt(x, y) {
  const flag = hits.rects.find(rect => rect.violation && x >= rect.x0 && x <= rect.x1 && y >= rect.y0 && y <= rect.y1);
  if (flag) return flag;
  let best = null, nearest = REACH;
  for (const point of hits.points) {
    const distance = Math.hypot(point.x - x, point.y - y);
    if (distance < nearest) [nearest, best] = [distance, point];
  }
  if (best) return best;
  nearest = 4;
  for (const arrow of hits.arrows) {
    const distance = distanceTo(endsOf(arrow), x, y);
    if (distance < nearest) [nearest, best] = [distance, { arrow, event: run.arrows.left[arrow] }];
  }
  if (best) return best;
  for (let i = hits.rects.length - 1; i >= 0; i--) {
    const rect = hits.rects[i];
    if (x >= rect.x0 - 1 && x <= rect.x1 + 1 && y >= rect.y0 && y <= rect.y1) return rect;
  }
  return null;
}

function distanceTo({ x0, y0, x1, y1 }, x, y) {
  if (x < Math.min(x0, x1) - 5 || x > Math.max(x0, x1) + 5) return Infinity;
  const dx = x1 - x0, dy = y1 - y0;
  const along = Math.min(Math.max(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1), 0), 1);
  return Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
}

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// What is to be said of a hit, as elements.
function describe(hit) {
  const lines = [];
  const words = event => element("div", "words", textOf(event));
  const time = text => element("span", "time", text);
  if (hit.arrow !== undefined) {
    const { kind, from, to, at, until, fate, left, came } = run.arrows;
    const i = hit.arrow;
    const what = ["", " (a second copy)", " lost on its way", " refused there"][fate[i]];
    const took = fate[i] === FATE.lost ? "" : ` · ${span(until[i] - at[i])}`;
    lines.push(element("div", "", element("b", "", run.head.messageKinds[kind[i]].name), ` ${laneName(from[i])} → ${laneName(to[i])}${what} `, time(`${seconds(at[i])} s${took}`)));
    lines.push(words(left[i]));
    if (came[i] !== left[i]) lines.push(words(came[i]));
  } else if (hit.bar) {
    const { bar } = hit;
    const name = run.bars[bar.kind].name;
    lines.push(element("div", "", element("b", "", bar.label || name), ` ${laneName(bar.lane)} `, time(`${seconds(bar.at)} to ${seconds(bar.until)} s · ${span(bar.until - bar.at)}`)));
    lines.push(words(bar.began));
    if (bar.ended >= 0) lines.push(words(bar.ended));
    if (bar.point !== NONE) lines.push(element("div", "", `takes effect at ${seconds(bar.point)} s`));
  } else if (hit.band) {
    const { band } = hit;
    lines.push(element("div", "", element("b", "", band.name), band.whom ? ` hosts ${band.whom} ` : " ", time(`${seconds(band.from)} to ${seconds(band.until)} s · ${span(band.until - band.from)}`)));
    lines.push(words(band.event));
  } else {
    lines.push(element("div", "", element("b", "", run.head.eventKinds[run.kind[hit.event]].name), ` ${laneName(run.lane[hit.event])} `, time(`${seconds(run.at[hit.event], 9)} s`)));
    lines.push(words(hit.event));
  }
  return lines;
}

function showTip(hit, x, y) {
  const tip = document.getElementById("tip");
  tip.hidden = !hit;
  if (!hit) return;
  tip.replaceChildren(...describe(hit));
  const wide = tip.offsetWidth, high = tip.offsetHeight;
  tip.style.left = `${x + 16 + wide > view.width ? Math.max(x - wide - 12, 4) : x + 16}px`;
  tip.style.top = `${y + 18 + high > view.height ? Math.max(y - high - 12, 4) : y + 18}px`;
}

// Chooses an event: shows it in the picture and the list, and puts it into the address.
function choose(event, { show = true, link = true, length } = {}) {
  if (!(event >= 0 && event < run.count)) return false;
  chosen.event = event;
  if (link) history.replaceState(null, "", `#e${event}`);
  if (show) reveal(event, length);
  for (const step of document.querySelectorAll(".explanation a")) step.classList.toggle("current", step.hash === `#e${event}`);
  showChosen();
  listShows(event);
  redraw();
  return true;
}

function showChosen() {
  const event = chosen.event;
  const arrow = run.arrowOf[event];
  const link = element("a", "", `#e${event}`);
  link.href = `#e${event}`;
  link.id = "link";
  const parts = describe({ event });
  parts[0].append(" ", link);
  const mates = arrow === NONE ? [] : [run.arrows.left[arrow], run.arrows.came[arrow]].filter(mate => mate !== event);
  for (const bar of barsOfEvent(event)) mates.push(bar.began === event ? bar.ended : bar.began);
  const list = element("ul", "mates");
  for (const mate of [...new Set(mates)].filter(mate => mate >= 0)) {
    const to = element("a", "", `${run.head.eventKinds[run.kind[mate]].name} ${laneName(run.lane[mate])}`);
    to.href = `#e${mate}`;
    list.append(element("li", "", mate < event ? "← " : "→ ", to, element("span", "time", ` ${span(Math.abs(run.at[mate] - run.at[event]))} ${mate < event ? "before" : "later"}`)));
  }
  document.getElementById("selected").replaceChildren(...parts, list);
}

function barsOfEvent(event) {
  const found = [];
  for (const group of run.bars) {
    for (const bar of group.list) if (bar.ended >= 0 && (bar.began === event || bar.ended === event)) found.push(bar);
  }
  return found.slice(0, 4);
}

// The chosen event, what is hovered, and where the pointer is: on a canvas of its own, so that moving the pointer is cheap.
function drawMarks(pointer = chosen.pointer) {
  const { context } = fit(document.getElementById("marks"));
  if (pointer) {
    context.strokeStyle = theme.faint;
    context.globalAlpha = 0.6;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(Math.round(pointer.x) + 0.5, 0);
    context.lineTo(Math.round(pointer.x) + 0.5, view.height);
    context.stroke();
    context.globalAlpha = 1;
  }
  drawScroll(context);
  if (chosen.event !== NONE) markEvent(context, chosen.event);
  if (chosen.hover) {
    if (chosen.hover.arrow !== undefined) markArrow(context, chosen.hover.arrow);
    else if (chosen.hover.bar || chosen.hover.band) {
      const { x0, x1, y0, y1 } = chosen.hover;
      context.strokeStyle = theme.ink;
      context.lineWidth = 1;
      context.strokeRect(x0 - 0.5, y0 - 0.5, x1 - x0 + 1, y1 - y0 + 1);
    }
  }
}

// How far down the picture is scrolled, when not all of it has room.
function drawScroll(context) {
  if (layout.height <= view.height) return;
  const length = view.height * view.height / layout.height;
  context.fillStyle = theme.faint;
  context.globalAlpha = 0.6;
  context.beginPath();
  context.roundRect(view.width - 7, view.top / layout.height * view.height, 4, length, 2);
  context.fill();
  context.globalAlpha = 1;
}

function markArrow(context, arrow) {
  if (!layout.lanes[run.arrows.from[arrow]] || !layout.lanes[run.arrows.to[arrow]]) return;
  const { x0, y0, x1, y1 } = endsOf(arrow);
  context.strokeStyle = theme.accent;
  context.lineWidth = 2.4;
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

function markEvent(context, event) {
  const lane = layout.lanes[run.lane[event]];
  if (!lane) return;
  if (run.arrowOf[event] !== NONE) markArrow(context, run.arrowOf[event]);
  const x = xOf(run.at[event]), y = lane.line - view.top;
  context.strokeStyle = theme.accent;
  context.lineWidth = 2;
  context.beginPath();
  context.arc(x, y, 7.5, 0, 7);
  context.stroke();
  context.globalAlpha = 0.35;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(x, 0);
  context.lineTo(x, view.height);
  context.stroke();
  context.globalAlpha = 1;
}

function listenToStage() {
  const stage = document.getElementById("stage");
  let drag = null;
  const place = event => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  stage.addEventListener("pointerdown", event => {
    if (event.button !== 0) return;
    drag = { ...place(event), moved: false };
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", event => {
    const now = place(event);
    if (drag) {
      const [dx, dy] = [now.x - drag.x, now.y - drag.y];
      if (!drag.moved && Math.hypot(dx, dy) < 4) return;
      stage.classList.add("dragging");
      pan(-dx);
      scrollBy(-dy);
      drag = { ...now, moved: true };
      showTip(null);
      return;
    }
    hover(now);
  });
  stage.addEventListener("pointerup", event => {
    const clicked = drag && !drag.moved;
    drag = null;
    stage.classList.remove("dragging");
    const hit = clicked && hitAt(place(event).x, place(event).y);
    if (hit) choose(hit.event, { show: false });
  });
  stage.addEventListener("pointerleave", () => {
    chosen.hover = chosen.pointer = null;
    showTip(null);
    drawMarks();
    document.getElementById("where").textContent = "";
  });
  stage.addEventListener("dblclick", event => zoom(0.4, place(event).x));
  stage.addEventListener("wheel", event => {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : 1;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan((event.deltaX || event.deltaY) * unit);
    else if (event.altKey) scrollBy(event.deltaY * unit);
    else zoom(Math.exp(Math.max(-120, Math.min(120, event.deltaY * unit)) * 0.0022), place(event).x);
  }, { passive: false });
}

function hover(pointer) {
  chosen.pointer = pointer;
  chosen.hover = hitAt(pointer.x, pointer.y);
  showTip(chosen.hover, pointer.x, pointer.y);
  drawMarks(pointer);
  const lane = laneAt(pointer.y);
  document.getElementById("where").textContent = `${seconds(atOf(pointer.x))} s${lane === NONE ? "" : ` · ${laneName(lane)}`}`;
}
