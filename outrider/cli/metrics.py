"""``outrider metrics``: which series there are, how they went, and how to take them elsewhere."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from outrider.cli import here, moment
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from outrider.samples import Window
    from outrider.settings import Settings
    from outrider.store.query import Band
    from outrider.store.sketches import SketchStore
    from outrider.store.tiers import Tiers

HOUR_S = 3600.0
QUANTILES = (0.5, 0.95, 0.99)
_SPARK = 30
_HEIGHT = 8
_NAMED = 8  # known names that an error lists
_PARTS = (".count", ".sum_s", ".max_s", ".p50_s", ".p95_s", ".p99_s")


@dataclass(frozen=True, slots=True)
class _Kept:
    settings: Settings
    stores: Tiers
    sketches: SketchStore


# Names are longer than this only where labels are folded into them.
_LONG_NAME = 48
# What is piped is for grep, which needs whole lines.
_PIPED_WIDTH = 250


@click.group()
def metrics() -> None:
    """List, show and export what was measured.

    A series is named by a dotted path, its unit at the end: host.cpu.used_ratio,
    bot.canary.rss_bytes. What only grows ends in _total (or is .count or .sum_s of a timing) and is
    shown as a rate. A PATTERN has * for anything: 'bot.*.rss_bytes'. Quote it.
    """


@metrics.command("list")
@click.argument("pattern", default="*")
@click.option("--host", help="only this host's; all by default")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def list_(pattern: str, host: str | None, as_json: bool) -> None:
    """List series: kind, newest value, and how the last hour went (a counter: its rate).

    \b
    Examples:
      outrider metrics list
      outrider metrics list 'bot.canary.*'
      outrider metrics list '*_bytes' --host alpha
    """
    from outrider.cli import plot, terminal

    kept = _opened()
    now_s = time.time()
    found = [
        entry for name in _hosts(kept, host) for entry in _listed(kept.stores, name, pattern, now_s)
    ]
    if not found:
        raise _no_series(kept, pattern, host)
    if as_json:
        click.echo(json.dumps([_plain(entry) for entry in found], indent=2))
        return
    rows = [
        (
            entry["series"], entry["host"], entry["kind"],
            plot.number(entry["series"], entry["last"]), plot.sparkline(entry["hour"]),
        )
        for entry in found
    ]  # fmt: skip
    table = terminal.table("", ("series", "host", "kind", "last", "last hour"), rows)
    table.columns[0].overflow = "fold"  # half a name is no name
    table.columns[0].min_width = min(_LONG_NAME, max(len(entry["series"]) for entry in found))
    table.columns[-1].no_wrap = True
    table.columns[-1].overflow = "crop"
    terminal.console.print(table, width=None if terminal.console.is_terminal else _PIPED_WIDTH)


@metrics.command()
@click.argument("series")
@click.option("--host", help="only this host's; every host that has it by default")
@click.option("--since", default="24h", show_default=True, help="how long back, or a time")
@click.option("--until", default="now", show_default=True, help="how long back, or a time")
@click.option("--points", type=click.IntRange(2, 10_000), help="as many as fit the terminal")
@click.option("--json", "as_json", is_flag=True, help="print JSON: the points themselves")
def show(
    series: str, *, host: str | None, since: str, until: str, points: int | None, as_json: bool
) -> None:
    """Draw SERIES over time, least to greatest as a band, and its numbers.

    Read from raw samples, five minutes or hours, whichever fits: a spike shows in all of them.
    For a timing (bot.canary.handle, or any part of it) with the quantiles of all calls. A time is
    written like 36h, 7d, 2026-11-24T10:00 or 1790000000.

    \b
    Examples:
      outrider metrics show host.cpu.used_ratio
      outrider metrics show bot.canary.updates_total --since 30d
      outrider metrics show bot.canary.handle.count --since 2026-11-24T10:00 --until 2h
    """
    from outrider.cli import terminal
    from outrider.store.query import query

    kept = _opened()
    start_s, end_s = moment.span(since, until, time.time())
    wide = points or max(10, min(terminal.console.width - 14, 120))
    shown = []
    for name in _hosts(kept, host):
        for read in (series, f"{series}.count"):  # a timing named as a whole: how often it ran
            band = query(kept.stores, name, read, start_s, end_s, wide)
            if len(band.times_s):
                break
        if len(band.times_s):
            shown.append((name, read, band, _quantiles(kept, name, series, start_s, end_s)))
    if not shown:
        raise _no_series(kept, series, host, f" between {since} and {until}")
    if as_json:
        click.echo(json.dumps([_points(*each) for each in shown], indent=2))
        return
    for name, read, band, of_timing in shown:
        _draw(name, read, band, of_timing, span_s=(start_s, end_s), wide=wide)


@metrics.command()
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
@click.option("--format", "form", type=click.Choice(["csv", "json", "parquet"]), help="by FILE")
@click.option("--out", default="-", show_default=True, metavar="FILE", help="- is standard output")
@click.option("--host", help="only this host's; all by default")
@click.option("--since", default="24h", show_default=True, help="how long back, or a time")
@click.option("--until", default="now", show_default=True, help="how long back, or a time")
@click.option(
    "--step",
    default="auto",
    show_default=True,
    type=click.Choice(["raw", "5m", "1h", "auto"]),
    help="auto: the finest that goes back that far",
)
def export(
    patterns: tuple[str, ...],
    *,
    form: str | None,
    out: str,
    host: str | None,
    since: str,
    until: str,
    step: str,
) -> None:
    """Write all samples of the series that match, one record each.

    Raw records have a value; those of 5m and 1h have min, max, mean, count and last, and counters
    increase and rate_per_s. Buckets of the last half hour are left out: they may still change.
    Times are given twice, as ISO 8601 in UTC and in seconds since 1970. In JSON, NaN is null. The
    file appears when it is complete; Ctrl-C leaves none.

    \b
    Examples:
      outrider metrics export 'bot.*.rss_bytes' --out memory.csv
      outrider metrics export '*' --since 30d --step 5m --out fleet.parquet
      outrider metrics export 'host.cpu.*' --format json | jq '.[0]'
    """
    from outrider.cli import export as records

    kept = _opened()
    now_s = time.time()
    start_s, end_s = moment.span(since, until, now_s)
    chosen = records.Selection(
        patterns, tuple(_hosts(kept, host)), start_s, end_s,
        _step(kept.settings, start_s, now_s) if step == "auto" else step, now_s,
    )  # fmt: skip
    ending = out.rpartition(".")[2].lower()
    form = form or (ending if ending in records.FORMATS else "csv")
    with records.opened(out, form, chosen.columns) as writer:
        written = _write(kept.stores, chosen, writer)
        if not written:
            raise _no_series(
                kept,
                " ".join(patterns),
                host,
                f" between {since} and {until} at step {chosen.step}",
            )
    click.echo(f"{written:,} records of step {chosen.step} -> {out}", err=True)


def _write(stores: Tiers, chosen: Any, writer: Any) -> int:
    """Write block by block, showing how far it is when somebody watches."""
    from rich.console import Console
    from rich.progress import Progress

    from outrider.cli import export as records

    blocks = list(chosen.blocks())
    written = 0
    watched = Console(stderr=True)
    with Progress(console=watched, transient=True, disable=not sys.stderr.isatty()) as progress:
        for block in progress.track(blocks, description="exporting"):
            part = records.records(stores, chosen, block)
            writer.write(part)
            written += len(part)
    return written


def _opened() -> _Kept:
    from outrider.store import tiers
    from outrider.store.redis import RedisStore
    from outrider.store.sketches import SketchStore

    settings, client, _ = here.opened()
    kept = settings.retention
    raw = RedisStore("", interval_s=settings.interval_s, retention_s=kept.raw, client=client)
    sketches = SketchStore(client, interval_s=settings.interval_s, retention=kept)
    return _Kept(settings, tiers.of_redis(raw, kept, client=client), sketches)


def _hosts(kept: _Kept, host: str | None) -> list[str]:
    """Return the hosts that are meant."""
    from outrider.cli import terminal
    from outrider.store import upkeep

    known = upkeep.hosts(kept.stores)
    if host is None:
        return known
    if host not in known:
        raise BadArgument(
            f"--host {host}: no such host has series; known: "
            f"{terminal.safe(', '.join(known)) or 'none yet'}."
        )
    return [host]


def _listed(stores: Tiers, host: str, pattern: str, now_s: float) -> Iterable[dict[str, Any]]:
    from fnmatch import fnmatchcase

    from outrider.samples import is_counter

    window = stores.raw.window(host, now_s - HOUR_S, now_s + HOUR_S)
    newest = _newest(stores, host)
    for series in sorted({*window.names, *newest}):
        if fnmatchcase(series, pattern):
            counter = is_counter(series)
            yield {
                "series": series,
                "host": host,
                "kind": "counter" if counter else "gauge",
                "last": newest[series] if series in newest else _last_in(window, series),
                "hour": _hour(window, series, now_s, counter=counter),
            }


def _newest(stores: Tiers, host: str) -> dict[str, float]:
    """Return the newest value of each series, of a silent host from its roll-ups."""
    from outrider.store import aggregates

    if row := stores.raw.last(host):
        return row.values
    for store in (stores.five_minutes, stores.hours):
        if row := store.last(host):
            names = aggregates.series_of(row.values)
            return {name: row.values[name + aggregates.LAST] for name in names}
    return {}


def _last_in(window: Window, series: str) -> float:
    import numpy as np

    column = window.column(series)
    there = column[~np.isnan(column)]
    return float(there[-1]) if len(there) else math.nan


def _hour(window: Window, series: str, now_s: float, *, counter: bool) -> list[float]:
    """Return the last hour in equal parts: means, or of a counter the growth in each."""
    import numpy as np

    if series not in window.names:
        return []
    column = window.column(series)
    there = np.isfinite(column)
    times, values = window.times_s[there], column[there]
    if counter:
        steps = np.diff(values)
        times, values = times[1:], np.where(steps < 0, values[1:], steps)
    edges = np.linspace(now_s - HOUR_S, now_s, _SPARK + 1)
    counts, _ = np.histogram(times, edges)
    sums, _ = np.histogram(times, edges, weights=values)
    with np.errstate(invalid="ignore"):
        parts: NDArray[np.float64] = np.where(counts, sums if counter else sums / counts, np.nan)
    made: list[float] = parts.tolist()
    return made


def _timing_of(series: str) -> str:
    return next((series.removesuffix(part) for part in _PARTS if series.endswith(part)), series)


def _quantiles(
    kept: _Kept, host: str, series: str, start_s: float, end_s: float
) -> dict[str, float]:
    from outrider import sketch

    merged = kept.sketches.merged(host, _timing_of(series), start_s, end_s)
    if not merged:
        return {}
    values = sketch.quantiles(merged, QUANTILES)
    return {f"p{100 * q:.0f}_s": value for q, value in zip(QUANTILES, values, strict=True)}


def _draw(
    host: str,
    series: str,
    band: Band,
    of_timing: dict[str, float],
    *,
    span_s: tuple[float, float],
    wide: int,
) -> None:
    from outrider.cli import plot, terminal
    from outrider.samples import is_counter

    say, rate = terminal.console.print, is_counter(series)

    def shown(value: float) -> str:
        return plot.number(series, value, rate=rate)

    numbers = _numbers(band)
    what = "rate" if rate else "value"
    say(terminal.safe(f"{series}  {host}  ({what}, tier {band.tier})"), style="bold", markup=False)
    width = min(wide, max(10, terminal.console.width - 14))
    lines = plot.chart(band, *span_s, width=width, height=_HEIGHT)
    for line in plot.labelled(lines, shown(numbers["min"]), shown(numbers["max"])):
        say(line, markup=False)
    say(f"{plot.moment(span_s[0])} .. {plot.moment(span_s[1])}", style="dim")
    said = [f"{name} {shown(numbers[name])}" for name in ("min", "mean", "max")]
    said.append(f"last {plot.number(series, float(band.last[-1]))}")
    said += [f"{name.removesuffix('_s')} {plot.duration(v)}" for name, v in of_timing.items()]
    say("   ".join(said), markup=False)
    say()


def _numbers(band: Band) -> dict[str, float]:
    import numpy as np

    with np.errstate(invalid="ignore"):
        return {
            "min": float(band.low.min()),
            "mean": float(band.mean.mean()),
            "max": float(band.high.max()),
        }


def _points(host: str, series: str, band: Band, of_timing: dict[str, float]) -> dict[str, Any]:
    columns = {
        name: [_json(value) for value in getattr(band, name).tolist()]
        for name in ("times_s", "low", "high", "mean", "last")
    }
    made = {"host": host, "series": series, "tier": band.tier, "step_s": band.step_s}
    return {**made, **columns, **({"quantiles": of_timing} if of_timing else {})}


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        **entry, "last": _json(entry["last"]), "hour": [_json(value) for value in entry["hour"]]
    }  # fmt: skip


def _json(value: float) -> float | None:
    """Return a number as JSON has it: NaN and infinities are null."""
    return value if math.isfinite(value) else None


def _no_series(kept: _Kept, asked: str, host: str | None, when: str = "") -> BadArgument:
    import difflib

    from outrider.cli import terminal

    known = sorted({name for each in _hosts(kept, host) for name in _newest(kept.stores, each)})
    near = difflib.get_close_matches(asked, known, n=_NAMED, cutoff=0.5)
    areas = sorted({f"{name.split('.')[0]}.*" for name in known})
    hint = f"near: {', '.join(near)}" if near else f"known: {', '.join(areas) or 'none yet'}"
    hint = terminal.safe(hint)  # names from outside, on their way to a terminal
    return BadArgument(f"no series {asked!r}{when}; {hint} (`outrider metrics list`).")


def _step(settings: Settings, start_s: float, now_s: float) -> str:
    """Return the finest step that is kept for as long as asked."""
    kept = settings.retention
    back_s = now_s - start_s
    return "raw" if back_s <= kept.raw else "5m" if back_s <= kept.five_minutes else "1h"
