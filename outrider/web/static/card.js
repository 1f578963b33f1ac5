// One series as a chart with its figures in words. Charts of a page share their cursor; dragging
// looks closer, a double click goes back.

import * as charts from "./charts.js";
import { breakable, el, marked, text } from "./dom.js";
import * as format from "./format.js";

export function value(about, number) {
  const shown = { bytes: format.bytes, s: format.duration, ratio: format.percent }[about.unit] ?? format.number;
  return about.rate && number != null ? `${shown(number)}/s` : shown(number);
}

// `marks()` are changes to draw; `onRemove` gives the card a button that takes it away.
export function card(name, { title = "", marks = () => [], onZoom, onReset, onRemove = null }) {
  const [heading, help, figures] = [el("h2", {}, ...breakable(title || name)), el("p", { class: "help" }), el("p", { class: "figures" })];
  const head = el("header", {}, heading);
  if (title) head.append(el("small", { class: "of", title: name }, ...breakable(name)));
  if (onRemove) {
    const close = el("button", { type: "button", class: "close", "aria-label": `Remove ${name}` }, "×");
    close.addEventListener("click", onRemove);
    head.append(close);
  }
  const box = el("div", { class: "wide", role: "img" });
  const node = el("article", { class: "panel card", "aria-busy": "true" }, head, help, box, figures);
  let answer = null;

  function nearest(atS) {
    if (atS == null || !answer) return null;
    const reach = (answer.end_s - answer.start_s) / 100;
    return marks().filter((mark) => Math.abs(mark.at_s - atS) < reach)
      .sort((one, other) => Math.abs(one.at_s - atS) - Math.abs(other.at_s - atS))[0] ?? null;
  }

  function say(place, atS) {
    if (!answer) return;
    const at = place == null ? null : answer.times_s[place];
    const word = (number) => value(answer, number);
    const mark = nearest(atS);
    const told = mark ? ` · ${format.time(mark.at_s)} ${mark.text}` : "";
    if (at == null || answer.mean[place] == null) {
      text(figures, (answer.average == null ? "Nothing was measured in this range."
        : `${answer.rate ? "rate " : ""}now ${word(answer.newest)} · mean ${word(answer.average)} · least ${word(answer.least)} · greatest ${word(answer.greatest)}`) + told);
      return;
    }
    const spread = answer.low[place] === answer.high[place] ? "" : ` · ${word(answer.low[place])} to ${word(answer.high[place])}`;
    text(figures, `${format.time(at)}: ${word(answer.mean[place])}${spread}${told}`);
  }

  let plot = null;
  // Made when it stands in the page: before that it has no width.
  const drawn = () => (plot ??= charts.band(box, { tick: (number) => (answer ? value(answer, number) : ""), onCursor: say, onZoom, onReset, marks }));
  return {
    node,
    show(next) {
      answer = next;
      node.removeAttribute("aria-busy");
      const words = [next.help, next.tier === "raw" ? "" : `Summed up by ${format.duration(next.step_s)}.`].filter(Boolean).join(" ");
      help.replaceChildren(...marked(words));
      help.hidden = !words;
      drawn().show(next);
      say(null, null);
      box.setAttribute("aria-label", `${title || name} from ${format.time(next.start_s)} to ${format.time(next.end_s)}: ${figures.textContent}`);
    },
    redraw: () => plot?.redraw(),
    remove() { plot?.remove(); node.remove(); },
  };
}
