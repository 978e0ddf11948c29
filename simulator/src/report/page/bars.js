// What lasts: faults, processes, terms, leases, writes, VMs, operations.

// Faults: a labelled bar in the row of faults, and a tint over the lanes they strike.
function drawBands(context) {
  const world = layout.lanes[0];
  if (!world || run.head.lanes[0].group !== "world") return;
  for (const band of run.head.bands) {
    if (band.until < view.from || band.from > view.to) continue;
    const colour = faultColour(band.name);
    const x0 = Math.max(xOf(band.from), -4), x1 = Math.min(xOf(band.until), view.width + 4);
    const wide = Math.max(x1 - x0, 2);
    context.fillStyle = colour;
    context.globalAlpha = 0.09;
    for (const index of band.lanes) {
      const lane = layout.lanes[index];
      if (lane) context.fillRect(x0, lane.y - view.top, wide, lane.height);
    }
    const y = world.rows + band.row * SIZE.band - view.top;
    context.globalAlpha = 0.26;
    context.fillRect(x0, y, wide, SIZE.band - 3);
    context.globalAlpha = 1;
    context.fillRect(x0, y, 2, SIZE.band - 3);
    caption(context, `${band.name} ${band.whom}`, x0 + 6, y + SIZE.band / 2 - 1, x1 - x0 - 9, theme.ink, 10.5);
    hits.rects.push({ x0, y0: y, x1: x0 + wide, y1: y + SIZE.band - 3, event: band.event, band });
    drawn.bars++;
  }
}

function caption(context, text, x, y, room, colour, size = 10.5) {
  if (room < 16) return;
  context.font = `${size}px ${theme.sans}`;
  context.fillStyle = colour;
  context.textBaseline = "middle";
  context.textAlign = "left";
  let shown = text;
  if (context.measureText(shown).width > room) {
    const fits = Math.floor(shown.length * room / context.measureText(shown).width) - 1;
    if (fits < 3) return;
    shown = `${shown.slice(0, fits)}…`;
  }
  // Stays in sight while its bar does.
  context.fillText(shown, Math.max(x, 4), y);
}

const BAR_ORDER = ["frozen", "alive", "term", "leads", "lease", "write", "vm", "operation"];

function drawBars(context) {
  for (const style of BAR_ORDER) {
    for (const group of run.bars) {
      if (group.style === style) drawGroup(context, group, style);
    }
  }
}

function drawGroup(context, group, style) {
  const { first } = barsBetween(group, view.from, view.to);
  // Bars that would fall upon the pixel of the one before them are left out.
  const lastX = new Map();
  for (let i = first; i < group.list.length; i++) {
    const bar = group.list[i];
    if (bar.at > view.to) break;
    const lane = layout.lanes[bar.lane];
    if (bar.until < view.from || !lane || !barPasses(bar)) continue;
    const x0 = Math.max(xOf(bar.at), -6), x1 = Math.min(xOf(bar.until), view.width + 6);
    const key = bar.lane * 64 + bar.row;
    const last = lastX.get(key) ?? -9;
    if (x1 - last < 0.6 && x1 - x0 < 0.6) continue;
    lastX.set(key, x1);
    const rect = BARS[style](context, bar, lane, x0, Math.max(x1, x0 + 0.7));
    drawn.bars++;
    if (rect && x1 - x0 > 1) hits.rects.push({ ...rect, x0, x1, bar, event: bar.began });
  }
}

