// A page that asks for its data, draws it in parts, and asks again while somebody looks. What did not
// change is not touched; when nothing can be had, the last frame stays under a banner.

import { ask, words } from "./ask.js";
import { $, el, text } from "./dom.js";
import * as format from "./format.js";

const SOONEST_MS = 2000;
const LATEST_MS = 10_000;

// A section that is drawn anew when its data changed, and keeps the keyboard's place meanwhile.
export function part(id, title, { aside = "", into = $("main") } = {}) {
  const note = el("span", { class: "aside" }, aside);
  const body = el("div", { class: "part" });
  const node = el("section", { id, "aria-labelledby": `${id}-h` }, el("h2", { id: `${id}-h` }, title, " ", note), body);
  into.append(node);
  let last = null;
  return {
    node,
    body,
    note: (said) => text(note, said),
    show(data, build) {
      const now = JSON.stringify([data, format.isUtc()]);
      if (now === last) return;
      last = now;
      const focused = body.contains(document.activeElement) ? document.activeElement.dataset.key : null;
      body.replaceChildren(...[build(data)].flat().filter(Boolean));
      if (focused) [...body.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus();
    },
  };
}

export function banner(said) {
  $("banner").hidden = !said;
  text($("banner"), said);
}

// `fields()` is what is asked now; `show(data)` draws. Returns a function that asks at once.
export function start(path, { fields = () => ({}), show }) {
  let timer = null;
  let data = null;
  let receivedAt = 0;
  let asking = 0;
  let lost = "";

  function age() {
    if (!data) return;
    const past = data.problem ? null : (performance.now() - receivedAt) / 1000;
    const stale = Boolean(lost) || Boolean(data.problem) || past > 3 * Math.max(LATEST_MS / 1000, data.interval_s);
    document.body.toggleAttribute("data-stale", stale);
    text($("age"), stale ? `as of ${format.time(data.now_s)}` : `at ${format.time(data.now_s)}`);
    $("age").title = format.utc(data.now_s);
  }

  function draw() {
    if (!data) return;
    show(data);
    document.body.removeAttribute("aria-busy");
    banner(lost || data.problem || (data.notices ?? []).join(" "));
    age();
  }

  async function look() {
    clearTimeout(timer);
    const mine = ++asking;
    try {
      const said = await ask(path, fields());
      if (mine !== asking) return;
      [data, lost, receivedAt] = [said, "", performance.now()];
      draw();
    } catch (error) {
      if (mine !== asking) return;
      lost = words(error);
      banner(lost);
      if (!data) text($("age"), "nothing to show");
      age();
    }
    if (!document.hidden) timer = setTimeout(look, Math.min(LATEST_MS, Math.max(SOONEST_MS, 1000 * (data?.interval_s ?? 2) / 2)));
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
  addEventListener("zone", draw);
  addEventListener("popstate", look);
  setInterval(age, 1000);
  document.body.setAttribute("aria-busy", "true");
  look();
  return look;
}
