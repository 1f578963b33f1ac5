// The page of series: find some, draw them over a range. What is shown stands in the address, so that
// it can be sent to somebody and comes back with the browser's own buttons.

import * as charts from "./charts.js";
import { $, breakable, el, marked, text } from "./dom.js";
import * as format from "./format.js";
import { at } from "./root.js";

const RANGES = { "1h": 3600, "6h": 21600, "24h": 86400, "7d": 604800, "30d": 2592000 };
const MOST = 8;
const TYPED_MS = 200;
// A long range changes little between two looks, and costs the server more.
const refreshMs = () => (state.from ? null : Math.max(interval, span() / 360) * 1000);

let interval = 10;
let state = read();
let listed = [];
let drawn = new Map();
let timer = null;
let asking = 0;

function read() {
  const given = new URLSearchParams(location.search);
  const [from, to] = ["from", "to"].map((name) => Number(given.get(name)));
  return {
    host: given.get("host") ?? "",
    match: given.get("match") ?? "",
    series: [...new Set(given.getAll("s"))].slice(0, MOST),
    range: RANGES[given.get("range")] ? given.get("range") : "1h",
    ...(from > 0 && to > from ? { from, to } : { from: null, to: null }),
  };
}

function address() {
  const given = new URLSearchParams();
  if (state.host) given.set("host", state.host);
  if (state.match) given.set("match", state.match);
  for (const name of state.series) given.append("s", name);
  if (state.range !== "1h") given.set("range", state.range);
  if (state.from) { given.set("from", state.from); given.set("to", state.to); }
  const search = String(given);
  return at(search ? `/series?${search}` : "/series");
}

function change(next, { quietly = false } = {}) {
  state = { ...state, ...next };
  history[quietly ? "replaceState" : "pushState"](null, "", address());
}

const span = () => (state.from ? state.to - state.from : RANGES[state.range]);

async function ask(path, given) {
  const answer = await fetch(at(`${path}?${new URLSearchParams(given)}`), { cache: "no-store" });
  if (answer.status === 401) throw new Error("This page may not see the fleet any more. Open the address that outrider up printed.");
  const said = await answer.json().catch(() => ({ error: `The dashboard answered ${answer.status}.` }));
  if (!answer.ok) throw new Error(said.error);
  return said;
}

function banner(error) {
  // fetch says no more than that it failed.
  const words = !error ? "" : error instanceof TypeError ? "The connection to the dashboard is lost; trying again." : error.message;
  $("banner").hidden = !words;
  text($("banner"), words);
  document.body.toggleAttribute("data-stale", Boolean(words));
}

// -- finding

async function find() {
  const mine = ++asking;
  let found;
  try {
    found = await ask("/api/series", { host: state.host, match: state.match });
  } catch (error) {
    if (mine === asking) { banner(error); text($("found"), "nothing to show"); }
    return;
  }
  if (mine !== asking) return; // somebody typed on
  interval = found.interval_s;
  listed = found.series;
  if (!state.host && found.host) change({ host: found.host }, { quietly: true });
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
    option.selected = key === state.host;
    return option;
  });
  $("host").replaceChildren(...made);
}

function showNames() {
  const focused = document.activeElement?.dataset?.series;
  $("names").replaceChildren(...listed.map((one) => {
    const chosen = state.series.includes(one.name);
    const button = el("button", { type: "button", "aria-pressed": chosen, title: one.help.replaceAll("`", "") },
      el("span", { class: "name" }, ...breakable(one.name)), el("span", { class: "now" }, one.rate ? "" : value(one, one.now)));
    button.dataset.series = one.name;
    button.addEventListener("click", () => toggle(one.name));
    return el("li", {}, button);
  }));
  if (focused) [...$("names").querySelectorAll("button")].find((one) => one.dataset.series === focused)?.focus();
}

function toggle(name) {
  const series = state.series.includes(name)
    ? state.series.filter((one) => one !== name)
    : [name, ...state.series].slice(0, MOST);
  change({ series });
  showNames();
  draw();
}

// -- drawing

function value(about, number) {
  const shown = { bytes: format.bytes, s: format.duration, ratio: format.percent }[about.unit] ?? format.number;
  return about.rate && number != null ? `${shown(number)}/s` : shown(number);
}

