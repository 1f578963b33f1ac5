// The page of alerts: what fires and why, who has it, what is silenced, who was told.

import { alertButtons, endSilence, mayAct } from "./act.js";
import * as address from "./address.js";
import { alertBadge, at, badge, code, cut, empty, link, table } from "./build.js";
import { $, el, text } from "./dom.js";
import * as format from "./format.js";
import { part, start } from "./page.js";

const search = el("input", { type: "search", maxlength: "200", autocomplete: "off", spellcheck: "false", placeholder: "rule, bot or host", id: "find" });
const count = el("span", { class: "found", role: "status" });
$("main").append(el("div", { class: "tools" }, el("label", { for: "find" }, "Find"), search, count));
const firing = part("firing", "Firing");
const pending = part("pending", "Not yet, or no more", { aside: "pending, recovering, resolved of late" });
const silenced = part("silences", "Silences");
const history = part("history", "History", { aside: "every change of state, newest first" });
const told = part("told", "Notification log", { aside: "who was told, when, with what result" });
const said = part("said", "Acknowledgements and comments");

let data = null;
let acts = false;

const fits = (one) => {
  const wanted = address.get("q").toLowerCase().split(/\s+/).filter(Boolean);
  const all = [one.rule, one.instance, one.host, one.bot, one.summary, one.text, one.alert, one.severity, ...(one.alerts ?? [])].join(" ").toLowerCase();
  return wanted.every((word) => all.includes(word));
};

function about(one) {
  if (one.bot) return link(address.botLink(one.on_host ?? one.host, one.bot), one.bot, 60);
  if (one.on_host) return link(address.hostLink(one.on_host), one.on_host, 60);
  if (one.rule?.startsWith("slo ") || one.instance?.startsWith("slo.")) return link("/slo", one.instance, 60);
  return cut(one.instance || one.host, 60);
}

function hasIt(one) {
  const { ack } = one;
  if (!ack) return one.state === "firing" ? "nobody" : "";
  return el("span", { title: ack.comment }, `${ack.author}${ack.kind === "snooze" ? " (snoozed)" : ""}`,
    ack.until_s ? el("small", {}, " until ", at(ack.until_s)) : "");
}

function endButton(one) {
  const button = el("button", { type: "button", class: "small", "data-key": `end ${one.id}`, "aria-label": `End the silence of ${one.author}`.slice(0, 200) }, "End");
  button.addEventListener("click", () => endSilence(one, look));
  return el("span", { class: "buttons" }, button);
}

const columns = () => [
  { label: "State", cell: (one) => alertBadge(one.state, one.severity) },
  { label: "Severity", cell: (one) => one.severity },
  { label: "Alert", words: true, cell: (one) => el("span", {}, el("b", {}, cut(one.rule, 100)), one.summary ? el("small", { class: "more" }, cut(one.summary, 240)) : "") },
  { label: "On", words: true, cell: about },
  { label: "Since", cell: (one) => at(one.since_s) },
  { label: "Has it", words: true, cell: hasIt },
  { label: "Measured", cell: (one) => el("a", { href: address.seriesLink(one.host, one.instance) }, "chart", el("span", { class: "unseen" }, ` of ${one.instance.slice(0, 200)}`)) },
  ...(acts ? [{ label: "Do", cell: (one) => el("span", { class: "buttons" }, ...alertButtons(one, look)) }] : []),
];

const states = (...names) => data.alerts.filter((one) => names.includes(one.state)).filter(fits);

