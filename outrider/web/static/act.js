// What an operator may do from a page. Every action asks first, shows that it is at work, and says
// how it ended; a viewer sees no buttons.

import { ask } from "./ask.js";
import { el, text } from "./dom.js";
import * as format from "./format.js";
import { at } from "./root.js";

const LASTS = [["30 minutes", 1800], ["1 hour", 3600], ["4 hours", 14_400], ["1 day", 86_400]];
let me = null;

// Who looks at this page, asked once. Nobody who may act, where the server does not say.
async function person() {
  me ??= ask("/api/me").catch(() => null);
  return me;
}

export async function mayAct() {
  const who = await person();
  return Boolean(who && who.role !== "viewer");
}

async function post(action, given) {
  const who = await person();
  const answer = await fetch(at(`/api/actions/${action}`), {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Outrider-CSRF": who?.csrf ?? "" },
    body: JSON.stringify(given),
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok || said.ok === false || said.error) throw new Error(said.error ?? `The dashboard answered ${answer.status}.`);
  return said.result;
}

function field(label, input) {
  input.id = `act-${label.toLowerCase().replaceAll(" ", "-")}`;
  return el("div", { class: "act-field" }, el("label", { for: input.id }, label), input);
}

function durations(first) {
  const options = [...(first ? [[first, ""]] : []), ...LASTS];
  return el("select", {}, ...options.map(([words, value]) => el("option", { value }, words)));
}

// Ask in a dialog, do it, say how it went. `done` is called when it went well.
function dialog({ title, words, fields, button, doing, act, done }) {
  const status = el("p", { class: "act-status", role: "status" });
  const go = el("button", { type: "submit", class: "primary" }, button);
  const close = el("button", { type: "button" }, "Cancel");
  const form = el("form", { method: "dialog" }, el("h2", { id: "act-title" }, title), ...words.map((one) => el("p", {}, one)),
    ...fields, status, el("div", { class: "act-buttons" }, close, go));
  const node = el("dialog", { class: "act", "aria-labelledby": "act-title" }, form);
  const from = document.activeElement;
  let busy = false;
  close.addEventListener("click", () => node.close());
  node.addEventListener("cancel", (event) => { if (busy) event.preventDefault(); });
  node.addEventListener("close", () => { node.remove(); if (from?.isConnected) from.focus(); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    go.disabled = close.disabled = true;
    form.setAttribute("aria-busy", "true");
    delete status.dataset.state;
    text(status, doing);
    try {
      const result = await act();
      status.dataset.state = "ok";
      text(status, `✓ ${typeof result === "string" && result ? result : "Done."}`);
      go.hidden = true;
      text(close, "Close");
      done?.();
    } catch (error) {
      status.dataset.state = "critical";
      text(status, `✕ ${error instanceof TypeError ? "The dashboard does not answer; it may not have been done." : error.message}`);
      text(go, "Try again");
    }
    busy = false;
    form.removeAttribute("aria-busy");
    go.disabled = close.disabled = false;
    close.focus();
  });
  document.body.append(node);
  node.showModal();
}

const why = (placeholder) => el("input", { type: "text", maxlength: "500", autocomplete: "off", placeholder });
const named = (alert) => (alert.on ? `${alert.rule} on ${alert.on}` : `${alert.rule} on ${alert.bot || alert.instance}`);

export function acknowledge(alert, done) {
  const [reason, lasts] = [why("restarting it"), durations("Until it clears")];
  dialog({
    title: "Acknowledge this alert?",
    words: [named(alert), "Others see that you have it. No reminder and no escalation follow until it clears."],
    fields: [field("Why", reason), field("For", lasts)],
    button: "Acknowledge", doing: "Acknowledging…", done,
    act: async () => {
      await post("ack", { alert: alert.key, why: reason.value.trim(), lasts_s: lasts.value ? Number(lasts.value) : null });
      return lasts.value ? `You have it until ${format.time(Date.now() / 1000 + Number(lasts.value))}.` : "You have it until it clears.";
    },
  });
}

export function takeBack(alert, done) {
  const reason = why("somebody else has it");
  dialog({
    title: "Take the acknowledgement back?",
    words: [named(alert), `${alert.ack.author} has it now. People are told of it again, as if nobody had it.`],
    fields: [field("Why", reason)],
    button: "Take back", doing: "Taking it back…", done,
    act: async () => {
      await post("unack", { alert: alert.key, why: reason.value.trim() });
      return "Nobody has it now; people are told again.";
    },
  });
}

export function endSilence(silenced, done) {
  const reason = why("the disk is in");
  const match = Object.entries(silenced.match).map(([name, value]) => `${name} = ${value}`).join(", ");
  dialog({
    title: "End this silence?",
    words: [match.length > 160 ? `${match.slice(0, 159)}…` : match, "Alerts that match and still fire are told from now on."],
    fields: [field("Why", reason)],
    button: "End it", doing: "Ending it…", done,
    act: async () => {
      await post("unsilence", { silence: silenced.id, why: reason.value.trim() });
      return "The silence is over.";
    },
  });
}

export function silence(alert, done) {
  const [reason, lasts] = [why("new disk"), durations()];
  lasts.value = "3600";
  const about = [["rule", alert.rule], ["host", alert.on_host ?? alert.host], ["bot", alert.bot], ["severity", alert.severity]].filter(([, value]) => value && value !== "fleet");
  const boxes = about.map(([label, value], place) => {
    const box = el("input", { type: "checkbox", id: `match-${place}` });
    box.checked = label === "rule" || label === "bot" || (label === "host" && !alert.bot);
    return { label, value, box };
  });
  const picks = el("fieldset", { class: "act-field picks" }, el("legend", {}, "Alerts that match all of"),
    ...boxes.map(({ label, value, box }) => el("span", {}, box, el("label", { for: box.id, title: value }, `${label} = ${value.length > 60 ? `${value.slice(0, 59)}…` : value}`))));
  dialog({
    title: "Silence these alerts?",
    words: ["Nobody is told of alerts that match, those to come as well, until it ends."],
    fields: [picks, field("For", lasts), field("Why", reason)],
    button: "Silence", doing: "Silencing…", done,
    act: async () => {
      const matchers = Object.fromEntries(boxes.filter(({ box }) => box.checked).map(({ label, value }) => [label, value]));
      if (!Object.keys(matchers).length) throw new Error("Choose at least one: a silence of everything hides everything.");
      await post("silence", { matchers, lasts_s: Number(lasts.value), why: reason.value.trim() });
      return `Silenced until ${format.time(Date.now() / 1000 + Number(lasts.value))}.`;
    },
  });
}

export function restart(bot, done) {
  const reason = why("memory grows");
  dialog({
    title: `Restart ${bot.name.length > 60 ? `${bot.name.slice(0, 59)}…` : bot.name}?`,
    words: [`On ${bot.host}: it is stopped gracefully and started again. It does no work meanwhile.`],
    fields: [field("Why", reason)],
    button: "Restart", doing: "Restarting; this takes as long as the bot needs to stop…", done,
    act: async () => {
      await post("restart", { bot: bot.name, host: bot.host_key, why: reason.value.trim() });
      return `${bot.name} was restarted.`;
    },
  });
}

export function scale(bot, running, done) {
  const [reason, count] = [why("busy evening"), el("input", { type: "number", min: "0", max: "1000", step: "1", required: "" })];
  count.value = String(running);
  dialog({
    title: `Scale ${bot.bot.length > 60 ? `${bot.bot.slice(0, 59)}…` : bot.bot}?`,
    words: [`On ${bot.host} ${running === 1 ? "one process runs" : `${running} processes run`} now. Those too many are stopped gracefully; to take it back, scale to ${running} again.`],
    fields: [field("Processes", count), field("Why", reason)],
    button: "Scale", doing: "Scaling; this takes as long as the bots need to start or stop…", done,
    act: async () => {
      await post("scale", { bot: bot.bot, host: bot.host_key, replicas: Number(count.value), why: reason.value.trim() });
      return `${bot.bot} was scaled from ${running} to ${count.value}.`;
    },
  });
}

// Buttons of an alert, for who may use them.
export function alertButtons(alert, done) {
  const make = (key, label, press) => {
    const button = el("button", { type: "button", class: "small", "data-key": `${key} ${alert.key}`, "aria-label": `${label}: ${named(alert).slice(0, 200)}` }, label);
    button.addEventListener("click", press);
    return button;
  };
  return [
    ...(alert.ack ? [make("unack", "Take back", () => takeBack(alert, done))]
      : alert.state === "resolved" ? [] : [make("ack", "Acknowledge", () => acknowledge(alert, done))]),
    make("silence", "Silence", () => silence(alert, done)),
  ];
}
