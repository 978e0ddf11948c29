// Which part of the run is in sight: [from, to] in nanoseconds, `top` in pixels.

const SHORTEST = 2_000;
const view = { from: 0, to: 1, top: 0, width: 1, height: 1, scale: 1, moving: 0 };

const xOf = at => (at - view.from) / (view.to - view.from) * view.width;
const atOf = x => view.from + x / view.width * (view.to - view.from);

function setView(from, to) {
  const margin = run.end * 0.03;
  const length = Math.min(Math.max(to - from, SHORTEST), run.end + 2 * margin);
  const middle = (from + to) / 2;
  view.from = Math.min(Math.max(middle - length / 2, -margin), run.end + margin - length);
  view.to = view.from + length;
  redraw();
}

function wholeRun() {
  glideTo(-run.end * 0.01, run.end * 1.01);
}

// Zooms by `factor` (below 1: in) around a place of the stage.
function zoom(factor, x = view.width / 2) {
  stopGliding();
  const fixed = atOf(x);
  const length = Math.max((view.to - view.from) * factor, SHORTEST);
  const from = fixed - length * (x / view.width);
  setView(from, from + length);
}

function pan(pixels) {
  stopGliding();
  const shift = pixels / view.width * (view.to - view.from);
  setView(view.from + shift, view.to + shift);
}

function scrollTo(top) {
  view.top = Math.min(Math.max(top, 0), Math.max(0, layout.height - view.height));
  placeGutter();
}

function scrollBy(pixels) {
  scrollTo(view.top + pixels);
  redraw();
}

function stopGliding() {
  cancelAnimationFrame(view.moving);
  view.moving = 0;
}

// Moves there in a moment, so that the eye can follow.
function glideTo(from, to) {
  stopGliding();
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const begin = performance.now(), takes = still ? 0 : 180;
  const [oldFrom, oldTo] = [view.from, view.to];
  const step = now => {
    const done = takes === 0 ? 1 : Math.min(Math.max((now - begin) / takes, 0), 1);
    const eased = 1 - (1 - done) ** 3;
    setView(oldFrom + (from - oldFrom) * eased, oldTo + (to - oldTo) * eased);
    view.moving = done < 1 ? requestAnimationFrame(step) : 0;
  };
  step(begin + (still ? 1 : 0));
}

// Brings an event into sight, at the zoom in use unless that shows nothing of it.
function reveal(event, length = view.to - view.from) {
  const at = run.at[event];
  const width = Math.min(length, run.end * 0.2);
  if (at < view.from + (view.to - view.from) * 0.04 || at > view.to - (view.to - view.from) * 0.04 || width < view.to - view.from) {
    glideTo(at - width / 2, at + width / 2);
  }
  const lane = layout.lanes[run.lane[event]];
  if (lane && (lane.y < view.top || lane.y + lane.height > view.top + view.height)) scrollTo(lane.y - view.height / 3);
}

// Sizes a canvas for the screen; its context draws in CSS pixels.
function fit(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}
