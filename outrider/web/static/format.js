// Numbers and times as people read them. Whatever is missing is an en dash, never a nought.

export const NONE = "–";
const NB = "\u00a0"; // a number and its unit stay on one line

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const dated = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const there = (value) => typeof value === "number" && Number.isFinite(value);

export function time(atS) {
  const at = new Date(atS * 1000);
  if (Number.isNaN(at.getTime())) return NONE;
  if (at.toDateString() !== new Date().toDateString()) return dated.format(at);
  return clock.format(at);
}

export function utc(atS) {
  const at = new Date(atS * 1000);
  return Number.isNaN(at.getTime()) ? "" : at.toISOString().replace("T", " ").slice(0, 19) + " UTC";
}

export function duration(value) {
  if (!there(value)) return NONE;
  if (value > 0 && value < 0.001) return `${(value * 1e6).toFixed(0)}${NB}µs`;
  if (value < 1) return `${digits(value * 1000)}${NB}ms`;
  if (value < 60) return `${value < 10 ? digits(value) : Math.floor(value)}${NB}s`;
  for (const [size, unit, sub, lower] of [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]]) {
    if (value >= size) {
      const rest = Math.floor((value % size) / sub);
      return `${Math.floor(value / size)}${NB}${unit}${rest ? `${NB}${rest}${NB}${lower}` : ""}`;
    }
  }
  return NONE;
}

export function bytes(value) {
  if (!there(value)) return NONE;
  let size = value;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (Math.abs(size) < 1024) return `${unit === "B" ? size.toFixed(0) : digits(size)}${NB}${unit}`;
    size /= 1024;
  }
  return `${digits(size)}${NB}TiB`;
}

export const percent = (value) => (there(value) ? `${digits(value * 100)}${NB}%` : NONE);
export const number = (value) => (there(value) ? digits(value) : NONE);
export const count = (value) => (there(value) ? Math.round(value).toLocaleString("en-US") : NONE);
export const perSecond = (value) => (there(value) ? `${bytes(value)}/s` : NONE);

// A series names its unit at the end.
export function bySeries(name, value) {
  if (name.endsWith("_bytes")) return bytes(value);
  if (name.endsWith("_s")) return duration(value);
  if (name.endsWith("_ratio")) return percent(value);
  return number(value);
}

function digits(value) {
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  if (size >= 100) return value.toFixed(0);
  return String(Number(value.toFixed(size >= 10 ? 1 : 2)));
}
