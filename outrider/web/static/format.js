// Numbers and times as people read them. Whatever is missing is an en dash, never a nought.

export const NONE = "–";
const NB = "\u00a0"; // a number and its unit stay on one line

// Times are those of the reader's own clock, or of UTC; the choice stands in the browser and, where a
// view was sent to somebody, in its address as `tz`.
const STORED = "outrider.zone";
const asked = new URLSearchParams(location.search).get("tz") ?? localStorage.getItem(STORED);
let zone = asked === "utc" ? "UTC" : undefined;
let clock, dated, day;
makeClocks();

function makeClocks() {
  const made = (parts) => new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...parts });
  const [hm, dm] = [{ hour: "2-digit", minute: "2-digit" }, { day: "numeric", month: "short" }];
  [clock, dated, day] = [made(hm), made({ ...dm, ...hm }), made(dm)];
}

export const isUtc = () => zone === "UTC";

export function setUtc(on) {
  zone = on ? "UTC" : undefined;
  localStorage.setItem(STORED, on ? "utc" : "local");
  makeClocks();
  dispatchEvent(new Event("zone"));
}

const there = (value) => typeof value === "number" && Number.isFinite(value);

export const clockTime = (atS) => clock.format(new Date(atS * 1000));
export const dayOf = (atS) => day.format(new Date(atS * 1000));

export function time(atS) {
  const at = new Date(atS * 1000);
  if (!there(atS) || Number.isNaN(at.getTime())) return NONE;
  return day.format(at) === day.format(new Date()) ? clock.format(at) : dated.format(at);
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
