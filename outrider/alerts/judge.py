"""Judges the rows of a host that no one has judged yet, in order, and keeps the outcome.

A message may come twice, late, or not at all, and workers may be two. So a message says only up to
which tick to judge: every stored row after the last that was judged is judged, each once. The
outcome is kept only when it was made of the alerts that are kept; else it is made anew.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from outrider.alerts import frame, journal
from outrider.clock import tick_at, tick_start
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from outrider.alerts.engine import Engine
    from outrider.alerts.expression import SignalKind
    from outrider.alerts.frame import Frame, Signals
    from outrider.alerts.state import Transition
    from outrider.store.base import SeriesStore

# What lies longer ago than this is no longer worth an alarm; a worker that was away goes on here.
CATCH_UP_S = 600.0
# An analysis of another tick than this many before says nothing of a row.
FRESH_TICKS = 3
_TRIES = 5


def judge(
    client: redis.Redis, store: SeriesStore, engine: Engine, host: str, tick: int
) -> tuple[list[Transition], bool]:
    """Judge a host's rows up to a tick. Return what changed, and whether anything was new."""
    for _ in range(_TRIES):
        last_tick, alerts = journal.load(client, host)
        if last_tick >= tick:
            break
        changes: list[Transition] = []
        newest = -1
        for newest, row in unjudged(client, store, engine, host, tick=tick, last_tick=last_tick):
            alerts, more = engine.evaluate(alerts, row, host=host, tick=newest)
            changes += more
        if newest < 0:
            break
        if journal.commit(client, host, newest, alerts.values(), changes, after_tick=last_tick):
            return changes, True
    return [], False


def unjudged(
    client: redis.Redis, store: SeriesStore, engine: Engine, host: str, *, tick: int, last_tick: int
) -> Iterator[tuple[int, Frame]]:
    """Yield the rows after ``last_tick`` up to ``tick``, with what was before each."""
    interval_s = store.interval_s
    at_s = tick_start(tick, interval_s)
    from_s = max(tick_start(last_tick + 1, interval_s), at_s - CATCH_UP_S)
    reach_s = max(engine.reach_s, interval_s)
    half_s = interval_s / 2
    window = store.window(host, from_s - reach_s - half_s, at_s + half_s)
    signals = _signals(client, host, at_s, interval_s)
    for at, time_s in enumerate(window.times_s.tolist()):
        if time_s >= from_s - half_s:
            yield (
                tick_at(time_s + half_s, interval_s),
                frame.Frame(
                    window, at, interval_s,
                    lambda series, start_s, end_s: store.read(host, series, start_s, end_s),
                    signals,
                ),
            )  # fmt: skip


def _signals(client: redis.Redis, host: str, at_s: float, interval_s: float) -> Signals:
    """Return what the newest analysis says; it is read when a rule asks for it."""
    found: list[frame.Report] = []

    def signals(kind: SignalKind, series: str) -> float:
        if not found:
            raw = cast("bytes | None", client.get(keys.report(host)))
            report = json.loads(raw) if raw else {}
            found.append(frame.Report(report, at_s, FRESH_TICKS * interval_s))
        return found[0](kind, series)

    return signals
