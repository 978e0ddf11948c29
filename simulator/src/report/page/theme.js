// Colours, as the style sheet has them for the scheme in use.

const theme = {};
const STYLES_OF_FAULTS = {
  network: ["partition", "one-way", "isolate-leader", "bridge", "ring", "clog", "isolate", "split", "lag"],
  process: ["crash", "crash-leader", "crash-loop", "crash-all", "retire", "upgrade", "pause", "suspend", "host-reboot", "host-dead"],
  disk: ["disk-error", "disk-full", "disk-stall", "disk-lost", "bit-rot"],
  clock: ["clock-jump", "drift"],
};

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const names = ["paper", "raised", "ink", "soft", "faint", "line", "stripe", "accent", "alarm", "good", "mark", "alive", "write", "lease", "frozen",
    "append", "append-reply", "vote", "vote-reply", "beat", "beat-reply", "lease-message", "lease-reply", "snapshot", "forward", "client",
    "client-reply", "member", "other", "network", "process", "disk", "clock", "operator", "ok", "error", "refused", "unknown", "running", "tint-ink"];
  for (const name of names) theme[name] = style.getPropertyValue(`--${name}`).trim();
  const number = name => parseFloat(style.getPropertyValue(name));
  theme.tint = [number("--tint-light"), number("--tint-chroma")];
  theme.vmTint = [number("--vm-light"), number("--vm-chroma")];
  theme.sans = style.getPropertyValue("--sans");
  theme.tints = new Map();
}

// Neighbouring numbers get hues that lie far apart: the golden angle.
function hued(kind, [light, chroma], number) {
  const key = kind + number;
  let colour = theme.tints.get(key);
  if (!colour) {
    colour = `oklch(${light} ${chroma} ${((number * 137.508 + 250) % 360).toFixed(1)})`;
    theme.tints.set(key, colour);
  }
  return colour;
}

const termColour = term => hued("t", theme.tint, term);
const vmColour = vm => hued("v", theme.vmTint, vm);

function messageColour(kind) {
  const style = run.head.messageKinds[kind].style;
  return theme[style === "lease" ? "lease-message" : style] ?? theme.other;
}

function faultColour(name) {
  const family = Object.keys(STYLES_OF_FAULTS).find(family => STYLES_OF_FAULTS[family].some(word => name.startsWith(word)));
  return theme[family ?? "operator"];
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readTheme();
  if (run.head) redraw();
});
