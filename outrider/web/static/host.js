// The page of one host: how it is and why, its charts, its bots, what was found on it.

import { mayAct } from "./act.js";
import * as address from "./address.js";
import { at, badge, code, cut, empty, facts, link, table } from "./build.js";
import { choose } from "./choose.js";
import { $, el } from "./dom.js";
import { firingTable } from "./firing.js";
import * as format from "./format.js";
import { gallery } from "./gallery.js";
import { changesTable, marks } from "./happened.js";
import { banner, part, start } from "./page.js";

const list = part("list", "Hosts");
const now = part("now", "Now");
const firing = part("firing", "Alerts");
const over = part("charts", "Over time", { aside: "▾ marks what was changed" });
const bots = part("bots", "Bots");
const found = part("findings", "Findings", { aside: "last 24 hours" });
const events = part("events", "Changes");
const drawn = gallery(over.body, { onError: banner });

let data = null;
let acts = false;

function showNow(host) {
  return [
    el("p", { class: "headline" }, badge(host.fresh ? host.state : "unknown", host.fresh ? { ok: "healthy" }[host.state] ?? host.state : "silent"),
      host.verdict ? el("span", {}, cut(host.verdict, 300)) : "", host.fresh ? "" : el("span", { class: "aside" }, "since ", at(host.since_s))),
    ...host.advice.map((words) => el("p", { class: "advice" }, el("b", {}, "Next: "), cut(words, 300))),
    facts([
      ["CPU", format.percent(host.cpu_used_ratio)],
      ["Cores", host.cores.length ? format.count(host.cores.length) : ""],
      ["Load, 1 min", format.number(host.load_1m)],
      ["Memory", format.percent(host.memory_used_ratio)],
      ["Free", format.bytes(host.memory_available_bytes)],
      ["Swap", format.percent(host.swap_used_ratio)],
      ["Disk", format.percent(host.disk_used_ratio)],
      ["Network in", format.perSecond(host.net_received_bytes_per_s)],
      ["Network out", format.perSecond(host.net_sent_bytes_per_s)],
      ["Heartbeat", format.duration(host.heartbeat_age_s)],
    ]),
  ];
}

function said(one) {
  if (one.kind !== "change") return one.kind === "verdict" ? `${one.state}: ${one.words}` : one.words ?? "";
  const per = one.of === "slope" ? " an hour" : "";
  const value = (number) => `${format.bySeries(one.series, number)}${per}`;
  return `${value(one.before)} → ${value(one.after)}, ${format.number(one.spreads)} spreads`;
}

function draw(next) {
  data = next;
  const { host } = data;
  list.node.hidden = Boolean(host);
  for (const one of [now, firing, over, bots, found, events]) one.node.hidden = !host;
  if (!host) {
    list.show(data.hosts, (hosts) => choose(hosts, { label: "Host", href: (one) => address.hostLink(one.key),
      nothing: ["No host has reported yet. Start the stack with ", code("outrider up"), "."] }));
    return;
  }
  if ($("title").title !== host.name) {
    $("title").title = host.name;
    $("title").replaceChildren(cut(host.name, 120));
    document.title = `${host.name.slice(0, 60)} · Outrider`;
  }
  now.show(host, showNow);
  now.node.classList.toggle("stale-part", !host.fresh);
  firing.node.hidden = !data.alerts.length;
  firing.show([data.alerts, acts], () => firingTable(data.alerts, { acts, done: look, caption: "Alerts on this host" }));
  drawn.show({ charts: data.charts, host: host.key, interval_s: data.interval_s, marks: marks(data.events) });
  bots.note(String(data.bots.length));
  bots.show(data.bots, (some) => some.length ? table([
    { label: "Bot", words: true, cell: (one) => link(address.botLink(one.host_key, one.name), one.name, 80) },
    { label: "State", words: true, cell: (one) => el("span", {}, badge(one.health, one.state), one.reason && one.health !== "ok" ? el("small", { class: "more" }, cut(one.reason, 160)) : "") },
    { label: "Uptime", num: true, cell: (one) => format.duration(one.uptime_s) },
    { label: "Restarts", num: true, cell: (one) => format.count(one.restarts) },
    { label: "CPU", num: true, cell: (one) => format.percent(one.cpu_ratio) },
    { label: "Memory", num: true, cell: (one) => format.bytes(one.rss_bytes) },
    { label: "Loop lag", num: true, cell: (one) => format.duration(one.loop_lag_s) },
  ], some, { caption: "Bots of this host, the worst first", stale: (one) => one.stale }) : empty("No bot runs here. Declare one as ", code("[bots.NAME]"), " in ", code("outrider.toml"), "."));
  found.show(data.findings, (some) => some.length ? table([
    { label: "At", cell: (one) => at(one.at_s) },
    { label: "What", cell: (one) => String(one.kind ?? one.what ?? "finding").replaceAll("_", " ") },
    { label: "Series", words: true, cell: (one) => (one.series ? link(address.seriesLink(host.key, one.series), one.series, 120) : "") },
    { label: "Said", words: true, cell: (one) => cut(said(one), 240) },
  ], some, { caption: "Anomalies, changes and verdicts" }) : empty("Nothing odd was found. ", code("outrider report"), " says what is normal here."));
  events.show(data.events, (changes) => changes.length ? changesTable(changes, "What happened on this host") : empty("Nothing was changed yet."));
}

const look = start("/api/host", { fields: () => ({ name: address.get("name") }), show: draw });
mayAct().then((may) => { acts = may; if (data) draw(data); });
