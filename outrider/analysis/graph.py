"""What each part of a fleet needs to work, read from the series that it has.

Parts are named as in ``resources``: ``handlers:canary`` is what people notice of the bot, below it
lie its process, its pool, its caches, and what those rest on::

    handlers:B ─► loop:B ─► process:B, leak:B
        │    └──► life:B             (and those of the bots that B needs)
        ├──► api:B                   the platform, or what else B waits for outside
        ├──► pool:B ─► queries:B ─► database ─► disk
        ├──► cache:B.N ─► redis ─► memory
        └──► cpu ─► outside, process:*          memory ─► leak:*
    queue:Q ─► workers ─► redis, cpu

A core that is short slows everything that is timed, so that `cpu` is below nearly all; but that it
explains a wait tells little of how long the wait is. Such edges are *soft*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outrider.settings import BotSettings, instance_names

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

_RESTS_ON = {
    "handlers": ("loop:{0}", "life:{0}", "api:{0}", "pool:{0}", "queries:{0}", "disk space"),
    "loop": ("process:{0}", "life:{0}"),
    "pool": ("queries:{0}",),
    "queries": ("database",),
    "database": ("disk", "disk space"),
    "cache": ("redis",),
    "redis": ("disk space",),
    "workers": ("broker:{0}",),
    "loads": ("pool:{0}", "queries:{0}"),
    "cpu": ("outside",),
}
_OF_A_BOT = (
    "handlers",
    "life",
    "process",
    "leak",
    "loop",
    "pool",
    "queries",
    "cache",
    "loads",
    "api",
)
_SLOWED_BY_CPU = (
    "handlers",
    "loop",
    "pool",
    "queries",
    "loads",
    "redis",
    "database",
    "workers",
    "api",
)


@dataclass(frozen=True, slots=True)
class Graph:
    """``needs[part]`` is what a part can't work without; ``soft[part]`` what slows it."""

    needs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    soft: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def below(self, part: str, *, through: Container[str] | None = None) -> dict[str, bool]:
        """Return every part below one, and whether the way to it is soft.

        ``through`` holds the parts that count, which are all when it is not given.
        """
        found: dict[str, bool] = {}
        ways = [(part, False)]
        while ways:
            here, is_soft = ways.pop()
            for edges, edge_is_soft in ((self.needs, False), (self.soft, True)):
                for lower in edges.get(here, ()):
                    way_is_soft = is_soft or edge_is_soft
                    if through is not None and lower not in through:
                        continue
                    if lower != part and found.get(lower, True) and found.get(lower) != way_is_soft:
                        found[lower] = way_is_soft
                        ways.append((lower, way_is_soft))
        return found


def kind_of(part: str) -> str:
    """Return what a part is, without whose.

    >>> kind_of("pool:canary"), kind_of("redis")
    ('pool', 'redis')
    """
    return part.partition(":")[0]


def owner_of(part: str) -> str:
    """Return whose a part is: a bot, a queue, or an application; empty when it is nobody's.

    >>> owner_of("cache:courier.parcels"), owner_of("redis")
    ('courier', '')
    """
    kind, _, rest = part.partition(":")
    return rest.partition(".")[0] if kind in ("cache", "loads") else rest


def needs_of(bots: Mapping[str, BotSettings]) -> dict[str, tuple[str, ...]]:
    """Return which bots each process of the fleet needs, as its settings say.

    >>> needs_of({"api": BotSettings(entry="a:main"),
    ...           "canary": BotSettings(entry="c:main", instances=2, needs=("api",))})
    {'api': (), 'canary': ('api',), 'canary-2': ('api',)}
    """
    return {
        instance: tuple(
            other for need in bot.needs for other in instance_names(need, bots[need].instances)
        )
        for name, bot in bots.items()
        for instance in instance_names(name, bot.instances)
    }


def of_parts(parts: Iterable[str], needs: Mapping[str, Iterable[str]] | None = None) -> Graph:
    """Return the graph of the parts that there are; ``needs`` names the bots that a bot needs."""
    known = set(parts)
    bots = {owner_of(part) for part in known if kind_of(part) in _OF_A_BOT}
    known |= {f"{kind}:{bot}" for bot in bots for kind in ("handlers", "api")}
    edges: dict[str, set[str]] = {part: known & _needed(part) for part in known}
    for part in known:
        for upper in _carries(part):
            edges.setdefault(upper, set()).add(part)
    for bot, needed in (needs or {}).items():
        for other in needed:
            # Only whether it is there and free: how its own callers fare says nothing of it.
            there = known & {f"life:{other}", f"loop:{other}", f"process:{other}"}
            for asking in (f"handlers:{bot}", f"api:{bot}"):
                edges.setdefault(asking, set()).update(there)
    short = frozenset(known & {"cpu", "memory"})
    return Graph(
        {part: frozenset(lower) for part, lower in edges.items()},
        {part: short for part in known if kind_of(part) in _SLOWED_BY_CPU},
    )


def _needed(part: str) -> set[str]:
    """Return what a part rests on, where there is such a part."""
    kind, owner = kind_of(part), owner_of(part)
    if kind == "workers" and not owner:
        return {"redis"}
    if kind == "queue":
        app = owner.partition("/")[0] if "/" in owner else ""
        return {f"workers:{app}" if app else "workers"}
    return {template.format(owner) for template in _RESTS_ON.get(kind, ())}


def _carries(part: str) -> tuple[str, ...]:
    """Return the parts that rest on one of which there are many: caches, and who takes the CPU."""
    kind = kind_of(part)
    if kind in ("cache", "loads"):
        return (f"handlers:{owner_of(part)}",)
    return {"process": ("cpu",), "leak": ("memory",)}.get(kind, ())
