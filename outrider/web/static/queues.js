// The page of queues: what waits, who takes from them, which tasks fail, what was given up.

import * as charts from "./charts.js";
import { at, badge, code, cut, empty, table } from "./build.js";
import { $, el } from "./dom.js";
import * as format from "./format.js";
import { gallery } from "./gallery.js";
import { banner, part, start } from "./page.js";
import { spark } from "./spark.js";

const queues = part("queues", "Queues", { aside: "the longest first" });
const over = part("charts", "Over time");
const workers = part("workers", "Workers");
const tasks = part("tasks", "Tasks", { aside: "a minute, over the last 5; those that fail first" });
const dead = part("dead", "Given up", { aside: "after too many deliveries" });
const drawn = gallery(over.body, { onError: banner });
$("title").textContent = "Queues and workers";

let sparks = [];
function trend(queue) {
  const box = el("div", { class: "spark", "aria-hidden": "true" });
  const plot = spark(box, charts.range("zero", 5));
  plot.show(queue.spark);
  sparks.push(plot);
  return box;
}

const named = (one) => el("span", {}, cut(one.name, 80), one.app ? el("small", {}, ` of ${one.app}`) : "");
const taken = (queue) => (queue.consumers == null ? "" : queue.consumers ? badge("ok", format.count(queue.consumers)) : badge(queue.length ? "critical" : "off", "nobody takes"));

start("/api/queues", { show(data) {
  queues.show(data.queues, (list) => {
    for (const one of sparks) one.remove();
    sparks = [];
    return list.length ? table([
      { label: "Queue", words: true, cell: named },
      { label: "Waiting", num: true, cell: (one) => format.count(one.length) },
      { label: "Trend", cell: trend },
      { label: "Held", num: true, cell: (one) => format.count(one.unacked), title: "Workers hold them, and have not finished" },
      { label: "Oldest waits", num: true, cell: (one) => (one.length ? format.duration(one.oldest_age_s) : "") },
      { label: "Workers", cell: taken },
    ], list, { caption: "Queues, the longest first" }) : empty("No queue was measured yet; the workers of ", code("outrider up"), " do that at every tick.");
  });
  over.node.hidden = !data.charts.length;
  drawn.show(data);
  workers.show(data.workers, (list) => list.length ? table([
    { label: "Worker", words: true, cell: named },
    { label: "State", cell: (one) => (one.up ? badge("ok", "up") : badge("critical", "silent")) },
    { label: "Heartbeat", num: true, cell: (one) => format.duration(one.heartbeat_age_s) },
    { label: "Runs", num: true, cell: (one) => format.count(one.active) },
    { label: "Processes", num: true, cell: (one) => format.count(one.processes) },
  ], list, { caption: "Workers, the silent ones first" }) : empty("No worker was heard. ", code("outrider doctor"), " says why."));
  tasks.show(data.tasks, (list) => list.length ? table([
    { label: "Task", words: true, cell: named },
    { label: "Done", num: true, cell: (one) => format.number(one.succeeded) },
    { label: "Failed", num: true, cell: (one) => (one.failed ? badge("warning", format.number(one.failed)) : format.number(one.failed)) },
    { label: "Tried again", num: true, cell: (one) => format.number(one.retried) },
    { label: "Runtime, p95", num: true, cell: (one) => format.duration(one.runtime_p95_s) },
  ], list, { caption: "Tasks" }) : empty("No task ran yet."));
  dead.note(data.dead_count ? `${format.count(data.dead_count)} in all` : "after too many deliveries");
  dead.show([data.dead, data.missed], () => [
    data.dead.length ? table([
      { label: "Task", words: true, cell: (one) => cut(one.task ?? one.name ?? "a task", 80) },
      { label: "At", cell: (one) => at(one.at_s) },
      { label: "Arguments", words: true, cell: (one) => cut([...(one.args ?? []), ...Object.entries(one.kwargs ?? {}).map(([key, value]) => `${key}=${value}`)].join(", "), 240) },
      { label: "Id", words: true, cell: (one) => cut(one.id, 60) },
    ], data.dead, { caption: "Tasks that were given up" }) : empty(badge("ok", "None"), ": no task was given up."),
    data.missed.length ? el("p", { class: "help" }, `${format.count(data.missed.length)} ticks could not be sent of late; beat was down or Redis away.`) : "",
  ]);
} });
