// What both pages build nodes with. Everything from outside goes in as text, never as markup.

import { at } from "./root.js";

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, name === "href" ? at(value) : value);
  made.append(...children);
  return made;
}

export function text(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

// A dotted name that may break after its dots and underscores, and nowhere else while it fits.
export const breakable = (name) =>
  name.split(/(?<=[._])/).flatMap((part, place) => (place ? [document.createElement("wbr"), part] : [part]));

// Words with `code` in them.
export const marked = (words) =>
  words.split("`").map((part, place) => (place % 2 ? el("code", {}, part) : part));
