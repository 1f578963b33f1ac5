// What the analysis says of each host, with pictures: asked once a minute while somebody looks.
// Shapes come as data; only these tags and attributes become nodes, and texts stay texts.

import { $, breakable, el, text } from "./dom.js";
import * as format from "./format.js";
import { at } from "./root.js";

const SVG = "http://www.w3.org/2000/svg";
const EVERY_MS = 60_000;
const TAGS = ["path", "line", "text"];
const ATTRIBUTES = ["d", "x", "y", "x1", "x2", "y1", "y2", "text-anchor"];

let askedAt = -Infinity;

function node(shape) {
  if (!TAGS.includes(shape.tag)) return null;
  const made = document.createElementNS(SVG, shape.tag);
  made.setAttribute("class", shape.kind);
  for (const [name, value] of Object.entries(shape.attributes)) {
    if (ATTRIBUTES.includes(name)) made.setAttribute(name, value);
  }
  made.textContent = shape.text;
  return made;
}

function picture(drawn, said) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "plot");
  svg.setAttribute("viewBox", `0 0 ${said.width} ${said.height}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", drawn.title);
  svg.append(...drawn.shapes.map(node).filter(Boolean));
  return el("figure", { class: "panel drawn" }, el("h3", {}, ...breakable(drawn.series)),
    el("figcaption", {}, drawn.title), svg);
}

function table(found) {
  return el("section", { class: "panel table" }, el("h3", {}, found.title),
    el("table", {}, el("thead", {}, el("tr", {}, ...found.columns.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...found.rows.map((row) => el("tr", {}, ...row.map((cell, place) =>
        el("td", { class: "words", "data-label": found.columns[place] }, cell)))))));
}

async function ask(host) {
  const answer = await fetch(at(`/api/analysis?${new URLSearchParams({ host })}`));
  return answer.ok ? answer.json() : null;
}

export async function refresh(hosts) {
  if (performance.now() - askedAt < EVERY_MS || document.hidden) return;
  askedAt = performance.now();
  try {
    const said = (await Promise.all(hosts.filter((host) => host.at_s).slice(0, 4).map((host) => ask(host.key)))).filter(Boolean);
    $("analysis-section").hidden = !said.some((one) => one.pictures.length || one.tables.length);
    text($("analysis-of"), said.filter((one) => one.at_s).map((one) => `${one.host}, last 3 hours, at ${format.time(one.at_s)}`).join(" · "));
    $("analysis-pictures").replaceChildren(...said.flatMap((one) => one.pictures.map((drawn) => picture(drawn, one))));
    $("analysis-tables").replaceChildren(...said.flatMap((one) => one.tables.map(table)));
  } catch {
    askedAt = -Infinity; // away: the banner says so, and the next frame asks again
  }
}
