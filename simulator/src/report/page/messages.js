// Messages: arrows while there is room for them, the most telling first; what has no room becomes traffic at the receiver.

const ARROWS_MAX = 5000;
const ARROWS_A_PIXEL = 1;
const MESSAGE_TIERS = [
  ["vote", "vote-reply", "member", "snapshot"], ["append", "other"], ["append-reply"], ["lease", "lease-reply"], ["forward"], ["client", "client-reply"], ["beat", "beat-reply"],
];
// Lost ones join no later than these.
const LOST_TIER = 2;

function tierOfMessages() {
  return run.head.messageKinds.map(({ style }) => {
    const tier = MESSAGE_TIERS.findIndex(tier => tier.includes(style));
    return tier === NONE ? 1 : tier;
  });
}

function arrowTier(arrow, tiers) {
  const tier = tiers[run.arrows.kind[arrow]];
  return run.arrows.fate[arrow] >= FATE.lost ? Math.min(tier, LOST_TIER) : tier;
}

function drawMessages(context) {
  const { at, until, longest } = run.arrows;
  const first = lowerBound(at, view.from - longest), last = lowerBound(at, view.to);
  const tiers = tierOfMessages();
  const inTier = new Array(MESSAGE_TIERS.length).fill(0);
  const inSight = [];
  for (let i = first; i < last; i++) {
    if (until[i] < view.from || !arrowPasses(i)) continue;
    inTier[arrowTier(i, tiers)]++;
    inSight.push(i);
  }
  let room = Math.min(ARROWS_MAX, view.width * ARROWS_A_PIXEL), shown = 0;
  while (shown < inTier.length && inTier[shown] <= room) room -= inTier[shown++];
  const arrows = inSight.filter(i => arrowTier(i, tiers) < shown);
  drawn.arrows = arrows.length;
  drawn.arrowsInSight = inSight.length;
  hits.arrows = arrows;
  if (shown < inTier.length) drawTraffic(context, inSight.filter(i => arrowTier(i, tiers) >= shown));
  drawArrows(context, arrows, shown < inTier.length ? 0.6 : 1);
}

// How much arrives at each host, and in red how much is lost on the way from it, as heights over time.
function drawTraffic(context, arrows) {
  const step = 3, bins = Math.ceil(view.width / step) + 1;
  const lanes = run.head.lanes.length;
  const came = new Float32Array(lanes * bins), lost = new Float32Array(lanes * bins);
  for (const i of arrows) {
    const gone = run.arrows.fate[i] >= FATE.lost;
    const bin = Math.floor(xOf(gone ? run.arrows.at[i] : run.arrows.until[i]) / step);
    if (bin < 0 || bin >= bins) continue;
    if (gone) lost[run.arrows.from[i] * bins + bin]++; else came[run.arrows.to[i] * bins + bin]++;
  }
  const most = usualPeak(came, lost);
  for (const [index, lane] of layout.lanes.entries()) {
    if (lane?.group !== "host") continue;
    const base = lane.traffic + SIZE.traffic - view.top;
    const heights = (values, below) => bin => Math.min(values[index * bins + bin] / most, 1) * SIZE.traffic + (below ? below(bin) : 0);
    const all = heights(came);
    profile(context, base, bins, step, bin => 0, all, theme.append, 0.42);
    profile(context, base, bins, step, all, bin => Math.min(heights(lost, all)(bin), SIZE.traffic + 6), theme.alarm, 0.75);
  }
}

// The height that all but a few peaks stay below, so that one burst does not flatten the rest.
function usualPeak(came, lost) {
  const sums = came.map((count, i) => count + lost[i]).filter(count => count > 0).sort();
  return Math.max(sums[Math.floor(sums.length * 0.98)] ?? 1, 1);
}

function profile(context, base, bins, step, low, high, colour, alpha) {
  context.fillStyle = colour;
  context.globalAlpha = alpha;
  context.beginPath();
  for (let bin = 0; bin < bins; bin++) {
    const below = low(bin), above = high(bin);
    if (above - below > 0.2) context.rect(bin * step, base - above, step, above - below);
  }
  context.fill();
  context.globalAlpha = 1;
}

// The ends of an arrow on the stage. One that is lost at once gets a stub that shows whom it was for.
function endsOf(arrow) {
  const { at, until, from, to, fate } = run.arrows;
  const here = layout.lanes[from[arrow]], there = layout.lanes[to[arrow]];
  const x0 = xOf(at[arrow]), y0 = here.line - view.top;
  if (fate[arrow] === FATE.lost) {
    const whole = there.line - here.line;
    const reach = Math.sign(whole || 1) * Math.min(Math.abs(whole) * 0.5, 34);
    const drift = Math.min(Math.max(xOf(until[arrow]) - x0, Math.abs(reach) * 0.28), 60);
    return { x0, y0, x1: x0 + drift, y1: y0 + reach };
  }
  return { x0, y0, x1: xOf(until[arrow]), y1: there.line - view.top };
}

// `strength` is below 1 where the picture is only the outline of what is in sight.
function drawArrows(context, arrows, strength) {
  const { kind, fate } = run.arrows;
  const dense = arrows.length / view.width;
  const alpha = Math.max(0.35, Math.min(0.9, 0.95 - dense * 0.4)) * strength;
  const heads = dense < 0.45;
  const byKind = new Map();
  for (const arrow of arrows) {
    const key = kind[arrow] * 4 + fate[arrow];
    if (!byKind.has(key)) byKind.set(key, []);
    byKind.get(key).push(arrow);
  }
  context.lineWidth = heads ? 1.1 : 0.9;
  for (const [key, group] of byKind) {
    const colour = messageColour(key >> 2), how = key & 3;
    context.strokeStyle = context.fillStyle = colour;
    context.globalAlpha = alpha;
    context.setLineDash(how === FATE.arrives ? [] : how === FATE.again ? [5, 3] : [2, 2]);
    context.beginPath();
    for (const arrow of group) {
      const { x0, y0, x1, y1 } = endsOf(arrow);
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
    }
    context.stroke();
    context.setLineDash([]);
    if (how >= FATE.lost) lossMarks(context, group, 0.9 * strength, strength < 1 ? 1.8 : 2.6);
    else if (heads) arrowHeads(context, group);
  }
  context.globalAlpha = 1;
}

function lossMarks(context, group, alpha, reach) {
  context.strokeStyle = theme.alarm;
  context.globalAlpha = alpha;
  for (const arrow of group) {
    const { x1, y1 } = endsOf(arrow);
    cross(context, x1, y1, reach);
  }
}

function arrowHeads(context, group) {
  context.beginPath();
  for (const arrow of group) {
    const { x0, y0, x1, y1 } = endsOf(arrow);
    const length = Math.hypot(x1 - x0, y1 - y0);
    if (length < 12) continue;
    const ux = (x1 - x0) / length, uy = (y1 - y0) / length;
    context.moveTo(x1, y1);
    context.lineTo(x1 - ux * 7 - uy * 2.6, y1 - uy * 7 + ux * 2.6);
    context.lineTo(x1 - ux * 7 + uy * 2.6, y1 - uy * 7 - ux * 2.6);
  }
  context.fill();
}
