"""Which resource holds the host back, and which bot uses most of it.

Utilisation and saturation as in Gregg's USE method: a resource is named only when it is used
beyond the level at which waiting grows quickly, and never without the numbers that say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider import units
from outrider.samples import bot_of

if TYPE_CHECKING:
    from outrider.samples import Values


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """A saturated resource. ``cause`` is the bot that uses most of it, when one stands out."""

    resource: str
    used_ratio: float
    cause: str | None
    evidence: tuple[str, ...]


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
# A bot stands out when it uses this share of what all bots use.
_STANDS_OUT = 0.5


def find(values: Values) -> Bottleneck | None:
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
