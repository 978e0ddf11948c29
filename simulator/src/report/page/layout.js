// Where each lane stands. From the top of a host's lane: traffic, lease, life line, write, VMs. What does not fit is set closer, then scrolled.

const ROOMY = { pad: 7, traffic: 13, vm: 12, client: 16 };
const CLOSE = { pad: 2, traffic: 8, vm: 6, client: 11 };
const SIZE = { ...ROOMY, life: 13, write: 4, band: 15, spread: 46 };
const layout = { lanes: [], height: 0 };

function laneHeight(lane) {
  switch (lane.group) {
    case "world": return SIZE.pad + lane.rows * SIZE.band + SIZE.pad;
    case "client": return SIZE.client;
    default: return SIZE.pad + SIZE.traffic + 3 + SIZE.life + 2 + SIZE.write + 3 + lane.rows * SIZE.vm + SIZE.pad;
  }
}

function layOut() {
  const stage = document.getElementById("stage");
  const lanes = run.head.lanes;
  const shown = lanes.map((lane, index) => index).filter(index => filter.lanes[index]);
  const hosts = shown.filter(index => lanes[index].group === "host").length;
  const needed = setSizes(shown, stage.clientHeight);
  const spare = Math.max(0, stage.clientHeight - needed) / Math.max(hosts, 1);
  layout.lanes = lanes.map(() => null);
  let y = 0, last = null;
  for (const index of shown) {
    const lane = lanes[index];
    if (last && lane.group !== last) y += 6;
    last = lane.group;
    const extra = lane.group === "host" ? Math.min(spare, SIZE.spread) : 0;
    const height = laneHeight(lane) + extra;
    layout.lanes[index] = placed(lane.group, y, height, extra / 2);
    y += height;
  }
  layout.height = y;
  buildGutter(shown);
  scrollTo(view.top);
}

// As roomy as the height allows; gives the height that is needed then.
function setSizes(shown, height) {
  const needed = () => shown.reduce((sum, index) => sum + laneHeight(run.head.lanes[index]), 0) + 16;
  for (let part = 0; part <= 6; part++) {
    for (const name of Object.keys(ROOMY)) SIZE[name] = Math.round(ROOMY[name] + (CLOSE[name] - ROOMY[name]) * part / 6);
    if (needed() <= height) break;
  }
  return needed();
}

function placed(group, y, height, pad) {
  if (group === "world") return { group, y, height, line: y + height / 2, rows: y + SIZE.pad };
  if (group === "client") return { group, y, height, line: y + height / 2, rows: y + 3 };
  const traffic = y + SIZE.pad + pad;
  const life = traffic + SIZE.traffic + 3;
  const write = life + SIZE.life + 2;
  return { group, y, height, traffic, life, line: life + SIZE.life / 2, write, rows: write + SIZE.write + 3 };
}

function buildGutter(shown) {
  const gutter = document.getElementById("gutter");
  gutter.replaceChildren(...shown.map(index => {
    const lane = run.head.lanes[index];
    const button = document.createElement("button");
    button.type = "button";
    button.className = run.head.mark?.lanes.includes(index) ? `${lane.group} alarm` : lane.group;
    button.textContent = lane.name;
    button.dataset.lane = index;
    if (lane.group !== "world") {
      button.title = `Only the messages of ${lane.name}`;
      button.setAttribute("aria-pressed", filter.focus === index);
      button.onclick = () => {
        filter.focus = filter.focus === index ? NONE : index;
        filterChanged();
      };
    }
    return button;
  }));
}

function placeGutter() {
  for (const button of document.getElementById("gutter").children) {
    const lane = layout.lanes[button.dataset.lane];
    button.style.top = `${lane.line - view.top}px`;
  }
}

// The lane at a height of the stage, or NONE.
function laneAt(y) {
  const inside = y + view.top;
  return layout.lanes.findIndex(lane => lane && inside >= lane.y && inside < lane.y + lane.height);
}
