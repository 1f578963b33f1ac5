"""What the page of series asks: which there are, and one of them over a range.

Everything comes from an address line, so everything is checked: a mistake is answered with the
field's name and what it takes.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from outrider.errors import BadArgument
from outrider.metrics import catalog
from outrider.samples import is_counter
from outrider.store import keys, query
from outrider.web import recent, records

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from outrider.store.base import SeriesStore
    from outrider.store.query import Band
    from outrider.store.tiers import Tiers

    Floats = NDArray[np.float64]

MOST_LISTED = 300
MOST_POINTS = 2000
LONGEST_S = 400 * 86_400.0
LONGEST_NAME = 300
_DEFAULT_POINTS = 600
_DEFAULT_S = 3600.0


def listing(store: SeriesStore, asked: Mapping[str, str], now_s: float) -> dict[str, Any]:
    """Return the hosts, and the series of ``host`` in whose names all words of ``match`` occur.

    Those of the last half hour, or of its last row if it has been silent for longer. At most
    MOST_LISTED are listed; ``total`` says how many there are.

    Raises:
        BadArgument: no such host, or the search is too long.
    """
    hosts = _hosts(store)
    host = _host(asked, hosts) if asked.get("host") else next(iter(hosts), "")
    words = _text(asked, "match").lower().split()
    names, values = _readings(store, host, now_s) if host else ((), {})
    named = (name for name in sorted(names) if len(name) <= LONGEST_NAME)  # or nobody can ask
    found = [name for name in named if all(word in name.lower() for word in words)]
    return {
        "hosts": [{"key": each, "name": records.clean(each)} for each in hosts],
        "host": host,
        "total": len(found),
        "interval_s": store.interval_s,
        "series": [
            {"name": name, "now": _shown(values.get(name)), **_about(name)}
            for name in found[:MOST_LISTED]
        ],
    }


def over(tiers: Tiers, asked: Mapping[str, str], now_s: float) -> dict[str, Any]:
    """Return a series over a range; of a counter, how fast it grew. None where nothing is known.

    Raises:
        BadArgument: a field is missing or not what it takes.
    """
    host, name = _host(asked, _hosts(tiers.raw)), _text(asked, "series")
    if not name:
        raise BadArgument("series is missing; name one, such as series=host.cpu.used_ratio.")
    end_s = _number(asked, "end", now_s)
    start_s = _number(asked, "start", end_s - _DEFAULT_S)
    if not 0 < end_s - start_s <= LONGEST_S:
        raise BadArgument("start must lie before end, and at most 400 days; both are in seconds.")
    points = _number(asked, "points", _DEFAULT_POINTS)
    if not 2 <= points <= MOST_POINTS or points != int(points):  # noqa: PLR2004 - a line has two ends
        raise BadArgument(f"points = {points:g} must be a whole number from 2 to {MOST_POINTS}.")
    band = query.query(tiers, host, name, start_s, end_s, int(points))
    times_s, *columns = _with_gaps(band)
    low, high, mean, last = columns
    if is_counter(name):  # its last value is a total, and the page shows how fast it grows
        last = mean
    return {
        "host": host, "series": name, **_about(name),
        "start_s": start_s, "end_s": end_s, "step_s": band.step_s, "tier": band.tier,
        "times_s": times_s.tolist(),
        "low": _points(low), "high": _points(high), "mean": _points(mean), "last": _points(last),
        "least": _of(np.nanmin, low), "greatest": _of(np.nanmax, high),
        "average": _of(np.nanmean, mean),
        "newest": next((value for value in reversed(_points(last)) if value is not None), None),
    }  # fmt: skip


def _hosts(store: SeriesStore) -> list[str]:
    """Return the hosts by name, what belongs to none of them last."""
    return sorted(store.hosts(), key=lambda host: (host == keys.FLEET, host))


def _readings(
    store: SeriesStore, host: str, now_s: float
) -> tuple[tuple[str, ...], Mapping[str, float]]:
    seen = recent.read(store, host, now_s)
    if seen.window.names:
        newest = seen.window.values[-1].tolist()
        return seen.window.names, dict(zip(seen.window.names, newest, strict=True))
    row = store.last(host)
    return (tuple(row.values), row.values) if row else ((), {})


def _about(name: str) -> dict[str, Any]:
    """Return what the catalogue says of a series."""
    found = catalog.find(name)
    rate = is_counter(name)
    unit: str = found.metric.unit if found and found.metric.kind != "timing" else ""
    if not unit and (ends := re.search(r"(?<=_)(s|bytes|ratio)(_total)?$", name)):
        unit = ends[1]
    kind = found.metric.kind if found else ("counter" if rate else "gauge")
    return {"kind": kind, "unit": unit, "rate": rate, "help": found.metric.help if found else ""}


def _with_gaps(band: Band) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Return the band's columns with an empty step wherever steps are missing."""
    times_s = np.asarray(band.times_s, float)
    after = np.flatnonzero(np.diff(times_s) > 1.5 * band.step_s) + 1
    columns = (band.low, band.high, band.mean, band.last)
    low, high, mean, last = (np.insert(np.asarray(one, float), after, np.nan) for one in columns)
    return np.insert(times_s, after, times_s[after - 1] + band.step_s), low, high, mean, last


def _points(values: Floats) -> list[float | None]:
    return [_shown(value) for value in values.tolist()]


def _shown(value: float | None) -> float | None:
    """Return six digits of a value: more can't be seen."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def _of(reduce: Any, values: Floats) -> float | None:
    finite = values[np.isfinite(values)]
    return _shown(float(reduce(finite))) if len(finite) else None


def _host(asked: Mapping[str, str], hosts: list[str]) -> str:
    host = _text(asked, "host")
    if host not in hosts:
        known = ", ".join(records.clean(each) for each in hosts[:20]) or "none yet"
        raise BadArgument(f"host = {records.clean(host)!r} has no rows; known are: {known}.")
    return host


def _text(asked: Mapping[str, str], field: str) -> str:
    text = asked.get(field, "")
    if len(text) > LONGEST_NAME:
        raise BadArgument(f"{field} has {len(text)} letters; {LONGEST_NAME} are allowed.")
    return text


def _number(asked: Mapping[str, str], field: str, default: float) -> float:
    text = asked.get(field, "")
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadArgument(f"{field} = {records.clean(text)[:40]!r} must be a number.")
    return number
