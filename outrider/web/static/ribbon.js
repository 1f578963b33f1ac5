// The last day of each bot as a strip. How high a piece stands says its state, so that colour need
// not: up is low, degraded half, down full, and nothing measured is a gap. Asked for once for all bots.

import { ask } from "./ask.js";
import { svg } from "./build.js";
import * as format from "./format.js";

const EVERY_MS = 120_000;
const KINDS = { u: ["ok", 5], a: ["warning", 9], d: ["critical", 16] };
const WORDS = { u: "up", a: "degraded or alerting", d: "down", "-": "not measured" };
const HEIGHT = 16;
let answer = null;
let kept = new Map();

// Asks now and from time to time, while somebody looks; `onNews` is called when there is something new.
export function follow(onNews) {
  async function look() {
    if (document.hidden) return;
    try {
      answer = await ask("/api/ribbons");
      kept = new Map(answer.ribbons.map((one) => [`${one.host_key}/${one.name}`, one.steps]));
      onNews();
    } catch { /* the stream says what is wrong, and the strips stay */ }
  }
  setInterval(look, EVERY_MS);
  document.addEventListener("visibilitychange", look);
  look();
}

export const of = (bot) => kept.get(`${bot.host_key}/${bot.name}`) ?? "";
export const downs = (bot) => [...of(bot)].filter((one) => one === "d").length;

function spans(steps) {
  const found = [];
  [...steps].forEach((kind, at) => {
    if (found.at(-1)?.kind === kind) found.at(-1).to = at + 1;
    else found.push({ kind, from: at, to: at + 1 });
  });
  return found;
}

// In words: how much of the day, and when it was down last.
function said(steps, found) {
  const shares = Object.entries(WORDS).map(([kind, word]) => [word, [...steps].filter((one) => one === kind).length / steps.length]);
  const time = (at) => format.time(answer.start_s + at * answer.step_s);
  const last = found.filter((one) => one.kind === "d").slice(-3).map((one) => `down ${time(one.from)} to ${time(one.to)}`);
  return `Last 24 hours: ${[...shares.filter(([, share]) => share).map(([word, share]) => `${word} ${format.percent(share)}`), ...last].join(", ")}`;
}

export function strip(box) {
  let last = null;
  return { show(bot) {
    const steps = of(bot);
    const now = `${steps} ${answer?.start_s} ${format.isUtc()}`;
    if (now === last) return;
    last = now;
    if (!steps) { box.replaceChildren(); return; }
    const found = spans(steps);
    const words = said(steps, found);
    const pieces = found.filter(({ kind }) => KINDS[kind]).map(({ kind, from, to }) => {
      const [state, height] = KINDS[kind];
      return svg("rect", { x: from, width: to - from, y: HEIGHT - height, height, "data-state": state });
    });
    box.replaceChildren(svg("svg", { class: "ribbon", role: "img", "aria-label": words, viewBox: `0 0 ${steps.length} ${HEIGHT}`, preserveAspectRatio: "none" },
      svg("title", {}, words), ...pieces));
  } };
}
