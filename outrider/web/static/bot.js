// The page of one bot: how it is, its charts, what fires, how it crashed, what it wrote last.

import { mayAct, restart, scale } from "./act.js";
import * as address from "./address.js";
import { at, badge, bar, code, cut, empty, facts, lines, link, table } from "./build.js";
import { choose } from "./choose.js";
import { $, breakable, el } from "./dom.js";
import { firingTable } from "./firing.js";
import * as format from "./format.js";
import { gallery } from "./gallery.js";
import { changesTable, marks } from "./happened.js";
import { banner, part, start } from "./page.js";

const list = part("list", "Bots");
const now = part("now", "Now");
const firing = part("firing", "Alerts");
const over = part("charts", "Over time", { aside: "▾ marks deploys, restarts, crashes and tuning" });
const crashed = part("crashes", "Crashes", { aside: "newest first" });
const log = part("log", "Last lines");
const events = part("events", "Changes", { aside: "orders, restarts, tuning" });
const drawn = gallery(over.body, { onError: banner });
const all = el("a", { class: "aside" }, "all its series");
over.node.querySelector("h2").append(" ", all);
const only = [now, firing, over, crashed, log, events];

let data = null;
let acts = false;

function showNow() {
  const { bot } = data;
  const shown = bot.health === "warning" && bot.state !== "starting" ? "not responding" : bot.state;
  const button = el("button", { type: "button", class: "primary", "data-key": "restart" }, "Restart");
  button.addEventListener("click", () => restart(bot, look));
  const more = el("button", { type: "button", class: "small", "data-key": "scale" }, "Scale");
  const running = data.bots.filter((one) => one.bot === bot.bot && one.host_key === bot.host_key && one.health !== "off").length;
  more.addEventListener("click", () => scale(bot, running, look));
  return [
    el("p", { class: "headline" }, badge(bot.health, shown, bot.state === "starting" ? "starting" : bot.health),
      bot.reason ? el("span", {}, cut(bot.reason, 300)) : "", bot.since_s ? el("span", { class: "aside" }, "since ", at(bot.since_s)) : "",
      ...(acts ? [button, more] : [])),
    facts([
      ["Host", link(address.hostLink(bot.host_key), bot.host, 60)],
      ["Uptime", format.duration(bot.uptime_s)],
      ["Restarts", `${format.count(bot.restarts)}${bot.crashes ? ` (${format.count(bot.crashes)} crashes)` : ""}`],
      ["CPU", format.percent(bot.cpu_ratio)],
      ["Memory", format.bytes(bot.rss_bytes)],
      ["Loop lag", format.duration(bot.loop_lag_s)],
      ["Work/min", format.number(bot.updates_per_min)],
      ["Heartbeat", format.duration(bot.heartbeat_age_s)],
      ["Process", bot.pid ? `pid ${bot.pid}` : ""],
    ]),
    data.budgets.length ? el("div", { class: "panel small-budgets" }, ...data.budgets.map((one) => el("p", {},
      link("/slo", one.name.replaceAll("-", " "), 60), bar(one.left_ratio, one.left_ratio <= 0 ? "critical" : one.burn_1h > 1 ? "warning" : "ok", `${one.name}: ${format.percent(one.left_ratio)} left`),
      el("span", {}, `${format.percent(one.left_ratio)} left · burns ${format.number(one.burn_1h)}×`)))) : "",
  ];
}

function crash(report) {
  return el("details", { class: "panel crash" },
    el("summary", {}, badge("critical", report.words), " ", at(report.at_s), el("span", { class: "aside" }, `after ${format.duration(report.lived_s)}, crash no. ${report.crashes}, pid ${report.pid ?? "none"}; then ${report.then || "unknown"}`)),
    report.log?.length ? lines(report.log) : el("p", { class: "none" }, "It wrote nothing."),
    Object.keys(report.metrics ?? {}).length ? el("dl", { class: "facts" }, ...Object.entries(report.metrics).map(([name, number]) =>
      el("div", {}, el("dt", {}, ...breakable(name)), el("dd", {}, format.bySeries(name, number))))) : "");
}

function draw(next) {
  data = next;
  list.node.hidden = Boolean(data.bot);
  for (const one of only) one.node.hidden = !data.bot;
  if (!data.bot) {
    list.show(data.bots, (bots) => choose(bots, { label: "Bot", host: true, href: (one) => address.botLink(one.host_key, one.name),
      nothing: ["No bot is known. Declare one as ", code("[bots.NAME]"), " in ", code("outrider.toml"), ", then run ", code("outrider up"), "."] }));
    return;
  }
  const { bot } = data;
  if ($("title").title !== bot.name) {
    $("title").title = bot.name;
    $("title").replaceChildren(cut(bot.name, 120));
    document.title = `${bot.name.slice(0, 60)} · Outrider`;
  }
  now.node.classList.toggle("stale-part", bot.stale);
  now.show([bot, data.bots, data.budgets, acts], showNow);
  firing.node.hidden = !data.alerts.length;
  firing.show([data.alerts, acts], () => firingTable(data.alerts, { acts, done: look, caption: "Alerts on this bot" }));
  all.href = address.link("/series", { host: bot.host_key, match: `bot.${bot.name}.` });
  drawn.show({ charts: data.charts, host: bot.host_key, interval_s: data.interval_s, marks: marks(data.events) });
  if (!data.charts.length) over.note("nothing is measured of it yet");
  crashed.show(data.crashes, (reports) => reports.length ? reports.map(crash) : empty(badge("ok", "It did not crash"), " as long as reports are kept."));
  log.show([data.log, bot.name], () => data.log == null
    ? empty("Its lines are kept on ", bot.host, ", and this dashboard has no supervisor beside it. There: ", code(`outrider bots logs ${bot.name.slice(0, 80)}`))
    : data.log.length ? lines(data.log) : empty("It wrote nothing yet."));
  events.show(data.events, (changes) => changes.length ? changesTable(changes, "What happened to this bot") : empty("Nothing was changed yet."));
}

const look = start("/api/bot", { fields: () => ({ host: address.get("host"), name: address.get("name") }), show: draw });
mayAct().then((may) => { acts = may; if (data) draw(data); });
