// The page of changes: deploys, restarts, orders, scaling and tuning on one line of time.

import * as address from "./address.js";
import { at, cut, empty, code } from "./build.js";
import { $, el, text } from "./dom.js";
import * as format from "./format.js";
import { KINDS, changesTable } from "./happened.js";
import { part, start } from "./page.js";

const search = el("input", { type: "search", id: "find", maxlength: "200", autocomplete: "off", spellcheck: "false", placeholder: "bot, person or reason" });
const kinds = el("select", { id: "kind" }, el("option", { value: "" }, "everything"), ...KINDS.map((name) => el("option", { value: name }, name)));
const count = el("span", { class: "found", role: "status" });
$("main").append(el("div", { class: "tools" }, el("label", { for: "find" }, "Find"), search, el("label", { for: "kind" }, "Kind"), kinds, count));
const list = part("changes", "What was done", { aside: "newest first" });
const reports = part("reports", "What tuning advises");
let data = null;

function fits(one) {
  if (address.get("kind") && one.kind !== address.get("kind")) return false;
  const all = [one.what, one.on, one.host, one.who, one.why, one.result].join(" ").toLowerCase();
  return address.get("q").toLowerCase().split(/\s+/).every((word) => all.includes(word));
}

function draw(next) {
  data = next;
  [search.value, kinds.value] = [document.activeElement === search ? search.value : address.get("q"), address.get("kind")];
  const some = data.changes.filter(fits);
  text(count, `${format.count(some.length)} of ${format.count(data.changes.length)}`);
  list.show(some, () => some.length ? changesTable(some, "Changes, newest first")
    : empty(data.changes.length ? "No change matches." : "Nothing was changed yet. Restarts, ", ...(data.changes.length ? [] : [code("outrider bots restart"), ", scaling and applied tuning are listed here."])));
  reports.node.hidden = !data.reports.length;
  reports.show(data.reports, (told) => el("div", { class: "advices" }, ...told.map((one) => el("article", { class: "panel" },
    el("h3", {}, { database: "Database", cache: "Caches", process: "Limits of bots" }[one.what] ?? one.what, " ", el("span", { class: "aside" }, at(one.at_s))),
    one.advice.length ? el("ul", {}, ...one.advice.map((each) => el("li", {}, cut(each.text ?? each.reason ?? JSON.stringify(each), 300)))) : el("p", { class: "none" }, "Nothing to change.")))));
}

let typing = null;
search.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => { address.set({ q: search.value.trim() }, { quietly: true }); if (data) draw(data); }, 150);
});
kinds.addEventListener("change", () => { address.set({ kind: kinds.value }); if (data) draw(data); });
start("/api/changes", { show: draw });
