// The live line to the server: closed while nobody looks at the page, reopened by itself.

import { apply } from "./delta.js";
import { at } from "./root.js";

const RETRY_MS = 3000;

export function follow({ onFrame, onState }) {
  let source = null;
  let timer = null;

  function open() {
    clearTimeout(timer);
    if (source || document.hidden) return;
    source = new EventSource(at("/events"));
    let [frame, number] = [null, 0];
    const take = (event, next) => {
      [frame, number] = [next, Number(event.lastEventId)];
      onState("live");
      onFrame(frame);
    };
    source.onmessage = (event) => take(event, JSON.parse(event.data));
    source.addEventListener("patch", (event) => {
      // What it changes is not what we have: begin anew with a whole frame.
      if (!frame || Number(event.lastEventId) !== number + 1) { close(); open(); return; }
      take(event, apply(frame, JSON.parse(event.data)));
    });
    source.onerror = () => {
      onState("lost");
      // On a refusal EventSource gives up for good, and does not say why.
      if (source.readyState === EventSource.CLOSED) { close(); again(); }
    };
  }

  function close() { source?.close(); source = null; }

  async function again() {
    try {
      const answer = await fetch(at("/api/status"), { cache: "no-store" });
      if (answer.status === 401) { onState("locked"); return; }
    } catch { /* the server is away: try again */ }
    timer = setTimeout(open, RETRY_MS);
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  open();
}