function draw(next) {
  data = next;
  const [now, later] = [states("firing", "error", "no_data"), states("pending", "recovering", "resolved")];
  firing.note(now.length ? String(now.length) : "");
  firing.show([now, acts, data.alerts.length], () => now.length ? table(columns(), now, { caption: "Alerts that fire, the worst first" })
    : empty(badge("ok", "Nothing fires"), address.get("q") ? " that matches what you look for." : ". Rules are evaluated at every tick; ", ...(address.get("q") ? [] : [code("outrider alerts list --rules"), " names them."])));
  pending.node.hidden = !later.length;
  pending.show([later, acts], () => table(columns(), later, { caption: "Alerts that do not fire" }));
  silenced.show([data.silences, acts], ([list]) => list.length ? table([
    { label: "Alerts", words: true, cell: (one) => cut(Object.entries(one.match).map(([name, value]) => `${name} = ${value}`).join(", "), 160) },
    { label: "By", words: true, cell: (one) => cut(one.author, 40) },
    { label: "Why", words: true, cell: (one) => cut(one.comment, 160) },
    { label: "From", cell: (one) => at(one.starts_s) },
    { label: "Until", cell: (one) => at(one.ends_s) },
    ...(acts ? [{ label: "Do", cell: endButton }] : []),
  ], list, { caption: "Silences in force, or to come" })
    : empty("Nothing is silenced. ", code("outrider alerts silence host=alpha --for 2h"), " keeps a host quiet."));
  const changes = data.history.filter(fits);
  history.show(changes, (list) => list.length ? table([
    { label: "At", cell: (one) => at(one.at_s) },
    { label: "Became", cell: (one) => alertBadge(one.to, one.severity) },
    { label: "From", cell: (one) => one.from?.replace("_", " ") },
    { label: "Alert", words: true, cell: (one) => el("span", {}, el("b", {}, cut(one.rule, 100)), one.summary ? el("small", { class: "more" }, cut(one.summary, 240)) : "") },
    { label: "On", words: true, cell: about },
  ], list, { caption: "Changes of state" }) : empty("No alert changed its state yet."));
  showTold();
  const people = data.said.filter(fits);
  said.show(people, (list) => list.length ? table([
    { label: "At", cell: (one) => at(one.at_s) },
    { label: "Who", words: true, cell: (one) => cut(one.author, 40) },
    { label: "Did", cell: (one) => one.did },
    { label: "Alert", words: true, cell: (one) => cut(one.alert, 160) },
    { label: "Said", words: true, cell: (one) => cut(one.text, 240) },
  ], list, { caption: "What people did and said" }) : empty("Nobody acknowledged or commented yet. ", code("outrider alerts ack bot=canary -m \"restarting it\""), " does, and so does the button above."));
  text(count, address.get("q") ? `${now.length + later.length} alerts, ${changes.length} changes match` : "");
}

function result(one) {
  const failed = one.result?.startsWith("failed") || one.result?.startsWith("gave up");
  return badge(failed ? "warning" : one.done === false ? "off" : "ok", one.result || "sent");
}

function showTold() {
  const waits = data.waiting.map((one) => ({ ...one, at_s: null, result: one.error ? `failed: ${one.error}` : "waits", done: false }));
  const list = [...waits, ...data.told].filter(fits);
  told.show([list, data.channels], () => list.length ? table([
    { label: "At", cell: (one) => at(one.at_s) },
    { label: "Channel", words: true, cell: (one) => cut(one.channel, 40) },
    { label: "Result", words: true, cell: result },
    { label: "Next", cell: (one) => (one.next_s ? at(one.next_s) : "") },
    { label: "Message", words: true, cell: (one) => el("span", {}, cut(one.text, 240), one.firing + one.resolved > 1 ? el("small", { class: "more" }, `${format.count(one.firing)} firing, ${format.count(one.resolved)} resolved`) : "") },
  ], list, { caption: "Messages, newest first; those that wait stand first" })
    : empty(`Nobody was told of anything yet; channels are ${data.channels.join(", ") || "none"}. `, code("outrider alerts send-test"), " tries them."));
}

let typing = null;
search.value = address.get("q");
search.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => { address.set({ q: search.value.trim() }, { quietly: true }); if (data) draw(data); }, 150);
});
addEventListener("popstate", () => { search.value = address.get("q"); });
const look = start("/api/alerts", { show: draw });
mayAct().then((may) => { acts = may; if (data) draw(data); });
