// What a page shows stands in its address: it can be sent to somebody, and comes back with the
// browser's own buttons.

import { at } from "./root.js";

export const given = () => new URLSearchParams(location.search);
export const get = (name) => given().get(name) ?? "";

// Nothing, null and "" take a field away; a list stands as often as it is long.
export function set(fields, { quietly = false } = {}) {
  const next = given();
  for (const [name, value] of Object.entries(fields)) {
    if (Array.isArray(value)) { next.delete(name); for (const one of value) next.append(name, one); }
    else if (value == null || value === "") next.delete(name);
    else next.set(name, value);
  }
  const search = String(next);
  history[quietly ? "replaceState" : "pushState"](null, "", search ? `${location.pathname}?${search}` : location.pathname);
}

export const link = (path, fields) => {
  const told = Object.entries(fields).filter(([, value]) => value != null && value !== "");
  return at(told.length ? `${path}?${new URLSearchParams(told)}` : path);
};

export const botLink = (host, name) => link("/bot", { host, name });
export const hostLink = (name) => link("/host", { name });
export const seriesLink = (host, series) => link("/series", { host, match: series, s: series });
