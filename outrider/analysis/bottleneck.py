"""Which resource holds the host back, and which bot uses most of it.

Utilisation and saturation as in Gregg's USE method: a resource is named only when it is used
beyond the level at which waiting grows quickly, and never without the numbers that say so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from outrider import units
from outrider.analysis.graph import kind_of
from outrider.samples import bot_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outrider.analysis.cause import Cause
    from outrider.analysis.onset import Change
    from outrider.samples import Values


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """A saturated resource. ``cause`` is the bot that uses most of it, when one stands out.

    ``used_ratio`` is None when what is short has no size, such as a server that answers slowly;
    ``since_s`` is None when it was so for as long as was looked at.
    """

    resource: str
    used_ratio: float | None
    cause: str | None
    evidence: tuple[str, ...]
    since_s: float | None = None


# Series, resource in words, level at which it holds things back, the bots' own share of it.
_RESOURCES = (
    ("host.memory.used_ratio", "memory", 0.92, "rss_bytes"),
    ("host.cpu.used_ratio", "CPU", 0.85, "cpu_ratio"),
    ("host.disk.used_ratio", "disk space", 0.95, None),
    ("host.swap.used_ratio", "swap", 0.5, "rss_bytes"),
    ("host.pressure.io.some_ratio", "disk throughput", 0.4, None),
    ("host.pressure.memory.some_ratio", "memory", 0.3, "rss_bytes"),
    ("db.server.connections.used_ratio", "database connections", 0.9, "db.pool.used"),
    ("redis.memory.used_ratio", "Redis memory", 0.9, None),
)
_OF_ONE_BOT = (
    ("db.pool.used_ratio", "connection pool", 0.9),
    ("loop_lag_s", "event loop", 0.5),
)
# Parts that work waits for, and what an operator calls them.
_WAITED_FOR = {
    "cpu": "CPU", "outside": "CPU", "process": "CPU", "memory": "memory", "leak": "memory",
    "disk": "disk throughput", "disk space": "disk space", "network": "network",
    "files": "open files", "loop": "event loop of {0}", "pool": "connection pool of {0}",
    "queries": "database", "database": "database", "redis": "Redis {0}", "cache": "cache {0}",
    "api": "platform's API", "queue": "queue {0}", "workers": "workers", "broker": "broker of {0}",
}  # fmt: skip
# A bot stands out when it uses this share of what all bots use.
_STANDS_OUT = 0.5


def _fullest(values: Values) -> Bottleneck | None:
    """Return the most saturated resource of a row, or None when nothing holds it back."""
    found: list[tuple[float, Bottleneck]] = []
    for series, resource, level, share in _RESOURCES:
        used = values.get(series)
        if used is not None and used >= level:
            cause, evidence = _largest(values, share) if share else (None, ())
            words = f"{series} is {used:.0%}; waiting grows quickly from {level:.0%} on"
            found.append((used / level, Bottleneck(resource, used, cause, (words, *evidence))))
    for ending, resource, level in _OF_ONE_BOT:
        for series, used in values.items():
            bot = bot_of(series)
            if bot and used >= level and series == f"bot.{bot}.{ending}":
                words = f"{series} is {used:.3g}; {level:g} is the level to stay below"
                found.append(
                    (used / level, Bottleneck(f"{resource} of {bot}", used, bot, (words,)))
                )
    return max(found, key=lambda entry: entry[0])[1] if found else None


def of(values: Values, changes: Sequence[Change], causes: Sequence[Cause]) -> Bottleneck | None:
    """Return what holds things back: the resource that the first cause names, or the fullest.

    A resource that is as full as it always was has hurt nobody by it until now; so what changed
    comes first.
    """
    full = _fullest(values)
    first = next((each for each in causes if each.kind in _WAITED_FOR), None)
    if first is None:
        return replace(full, since_s=_since(full, changes)) if full else None
    used = [
        change for change in changes
        if change.column.part == first.part and change.column.signal.role == "utilisation"
        and change.column.signal.unit == "ratio"
    ]  # fmt: skip
    resource = _WAITED_FOR[first.kind].format(first.part.partition(":")[2]).strip()
    same = full is not None and full.resource == resource
    return Bottleneck(
        resource=resource,
        used_ratio=full.used_ratio if full and same else used[0].now if used else None,
        cause=_bot_behind(first) or (full.cause if full and same else None),
        evidence=tuple(each.words for each in first.evidence),
        since_s=first.onset_s,
    )


def _bot_behind(cause: Cause) -> str | None:
    return cause.subject if cause.kind in ("process", "leak", "loop", "pool", "queries") else None


def _since(full: Bottleneck, changes: Sequence[Change]) -> float | None:
    resources = {_WAITED_FOR.get(kind_of(each.column.part)): each.onset_s for each in changes}
    return resources.get(full.resource)


def _largest(values: Values, what: str) -> tuple[str | None, tuple[str, ...]]:
    shares = {
        bot: used
        for series, used in values.items()
        if (bot := bot_of(series)) and series == f"bot.{bot}.{what}" and used > 0
    }
    if not shares:
        return None, ()
    total = sum(shares.values())
    bot = max(shares, key=lambda name: shares[name])
    shown = units.show_bytes(shares[bot]) if what.endswith("bytes") else f"{shares[bot]:.2f}"
    words = f"{bot} uses {shown} ({shares[bot] / total:.0%} of what all bots use)"
    return (bot if shares[bot] / total >= _STANDS_OUT else None), (words,)
