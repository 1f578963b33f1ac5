// The page: one frame in, the whole screen brought up to date. Everything that comes from outside
// goes in as text; no markup is ever built from it.

import { alertButtons, mayAct } from "./act.js";
import * as address from "./address.js";
import { bar, icon } from "./build.js";
import * as charts from "./charts.js";
import { $, breakable, el, text } from "./dom.js";
import * as format from "./format.js";
import * as ribbon from "./ribbon.js";
import { at } from "./root.js";
import { inSight } from "./sight.js";
import { spark } from "./spark.js";
import { follow } from "./stream.js";
import * as analysis from "./analysis.js";

const SVG = "http://www.w3.org/2000/svg";

let frame = null;
let receivedAt = 0;
let connection = "connecting";
let sorting = { key: null, up: true };

function setIcon(svg, name) {
  const use = svg.firstElementChild;
  if (use.getAttribute("href") !== `#i-${name}`) use.setAttribute("href", `#i-${name}`);
}

function state(node, name) {
  if (node.dataset.state !== name) node.dataset.state = name;
}

// Keep one node per item, in order; what did not change is not touched.
function keyed(list, items, keyOf, create) {
  const old = list.kept ?? new Map();
  const kept = new Map();
  items.forEach((item, place) => {
    const named = keyOf(item);
    const key = kept.has(named) ? `${named} ${place}` : named;
    const entry = old.get(key) ?? create(item);
    kept.set(key, entry);
    old.delete(key);
    if (list.children[place] !== entry.node) list.insertBefore(entry.node, list.children[place] ?? null);
    entry.show(item);
  });
  for (const entry of old.values()) { entry.remove?.(); entry.node.remove(); }
  list.kept = kept;
}

const word = (parts) => parts.map((part) => (typeof part === "number" ? format.time(part) : part)).join("");
const known = (name, names) => (names.includes(name) ? name : "unknown");
const STATES = ["ok", "warning", "critical", "unknown", "off"];

// -- verdict, age and banner

function serverNow() {
  return frame.now_s + (performance.now() - receivedAt) / 1000;
}

function showVerdict() {
  const lost = connection !== "live";
  const judged = frame.verdict;
  const name = lost ? "unknown" : known(judged.state, STATES);
  state($("verdict"), name);
  setIcon($("verdict").querySelector(".icon"), name);
  text($("sentence"), lost ? "The fleet can't be seen now." : word(judged.parts));
  $("advice").hidden = lost || !(judged.why || judged.advice);
  $("advice").replaceChildren(...[["Why", judged.why], ["Next", judged.advice]].flatMap(([label, words]) =>
    words ? [el("span", {}, el("b", {}, `${label}: `), words)] : []));
  document.title = `${{ ok: "✓", warning: "!", critical: "✕" }[name] ?? "?"} Outrider`;
}

function showAge() {
  if (!frame) return;
  const age = frame.data_at_s == null ? null : serverNow() - frame.data_at_s;
  const stale = connection !== "live" || frame.problem != null || age == null || age >= 3 * frame.interval_s;
  document.body.toggleAttribute("data-stale", stale);
  text($("age"), age == null ? "no data yet" : `data ${format.duration(Math.max(0, Math.round(age)))} old`);
  $("age").title = frame.data_at_s == null ? "" : `measured ${format.utc(frame.data_at_s)}, every ${format.duration(frame.interval_s)}`;
  const words = {
    lost: "The connection to the dashboard is lost; trying again. What you see is from before.",
    locked: "This page may not see the fleet any more. Open the address that outrider up printed.",
  }[connection] ?? frame.problem?.text ?? [...frame.notices, frame.damaged ? `${frame.damaged} records can't be read and are left out.` : ""].filter(Boolean).join(" ");
  $("banner").hidden = !words;
  text($("banner"), words);
}

// -- alerts

let acts = false;

function about(alert) {
  if (alert.bot) return address.botLink(alert.host, alert.bot);
  return alert.host && alert.host !== "fleet" ? address.hostLink(alert.host) : at("/alerts");
}