// How each style of bar is drawn; each gives the heights between which the pointer finds it.
const BARS = {
  alive(context, bar, lane, x0, x1) {
    const y = lane.line - view.top;
    context.fillStyle = theme.alive;
    context.fillRect(x0, y - 1.5, x1 - x0, 3);
    return { y0: y - 3, y1: y + 3 };
  },
  term(context, bar, lane, x0, x1) {
    const y = lane.line - view.top;
    context.fillStyle = termColour(bar.tint);
    context.fillRect(x0, y - 1.5, x1 - x0, 3);
    return { y0: y - 3, y1: y + 3 };
  },
  leads(context, bar, lane, x0, x1) {
    const y = lane.life - view.top;
    context.fillStyle = termColour(bar.tint);
    context.beginPath();
    context.roundRect(x0, y, x1 - x0, SIZE.life, Math.min(3, (x1 - x0) / 2));
    context.fill();
    caption(context, bar.label, x0 + 5, y + SIZE.life / 2 + 0.5, x1 - Math.max(x0, 0) - 8, theme["tint-ink"], 10);
    return { y0: y, y1: y + SIZE.life };
  },
  frozen(context, bar, lane, x0, x1) {
    const y = lane.y - view.top;
    context.fillStyle = theme.frozen;
    context.globalAlpha = 0.16;
    context.fillRect(x0, y, x1 - x0, lane.height);
    context.globalAlpha = 1;
    return null;
  },
  lease(context, bar, lane, x0, x1) {
    const y = lane.life - view.top;
    context.fillStyle = theme.lease;
    context.fillRect(x0, y - 3.5, x1 - x0, 2);
    return { y0: y - 5, y1: y };
  },
  write(context, bar, lane, x0, x1) {
    const y = lane.write - view.top;
    context.fillStyle = theme.write;
    context.fillRect(x0, y, x1 - x0, SIZE.write);
    return { y0: y, y1: y + SIZE.write };
  },
  vm(context, bar, lane, x0, x1) {
    const y = lane.rows + bar.row * SIZE.vm - view.top;
    context.fillStyle = vmColour(bar.tint);
    context.fillRect(x0, y, x1 - x0, SIZE.vm - 1);
    if (SIZE.vm > 9) caption(context, bar.label, x0 + 4, y + SIZE.vm / 2, x1 - Math.max(x0, 0) - 6, theme.ink, SIZE.vm - 2.5);
    return { y0: y, y1: y + SIZE.vm };
  },
  operation(context, bar, lane, x0, x1) {
    const y = lane.line - view.top, room = x1 - x0;
    operationBody(context, bar.tint, lane, x0, x1);
    if (room > 40) caption(context, bar.label, x0 + 5, y + 0.5, x1 - Math.max(x0, 0) - 12, theme.ink, 9.5);
    if (bar.point !== NONE) effect(context, xOf(bar.point), y, x1, room);
    else if (room > 8) noEffect(context, bar, x0, y, room);
    return { y0: y - 6, y1: y + 6 };
  },
};

function operationBody(context, tint, lane, x0 = 2, x1 = 46) {
  const y = lane.line - view.top, room = x1 - x0, half = Math.min(SIZE.client / 2 - 1.5, 6);
  context.fillStyle = theme[OUTCOMES[tint] ?? "running"];
  context.globalAlpha = 0.42;
  context.fillRect(x0, y - half, room, 2 * half);
  context.globalAlpha = 1;
  context.fillRect(x0, y - half, Math.min(1.5, room), 2 * half);
  if (room > 6) context.fillRect(x1 - 1.5, y - half, 1.5, 2 * half);
}

const OUTCOMES = ["ok", "error", "refused", "unknown", "running"];

// Where an operation took effect; a line leads there when that was after its client had given up.
function effect(context, x, y, end, room) {
  if (room < 16 && x < end) return;
  context.strokeStyle = context.fillStyle = theme.ink;
  context.lineWidth = 1;
  if (x > end + 1) {
    context.setLineDash([2, 2]);
    context.beginPath();
    context.moveTo(end, y);
    context.lineTo(x, y);
    context.stroke();
    context.setLineDash([]);
  }
  circle(context, x, y, 2.4);
  context.fillRect(x - 0.5, y - 6, 1, 12);
}

// The window of an operation of which no moment is known at which it took effect: in alarm when its client was told that it did.
function noEffect(context, bar, x0, y, room) {
  const outcome = OUTCOMES[bar.tint];
  if (outcome !== "ok" && outcome !== "unknown") return;
  context.strokeStyle = outcome === "ok" ? theme.alarm : theme.ink;
  context.globalAlpha = outcome === "ok" ? 1 : 0.55;
  context.lineWidth = 1;
  context.setLineDash([3, 2]);
  context.strokeRect(x0 + 0.5, y - 6, room - 1, 12);
  context.setLineDash([]);
  context.globalAlpha = 1;
}
