// uPlot, set up twice: a chart with axes for hosts, a band for series over any time. Gaps stay gaps.

import { clockTime, dayOf } from "./format.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const FONT = "11px system-ui, sans-serif";
const all = new Set();

// A reading between two gaps has no line to lie on; it is drawn as a dot.
function alone(plot, index) {
  const values = plot.data[index];
  return values.flatMap((value, at) =>
    value != null && values[at - 1] == null && values[at + 1] == null ? [at] : []);
}

// Only a line that starts at nought is filled: the area would lie otherwise.
const line = (width, dot, bare = false) => ({
  stroke: () => css("--chart"), fill: bare ? null : () => css("--fill"), width, spanGaps: false,
  points: { show: true, size: dot, filter: alone, fill: () => css("--chart") },
});

export function range(from, least) {
  return (_plot, low, high) => {
    if (low == null) return [0, 1];
    if (from === "zero") return [0, Math.max(least, high * 1.08)];
    const room = Math.max((high - low) * 0.15, high * 0.02, 1e-9);
    return [Math.max(0, low - room), high + room];
  };
}

export function chart(box, { yRange, tick, onCursor }) {
  const plot = new uPlot({
    width: Math.max(120, box.clientWidth), height: box.clientHeight || 92, padding: [6, 16, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, sync: { key: "hosts" }, points: { size: 7 } },
    scales: { x: { time: true }, y: { range: yRange } },
    series: [{}, line(1.5, 4)],
    axes: [
      { size: 22, gap: 7, font: FONT, space: 58, stroke: () => css("--muted"),
        values: (_plot, splits) => splits.map(clockTime),
        grid: { show: false }, ticks: { show: false } },
      { size: 34, gap: 4, font: FONT, space: 26, stroke: () => css("--muted"),
        values: (_plot, splits) => splits.map(tick),
        grid: { stroke: () => css("--grid"), width: 1 }, ticks: { show: false } },
    ],
    hooks: { setCursor: [(u) => onCursor(u.cursor.idx == null ? null : {
      at: u.data[0][u.cursor.idx], value: u.data[1][u.cursor.idx] })] },
  }, [[0], [null]], box);
  new ResizeObserver(() => {
    if (box.clientWidth) plot.setSize({ width: box.clientWidth, height: box.clientHeight });
  }).observe(box);
  return keep({ box, plot, last: "" }, ({ end, step, values }) =>
    [values.map((_, at) => end - (values.length - at) * step), values]);
}

// A line of means in the band from the least to the greatest, so that no spike hides in a mean.
export function band(box, { tick, onCursor, onZoom, onReset, marks = () => [] }) {
  const edge = { width: 1, stroke: () => css("--band"), points: { show: false }, spanGaps: false };
  const plot = new uPlot({
    width: Math.max(120, box.clientWidth), height: box.clientHeight || 180, padding: [8, 18, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: true, y: false, setScale: false }, sync: { key: "series" }, points: { size: 6 } },
    scales: { x: { time: true, range: (u, low, high) => u.wanted ?? [low, high] }, y: { range: near } },
    series: [{}, edge, edge, { ...line(1.5, 4, true) }],
    bands: [{ series: [1, 2], fill: () => css("--band") }],
    axes: [
      { size: 24, gap: 7, font: FONT, space: 74, stroke: () => css("--muted"),
        values: (_plot, splits, _axis, _space, step) => splits.map((at) => (step >= 86400 || clockTime(at) === "00:00" ? dayOf(at) : clockTime(at))),
        grid: { show: false }, ticks: { show: false } },
      { size: 66, gap: 4, font: FONT, space: 30, stroke: () => css("--muted"),
        values: (_plot, splits) => splits.map(tick),
        grid: { stroke: () => css("--grid"), width: 1 }, ticks: { show: false } },
    ],
    hooks: {
      draw: [(u) => drawMarks(u, marks())],
      setCursor: [(u) => onCursor(u.cursor.idx, u.cursor.left >= 0 ? u.posToVal(u.cursor.left, "x") : null)],
      setSelect: [(u) => {
        if (u.select.width > 8) onZoom(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      }],
    },
  }, [[0], [null], [null], [null]], box);
  box.addEventListener("dblclick", onReset);
  const resized = new ResizeObserver(() => {
    if (box.clientWidth) plot.setSize({ width: box.clientWidth, height: box.clientHeight });
  });
  resized.observe(box);
  const held = keep({ box, plot, last: "" }, ({ times_s, low, high, mean, start_s, end_s }) => {
    plot.wanted = [start_s, end_s];
    return times_s.length ? [times_s, high, low, mean] : [[start_s], [null], [null], [null]];
  });
  return { show: held.show, redraw: () => plot.redraw(false, true), remove() { resized.disconnect(); held.remove(); } };
}

// What was changed, as dashed lines with a foot: where a curve bends just there, that is the cause.
function drawMarks(u, marks) {
  const { ctx, bbox } = u;
  const one = devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = css("--mark");
  ctx.lineWidth = one;
  for (const mark of marks) {
    if (mark.at_s < u.scales.x.min || mark.at_s > u.scales.x.max) continue;
    const x = Math.round(u.valToPos(mark.at_s, "x", true)) + 0.5;
    ctx.setLineDash([3 * one, 3 * one]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.beginPath();
    ctx.moveTo(x - 4 * one, bbox.top);
    ctx.lineTo(x + 4 * one, bbox.top);
    ctx.lineTo(x, bbox.top + 6 * one);
    ctx.fill();
  }
  ctx.restore();
}

function near(_plot, low, high) {
  if (low == null) return [0, 1];
  if (low === high) return low === 0 ? [0, 1] : [Math.min(0, low * 1.1), Math.max(0, high * 1.1)];
  const room = (high - low) * 0.08;
  // From nought where that shows the shape as well.
  return [low >= 0 && low < high * 0.6 ? 0 : low - room, high + room];
}

function keep(held, columns) {
  all.add(held);
  return {
    show(data) {
      const now = JSON.stringify(data);
      if (now === held.last) return;
      held.last = now;
      held.plot.setData(columns(data));
    },
    remove() { all.delete(held); held.plot.destroy(); },
  };
}

addEventListener("zone", () => { for (const { plot } of all) plot.redraw(false, true); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const { plot } of all) plot.redraw(false, true);
});