function alertNode() {
  const svg = icon("warning");
  const [what, when, told, buttons] = [el("p"), el("p", { class: "when" }), el("p", { class: "told" }), el("p", { class: "buttons" })];
  const title = el("a");
  const node = el("li", { class: "alert" }, svg, what, when, buttons, told);
  let made = "";
  return {
    node,
    show(alert) {
      const name = known(alert.severity, ["warning", "critical"]);
      state(node, alert.severity === "info" ? "off" : name);
      setIcon(svg, alert.state === "pending" ? "starting" : name);
      node.dataset.phase = alert.state;
      text(title, alert.on ? `${alert.rule} on ${alert.on}` : alert.rule);
      title.href = about(alert);
      const summary = alert.summary ? ` · ${alert.summary}` : "";
      if (what.textContent !== title.textContent + summary) what.replaceChildren(title, summary);
      text(when, `${alert.severity}, ${alert.state}${alert.since_s ? ` since ${format.time(alert.since_s)}` : ""}`);
      when.title = alert.since_s ? format.utc(alert.since_s) : "";
      const has = alert.ack ? `${alert.ack.author} has it${alert.ack.until_s ? ` until ${format.time(alert.ack.until_s)}` : ""}${alert.ack.comment ? `: ${alert.ack.comment}` : ""}` : "";
      const heard = alert.told.length ? `Told: ${alert.told.map((one) => `${one.channel} ${format.time(one.at_s)} (${one.result})`).join(", ")}` : "";
      told.hidden = !has && !heard;
      text(told, [has, heard].filter(Boolean).join(" · "));
      // Made anew only when they change: a focused button keeps its focus.
      const now = JSON.stringify([acts, Boolean(alert.ack), alert.state]);
      if (now === made) return;
      made = now;
      buttons.hidden = !acts;
      buttons.replaceChildren(...(acts ? alertButtons(alert, () => {}) : []));
    },
  };
}

let announced = null;
function announce() {
  const firing = frame.alerts.filter((alert) => alert.state === "firing");
  const names = new Set(firing.map((alert) => `${alert.rule} on ${alert.on}`));
  const fresh = [...names].filter((name) => announced && !announced.has(name));
  const gone = [...(announced ?? [])].filter((name) => !names.has(name));
  if (fresh.length) $("announce").textContent = `New alert: ${fresh.join(", ")}`;
  else if (gone.length) $("announce").textContent = `Resolved: ${gone.join(", ")}`;
  announced = names;
}

// -- budgets

function budgetNode() {
  const [name, left, burn] = [el("a", { href: "/slo" }), el("strong"), el("span", { class: "aside" })];
  const svg = icon("ok");
  const box = el("span", { class: "budget-bar" });
  const node = el("li", {}, svg, name, box, left, burn);
  return { node, show(budget) {
    const spent = budget.left_ratio != null && budget.left_ratio <= 0;
    const shown = budget.left_ratio == null ? "unknown" : spent || budget.page ? "critical" : budget.ticket ? "warning" : "ok";
    state(node, shown);
    setIcon(svg, shown);
    text(name, budget.name);
    text(left, budget.left_ratio == null ? "nothing counted" : spent ? `missed by ${format.percent(-budget.left_ratio)}` : `${format.percent(budget.left_ratio)} left`);
    text(burn, `burns ${format.number(budget.burn_1h)}× in 1 h, ${format.number(budget.burn_6h)}× in 6 h`);
    box.replaceChildren(bar(budget.left_ratio, shown, `${budget.name}: ${left.textContent}`));
  } };
}

// -- hosts

