// The pieces that pages are made of. Everything from outside goes in as text, never as markup.

import { breakable, el } from "./dom.js";
import * as format from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
export const STATES = ["ok", "warning", "critical", "unknown", "off"];

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export const icon = (name) =>
  svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));

// A state in shape, word and colour: any one of them is enough.
export function badge(state, word, shape = state) {
  const known = STATES.includes(state) ? state : "unknown";
  return el("span", { class: "badge", "data-state": known }, icon(shape), word);
}

export const ALERT = {
  firing: (severity) => (["warning", "critical"].includes(severity) ? severity : "off"),
  pending: () => "off", recovering: () => "off", resolved: () => "ok", inactive: () => "ok", no_data: () => "unknown", error: () => "warning",
};

export function alertBadge(state, severity) {
  const name = (ALERT[state] ?? (() => "unknown"))(severity);
  const shape = state === "pending" || state === "recovering" ? "starting" : name;
  return badge(name, state.replace("_", " "), shape);
}

export const at = (atS) => {
  if (typeof atS !== "number") return format.NONE;
  return el("time", { title: format.utc(atS), datetime: new Date(atS * 1000).toISOString() }, format.time(atS));
};

// A name of any length, cut to what fits, whole in its title.
export function cut(words, most = 80) {
  const text = String(words ?? "");
  if (text.length <= most) return el("span", { class: "cut-text" }, ...breakable(text));
  return el("span", { class: "cut-text", title: text }, ...breakable(`${text.slice(0, most - 1)}…`));
}

export const link = (href, words, most) => el("a", { href }, cut(words, most));
export const empty = (...words) => el("p", { class: "empty" }, ...words);
export const code = (words) => el("code", {}, words);

// columns: {label, cell(row), num, words, title}; the first one names its row.
export function table(columns, rows, { caption = "", stale = () => false } = {}) {
  const head = el("tr", {}, ...columns.map((one) =>
    el("th", { scope: "col", class: one.num ? "num" : "", ...(one.title ? { title: one.title } : {}) }, one.label)));
  const body = rows.map((row) => {
    const cells = columns.map((one, place) => {
      const shown = one.cell(row);
      const kind = [one.num ? "num" : "", one.words ? "words" : ""].filter(Boolean).join(" ");
      const inside = shown == null || shown === "" ? format.NONE : shown;
      return place ? el("td", { class: kind, "data-label": one.label }, inside)
        : el("th", { scope: "row", class: kind, "data-label": one.label }, inside);
    });
    return el("tr", stale(row) ? { class: "stale" } : {}, ...cells);
  });
  return el("div", { class: "panel table rows", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", { class: "unseen" }, caption), el("thead", {}, head), el("tbody", {}, ...body)));
}

export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value != null && value !== "");
  return el("dl", { class: "facts panel" }, ...shown.map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value))));
}

// A share of a whole as a bar; its words stand beside it.
export function bar(ratio, state, label) {
  const width = Math.max(0, Math.min(1, ratio ?? 0)) * 100;
  return svg("svg", { class: "gauge", viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img", "aria-label": label, "data-state": state },
    svg("rect", { class: "room", width: 100, height: 8 }), svg("rect", { class: "filled", width, height: 8 }));
}

export function lines(list) {
  return el("pre", { class: "log", tabindex: "0" }, list.join("\n"));
}
