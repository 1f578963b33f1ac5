// The page of error budgets: what is left, how fast it burns, when it is spent, who spends it.

import * as address from "./address.js";
import { at, badge, bar, code, cut, empty, link, table } from "./build.js";
import { $, el } from "./dom.js";
import * as format from "./format.js";
import { part, start } from "./page.js";

const WINDOWS = ["5m", "30m", "1h", "6h", "1d", "3d"];
const budgets = part("budgets", "Budgets", { aside: "the fastest burn first" });
const planned = part("maintenance", "Planned maintenance", { aside: "counts apart from the budgets" });

export function stateOf(one) {
  if (one.left_ratio == null) return ["unknown", "nothing counted"];
  if (one.left_ratio <= 0) return ["critical", "missed"];
  if (one.page) return ["critical", "burns fast"];
  if (one.ticket) return ["warning", "burns"];
  return ["ok", "holds"];
}

function ahead(found) {
  if (!found) return "it lasts";
  if (!found.eta_s) return "it is spent";
  const latest = found.upper_s == null ? "never" : format.duration(found.upper_s);
  return `spent in ${format.duration(found.eta_s)} (${format.duration(found.lower_s)} to ${latest})`;
}

const digits = (ratio) => (ratio == null ? format.NONE : `${Number((ratio * 100).toFixed(3))}\u00a0%`);

function burns(one) {
  return el("dl", { class: "burns" }, ...WINDOWS.filter((name) => name in one.burn_ratio).map((name) => {
    const burn = one.burn_ratio[name];
    return el("div", burn > 1 ? { "data-state": burn >= 6 ? "critical" : "warning", class: "over" } : {},
      el("dt", {}, name), el("dd", {}, `${format.number(burn)}×`));
  }));
}

function spenders(one) {
  const spent = one.spent_by.filter((share) => share.bad).slice(0, 8);
  if (!spent.length) return el("p", { class: "none" }, one.total ? "Nobody spent any of it." : "");
  return el("ol", { class: "spenders" }, ...spent.map((share) => el("li", {},
    cut(share.who, 40), bar(share.spent_ratio, "off", `${share.who}: ${format.percent(share.spent_ratio)} of what was bad`),
    el("span", { class: "num" }, format.percent(share.spent_ratio)),
    el("span", { class: "aside" }, `${format.count(share.bad)} bad · ${format.number(share.fair_ratio)}× its share`))));
}

function budget(one) {
  const [state, word] = stateOf(one);
  const left = one.left_ratio == null ? "" : `${digits(one.left_ratio)} left`;
  const alone = (one.bots ?? []).filter((bot) => bot.left_ratio != null).sort((a, b) => a.left_ratio - b.left_ratio).slice(0, 12);
  return el("article", { class: "panel budget", "data-state": state },
    el("header", {}, el("h3", {}, link(address.link("/series", { host: "fleet", match: `${one.series}.`, s: `${one.series}.left_ratio` }), one.name, 100)), badge(state, word)),
    el("p", { class: "left" }, bar(one.left_ratio, state, `Budget left: ${left || "unknown"}`), el("strong", {}, left || "nothing counted yet")),
    el("p", { class: "help" }, code(one.indicator), ` · ${digits(one.objective)} wanted over ${format.duration(one.period_s)}`,
      one.total ? ` · ${digits(one.good_ratio)} good of ${format.count(one.total)}` : ""),
    el("p", {}, el("b", {}, "At this rate: "), one.left_ratio == null ? format.NONE : ahead(one.exhaustion)),
    Object.keys(one.burn_ratio).length ? burns(one) : "",
    el("h4", {}, "Who spent it"), spenders(one),
    alone.length ? el("details", {}, el("summary", {}, `Bots held to it one by one (${format.count(one.bots.length)})`),
      table([
        { label: "Bot", cell: (bot) => cut(bot.name.replace(`${one.name}: `, ""), 60) },
        { label: "Left", num: true, cell: (bot) => digits(bot.left_ratio) },
        { label: "Burn 1h", num: true, cell: (bot) => format.number(bot.burn_ratio["1h"]) },
        { label: "At this rate", cell: (bot) => ahead(bot.exhaustion) },
      ], alone, { caption: `Bots of ${one.name}` })) : "");
}

start("/api/slo", { show(data) {
  budgets.show(data.objectives, (list) => {
    const counted = list.some((one) => one.total);
    return [
      counted ? "" : empty("Nothing is counted yet: ", code("outrider up"), " counts at every tick. Declare an objective of your own as ", code("[[slo]]"), " in ", code("outrider.toml"), "."),
      el("div", { class: "budgets" }, ...list.map(budget)),
    ];
  });
  planned.show(data.maintenance, (list) => list.length ? table([
    { label: "From", cell: (one) => at(one.start_s) },
    { label: "To", cell: (one) => at(one.end_s) },
    { label: "Objectives", words: true, cell: (one) => cut(one.slo, 60) },
    { label: "Bots", words: true, cell: (one) => cut(one.bot, 60) },
    { label: "Why", words: true, cell: (one) => cut(one.reason, 200) },
    { label: "By", cell: (one) => cut(one.author, 40) },
  ], list, { caption: "Planned maintenance, newest first" })
    : empty("None is planned. ", code("outrider slo maintenance plan 'new disks' --in 2h --for 30m"), " plans some."));
} });
$("title").textContent = "Error budgets";