const METRICS = [
  { key: "cpu", label: "CPU", value: (h) => h.cpu_used_ratio, show: format.percent, y: () => [0, 1] },
  { key: "memory", label: "Memory", value: (h) => h.memory_used_ratio, show: format.percent, y: () => [0, 1],
    more: (h) => (h.memory_available_bytes == null ? "" : ` · ${format.bytes(h.memory_available_bytes)} free`) },
  { key: "disk", label: "Disk", value: (h) => h.disk_used_ratio, show: format.percent, y: () => [0, 1] },
  { key: "load", label: "Load, 1 min", value: (h) => h.load_1m, show: format.number, y: charts.range("zero", 1) },
];

function metricNode(metric) {
  const [name, extra, value, box] = [el("span"), el("span", { class: "extra" }), el("strong"), el("div", { class: "chart", role: "img" })];
  const node = el("div", { class: "metric" }, el("p", {}, el("span", {}, name, extra), value), box);
  let plot = null;
  let host = null;
  let hovered = null;
  const label = () => {
    text(name, hovered ? `${metric.label} at ${format.time(hovered.at)}` : metric.label);
    text(extra, hovered ? "" : metric.more?.(host) ?? "");
    text(value, metric.show(hovered ? hovered.value : metric.value(host)));
  };
  return {
    node,
    show(next) {
      host = next;
      plot ??= charts.chart(box, {
        yRange: metric.y,
        tick: (v) => (metric.show === format.percent ? `${Math.round(v * 100)}%` : String(v)),
        onCursor: (at) => { hovered = at; if (host) label(); },
      });
      plot.show({ end: host.charts.end_s, step: host.charts.step_s, values: host.charts[metric.key] });
      box.setAttribute("aria-label", `${metric.label} over the last 30 minutes; now ${metric.show(metric.value(host))}`);
      label();
    },
    remove: () => plot?.remove(),
  };
}

function coresNode() {
  const node = el("div", { class: "cores", role: "img" });
  return { node, show({ cores }) {
    node.hidden = !cores.length;
    while (node.children.length > cores.length) node.lastElementChild.remove();
    while (node.children.length < cores.length) {
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("viewBox", "0 0 10 10");
      svg.setAttribute("preserveAspectRatio", "none");
      for (const name of ["room", "busy"]) {
        const rect = document.createElementNS(SVG, "rect");
        for (const [key, given] of Object.entries({ class: name, width: 10, height: 10 })) rect.setAttribute(key, given);
        svg.append(rect);
      }
      node.append(svg);
    }
    cores.forEach((used, place) => {
      const busy = node.children[place].lastElementChild;
      busy.setAttribute("y", 10 - 10 * (used ?? 0));
      busy.setAttribute("height", 10 * (used ?? 0));
    });
    node.title = cores.map((used, place) => `core ${place}: ${format.percent(used)}`).join(", ");
    node.setAttribute("aria-label", `CPU by core: ${cores.map(format.percent).join(", ")}`);
  } };
}

function hostNode() {
  const svg = icon("unknown");
  const [name, age, flows, says] = [el("h3"), el("span", { class: "word" }), el("span", { class: "flows" }), el("p", { class: "says" })];
  const metrics = METRICS.map(metricNode);
  const cores = coresNode();
  metrics[0].node.append(cores.node);
  const link = el("a");
  name.append(link);
  const node = el("article", { class: "host" }, el("header", {}, svg, name, age, flows), says,
    el("div", { class: "charts" }, ...metrics.map((metric) => metric.node)));
  return {
    node,
    show(host) {
      const shown = host.fresh ? known(host.state, STATES) : "unknown";
      state(node, shown);
      setIcon(svg, shown);
      text(link, host.name);
      link.href = address.hostLink(host.key);
      cores.show(host);
      text(age, host.fresh ? { ok: "healthy", warning: "warning", critical: "critical" }[shown] ?? "measured"
        : host.at_s ? `silent since ${format.time(host.at_s)}` : "nothing measured yet");
      node.toggleAttribute("data-old", !host.fresh);
      text(flows, `net ↓ ${format.perSecond(host.net_received_bytes_per_s)} ↑ ${format.perSecond(host.net_sent_bytes_per_s)}`
        + ` · disk read ${format.perSecond(host.disk_read_bytes_per_s)} write ${format.perSecond(host.disk_written_bytes_per_s)}`);
      says.hidden = !host.verdict;
      text(says, host.verdict);
      metrics.forEach((metric) => metric.show(host));
    },
    remove: () => metrics.forEach((metric) => metric.remove()),
  };
}

