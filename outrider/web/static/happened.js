// What was changed, as a list for people and as marks for charts.

import * as address from "./address.js";
import { at, badge, cut, link, table } from "./build.js";
import { el } from "./dom.js";

export const KINDS = ["deploy", "restart", "crash", "scale", "tuning", "maintenance", "order"];
const SHAPES = { crash: ["critical", "critical"], maintenance: ["off", "starting"] };

export const marks = (changes) =>
  changes.filter((one) => one.kind !== "order").map((one) => ({ at_s: one.at_s, text: [one.what, one.on].filter(Boolean).join(" ") }));

export const kind = (name) => badge(...[SHAPES[name]?.[0] ?? "off", name, SHAPES[name]?.[1] ?? "action"]);

const failed = (one) => one.result && !["ok", "done", "kept", "watching"].includes(one.result);

export function changesTable(list, caption) {
  return table([
    { label: "At", cell: (one) => at(one.at_s) },
    { label: "Kind", cell: (one) => kind(one.kind) },
    { label: "What", words: true, cell: (one) => el("span", {}, el("b", {}, cut(one.what, 60)),
      one.before || one.after ? el("small", { class: "more" }, cut(`${one.before || "nothing"} → ${one.after}`, 160)) : "") },
    { label: "On", words: true, cell: (one) => (one.on && one.host ? link(address.botLink(one.host, one.on), one.on, 60) : cut(one.on, 60)) },
    { label: "By", words: true, cell: (one) => cut(one.who, 60) },
    { label: "Why", words: true, cell: (one) => cut(one.why, 240) },
    { label: "Result", words: true, cell: (one) => (failed(one) ? badge("warning", one.result) : one.result) },
  ], list, { caption });
}
