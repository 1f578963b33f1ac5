"""The last day of every bot in steps of a quarter of an hour: a strip that shows when it was away.

Made of the five-minute roll-ups, with raw rows for what is not rolled up yet, and of the history of
alerts. One answer holds all bots, one letter a step, and is made once a minute at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from outrider.alerts import journal, labels
from outrider.store import query
from outrider.web import records
from outrider.web.pages.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from outrider.store.tiers import Tiers
    from outrider.web.source import Source

STEP_S = 900.0
STEPS = 96
# Two hundred bots are asked in a second or so; of more, those that the page shows first.
MOST_BOTS = 200
MOST_CHANGES = 2_000
UP, DEGRADED, DOWN, NOTHING = "u", "a", "d", "-"
# Without a process for longer than this share of a step it was down; for less, a restart.
_DOWN_RATIO = 0.1


def shown(source: Source, asked: Mapping[str, str]) -> dict[str, Any]:
    """Return ``steps`` of each bot as ``host`` and ``name``; ``left_out`` counts the others."""
    del asked
    now_s = source.clock.now()
    start_s = (now_s // STEP_S + 1 - STEPS) * STEP_S
    bots, parts = _bots(source), Parts()
    history = parts.many("the history of alerts", journal.history, source.client, MOST_CHANGES)
    fired = parts.one("the history of alerts", alerting, history, start_s, now_s) or {}
    return {
        "start_s": start_s,
        "step_s": STEP_S,
        "left_out": max(0, len(bots) - MOST_BOTS),
        "ribbons": [
            {
                "host_key": host,
                "name": name,
                "steps": strip(
                    *_up(source.tiers, host, name, start_s, now_s), start_s,
                    fired.get((host, name), ()),
                ),
            }
            for host, name in bots[:MOST_BOTS]
        ],
        "notices": parts.notices,
    }  # fmt: skip


def strip(
    times_s: Sequence[float],
    up: Sequence[float],
    start_s: float,
    fired: Iterable[tuple[float, float]],
) -> str:
    """Return a letter for each step from means of ``up``, and the spans in which alerts fired.

    Down is a bot that had no process for a tenth of the step; one that had none for less, or about
    which an alert fired, was degraded; where nothing was measured there is no state.

    >>> strip([0.0, 300.0, 900.0, 2700.0], [1.0, 1.0, 0.5, 1.0], 0.0, [(2800.0, 2900.0)])[:5]
    'ud-a-'
    """
    place = ((np.asarray(times_s, float) - start_s) // STEP_S).astype(int)
    values = np.asarray(up, float)
    kept = (place >= 0) & (place < STEPS) & np.isfinite(values)
    place, values = place[kept], values[kept]
    count = np.bincount(place, minlength=STEPS)
    away = 1 - np.bincount(place, values, STEPS) / np.maximum(count, 1)
    letters = np.where(away > _DOWN_RATIO, DOWN, np.where(away > 0, DEGRADED, UP))
    letters[count == 0] = NOTHING
    for from_s, to_s in fired:
        first, last = int((from_s - start_s) // STEP_S), int((to_s - start_s) // STEP_S)
        part = letters[max(0, first) : max(0, last + 1)]
        part[part == UP] = DEGRADED
    return "".join(letters.tolist())


def alerting(
    history: Iterable[Mapping[str, Any]], start_s: float, now_s: float
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Return the spans in which alerts of a host and bot fired; ``history`` is newest first."""
    ended: dict[str, float] = {}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for change in history:
        if change["severity"] == "info":
            continue
        key, at_s = labels.key(change), float(change["at_s"])
        if change["to"] == "firing":
            bot = labels.of(change).get("bot", "")
            to_s = ended.get(key, now_s)
            if bot and to_s > start_s:
                found.setdefault((str(change["host"]), bot), []).append((at_s, to_s))
        ended[key] = at_s
    return found


def _bots(source: Source) -> list[tuple[str, str]]:
    """Return host and name of every bot that was heard of in the last row, or that is declared."""
    found: set[tuple[str, str]] = set()
    for host in source.store.hosts():
        row = source.store.last(host)
        for series in row.values if row else ():
            if series.startswith("bot.") and series.endswith(".up"):
                found.add((host, series.removeprefix("bot.").removesuffix(".up")))
    beats = records.heartbeats(source.client)
    words = records.read(source.client, sorted(beats), beats).bots
    found |= {(host, word.name) for host, said in words.items() for word in said}
    return sorted(found)


def _up(
    tiers: Tiers, host: str, name: str, start_s: float, end_s: float
) -> tuple[Sequence[float], Sequence[float]]:
    band = query.query(tiers, host, f"bot.{name}.up", start_s, end_s, 3 * STEPS)
    return band.times_s.tolist(), band.mean.tolist()
