// Events as points.

const POINTS_A_LANE = 90;
// Which events are drawn as points, the most telling first. Those of other styles join when there is room.
const POINT_TIERS = [
  ["start", "end", "fault", "phase"], ["leader", "member", "other", "snapshot", "failure", "host"], ["decided", "applied", "committed"], ["vm"],
  ["loss", "fault-detail"], ["client"], ["detail"], ["turn"], ["message"],
];

function drawPoints(context) {
  const first = lowerBound(run.at, view.from), last = lowerBound(run.at, view.to);
  const tierOf = run.head.eventKinds.map(kind => {
    const tier = POINT_TIERS.findIndex(tier => tier.includes(kind.style));
    return tier === NONE ? 1 : tier;
  });
  const inTier = new Array(POINT_TIERS.length).fill(0);
  for (let i = first; i < last; i++) {
    if (eventPasses(i)) inTier[tierOf[run.kind[i]]]++;
  }
  drawn.pointsInSight = inTier.reduce((sum, count) => sum + count, 0);
  const lanes = Math.max(layout.lanes.filter(lane => lane).length, 1);
  let room = POINTS_A_LANE * lanes, tiers = 0;
  while (tiers < inTier.length && (tiers < 1 || inTier[tiers] <= room)) room -= inTier[tiers++];
  const lastX = new Float64Array(run.head.lanes.length * 16).fill(-9);
  for (let i = first; i < last; i++) {
    const kind = run.head.eventKinds[run.kind[i]], tier = tierOf[run.kind[i]];
    const lane = layout.lanes[run.lane[i]];
    if (tier >= tiers || !lane || !eventPasses(i)) continue;
    const x = xOf(run.at[i]), place = run.lane[i] * 16 + tier;
    if (x - lastX[place] < 0.8) continue;
    lastX[place] = x;
    point(context, kind.style, x, lane, i);
    drawn.points++;
  }
}

function point(context, style, x, lane, event) {
  const y = lane.line - view.top;
  context.lineWidth = 1.4;
  switch (style) {
    case "start":
      context.fillStyle = theme.paper;
      context.strokeStyle = theme.good;
      circle(context, x, y, 3.6, true);
      break;
    case "end":
      context.strokeStyle = theme.alarm;
      context.lineWidth = 1.9;
      cross(context, x, y, 4);
      break;
    case "applied":
      context.fillStyle = theme.ink;
      context.globalAlpha = 0.55;
      context.fillRect(x - 0.5, y - 4, 1, 8);
      context.globalAlpha = 1;
      break;
    case "committed": case "decided":
      context.fillStyle = theme.accent;
      context.fillRect(x - 0.75, y - (style === "decided" ? 6.5 : 3), 1.5, style === "decided" ? 13 : 6);
      break;
    case "failure":
      context.fillStyle = theme.alarm;
      diamond(context, x, y, 4);
      break;
    case "snapshot":
      context.fillStyle = theme.snapshot;
      context.fillRect(x - 3, y - 3, 6, 6);
      break;
    case "loss":
      context.fillStyle = theme.alarm;
      circle(context, x, y, 1.6);
      break;
    case "turn": case "message": case "detail": case "fault-detail":
      context.fillStyle = theme.faint;
      circle(context, x, y, 1.3);
      break;
    case "fault": case "member":
      context.fillStyle = style === "fault" ? theme.alarm : theme.operator;
      triangle(context, x, lane.group === "world" ? lane.y + 2 - view.top : y, 3.5);
      break;
    case "vm":
      context.fillStyle = theme.ink;
      circle(context, x, lane.group === "host" ? lane.rows - 2 - view.top : y, 1.6);
      break;
    case "client":
      context.fillStyle = theme.client;
      circle(context, x, y, 1.8);
      break;
    default:
      context.fillStyle = theme.accent;
      diamond(context, x, y, 3.4);
  }
  hits.points.push({ x, y, event });
}

function circle(context, x, y, radius, stroked = false) {
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fill();
  if (stroked) context.stroke();
}

function cross(context, x, y, reach) {
  context.beginPath();
  context.moveTo(x - reach, y - reach);
  context.lineTo(x + reach, y + reach);
  context.moveTo(x + reach, y - reach);
  context.lineTo(x - reach, y + reach);
  context.stroke();
}

function triangle(context, x, y, reach) {
  context.beginPath();
  context.moveTo(x - reach, y - reach);
  context.lineTo(x + reach, y - reach);
  context.lineTo(x, y + reach);
  context.fill();
}

function diamond(context, x, y, reach) {
  context.beginPath();
  context.moveTo(x, y - reach);
  context.lineTo(x + reach, y);
  context.lineTo(x, y + reach);
  context.lineTo(x - reach, y);
  context.fill();
}
