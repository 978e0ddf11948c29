// Keys, buttons and panels.

const KEYS = [
  ["← →", "move in time (Shift: a whole screen)", ["ArrowLeft", "ArrowRight"]],
  ["↑ ↓", "move up and down"],
  ["+ −", "zoom in and out"],
  ["0", "the whole run"],
  ["v", "the violation"],
  ["/", "search"],
  ["n N", "next and previous match"],
  ["] [", "next and previous event"],
  ["f", "choose what is shown"],
  ["l", "legend"],
  ["e", "list of events"],
  ["Esc", "close, or let go of what is chosen"],
  ["wheel", "zoom at the pointer (Shift: move, Alt: up and down)"],
  ["drag", "move; in the overview: choose a part"],
];

const ACTIONS = {
  ArrowLeft: event => pan(-view.width * (event.shiftKey ? 0.9 : 0.12)),
  ArrowRight: event => pan(view.width * (event.shiftKey ? 0.9 : 0.12)),
  ArrowUp: () => scrollBy(-60),
  ArrowDown: () => scrollBy(60),
  "+": () => zoom(0.6),
  "=": () => zoom(0.6),
  "-": () => zoom(1 / 0.6),
  0: () => wholeRun(),
  v: () => showViolation(),
  "/": () => document.getElementById("search").focus(),
  n: () => stepMatch(1),
  N: () => stepMatch(-1),
  "]": () => stepInList(1),
  "[": () => stepInList(-1),
  f: () => togglePanel("filters", "filter-panel"),
  l: () => togglePanel("legend", "legend-panel"),
  "?": () => togglePanel("help", "help-panel"),
  e: () => toggleEvents(),
  Escape: () => letGo(),
};

function listenToKeys() {
  document.addEventListener("keydown", event => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    if (event.ctrlKey || event.metaKey || (typing && event.key !== "Escape")) return;
    const action = ACTIONS[event.key];
    if (!action || (event.key === "Escape" && event.target.id === "search")) return;
    action(event);
    event.preventDefault();
  });
  const press = (id, action) => {
    document.getElementById(id).onclick = action;
  };
  press("zoom-in", () => zoom(0.6));
  press("zoom-out", () => zoom(1 / 0.6));
  press("whole", wholeRun);
  press("violation", showViolation);
  press("filters", () => togglePanel("filters", "filter-panel"));
  press("legend", () => togglePanel("legend", "legend-panel"));
  press("help", () => togglePanel("help", "help-panel"));
  press("events", toggleEvents);
  press("copy", copyCommand);
}

const PANELS = [["filters", "filter-panel"], ["legend", "legend-panel"], ["help", "help-panel"]];

function togglePanel(button, panel) {
  const open = document.getElementById(panel).hidden;
  for (const [eachButton, eachPanel] of PANELS) {
    const shown = open && eachPanel === panel;
    document.getElementById(eachPanel).hidden = !shown;
    document.getElementById(eachButton).setAttribute("aria-expanded", shown);
  }
  if (open) {
    const box = document.getElementById(panel);
    box.style.top = `${document.querySelector("nav").getBoundingClientRect().bottom + 6}px`;
    if (panel === "legend-panel") buildLegend();
  }
}

function toggleEvents() {
  const side = document.getElementById("side");
  side.hidden = !side.hidden;
  document.getElementById("events").setAttribute("aria-pressed", !side.hidden);
  resized();
}

function letGo() {
  const open = PANELS.find(([, panel]) => !document.getElementById(panel).hidden);
  if (open) return togglePanel(...open);
  chosen.event = NONE;
  document.getElementById("selected").replaceChildren();
  history.replaceState(null, "", location.pathname + location.search);
  drawList();
  redraw();
}

async function copyCommand() {
  const button = document.getElementById("copy"), command = document.getElementById("command");
  try {
    await navigator.clipboard.writeText(command.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1200);
  } catch {
    getSelection().selectAllChildren(command);
  }
}

function buildHelp() {
  const terms = KEYS.flatMap(([keys, what]) => [element("dt", "", keys), element("dd", "", what)]);
  document.getElementById("help-panel").replaceChildren(element("dl", "", ...terms));
}
