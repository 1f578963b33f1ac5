"""Reads out of stored rows what a scaler wants to know: arrivals, queue, replicas, their speed.

What one replica can do a second comes from the time that a piece of work takes, and, when replicas
are busy, from the CPU that they used for what they did; the lower counts. Both are smoothed over
some minutes, and the last known holds while nothing is done. What arrives is counted by the bot, or
is what was done plus what the queue grew: a queue hides no demand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from outrider.samples import Window
    from outrider.settings import Scale

    Floats = NDArray[np.float64]

# Work takes longer or shorter over minutes, not from tick to tick.
_SMOOTH_TICKS = 12.0
# Below this share of its CPU a replica's use says little of what it could do at most.
_BUSY_RATIO = 0.5
_ONE_CORE = 1.0
BACKLOG = "updates.backlog"
_AREAS = ("bot.", "celery.", "host.", "redis.", "scrape.", "statsd.", "db.", "cache.")


@dataclass(frozen=True, slots=True)
class Load:
    """What was, tick by tick; NaN is not known.

    ``service_rate`` is what a replica does a second, ``used_ratio`` the part of its CPU it used.
    """

    times_s: Floats
    rate: Floats
    queue: Floats
    replicas: Floats
    service_rate: Floats
    used_ratio: Floats


def of_bot(
    instances: Sequence[str],
    scale: Scale,
    window: Window,
    fleet: Window | None = None,
    *,
    cores: float | None = None,
) -> Load:
    """Return the load of a bot, whose processes are ``instances``, over the rows of its host.

    ``cores`` is what one may use; one that is not limited has one core, as Python has.
    """
    ready = _columns(window, instances, "ready")
    replicas = np.nansum(ready > 0, axis=1, dtype=float)
    done, seconds = (
        _grown(window, instances, f"{scale.service}.count"),
        _grown(window, instances, f"{scale.service}.sum_s"),
    )
    passed_s = np.diff(window.times_s, prepend=np.nan)
    queue = _queue(scale.queue, instances, window, fleet)
    if scale.rate is not None:
        arrived = _grown(window, instances, f"{scale.rate.removesuffix('_total')}_total")
    else:
        arrived = done + np.nan_to_num(np.diff(queue, prepend=np.nan))
    cpu = np.nansum(_columns(window, instances, "cpu_ratio"), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_time = scale.concurrency * _smoothed(done) / _smoothed(seconds)
        used = cpu / replicas / (cores or _ONE_CORE)
        by_cpu = np.where(used >= _BUSY_RATIO, done / passed_s / replicas / used, np.nan)
        rate = np.maximum(0.0, arrived / passed_s)
    service = np.fmin(_held(by_time), _smoothed_known(by_cpu))
    return Load(window.times_s, rate, np.nan_to_num(queue), replicas, service, used)


def names_of_bot(instances: Sequence[str], scale: Scale) -> set[str]:
    """Return the series that :func:`of_bot` reads, of host and fleet together."""
    measures = {"ready", "cpu_ratio", f"{scale.service}.count", f"{scale.service}.sum_s"}
    if scale.rate is not None:
        measures.add(f"{scale.rate.removesuffix('_total')}_total")
    whole = scale.queue is not None and scale.queue.startswith(_AREAS)
    if not whole:
        measures.add(scale.queue or BACKLOG)
    series = {f"bot.{name}.{measure}" for name in instances for measure in measures}
    return series | ({scale.queue} if whole and scale.queue else set())


def of_celery(app: str, fleet: Window) -> Load:
    """Return the load of an application's workers; a replica is a process of their pools."""
    prefix = f"celery.{app}."
    queues = [
        name for name in fleet.names
        if name.startswith(f"{prefix}queue.") and name.endswith(".length")
    ]  # fmt: skip
    queue = _sum([fleet.column(name) for name in queues], len(fleet.times_s))
    done = _grown(fleet, ("",), "tasks.runtime.count", prefix=prefix)
    seconds = _grown(fleet, ("",), "tasks.runtime.sum_s", prefix=prefix)
    passed_s = np.diff(fleet.times_s, prepend=np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        service = _held(_smoothed(done) / _smoothed(seconds))
        rate = np.maximum(0.0, (done + np.nan_to_num(np.diff(queue, prepend=np.nan))) / passed_s)
    replicas = _column(fleet, f"{prefix}workers.processes")
    return Load(
        fleet.times_s, rate, np.nan_to_num(queue), replicas, service, np.full_like(rate, np.nan)
    )


def _queue(
    name: str | None, instances: Sequence[str], window: Window, fleet: Window | None
) -> Floats:
    """Return what waits; a queue that was named and is not there is NaN, not empty."""
    if name is None:
        return _sum(_columns(window, instances, BACKLOG).T, len(window.times_s))
    if not name.startswith(_AREAS):
        return _sum(_columns(window, instances, name).T, len(window.times_s))
    if name in window.names or fleet is None or not len(fleet.times_s):
        return _column(window, name)
    # The fleet's row of a tick may come later than the host's: the last one known counts.
    at = np.searchsorted(fleet.times_s, window.times_s, side="right") - 1
    found = _held(_column(fleet, name))
    return np.where(at >= 0, found[np.maximum(at, 0)], np.nan)


def _columns(window: Window, instances: Iterable[str], measure: str) -> Floats:
    """Return one series of each instance, shape ``[ticks, instances]``."""
    return np.column_stack([_column(window, f"bot.{name}.{measure}") for name in instances])


def _column(window: Window, name: str) -> Floats:
    try:
        return window.column(name)
    except KeyError:
        return np.full(len(window.times_s), np.nan)


def _sum(columns: Iterable[Floats], ticks: int) -> Floats:
    """Return the sum of what is known; NaN where nothing is."""
    stacked = np.array([*columns, np.full(ticks, np.nan)])
    return np.where(np.isfinite(stacked).any(axis=0), np.nansum(stacked, axis=0), np.nan)


def _grown(window: Window, instances: Sequence[str], measure: str, prefix: str = "") -> Floats:
    """Return by how much a counter grew at each tick, over all instances; one anew grew by all."""
    total = np.zeros(len(window.times_s))
    for name in instances:
        held = _held(_column(window, f"{prefix}{measure}" if prefix else f"bot.{name}.{measure}"))
        step = np.diff(np.nan_to_num(held), prepend=held[:1])
        total += np.nan_to_num(np.where(step < 0, held, step))
    return total


def _held(values: Floats) -> Floats:
    """Return values with the last known in place of those that are not."""
    known = np.isfinite(values)
    at = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return np.where(at >= 0, values[np.maximum(at, 0)], np.nan)


def _smoothed(values: Floats) -> Floats:
    """Return an exponential mean of what is added up; unknown counts as nothing."""
    weight, made, level = 1 / _SMOOTH_TICKS, np.empty(len(values)), 0.0
    for tick, value in enumerate(np.nan_to_num(values)):
        level += weight * (value - level)
        made[tick] = level
    return made


def _smoothed_known(values: Floats) -> Floats:
    """Return an exponential mean over the known values, held between them."""
    weight, made, level = 1 / _SMOOTH_TICKS, np.empty(len(values)), np.nan
    for tick, value in enumerate(values):
        if np.isfinite(value):
            level = value if np.isnan(level) else level + weight * (value - level)
        made[tick] = level
    return made
