// The charts of a page over one range, brought up to date while it is live.

import { ask, words } from "./ask.js";
import { card } from "./card.js";
import { el } from "./dom.js";
import * as ranges from "./ranges.js";

const SOONEST_MS = 2000;
// So many questions at once: the server answers few at a time.
const AT_ONCE = 3;

export function gallery(into, { onError = () => {} } = {}) {
  const bar = ranges.toolbar(into, draw);
  const grid = el("div", { class: "gallery" });
  into.append(grid);
  let [wanted, marks, host, interval] = [[], [], "", 10];
  const cards = new Map();
  let timer = null;
  let turn = 0;

  function again() {
    clearTimeout(timer);
    const range = ranges.now();
    if (!range.live || document.hidden || !wanted.length) return;
    timer = setTimeout(draw, Math.max(SOONEST_MS, 1000 * Math.max(interval, (range.end_s - range.start_s) / 360)));
  }

  async function draw() {
    clearTimeout(timer);
    bar.show();
    const mine = ++turn;
    const range = ranges.now();
    const queue = [...wanted];
    const points = Math.min(600, Math.max(120, Math.round(grid.firstElementChild?.clientWidth ?? 400)));
    async function work() {
      for (let one = queue.shift(); one && mine === turn; one = queue.shift()) {
        try {
          const said = await ask("/api/query", { host, series: one.series, start: range.start_s, end: range.end_s, points });
          if (mine === turn) cards.get(one.series)?.show(said);
        } catch (error) { onError(words(error)); return; }
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    if (mine === turn) again();
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : draw()));
  addEventListener("zone", draw);
  return {
    show(next) {
      const [known, before] = [JSON.stringify([host, wanted]), JSON.stringify(marks)];
      [wanted, host, interval, marks] = [next.charts, next.host, next.interval_s, next.marks ?? []];
      if (known !== JSON.stringify([host, wanted])) {
        for (const [series, one] of cards) if (!wanted.some((each) => each.series === series)) { one.remove(); cards.delete(series); }
        for (const { title, series } of wanted) {
          if (cards.has(series)) continue;
          cards.set(series, card(series, {
            title, marks: () => marks,
            onZoom: (from, to) => { ranges.zoom(from, to, 4 * interval); draw(); },
            onReset: () => { ranges.back(); draw(); },
          }));
        }
        grid.append(...wanted.map((one) => cards.get(one.series).node));
        draw();
      } else if (before !== JSON.stringify(marks)) for (const one of cards.values()) one.redraw();
    },
  };
}
