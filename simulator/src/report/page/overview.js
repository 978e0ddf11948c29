// The whole run above the picture: who led, what was struck, how much was said, and the part that is in sight.

const overview = { canvas: null, still: null, key: "" };
const LEADERS = 9, TOP = 6;

function drawOverview() {
  const { context, width, height } = fit(overview.canvas);
  const still = overviewStill(width, height);
  context.drawImage(still, 0, 0, width, height);
  const x = at => at / run.end * width;
  const x0 = Math.max(x(view.from), 0), x1 = Math.min(x(view.to), width);
  context.fillStyle = theme.paper;
  context.globalAlpha = 0.62;
  context.fillRect(0, 0, x0, height);
  context.fillRect(x1, 0, width - x1, height);
  context.globalAlpha = 1;
  context.strokeStyle = theme.accent;
  context.lineWidth = 1.2;
  context.strokeRect(x0 + 0.5, 1.5, Math.max(x1 - x0 - 1, 2), height - 4);
  const mark = run.head.mark;
  if (mark) {
    context.fillStyle = theme.alarm;
    context.fillRect(x(mark.at) - 1, 0, 2, height);
    triangle(context, x(mark.at), 4, 5);
  }
}

// What does not depend on the view is drawn once for each size and scheme.
function overviewStill(width, height) {
  const key = [width, height, theme.paper, devicePixelRatio].join();
  if (overview.key === key) return overview.still;
  overview.key = key;
  const scale = devicePixelRatio || 1;
  const still = document.createElement("canvas");
  still.width = Math.round(width * scale);
  still.height = Math.round(height * scale);
  const context = still.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  const x = at => at / run.end * width;
  overviewPhases(context, x, height);
  overviewTraffic(context, x, width, height);
  overviewFaults(context, x);
  overviewLeaders(context, x);
  overview.still = still;
  return still;
}

function overviewLeaders(context, x) {
  for (const bar of barsOf("leads")) {
    context.fillStyle = termColour(bar.tint);
    context.fillRect(x(bar.at), TOP, Math.max(x(bar.until) - x(bar.at), 1), LEADERS);
  }
}

function overviewFaults(context, x) {
  const rows = Math.max(run.head.lanes[0].rows, 1);
  const high = Math.max(Math.min(14 / rows, 5), 1.5);
  context.globalAlpha = 0.7;
  for (const band of run.head.bands) {
    context.fillStyle = faultColour(band.name);
    context.fillRect(x(band.from), TOP + LEADERS + 3 + band.row * high, Math.max(x(band.until) - x(band.from), 1), high - 0.5);
  }
  context.globalAlpha = 1;
}

function overviewTraffic(context, x, width, height) {
  const bins = Math.max(Math.floor(width / 2), 1);
  const all = new Float32Array(bins), lost = new Float32Array(bins);
  const { at, fate, count } = run.arrows;
  for (let i = 0; i < count; i++) {
    const bin = Math.min(Math.floor(at[i] / run.end * bins), bins - 1);
    all[bin]++;
    if (fate[i] >= FATE.lost) lost[bin]++;
  }
  const most = usualPeak(all, new Float32Array(bins));
  const room = height - TOP - LEADERS - 21;
  for (let bin = 0; bin < bins; bin++) {
    const high = Math.min(all[bin] / most, 1) * room, gone = all[bin] ? high * lost[bin] / all[bin] : 0;
    context.fillStyle = theme["append-reply"];
    context.fillRect(bin * width / bins, height - 3 - high, width / bins, high - gone);
    context.fillStyle = theme.alarm;
    context.fillRect(bin * width / bins, height - 3 - gone, width / bins, gone);
  }
}

function overviewPhases(context, x, height) {
  for (const bar of barsOf("phase")) {
    context.strokeStyle = theme.faint;
    context.setLineDash([2, 3]);
    context.beginPath();
    context.moveTo(x(bar.at), 0);
    context.lineTo(x(bar.at), height);
    context.stroke();
    context.setLineDash([]);
  }
}

function barsOf(style) {
  return run.bars.filter(group => group.style === style).flatMap(group => group.list);
}

// Drag: choose a part. Click: move the part in sight there.
function listenToOverview() {
  const canvas = overview.canvas;
  let from = null;
  const at = event => (event.clientX - canvas.getBoundingClientRect().left) / canvas.clientWidth * run.end;
  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    from = { at: at(event), x: event.clientX };
  });
  canvas.addEventListener("pointermove", event => {
    if (from && Math.abs(event.clientX - from.x) > 3) {
      stopGliding();
      setView(Math.min(from.at, at(event)), Math.max(from.at, at(event)));
    }
  });
  canvas.addEventListener("pointerup", event => {
    if (from && Math.abs(event.clientX - from.x) <= 3) {
      const half = (view.to - view.from) / 2;
      glideTo(from.at - half, from.at + half);
    }
    from = null;
  });
}
