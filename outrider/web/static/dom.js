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

// Names of series are what they are asked for by, so they come as they are: shown, they steer nothing.
const UNSHOWN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

// A dotted name that may break after its dots and underscores, and nowhere else while it fits.
export const breakable = (name) =>
  name.replace(UNSHOWN, "\ufffd").split(/(?<=[._])/).flatMap((part, place) => (place ? [document.createElement("wbr"), part] : [part]));

// Words with `code` in them.
export const marked = (words) =>
  words.split("`").map((part, place) => (place % 2 ? el("code", {}, part) : part));
