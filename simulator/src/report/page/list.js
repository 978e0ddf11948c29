// The list of events, of which only the lines in sight exist, and the search through them.

const ROW = 18;
const list = { shown: new Uint32Array(0), first: -1 };
const search = { words: [], matches: new Uint32Array(0), isMatch: null, haystack: null };

function listChanged() {
  let count = 0;
  const shown = new Uint32Array(run.count);
  for (let event = 0; event < run.count; event++) {
    if (eventPasses(event)) shown[count++] = event;
  }
  list.shown = shown.subarray(0, count);
  document.getElementById("spacer").style.height = `${count * ROW}px`;
  drawList();
}

// Without a chosen event the list goes along with the picture, unless the pointer is in it.
function listFollows() {
  const box = document.getElementById("list");
  if (chosen.event !== NONE || box.matches(":hover, :focus")) return;
  box.scrollTop = lowerBound(list.shown, lowerBound(run.at, view.from)) * ROW;
}

function drawList() {
  const box = document.getElementById("list");
  if (box.clientHeight === 0) return;
  const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 4);
  const many = Math.ceil(box.clientHeight / ROW) + 8;
  const rows = document.getElementById("rows");
  rows.style.transform = `translateY(${first * ROW}px)`;
  rows.replaceChildren(...[...list.shown.subarray(first, first + many)].map(event => {
    const kind = run.head.eventKinds[run.kind[event]];
    const row = element("div", "", element("span", "time", seconds(run.at[event])), element("span", "lane", laneName(run.lane[event])),
      element("span", kind.style === "loss" || kind.style === "end" ? "words alarm" : "words", textOf(event)));
    row.setAttribute("role", "option");
    row.classList.toggle("match", search.isMatch !== null && search.isMatch[event] === 1);
    row.classList.toggle("current", event === chosen.event);
    row.onclick = () => choose(event);
    return row;
  }));
}

// Scrolls the list to an event, or to where it would be.
function listShows(event) {
  const box = document.getElementById("list");
  const place = lowerBound(list.shown, event);
  const top = place * ROW;
  if (top < box.scrollTop + ROW || top > box.scrollTop + box.clientHeight - 2 * ROW) box.scrollTop = top - box.clientHeight / 2;
  drawList();
}

function stepInList(by) {
  if (list.shown.length === 0) return;
  const from = chosen.event === NONE ? lowerBound(run.at, view.from) : chosen.event;
  let place = lowerBound(list.shown, from);
  if (list.shown[place] === chosen.event || by < 0) place += by;
  choose(list.shown[Math.min(Math.max(place, 0), list.shown.length - 1)]);
}

// Every event as "lane words" in lower case; made when first searched.
function haystack() {
  if (!search.haystack) {
    const names = run.head.lanes.map(lane => `${lane.name.toLowerCase()} `);
    const lower = run.text.toLowerCase();
    // A letter whose lower case is longer would shift the lines.
    const fits = lower.length === run.text.length;
    search.haystack = Array.from({ length: run.count }, (_, event) =>
      names[run.lane[event]] + (fits ? lower.slice(run.lines[event], run.lines[event + 1] - 1) : textOf(event).toLowerCase()));
  }
  return search.haystack;
}

// Finds the events that hold every word.
function find(text) {
  search.words = text.toLowerCase().split(/\s+/).filter(word => word);
  search.isMatch = null;
  search.matches = new Uint32Array(0);
  if (search.words.length > 0) {
    const lines = haystack(), matches = [];
    search.isMatch = new Uint8Array(run.count);
    for (let event = 0; event < run.count; event++) {
      if (search.words.every(word => lines[event].includes(word))) {
        matches.push(event);
        search.isMatch[event] = 1;
      }
    }
    search.matches = Uint32Array.from(matches);
  }
  tellMatches();
  drawList();
}

function tellMatches() {
  const { matches, words } = search;
  const place = lowerBound(matches, chosen.event);
  const at = matches[place] === chosen.event ? `${grouped(place + 1)} of ` : "";
  document.getElementById("matches").textContent =
    words.length === 0 ? "" : matches.length === 0 ? "no match" : `${at}${grouped(matches.length)}`;
}

// The next match after (or before) what is chosen, or else in sight; round and round.
function stepMatch(by) {
  const { matches } = search;
  if (matches.length === 0) return;
  const from = chosen.event === NONE ? lowerBound(run.at, view.from) - 1 : chosen.event;
  let place = by > 0 ? lowerBound(matches, from + 1) : lowerBound(matches, from) - 1;
  place = (place + matches.length) % matches.length;
  choose(matches[place]);
  tellMatches();
}

function listenToList() {
  const box = document.getElementById("list");
  box.addEventListener("scroll", drawList);
  box.addEventListener("keydown", event => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      stepInList(event.key === "ArrowDown" ? 1 : -1);
      event.preventDefault();
      event.stopPropagation();
    }
  });
  const input = document.getElementById("search");
  let later = 0;
  input.addEventListener("input", () => {
    clearTimeout(later);
    later = setTimeout(() => find(input.value), 90);
  });
  input.addEventListener("keydown", event => {
    if (event.key === "Enter") {
      clearTimeout(later);
      if (input.value.toLowerCase().split(/\s+/).filter(word => word).join() !== search.words.join()) find(input.value);
      stepMatch(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape") {
      input.value = "";
      find("");
      document.getElementById("stage").focus();
    }
  });
  document.getElementById("next").onclick = () => stepMatch(1);
  document.getElementById("previous").onclick = () => stepMatch(-1);
}
