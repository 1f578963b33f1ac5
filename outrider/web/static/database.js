// The page of the database: who has how many connections, who waits, what is slow, what would help.

import { at, badge, bar, code, cut, empty, facts, link, table } from "./build.js";
import { $, el } from "./dom.js";
import * as format from "./format.js";
import { gallery } from "./gallery.js";
import { banner, part, start } from "./page.js";

const look = part("state", "Now");
const pools = part("pools", "Connections", { aside: "who has how many, against the wall" });
const blocked = part("blocked", "Locks", { aside: "who waits for whom" });
const over = part("charts", "Over time");
const slow = part("slow", "Statements that cost most");
const indexes = part("indexes", "Indexes");
const advice = part("advice", "Settings of the server");
const drawn = gallery(over.body, { onError: banner });
$("title").textContent = "Database";

const statement = (words) => el("code", { class: "sql", title: words }, words.length > 300 ? `${words.slice(0, 299)}…` : words);

function wall(data) {
  const open = data.pools.reduce((sum, pool) => sum + pool.open, 0);
  const waits = Object.values(data.waiting).reduce((sum, one) => sum + (one.waiting ?? 0), 0);
  return facts([
    ["Server", data.server ? cut(data.server, 60) : ""],
    ["Connections", data.wall ? `${format.count(open)} of ${format.count(data.wall)}` : ""],
    ["Waiting", waits ? badge("warning", `${format.count(waits)} callers`) : data.server ? badge("ok", "nobody") : ""],
    ["Blocked", data.error ? badge("critical", "can't be asked") : data.server ? badge(data.blocked.length ? "warning" : "ok", data.blocked.length ? format.count(data.blocked.length) : "nobody") : ""],
    ["Report", data.reported_at_s ? at(data.reported_at_s) : ""],
  ]);
}

function showPools({ pools: list, wall: most, waiting }) {
  if (!list.length) return empty("No process leases connections. Make engines with ", code("outrider.create_engine"), ", and ", code("outrider db pools"), " shows who has how many.");
  return table([
    { label: "Process", words: true, cell: (pool) => cut(pool.name, 60) },
    { label: "Open", num: true, cell: (pool) => format.count(pool.open) },
    { label: "May have", num: true, cell: (pool) => format.count(pool.cap) },
    { label: "Of the wall", cell: (pool) => bar(pool.open / (most || pool.cap || 1), pool.open >= pool.cap ? "warning" : "ok", `${pool.open} open, may have ${pool.cap}`) },
    { label: "Floor", num: true, cell: (pool) => format.count(pool.floor) },
    { label: "Share", num: true, cell: (pool) => format.number(pool.share) },
    { label: "Waiting", num: true, cell: (pool) => format.count(waiting[pool.name]?.waiting) },
    { label: "", cell: (pool) => (pool.lost ? badge("warning", "lost") : badge("ok", "there")) },
  ], list, { caption: "Connections by process" });
}

function showLocks({ blocked: list, error, queries }) {
  const long = queries?.long_transactions ?? [];
  return [
    error ? el("p", { class: "banner" }, error) : "",
    list.length ? table([
      { label: "Who waits", words: true, cell: (one) => el("span", {}, cut(one.who || "nameless", 40), el("small", {}, ` pid ${one.pid}`), el("small", { class: "more" }, statement(one.statement))) },
      { label: "For", num: true, cell: (one) => format.duration(one.for_s) },
      { label: "Holds it up", words: true, cell: (one) => el("span", {}, cut(one.by_who || "nameless", 40), el("small", {}, ` pid ${one.by_pid}, ${one.by_state}`), el("small", { class: "more" }, statement(one.by_statement))) },
      { label: "To free them", words: true, cell: (one) => el("code", { class: "sql" }, `SELECT pg_terminate_backend(${one.by_pid});`) },
    ], list, { caption: "Sessions that wait for a lock" }) : error ? "" : empty(badge("ok", "Nobody is blocked"), "."),
    long.length ? el("ul", { class: "words-list" }, ...long.map((words) => el("li", {}, cut(words, 300)))) : "",
  ];
}

