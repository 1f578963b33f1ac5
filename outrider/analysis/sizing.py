"""What a bot needs against what it is given.

A limit is for the worst that is normal: the 99th percentile of what was used, plus a quarter. A
limit far above that keeps memory and cores from others; one that is near it turns an ordinary busy
minute into a restart. Between the two it is left alone, so that no advice follows each wobble.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from outrider import units
from outrider.samples import bot_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from outrider.samples import Window
    from outrider.settings import BotSettings

# Fewer say nothing of a percentile: the 99th of 100 values is the second largest.
LEAST_SAMPLES = 100
HEADROOM = 1.25
# A limit is tight below 1.1 times the need, generous above 1.5 times what we would give.
_TIGHT = 1.1
_GENEROUS = 1.5
_MEMORY_STEP = 10 << 20
_CPU_STEP = 0.05
MEMORY: Literal["memory"] = "memory"
CPU: Literal["cpu"] = "cpu"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A better limit for each instance of a bot. Memory in bytes, CPU in cores."""

    bot: str
    resource: Literal["memory", "cpu"]
    verdict: Literal["missing", "tight", "generous"]
    needed: float
    given: float | None
    suggested: float
    text: str


def suggest(bots: Mapping[str, BotSettings], windows: Sequence[Window]) -> list[Suggestion]:
    """Return better limits for the fleet's bots, judged by the instance of each that needs most.

    Reads the series ``bot.NAME.rss_bytes`` and ``bot.NAME.cpu_ratio`` of all hosts.
    """
    found = []
    for name, bot in bots.items():
        processes = _instances(name, bots, windows)
        found += [
            suggest_memory(
                name, _neediest(processes, "rss_bytes", windows), limit=bot.limits.memory
            ),
            suggest_cpu(name, _neediest(processes, "cpu_ratio", windows), limit=bot.limits.cpu),
        ]
    return [suggestion for suggestion in found if suggestion]


@dataclass(frozen=True, slots=True)
class Need:
    """What a bot's neediest instance used at the 99th percentile; None is not known (yet)."""

    bot: str
    resource: Literal["memory", "cpu"]
    needed: float | None
    given: float | None
    advice: str


def needs(bots: Mapping[str, BotSettings], windows: Sequence[Window]) -> list[Need]:
    """Return for each bot and resource what is needed and given, with advice where there is some.

    Reads the series that :func:`series_of` names.
    """
    advice = {(each.bot, each.resource): each.text for each in suggest(bots, windows)}
    found: list[Need] = []
    for name, bot in bots.items():
        processes = _instances(name, bots, windows)
        for resource, measure, given in (
            (MEMORY, "rss_bytes", bot.limits.memory),
            (CPU, "cpu_ratio", bot.limits.cpu),
        ):
            used = _neediest(processes, measure, windows)
            needed = float(np.percentile(used, 99)) if len(used) else None
            found.append(Need(name, resource, needed, given, advice.get((name, resource), "")))
    return found


def series_of(processes: Iterable[str]) -> list[str]:
    """Return the series that tell what processes use."""
    return [f"bot.{name}.{measure}" for name in processes for measure in ("rss_bytes", "cpu_ratio")]


def suggest_memory(
    bot: str, rss_bytes: NDArray[np.float64], *, limit: float | None
) -> Suggestion | None:
    """Return a better memory limit, or None when it is well or too little is known.

    >>> mib = 1 << 20
    >>> suggest_memory("canary", np.full(200, 140.0 * mib), limit=400 * mib).text
    'canary needs 140.0 MiB at p99 and is given 400.0 MiB: 180.0 MiB is enough.'
    """
    return _suggest(bot, "memory", rss_bytes, limit, step=_MEMORY_STEP)


def suggest_cpu(
    bot: str, cpu_ratio: NDArray[np.float64], *, limit: float | None
) -> Suggestion | None:
    """Return a better CPU limit, or None; ``cpu_ratio`` is in cores, 1.0 for one kept busy.

    >>> suggest_cpu("canary", np.full(200, 0.5), limit=0.5).text
    'canary needs 0.50 cores at p99 and is given 0.50 cores: give it 0.65 cores.'
    """
    return _suggest(bot, "cpu", cpu_ratio, limit, step=_CPU_STEP)


def _suggest(
    bot: str,
    resource: Literal["memory", "cpu"],
    used: NDArray[np.float64],
    limit: float | None,
    *,
    step: float,
) -> Suggestion | None:
    known = used[np.isfinite(used)]
    if len(known) < LEAST_SAMPLES:
        return None
    needed = float(np.percentile(known, 99))
    # Rounded first: 0.5 * 1.25 / 0.05 is a hair above 12.5, and a hair must not add a step.
    suggested = max(1, math.ceil(round(needed * HEADROOM / step, 6))) * step
    show = units.show_bytes if resource == "memory" else _show_cores
    need = f"{bot} needs {show(needed)} at p99 and"
    verdict: Literal["missing", "tight", "generous"]
    if limit is None:
        verdict, text = "missing", f"{need} has no limit: {show(suggested)} would do."
    elif limit < needed * _TIGHT:
        verdict = "tight"
        text = f"{need} is given {show(limit)}: give it {show(suggested)}."
    elif limit > suggested * _GENEROUS:
        verdict = "generous"
        text = f"{need} is given {show(limit)}: {show(suggested)} is enough."
    else:
        return None
    return Suggestion(bot, resource, verdict, needed, limit, suggested, text)


def _instances(name: str, bots: Mapping[str, BotSettings], windows: Iterable[Window]) -> set[str]:
    """Return a bot's processes: its name, also numbered, unless that is another bot's name."""
    numbered = re.compile(rf"{re.escape(name)}-\d+")
    seen = {bot_of(series) for window in windows for series in window.names} - {None}
    others = {process for process in seen if process and numbered.fullmatch(process)}
    return {name} | (others - set(bots))


def _neediest(
    processes: Iterable[str], measure: str, windows: Iterable[Window]
) -> NDArray[np.float64]:
    """Return the values of the process whose 99th percentile is highest, on its host."""
    series = {f"bot.{process}.{measure}" for process in processes}
    columns = [window.column(name) for window in windows for name in window.names if name in series]
    known = [column[np.isfinite(column)] for column in columns]
    enough = [values for values in known if len(values) >= LEAST_SAMPLES]
    return max(enough, key=lambda values: float(np.percentile(values, 99)), default=np.empty(0))


def _show_cores(cores: float) -> str:
    return f"{cores:.2f} cores"