// -- bots

const RANK = { critical: 0, warning: 1, unknown: 2, off: 3, ok: 4 };
const COLUMNS = [
  { key: "state", label: "State", by: (b) => RANK[b.health] ?? 2 },
  { key: "bot", label: "Bot", by: (b) => b.name },
  { key: "day", label: "24 h", by: (b) => -ribbon.downs(b) },
  { key: "uptime_s", label: "Uptime", show: format.duration },
  { key: "restarts", label: "Restarts", show: format.count },
  { key: "cpu_ratio", label: "CPU", show: format.percent, spark: "cpu", y: charts.range("zero", 0.05) },
  { key: "rss_bytes", label: "Memory", show: format.bytes, spark: "rss", y: charts.range("near"), bare: true },
  { key: "loop_lag_s", label: "Loop lag", show: format.duration, spark: "loop_lag", y: charts.range("zero", 0.02) },
  { key: "handler_s", label: "Handler p95", show: format.duration,
    note: (b) => (b.handler ? `${b.handler.replace(/^handler\./, "")}${b.handler_part === "max" ? ", longest" : ""}` : "") },
  { key: "updates_per_min", label: "Work/min", show: format.number,
    note: (b) => (b.cache_hit_ratio == null ? "" : `cache ${format.percent(b.cache_hit_ratio)}`) },
  { key: "api_per_min", label: "API/min", show: format.number,
    note: (b) => (b.api_limited_per_min ? `${format.number(b.api_limited_per_min)} limited` : "") },
  { key: "heartbeat_age_s", label: "Heartbeat", show: format.duration },
];

// State and name are always brought up to date; figures out of sight when they come there.
function botNode() {
  const cells = COLUMNS.map(cellNode);
  const node = el("tr", {}, ...cells.map((cell) => cell.node));
  const figures = cells.slice(2);
  let shown = null;
  let bot = null;
  const day = cells[COLUMNS.findIndex((one) => one.key === "day")];
  const showFigures = () => { if (shown !== bot) { shown = bot; figures.forEach((cell) => cell.show(bot)); } };
  const sight = inSight(node, showFigures);
  return {
    node,
    show(next) {
      bot = next;
      node.classList.toggle("stale", bot.stale);
      state(node, known(bot.health, STATES));
      cells.slice(0, 2).forEach((cell) => cell.show(bot));
      day.show(bot);
      if (sight.seen || !shown) showFigures();
    },
    remove() { sight.forget(); cells.forEach((cell) => cell.remove?.()); },
  };
}

function cellNode(column) {
  if (column.key === "state") {
    const [svg, words] = [icon("unknown"), el("span")];
    const node = el("td", { class: "state" }, el("span", {}, svg, words));
    return { node, show(bot) {
      setIcon(svg, bot.state === "starting" ? "starting" : known(bot.health, STATES));
      text(words, bot.health === "warning" && bot.state !== "starting" ? "not responding" : bot.state);
    } };
  }
  if (column.key === "bot") {
    const [name, host, reason] = [el("a"), el("small"), el("small", { class: "reason" })];
    const node = el("td", { class: "bot" }, name, " ", host, reason);
    return { node, show(bot) {
      text(name, bot.name);
      name.href = address.botLink(bot.host_key, bot.name);
      text(host, bot.host);
      const words = bot.health === "ok" ? "" : [bot.reason, bot.since_s ? `since ${format.time(bot.since_s)}` : ""].filter(Boolean).join(", ");
      reason.hidden = !words;
      text(reason, words);
    } };
  }
  if (column.key === "day") {
    const box = el("span");
    const node = el("td", { class: "day", "data-label": column.label }, box);
    return { node, show: ribbon.strip(box).show };
  }
  const value = el("span");
  const node = el("td", { class: column.spark ? "num trend" : "num", "data-label": column.label });
  if (!column.spark) {
    const note = column.note ? el("small") : null;
    node.append(value, ...(note ? [note] : []));
    return { node, show(bot) {
      text(value, column.show(bot[column.key]));
      if (note) { text(note, column.note(bot)); note.title = note.textContent; }
    } };
  }
  const box = el("div", { class: "spark", "aria-hidden": "true" });
  const plot = spark(box, column.y, { bare: column.bare });
  node.append(el("span", {}, value, box));
  return { node, remove: plot.remove, show(bot) {
    text(value, column.show(bot[column.key]));
    plot.show(bot.sparks[column.spark]);
  } };
}

