// The page of series: find some, draw them over a range. What is shown stands in the address.

import * as address from "./address.js";
import { ask, words } from "./ask.js";
import { card, value } from "./card.js";
import { $, breakable, el, text } from "./dom.js";
import * as format from "./format.js";
import * as ranges from "./ranges.js";

const MOST = 8;
const TYPED_MS = 200;

let interval = 10;
let listed = [];
const drawn = new Map();
let timer = null;
let asking = 0;

const host = () => address.get("host");
const match = () => address.get("match");
const series = () => [...new Set(address.given().getAll("s"))].slice(0, MOST);

function banner(error) {
  const said = words(error);
  $("banner").hidden = !said;
  text($("banner"), said);
  document.body.toggleAttribute("data-stale", Boolean(said));
}

// -- finding

async function find() {
  const mine = ++asking;
  let found;
  try {
    found = await ask("/api/series", { host: host(), match: match() });
  } catch (error) {
    if (mine === asking) { banner(error); text($("found"), "nothing to show"); }
    return;
  }
  if (mine !== asking) return; // somebody typed on
  interval = found.interval_s;
  listed = found.series;
  if (!host() && found.host) address.set({ host: found.host }, { quietly: true });
  showHosts(found.hosts);
  const more = found.total > listed.length ? `, the first ${listed.length} are listed` : "";
  text($("found"), found.hosts.length
    ? `${format.count(found.total)} series${more}`
    : "No host has reported yet. Start the stack with outrider up.");
  showNames();
}

function showHosts(hosts) {
  const made = hosts.map(({ key, name }) => {
    const option = el("option", { value: key }, key === "fleet" ? "fleet: Redis, queues, database" : name);
    option.selected = key === host();
    return option;
  });
  $("host").replaceChildren(...made);
}

function showNames() {
  const focused = document.activeElement?.dataset?.series;
  const chosen = series();
  $("names").replaceChildren(...listed.map((one) => {
    const button = el("button", { type: "button", "aria-pressed": chosen.includes(one.name), title: one.help.replaceAll("`", "") },
      el("span", { class: "name" }, ...breakable(one.name)), el("span", { class: "now" }, one.rate ? "" : value(one, one.now)));
    button.dataset.series = one.name;
    button.addEventListener("click", () => toggle(one.name));
    return el("li", {}, button);
  }));
  if (focused) [...$("names").querySelectorAll("button")].find((one) => one.dataset.series === focused)?.focus();
}

function toggle(name) {
  const chosen = series();
  address.set({ s: chosen.includes(name) ? chosen.filter((one) => one !== name) : [name, ...chosen].slice(0, MOST) });
  showNames();
  draw();
}

// -- drawing

function made(name) {
  return card(name, {
    onZoom: (from, to) => { ranges.zoom(from, to, 4 * interval); bar.changed(); },
    onReset: () => { if (!ranges.now().live) { ranges.back(); bar.changed(); } },
    onRemove: () => toggle(name),
  });
}

async function draw() {
  clearTimeout(timer);
  bar.show();
  const chosen = series();
  for (const [name, one] of drawn) if (!chosen.includes(name)) { one.remove(); drawn.delete(name); }
  for (const name of chosen) if (!drawn.has(name)) drawn.set(name, made(name));
  // Put in order without touching what stands right: a focused button would lose its focus.
  chosen.forEach((name, place) => {
    const { node } = drawn.get(name);
    if ($("charts").children[place] !== node) $("charts").insertBefore(node, $("charts").children[place] ?? null);
  });
  $("none").hidden = chosen.length > 0;
  const range = ranges.now();
  const given = { host: host(), start: range.start_s, end: range.end_s, points: Math.min(1500, Math.max(200, $("charts").clientWidth)) };
  const wanted = location.search;
  const answers = await Promise.allSettled(chosen.map((name) => ask("/api/query", { ...given, series: name })));
  if (wanted !== location.search) return;
  answers.forEach((answer, place) => {
    if (answer.status === "fulfilled") drawn.get(chosen[place])?.show(answer.value);
  });
  banner(answers.find((answer) => answer.status === "rejected")?.reason);
  // A long range changes little between two looks, and costs the server more.
  const waitS = range.live ? Math.max(interval, (range.end_s - range.start_s) / 360) : null;
  text($("age"), waitS ? `every ${format.duration(waitS)}` : "a past range");
  if (waitS && chosen.length && !document.hidden) timer = setTimeout(() => { find(); draw(); }, waitS * 1000);
}

function everything() {
  $("match").value = match();
  find();
  draw();
}

const bar = ranges.toolbar($("ranges"), draw);
let typing = null;
$("match").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => { address.set({ match: $("match").value.trim() }, { quietly: true }); find(); }, TYPED_MS);
});
$("host").addEventListener("change", () => { address.set({ host: $("host").value }); find(); draw(); });
addEventListener("popstate", everything);
addEventListener("zone", draw);
addEventListener("keydown", (event) => {
  if (event.key === "/" && !["INPUT", "SELECT"].includes(event.target.tagName)) { event.preventDefault(); $("match").focus(); }
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : draw()));

$("match").value = match();
await find();
draw();