function card(name) {
  const [title, help, figures] = [el("h2", {}, ...breakable(name)), el("p", { class: "help" }), el("p", { class: "figures" })];
  const close = el("button", { type: "button", class: "close", "aria-label": `Remove ${name}` }, "×");
  close.addEventListener("click", () => toggle(name));
  const box = el("div", { class: "wide", role: "img" });
  const node = el("article", { class: "panel card" }, el("header", {}, title, close), help, box, figures);
  let answer = null;
  const say = (at) => {
    if (!answer) return;
    const place = at == null ? null : answer.times_s[at];
    const word = (number) => value(answer, number);
    if (place == null || answer.mean[at] == null) {
      text(figures, answer.average == null ? "Nothing was measured in this range."
        : `${answer.rate ? "rate " : ""}now ${word(answer.newest)} · mean ${word(answer.average)} · least ${word(answer.least)} · greatest ${word(answer.greatest)}`);
      return;
    }
    const spread = answer.low[at] === answer.high[at] ? "" : ` · ${word(answer.low[at])} to ${word(answer.high[at])}`;
    text(figures, `${format.time(place)}: ${word(answer.mean[at])}${spread}`);
  };
  const plot = charts.band(box, {
    tick: (number) => (answer ? value(answer, number) : ""),
    onCursor: say,
    onZoom: (from, to) => zoom(from, to),
    onReset: () => { if (state.from) { change({ from: null, to: null }); showRanges(); draw(); } },
  });
  node.setAttribute("aria-busy", "true");
  $("charts").append(node);
  return {
    node,
    show(next) {
      answer = next;
      node.removeAttribute("aria-busy");
      const words = [next.help, next.tier === "raw" ? "" : `Summed up by ${format.duration(next.step_s)}.`].filter(Boolean).join(" ");
      help.replaceChildren(...marked(words));
      help.hidden = !words;
      plot.show(next);
      say(null);
      box.setAttribute("aria-label", `${name} from ${format.time(next.start_s)} to ${format.time(next.end_s)}: ${figures.textContent}`);
    },
    remove() { plot.remove(); node.remove(); },
  };
}

async function draw() {
  clearTimeout(timer);
  for (const [name, one] of drawn) if (!state.series.includes(name)) { one.remove(); drawn.delete(name); }
  for (const name of state.series) if (!drawn.has(name)) drawn.set(name, card(name));
  // Put in order without touching what stands right: a focused button would lose its focus.
  state.series.forEach((name, place) => {
    const { node } = drawn.get(name);
    if ($("charts").children[place] !== node) $("charts").insertBefore(node, $("charts").children[place] ?? null);
  });
  $("none").hidden = state.series.length > 0;
  const end = state.to ?? Date.now() / 1000;
  const given = { host: state.host, start: end - span(), end, points: Math.min(1500, Math.max(200, $("charts").clientWidth)) };
  const wanted = JSON.stringify([state.host, state.series, state.range, state.from, state.to]);
  const answers = await Promise.allSettled(state.series.map((series) => ask("/api/query", { ...given, series })));
  if (wanted !== JSON.stringify([state.host, state.series, state.range, state.from, state.to])) return;
  answers.forEach((answer, place) => {
    if (answer.status === "fulfilled") drawn.get(state.series[place])?.show(answer.value);
  });
  banner(answers.find((answer) => answer.status === "rejected")?.reason);
  text($("age"), state.from ? "a past range" : `every ${format.duration(refreshMs() / 1000)}`);
  again();
}

function again() {
  clearTimeout(timer);
  const wait = refreshMs();
  if (wait && state.series.length && !document.hidden) timer = setTimeout(() => { find(); draw(); }, wait);
}

function zoom(from, to) {
  const least = 4 * interval;
  const middle = (from + to) / 2;
  const [start, end] = to - from < least ? [middle - least / 2, middle + least / 2] : [from, to];
  change({ from: Math.round(start), to: Math.round(end) });
  showRanges();
  draw();
}

// -- ranges

function showRanges() {
  for (const input of $("ranges").querySelectorAll("input")) input.checked = !state.from && input.value === state.range;
  text($("span"), state.from ? `${format.time(state.from)} to ${format.time(state.to)}` : "");
}

function makeRanges() {
  for (const name of Object.keys(RANGES)) {
    const input = el("input", { type: "radio", name: "range", value: name, id: `range-${name}` });
    input.addEventListener("change", () => { change({ range: name, from: null, to: null }); showRanges(); draw(); });
    $("ranges").append(input, el("label", { for: input.id }, name));
  }
}

function everything() {
  $("match").value = state.match;
  showRanges();
  find();
  draw();
}

makeRanges();
let typing = null;
$("match").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => { change({ match: $("match").value.trim() }, { quietly: true }); find(); }, TYPED_MS);
});
$("host").addEventListener("change", () => { change({ host: $("host").value }); find(); draw(); });
addEventListener("popstate", () => { state = read(); everything(); });
addEventListener("keydown", (event) => {
  if (event.key === "/" && !["INPUT", "SELECT"].includes(event.target.tagName)) { event.preventDefault(); $("match").focus(); }
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : draw()));

$("match").value = state.match;
showRanges();
await find();
draw();
