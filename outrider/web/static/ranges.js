// The range of time that charts show: the newest hour or day, which moves on, or from one moment to
// another. It stands in the address as `range`, or as `from` and `to`.

import * as address from "./address.js";
import { el, text } from "./dom.js";
import * as format from "./format.js";

const RANGES = { "30m": 1800, "1h": 3600, "6h": 21600, "24h": 86400, "7d": 604800, "30d": 2592000 };

export function now() {
  const [from, to] = ["from", "to"].map((name) => Number(address.get(name)));
  const range = RANGES[address.get("range")] ? address.get("range") : "1h";
  if (from > 0 && to > from) return { range, live: false, start_s: from, end_s: to };
  const end = Date.now() / 1000;
  return { range, live: true, start_s: end - RANGES[range], end_s: end };
}

export function zoom(from, to, leastS) {
  const middle = (from + to) / 2;
  const [start, end] = to - from < leastS ? [middle - leastS / 2, middle + leastS / 2] : [from, to];
  address.set({ from: Math.round(start), to: Math.round(end) });
}

export const back = () => address.set({ from: null, to: null });

// datetime-local has no zone: it is read and written in the one that the page shows.
function local(atS) {
  const shift = format.isUtc() ? 0 : new Date(atS * 1000).getTimezoneOffset() * 60;
  return new Date((atS - shift) * 1000).toISOString().slice(0, 16);
}

const moment = (value) => Date.parse(format.isUtc() ? `${value}Z` : value) / 1000;

export function toolbar(into, onChange) {
  const presets = el("fieldset", { class: "presets" }, el("legend", { class: "unseen" }, "Range"));
  for (const name of Object.keys(RANGES)) {
    const input = el("input", { type: "radio", name: "range", value: name, id: `range-${name}` });
    input.addEventListener("change", () => { address.set({ range: name === "1h" ? null : name, from: null, to: null }); changed(); });
    presets.append(input, el("label", { for: input.id }, name));
  }
  const [from, to] = ["From", "To"].map((label) => el("input", { type: "datetime-local", "aria-label": label }));
  for (const input of [from, to]) {
    input.addEventListener("change", () => {
      const [start, end] = [moment(from.value), moment(to.value)];
      const wrong = !(start < end);
      for (const one of [from, to]) one.setCustomValidity(wrong ? "The first moment must lie before the second." : "");
      if (wrong) { input.reportValidity(); return; }
      address.set({ from: Math.round(start), to: Math.round(end) });
      changed();
    });
  }
  const live = el("button", { type: "button", class: "live" }, "Live");
  live.addEventListener("click", () => { back(); changed(); });
  const said = el("p", { class: "span", id: "span", role: "status" });
  into.prepend(el("div", { class: "ranges" }, presets, el("span", { class: "absolute" }, from, el("span", { "aria-hidden": "true" }, "–"), to), live, said));

  function show() {
    const range = now();
    for (const input of presets.querySelectorAll("input")) input.checked = range.live && input.value === range.range;
    if (document.activeElement !== from) from.value = local(range.start_s);
    if (document.activeElement !== to) to.value = local(range.end_s);
    live.setAttribute("aria-pressed", range.live);
    text(said, range.live ? "" : `${format.time(range.start_s)} to ${format.time(range.end_s)}`);
  }

  function changed() { show(); onChange(); }
  addEventListener("popstate", changed);
  addEventListener("zone", show);
  show();
  return { show, changed };
}
