// What is shown: kinds of messages, events and bars; lanes; one VM; the messages of one host.

const filter = { messages: [], events: [], bars: [], lanes: [], vm: 0, focus: NONE };

function resetFilter() {
  filter.messages = run.head.messageKinds.map(() => true);
  filter.events = run.head.eventKinds.map(() => true);
  filter.bars = run.head.barKinds.map(() => true);
  filter.lanes = run.head.lanes.map(() => true);
  filter.vm = 0;
  filter.focus = NONE;
}

function eventPasses(event) {
  if (!filter.events[run.kind[event]] || !filter.lanes[run.lane[event]]) return false;
  if (filter.vm && run.vm[event] !== filter.vm) return false;
  const arrow = run.arrowOf[event];
  return arrow === NONE || filter.messages[run.arrows.kind[arrow]];
}

function arrowPasses(arrow) {
  const { kind, from, to } = run.arrows;
  return filter.messages[kind[arrow]] && filter.lanes[from[arrow]] && filter.lanes[to[arrow]]
    && (filter.focus === NONE || from[arrow] === filter.focus || to[arrow] === filter.focus);
}

function barPasses(bar) {
  if (!filter.bars[bar.kind] || !filter.lanes[bar.lane]) return false;
  return !filter.vm || run.bars[bar.kind].style !== "vm" || bar.tint === filter.vm;
}

function filterChanged() {
  layOut();
  listChanged();
  redraw();
  document.getElementById("filters").textContent = filterIsOpen() ? "Filter" : "Filter •";
}

function filterIsOpen() {
  const all = [filter.messages, filter.events, filter.bars, filter.lanes];
  return all.every(list => list.every(on => on)) && !filter.vm && filter.focus === NONE;
}

function counts(values, kinds) {
  const counts = new Array(kinds.length).fill(0);
  for (const value of values) counts[value]++;
  return counts;
}

function buildFilterPanel() {
  const panel = document.getElementById("filter-panel");
  panel.replaceChildren(
    vmChoice(),
    choices("Messages", filter.messages, run.head.messageKinds, counts(run.arrows.kind, run.head.messageKinds)),
    choices("Events", filter.events, run.head.eventKinds, counts(run.kind, run.head.eventKinds)),
    choices("Bars", filter.bars, run.head.barKinds, run.bars.map(group => group.list.length)),
    choices("Rows", filter.lanes, run.head.lanes, counts(run.lane, run.head.lanes), true),
  );
}

function choices(title, on, kinds, counts, all = false) {
  const section = document.createElement("section");
  section.classList.toggle("long", kinds.length > 12);
  const heading = document.createElement("h2");
  heading.append(title);
  const toggle = document.createElement("button");
  toggle.type = "button";
  toggle.textContent = "all / none";
  toggle.dataset.all = title;
  toggle.onclick = () => {
    on.fill(!on.every(each => each));
    buildFilterPanel();
    filterChanged();
  };
  heading.append(toggle);
  section.append(heading);
  kinds.forEach((kind, index) => {
    if (counts[index] === 0 && !all) return;
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = on[index];
    box.dataset.choice = `${title}/${kind.name}`;
    box.onchange = () => {
      on[index] = box.checked;
      filterChanged();
    };
    const name = document.createElement("span");
    name.textContent = kind.name;
    const count = document.createElement("small");
    count.textContent = grouped(counts[index]);
    label.append(box, name, count);
    section.append(label);
  });
  return section;
}

function vmChoice() {
  const section = document.createElement("section");
  const vms = [...new Set(run.vm)].filter(vm => vm > 0).sort((a, b) => a - b);
  if (vms.length === 0) return section;
  const heading = document.createElement("h2");
  heading.textContent = "VM";
  const select = document.createElement("select");
  select.id = "vm";
  select.setAttribute("aria-label", "VM");
  select.append(new Option("all VMs", "0"), ...vms.map(vm => new Option(`vm${vm}`, vm)));
  select.value = filter.vm;
  select.onchange = () => {
    filter.vm = Number(select.value);
    filterChanged();
  };
  section.append(heading, select);
  return section;
}
