// Opens the page: on the event its address names, else on the violation, else on the whole run.

function resized() {
  const stage = document.getElementById("stage");
  Object.assign(view, { width: stage.clientWidth, height: stage.clientHeight });
  layOut();
  drawList();
  redraw();
}

// The way to the violation: the last thousand events, or more when an explanation begins earlier.
const EVENTS_BEFORE = 1000;

// When the explanation begins; a first step that lies so far back that the others would crowd together is left out.
function storyBegins(mark) {
  const steps = run.steps.map(step => run.at[step.event]).filter(at => at <= mark.at).sort((a, b) => a - b);
  while (steps.length > 3 && mark.at - steps[1] < (mark.at - steps[0]) / 2) steps.shift();
  return steps[0] ?? mark.at;
}

function showViolation() {
  const mark = run.head.mark;
  if (!mark) return;
  const from = Math.min(run.at[Math.max(mark.event - EVENTS_BEFORE, 0)], storyBegins(mark));
  const length = Math.max(mark.at - from, 1e6);
  glideTo(from - length * 0.05, mark.at + length * 0.12);
  const lane = layout.lanes[run.lane[mark.event]];
  if (lane) scrollTo(lane.y + lane.height / 2 - view.height / 2);
}

// Goes where a link leads: `#e123` is an event, `#violation` the violation. Whether it leads anywhere.
function follow(place, length) {
  const event = /^#e(\d+)$/.exec(place);
  if (event) return choose(Number(event[1]), { length });
  if (place !== "#violation" || !run.head.mark) return false;
  showViolation();
  return true;
}

// A link of the page works also when the address already is what it leads to.
function listenToLinks() {
  document.addEventListener("click", event => {
    const link = event.target.closest?.("a[href^='#']");
    if (link && follow(link.hash)) event.preventDefault();
  });
  addEventListener("hashchange", () => follow(location.hash));
}

async function open() {
  readTheme();
  loadRun(await unpack(document.getElementById("data").textContent));
  document.getElementById("data").remove();
  run.steps = [...document.querySelectorAll(".explanation li")].map((item, place) => ({ number: place + 1, link: item.querySelector("a") }))
    .filter(step => step.link).map(({ number, link }) => ({ number, event: Number(link.hash.slice(2)) })).filter(step => step.event < run.count);
  overview.canvas = document.getElementById("overview");
  resetFilter();
  buildFilterPanel();
  buildHelp();
  document.getElementById("violation").hidden = !run.head.mark;
  resized();
  listChanged();
  setView(-run.end * 0.01, run.end * 1.01);
  listenToStage();
  listenToOverview();
  listenToList();
  listenToKeys();
  listenToLinks();
  new ResizeObserver(resized).observe(document.getElementById("figure"));
  if (!follow(location.hash, 1e9) && run.head.mark) {
    showViolation();
    listShows(run.head.mark.event);
  }
  requestAnimationFrame(() => requestAnimationFrame(() => {
    // For whoever measures: milliseconds from the beginning of the page to its first picture.
    document.documentElement.dataset.opened = Math.round(performance.now());
  }));
}

open().catch(error => {
  const failure = document.getElementById("failure");
  failure.hidden = false;
  failure.textContent = `This page cannot show its data: ${error.message ?? error}`;
  console.error(error);
});
