// The alerts that fire on one thing: on a bot's page and on a host's.

import { alertButtons } from "./act.js";
import { alertBadge, at, cut, table } from "./build.js";
import { el } from "./dom.js";

export const firingTable = (alerts, { acts, done, caption }) => table([
  { label: "State", cell: (one) => alertBadge(one.state, one.severity) },
  { label: "Alert", words: true, cell: (one) => el("span", {}, el("b", {}, cut(one.rule, 100)), one.summary ? el("small", { class: "more" }, cut(one.summary, 240)) : "") },
  { label: "Since", cell: (one) => at(one.since_s) },
  { label: "Has it", cell: (one) => (one.ack ? one.ack.author : "nobody") },
  ...(acts ? [{ label: "Do", cell: (one) => el("span", { class: "buttons" }, ...alertButtons(one, done)) }] : []),
], alerts, { caption });
