// The page of caches: whether they pay, what warming did, which keys do, what to change.

import * as address from "./address.js";
import { at, badge, bar, code, cut, empty, svg, table } from "./build.js";
import { $, breakable, el } from "./dom.js";
import * as format from "./format.js";
import { part, start } from "./page.js";

const caches = part("caches", "Caches", { aside: "last 15 minutes" });
const advice = part("advice", "Advice");
const keys = part("keys", "Keys used most");
$("title").textContent = "Caches";

const share = (some, all) => (all ? some / all : null);

// Memory, Redis and misses as parts of one bar; the figures stand beside it.
function tiers(recent) {
  const { calls, hits_memory: memory, hits_redis: other } = recent;
  if (!calls) return format.NONE;
  const [a, b] = [100 * (memory / calls), 100 * (other / calls)];
  return svg("svg", { class: "gauge tiers", viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img",
    "aria-label": `${format.percent(memory / calls)} from memory, ${format.percent(other / calls)} from Redis, the rest missed` },
  svg("rect", { class: "room", width: 100, height: 8 }), svg("rect", { class: "first", width: a, height: 8 }), svg("rect", { class: "second", x: a, width: b, height: 8 }));
}

function warmed(row) {
  const { ahead } = row;
  if (!ahead) return "none";
  if (ahead.off) return badge("off", `none: ${ahead.off}`);
  return `${format.count(ahead.useful)} useful, ${format.count(ahead.wasted)} wasted`;
}

function name(row, chosen) {
  const anchor = el("a", { href: address.link("/cache", { namespace: row.namespace }), ...(row.namespace === chosen ? { "aria-current": "true" } : {}), "data-key": row.namespace }, cut(row.namespace, 60));
  anchor.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    address.set({ namespace: row.namespace });
    look();
  });
  return anchor;
}

const look = start("/api/cache", { fields: () => ({ namespace: address.get("namespace") }), show(data) {
  caches.show([data.caches, data.namespace], () => data.caches.length ? table([
    { label: "Cache", words: true, cell: (row) => name(row, data.namespace) },
    { label: "Calls", num: true, cell: (row) => format.count(row.recent?.calls ?? 0) },
    { label: "Hit", num: true, cell: (row) => format.percent(share(row.recent?.hits, row.recent?.calls)) },
    { label: "By tier", cell: (row) => (row.recent ? tiers(row.recent) : "") , title: "Answered from memory, from Redis, and missed" },
    { label: "Memory", num: true, cell: (row) => format.percent(share(row.recent?.hits_memory, row.recent?.calls)) },
    { label: "Redis", num: true, cell: (row) => format.percent(share(row.recent?.hits_redis, row.recent?.calls)) },
    { label: "Load", num: true, cell: (row) => format.duration(row.recent?.load_s), title: "How long a load takes: what each hit saves" },
    { label: "Lives", num: true, cell: (row) => format.duration(row.ttl_s) },
    { label: "Warmed", num: true, cell: (row) => format.count(row.recent?.warmed_hits ?? 0), title: "Hits on values that were loaded just before they were asked for: misses that did not happen" },
    { label: "Loads ahead", words: true, cell: warmed },
    { label: "Keys", num: true, cell: (row) => format.count(row.keys) },
    { label: "In Redis", num: true, cell: (row) => format.bytes(row.bytes) },
    { label: "State", cell: (row) => (row.recent?.away ? badge("warning", "Redis is away: memory alone") : row.recent ? badge("ok", "in use") : badge("off", "idle")) },
  ], data.caches, { caption: "Caches, the busiest first" }) : empty("No cache was used within a day. Decorate a slow function with ", code("@outrider.cached(ttl_s=60)"), "."));
  advice.node.hidden = !data.caches.length;
  advice.show(data.advice, (list) => list.length ? el("div", { class: "advices" }, ...list.map((one) => el("article", { class: "panel" },
    el("h3", {}, one.text), one.setting ? el("p", {}, code(one.setting)) : "",
    el("p", {}, el("b", {}, "Gain: "), one.gain), el("p", {}, el("b", {}, "Risk: "), one.risk),
    el("ul", { class: "help" }, ...one.evidence.map((seen) => el("li", {}, seen)))))) : empty(badge("ok", "Nothing to change"), ": no cache with enough calls would pay more otherwise."));
  keys.node.hidden = !data.namespace;
  keys.note(data.namespace ? `of ${data.namespace.slice(0, 60)}, within a day` : "");
  const most = Math.max(1, ...data.top.map((one) => one.uses));
  keys.show(data.top, (list) => list.length ? table([
    { label: "Key", words: true, cell: (one) => el("code", { class: "sql", title: one.key }, ...breakable(one.key.length > 120 ? `${one.key.slice(0, 119)}…` : one.key)) },
    { label: "Uses", num: true, cell: (one) => format.count(one.uses) },
    { label: "Of the most", cell: (one) => bar(one.uses / most, "off", `${format.count(one.uses)} uses`) },
    { label: "Every", num: true, cell: (one) => format.duration(one.gap_s), title: "How often it is asked for" },
    { label: "Last", cell: (one) => at(one.last_use_s) },
    { label: "Can be warmed", cell: (one) => (one.repeatable ? badge("ok", "yes") : badge("off", "no: its arguments don't survive JSON")) },
    { label: "Bot", words: true, cell: (one) => cut(one.bot, 40) },
  ], list, { caption: "Keys that were used most" }) : empty("No key was used within a day."));
} });