function showSlow({ slow_statements: counted, queries }) {
  // What bots measured is among the top; a report from before that has the server's sums only.
  const list = queries?.top?.total?.length ? queries.top.total : counted;
  const slower = queries?.regressed ?? [];
  return [
    list.length ? table([
      { label: "Statement", words: true, cell: (one) => statement(one.text ?? one.statement ?? one.query ?? "") },
      { label: "Calls", num: true, cell: (one) => format.count(one.calls) },
      { label: "Total", num: true, cell: (one) => format.duration(one.total_s) },
      { label: "Mean", num: true, cell: (one) => format.duration(one.mean_s) },
      { label: "p99", num: true, cell: (one) => one.p99_s == null ? "" : format.duration(one.p99_s) },
      { label: "Rows", num: true, cell: (one) => format.count(one.rows) },
    ], list, { caption: "The dearest statements" }) : empty("No statement was seen: it takes pg_stat_statements, or engines of ", code("outrider.create_engine"), ". ", code("outrider db queries"), " says what is missing."),
    slower.length ? el("div", {}, el("h3", {}, "Slower than before"), table([
      { label: "Statement", words: true, cell: (one) => statement(one.text) },
      { label: "Times slower", num: true, cell: (one) => `${format.number(one.times_slower)}×` },
      { label: "Mean now", num: true, cell: (one) => format.duration(one.mean_s) },
      { label: "Calls", num: true, cell: (one) => format.count(one.calls) },
    ], slower, { caption: "Statements that became slower" })) : "",
  ];
}

function showIndexes(queries) {
  const [missing, idle, bloated] = [queries?.missing_indexes ?? [], queries?.idle_indexes ?? [], queries?.bloated ?? []];
  return [
    missing.length ? table([
      { label: "Missing", words: true, cell: (one) => el("code", { class: "sql" }, one.ddl) },
      { label: "Cheaper by", num: true, cell: (one) => `${format.number(one.gain)}×` },
      { label: "Size", num: true, cell: (one) => format.bytes(one.size_bytes) },
      { label: "How sure", cell: (one) => one.confidence },
    ], missing, { caption: "Indexes that would help" }) : "",
    idle.length ? table([
      { label: "Not needed", words: true, cell: (one) => el("code", { class: "sql" }, one.ddl) },
      { label: "Size", num: true, cell: (one) => format.bytes(one.bytes) },
      { label: "Why", words: true, cell: (one) => cut(one.reason, 200) },
    ], idle, { caption: "Indexes that nobody uses, or that are there twice" }) : "",
    bloated.length ? table([
      { label: "Table", words: true, cell: (one) => cut(`${one.schema}.${one.name}`, 80) },
      { label: "Dead rows", num: true, cell: (one) => format.count(one.dead) },
      { label: "Share", num: true, cell: (one) => format.percent(one.dead_ratio) },
    ], bloated, { caption: "Tables that need VACUUM" }) : "",
    missing.length || idle.length || bloated.length ? "" : empty("No index is missing, and none is idle, as far as the newest report knows. ", code("outrider db indexes"), " tries candidates on copies."),
  ];
}

function showAdvice({ advice: told, warnings }) {
  const list = told?.advice ?? told?.settings ?? [];
  const changes = told?.changes ?? [];
  return [
    told?.error ? el("p", { class: "banner" }, told.error) : "",
    ...warnings.map((one) => el("p", { class: "warned" }, badge("warning", one.text), one.remedy ? ` ${one.remedy}` : "")),
    list.length ? table([
      { label: "Setting", cell: (one) => code(one.name) },
      { label: "Now", cell: (one) => cut(one.now, 40) },
      { label: "Better", cell: (one) => cut(one.wanted, 40) },
      { label: "Why", words: true, cell: (one) => cut(one.reason ?? one.why, 240) },
      { label: "Takes", cell: (one) => one.how },
    ], list, { caption: "Advice on the server's settings" }) : "",
    changes.length ? table([
      { label: "At", cell: (one) => at(one.at_s) },
      { label: "Setting", cell: (one) => code(one.role ? `${one.role}: ${one.name}` : one.name) },
      { label: "Before", cell: (one) => cut(one.value_before, 40) },
      { label: "After", cell: (one) => cut(one.after, 40) },
      { label: "State", cell: (one) => one.state },
      { label: "By", cell: (one) => cut(one.by, 40) },
    ], changes, { caption: "What was changed" }) : "",
    list.length || changes.length || warnings.length || told?.error ? "" : empty("Nothing is advised. ", code("outrider db advise"), " asks the server anew."),
    changes.length ? el("p", { class: "help" }, link("/changes?kind=tuning", "All changes")) : "",
  ];
}

start("/api/database", { show(data) {
  const there = data.named || data.server || data.reported_at_s || data.charts.length;
  look.show(data, () => there ? wall(data) : empty("No database is named. Set ", code("[database] url"), " in ", code("outrider.toml"), ", then run ", code("outrider doctor"), "."));
  for (const one of [pools, blocked, over, slow, indexes, advice]) one.node.hidden = !there;
  if (!there) return;
  pools.show(data, showPools);
  blocked.show([data.blocked, data.error, data.queries], () => showLocks(data));
  over.node.hidden = !data.charts.length;
  drawn.show(data);
  slow.show([data.slow_statements, data.queries], () => showSlow(data));
  indexes.show(data.queries, showIndexes);
  advice.show([data.advice, data.warnings], () => showAdvice(data));
} });