function sorted(bots) {
  const column = COLUMNS.find((one) => one.key === sorting.key);
  if (!column) return bots;
  const by = column.by ?? ((bot) => bot[column.key] ?? -Infinity);
  const order = [...bots].sort((a, b) => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : 0));
  return sorting.up ? order : order.reverse();
}

function makeHead() {
  for (const column of COLUMNS) {
    const button = el("button", { type: "button" }, column.label);
    const th = el("th", { scope: "col", class: column.by ? "" : "num" }, button);
    button.addEventListener("click", () => {
      // Names and states read best upwards, numbers from the largest; a third click undoes it.
      const first = Boolean(column.by);
      if (sorting.key !== column.key) sorting = { key: column.key, up: first };
      else sorting = sorting.up === first ? { key: column.key, up: !first } : { key: null, up: true };
      for (const other of $("bots-head").children) other.removeAttribute("aria-sort");
      if (sorting.key) th.setAttribute("aria-sort", sorting.up ? "ascending" : "descending");
      if (frame) showBots();
    });
    $("bots-head").append(th);
  }
}

function showBots() {
  const bots = frame.bots;
  $("bots-panel").hidden = !bots.length;
  $("bots-empty").hidden = bots.length > 0;
  text($("bots-count"), bots.length ? String(bots.length) : "");
  keyed($("bots"), sorted(bots), (bot) => `${bot.host}/${bot.name}`, botNode);
}

// -- caches

const share = (part, whole) => (whole ? format.percent(part / whole) : "");

function loadsAhead(cache) {
  if (cache.away) return "Redis is away: memory alone";
  const { ahead } = cache;
  if (!ahead) return "";
  if (ahead.off) return `none: ${ahead.off}`;
  return ahead.ahead ? `${format.count(ahead.useful)} useful, ${format.count(ahead.wasted)} wasted` : "none yet";
}

function cacheNode() {
  const name = el("th", { scope: "row" });
  const cells = ["Calls", "Hit", "Memory", "Redis", "Load", "Warmed"].map((label) => el("td", { class: "num", "data-label": label }));
  const ahead = el("td", { "data-label": "Loads ahead" });
  const node = el("tr", {}, name, ...cells, ahead);
  return { node, show(cache) {
    name.replaceChildren(...breakable(cache.namespace));
    [
      format.count(cache.calls), share(cache.hits, cache.calls), share(cache.hits_memory, cache.calls), share(cache.hits_redis, cache.calls),
      cache.load_s == null ? "" : format.duration(cache.load_s), format.count(cache.warmed_hits),
    ].forEach((words, place) => text(cells[place], words));
    text(ahead, loadsAhead(cache));
  } };
}

function showCaches() {
  const { caches } = frame;
  $("caches-section").hidden = !caches.length;
  keyed($("caches"), caches, (cache) => cache.namespace, cacheNode);
}

// -- shared resources and events

function factNode() {
  const [dt, dd] = [el("dt"), el("dd")];
  return { node: el("div", {}, dt, dd), show([label, value, name]) {
    text(dt, label);
    if (name && !dd.firstElementChild) dd.replaceChildren(icon(name), el("span"));
    if (!name) { text(dd, value); return; }
    state(dd, name);
    setIcon(dd.firstElementChild, name);
    text(dd.lastElementChild, value);
  } };
}

