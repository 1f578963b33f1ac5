// A bare line in a cell. Hundreds of them change every second, so each is a few strokes on a canvas of
// its own, all in one go, and those out of sight wait until they are looked at. Gaps stay gaps.

import { inSight } from "./sight.js";

const [WIDTH, HEIGHT, EDGE] = [76, 26, 3];
const all = new Set();
const waiting = new Set();
let asked = false;

function soon(held) {
  waiting.add(held);
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    const style = getComputedStyle(document.documentElement);
    const colours = ["--chart", "--fill"].map((name) => style.getPropertyValue(name).trim());
    for (const one of waiting) paint(one, ...colours);
    waiting.clear();
  });
}

// Runs of readings; one between two gaps is a run of its own, drawn as a dot.
function runs(values) {
  const found = [];
  values.forEach((value, at) => {
    if (value == null) return;
    if (at && values[at - 1] != null) found.at(-1).push(at);
    else found.push([at]);
  });
  return found;
}

function paint(held, stroke, fill) {
  const { canvas, values, range, bare } = held;
  held.stale = false;
  const sharp = devicePixelRatio;
  if (canvas.width !== Math.round(WIDTH * sharp)) [canvas.width, canvas.height] = [Math.round(WIDTH * sharp), Math.round(HEIGHT * sharp)];
  const pen = canvas.getContext("2d");
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.clearRect(0, 0, WIDTH, HEIGHT);
  const known = values.filter((value) => value != null);
  if (!known.length) return;
  const [low, high] = range(null, Math.min(...known), Math.max(...known));
  const x = (at) => 1 + (at * (WIDTH - 3)) / Math.max(1, values.length - 1);
  const y = (value) => HEIGHT - EDGE + 1 - ((value - low) / (high - low || 1)) * (HEIGHT - 2 * EDGE);
  [pen.strokeStyle, pen.lineWidth, pen.lineJoin] = [stroke, 1.3, "round"];
  for (const run of runs(values)) {
    const line = new Path2D();
    run.forEach((at, place) => (place ? line.lineTo(x(at), y(values[at])) : line.moveTo(x(at), y(values[at]))));
    if (run.length === 1) {
      pen.fillStyle = stroke;
      pen.fillRect(x(run[0]) - 1.5, y(values[run[0]]) - 1.5, 3, 3);
      continue;
    }
    // Only a line that starts at nought is filled: the area would lie otherwise.
    if (!bare) {
      const area = new Path2D(line);
      area.lineTo(x(run.at(-1)), HEIGHT);
      area.lineTo(x(run[0]), HEIGHT);
      pen.fillStyle = fill;
      pen.fill(area);
    }
    pen.stroke(line);
  }
}

export function spark(box, range, { bare = false } = {}) {
  const canvas = document.createElement("canvas");
  const held = { canvas, values: [], range, bare, stale: false, last: "" };
  box.append(canvas);
  all.add(held);
  held.sight = inSight(canvas, () => { if (held.stale) soon(held); });
  return {
    show(values) {
      if (values === held.values) return;  // a patch leaves what did not change as it was
      const now = values.join();
      if (now === held.last) return;
      [held.last, held.values, held.stale] = [now, values, true];
      if (held.sight.seen) soon(held);
    },
    remove() { held.sight.forget(); all.delete(held); waiting.delete(held); canvas.remove(); },
  };
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const held of all) if (held.sight.seen) soon(held); else held.stale = true;
});