function queueNode() {
  const [name, box, length] = [el("span", { class: "name" }), el("div", { class: "spark", "aria-hidden": "true" }), el("span", { class: "length" })];
  const plot = spark(box, charts.range("zero", 5));
  return { node: el("li", {}, name, box, length), remove: plot.remove, show(queue) {
    text(name, queue.name);
    text(length, format.count(queue.length));
    plot.show(queue.spark);
  } };
}

function eventNode() {
  const [at, svg, words] = [el("time"), icon("unknown"), el("p")];
  const node = el("li", {}, at, svg, words);
  return { node, show(event) {
    text(at, format.time(event.at_s));
    at.title = format.utc(event.at_s);
    state(node, event.state === "info" ? "off" : known(event.state, STATES));
    setIcon(svg, event.kind === "action" && event.state !== "warning" ? "action" : known(event.state, ["ok", "warning", "critical"]));
    words.replaceChildren(el("b", {}, [event.what, event.on].filter(Boolean).join(event.kind === "alert" ? " on " : " ")),
      event.text ? el("span", { class: "detail" }, ` · ${event.text}`) : "");
  } };
}

function showShared() {
  const { redis, queues, database } = frame.resources;
  const facts = redis ? [
    ["Redis", redis.up === 0 ? "down" : "up", redis.up === 0 ? "critical" : "ok"],
    ["Memory", format.bytes(redis.memory_bytes)],
    ["Latency", format.duration(redis.latency_s)],
    ["Commands/s", format.number(redis.ops_per_s)],
    ["Clients", format.count(redis.clients)],
  ] : [];
  keyed($("redis"), facts, (fact) => fact[0], factNode);
  keyed($("queues"), queues, (queue) => queue.name, queueNode);
  keyed($("database"), database.map((one) => [one.name.replace(/^server\./, "").replace(/_s$/, "").replace(/[._]/g, " "), format.bySeries(one.name, one.value)]), (fact) => fact[0], factNode);
  $("queues-part").hidden = !queues.length;
  $("database-part").hidden = !database.length;
  $("shared-empty").hidden = Boolean(facts.length || queues.length || database.length);
}

function show(next) {
  if (next !== frame) receivedAt = performance.now();
  frame = next;
  showVerdict();
  showAge();
  announce();
  $("alerts-section").hidden = !frame.alerts.length;
  keyed($("alerts"), frame.alerts, (alert) => [alert.host, alert.rule, alert.instance].join("|"), alertNode);
  $("budgets-section").hidden = !frame.budgets.length;
  keyed($("budgets"), frame.budgets, (budget) => budget.slug, budgetNode);
  $("hosts-empty").hidden = frame.hosts.length > 0;
  keyed($("hosts"), frame.hosts, (host) => host.key, hostNode);
  showBots();
  showCaches();
  showShared();
  analysis.refresh(frame.hosts);
  $("events-empty").hidden = frame.events.length > 0;
  keyed($("events"), frame.events.map((event, place) => ({ ...event, place })), (event) => event.place, eventNode);
  if (frame.links.flower) { $("flower").href = frame.links.flower; $("flower").hidden = false; }
  // Two paints; an animation would paint sixty times a second for as long as the page is open.
  $("pulse").classList.add("beat");
  setTimeout(() => $("pulse").classList.remove("beat"), 350);
}

makeHead();
mayAct().then((may) => { acts = may; if (frame) show(frame); });
addEventListener("zone", () => { if (frame) show(frame); });
ribbon.follow(() => { if (frame) showBots(); });
setInterval(showAge, 1000);
follow({
  onFrame: show,
  onState(next) {
    if (next === connection) return;
    connection = next;
    if (frame) { showVerdict(); showAge(); }
    else if (next !== "live") text($("age"), "no connection");
  },
});
