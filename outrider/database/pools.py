"""How many connections each bot may open, so that the whole fleet fits its server.

Presets are made for one process, and a server is shared by all: eight processes of 5+10 can ask
for 120 connections of a server that has 97. The plan gives every instance what keeps its queue from
growing for ever, ``floor(rate x hold) + 1``; what is left goes, one connection at a time, to where
the waiting of all checkouts (by priority) falls most. A bot's mean wait falls ever less with each
connection more, so taking the greatest gain each time is optimal (Fox, "Discrete optimization via
marginal analysis", 1966). On a server this waited a seventh as long as an equal split at the 99th
percentile, a quarter as long as a split in proportion to the rates.

What the plan never does is promise more than the wall: a fleet that can't fit is an error. A
restarting instance may overlap its successor, so ``surge``, one pool of the largest size, counts as
used. A bot whose load nobody measured yet counts with ``weight``: such bots share what is left by
it (D'Hondt's rule).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider.database import erlang
from outrider.errors import BadArgument, OutriderError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from outrider.database.wall import Wall


class FleetTooLarge(OutriderError):  # noqa: N818 - reads as the message it is
    """The server has fewer connections than the fleet needs to live.

    Raise ``max_connections``, run fewer instances, hold connections for less time, or put PgBouncer
    in front of the server.
    """

    def __init__(self, text: str, *, wall: int, needed: int) -> None:
        super().__init__(text)
        self.wall = wall
        self.needed = needed


@dataclass(frozen=True, slots=True)
class Member:
    """One bot: its processes and the load of one of them.

    ``rate`` is checkouts a second, ``hold_s`` the mean time from checkout to checkin, ``cv`` the
    holds' standard deviation over their mean. Without a measured load ``rate`` is None, and
    ``weight`` is what such bots are compared by. ``priority`` multiplies what a second of its
    waiting counts.
    """

    name: str
    instances: int = 1
    weight: float = 1.0
    rate: float | None = None
    hold_s: float = 0.0
    cv: float = 1.0
    priority: float = 1.0

    @property
    def floor(self) -> int:
        """Return the fewest connections with which an instance's queue does not grow for ever."""
        return 1 if self.rate is None else erlang.least(self.rate, self.hold_s)

    def wait_s(self, size: int) -> float | None:
        """Return the wait at the 99th percentile with so many connections; None: not measured."""
        if self.rate is None:
            return None
        return erlang.wait_s(self.rate, self.hold_s, size, cv=self.cv)

    def gain(self, size: int) -> float:
        """Return how many seconds less all its checkouts of a second wait with one more."""
        if self.rate is None:
            return 0.0
        now, then = (
            erlang.mean_wait_s(self.rate, self.hold_s, each, cv=self.cv)
            for each in (size, size + 1)
        )
        return self.priority * self.rate * (now - then)


@dataclass(frozen=True, slots=True)
class Share:
    """What one bot gets: ``size`` connections for each instance, and ``floor`` in any case."""

    name: str
    instances: int
    size: int
    floor: int = 1
    wait_p99_s: float | None = None

    @property
    def connections(self) -> int:
        """Return what all its instances may open together."""
        return self.instances * self.size


@dataclass(frozen=True, slots=True)
class Plan:
    """Pool sizes for a fleet. ``total`` counts the surge and never exceeds ``wall``."""

    server: Wall
    shares: tuple[Share, ...]

    @property
    def wall(self) -> int:
        """Return the connections that the fleet may open."""
        return self.server.connections

    @property
    def surge(self) -> int:
        """Return the connections of one more instance, which starts while the old one ends."""
        return max((share.size for share in self.shares if share.instances), default=0)

    @property
    def total(self) -> int:
        """Return the most connections that the fleet can have at any moment."""
        return sum(share.connections for share in self.shares) + self.surge

    @property
    def floors(self) -> int:
        """Return what all instances are sure to have, whatever the others do."""
        return sum(share.instances * share.floor for share in self.shares)

    def of(self, name: str) -> Share:
        """Return the share of a bot.

        Raises:
            BadArgument: the plan has no bot of that name.
        """
        for share in self.shares:
            if share.name == name:
                return share
        names = ", ".join(share.name for share in self.shares) or "none"
        raise BadArgument(f"the pool plan has no bot {name!r}; it has {names}.")

    def size_of(self, name: str) -> int:
        """Return the pool size of each instance of a bot; see :meth:`of`."""
        return self.of(name).size


def plan(members: Sequence[Member], wall: Wall, *, most: int | None = None) -> Plan:
    """Share a server's connections among a fleet; no instance gets more than ``most``.

    >>> from outrider.database.wall import Wall
    >>> busy = Member("busy", rate=22, hold_s=0.15)
    >>> calm = Member("calm", rate=3, hold_s=0.15)
    >>> [(share.name, share.size) for share in plan([busy, calm], Wall(20)).shares]
    [('busy', 7), ('calm', 3)]

    Raises:
        FleetTooLarge: the fleet does not fit; says what would, and who needs most.
        BadArgument: a number is out of its range, or two bots have one name.
    """
    _check(members, most)
    floors = {member.name: member.floor for member in members}
    running = [member for member in members if member.instances]
    needed = sum(member.instances * floors[member.name] for member in running)
    surge = max((floors[member.name] for member in running), default=0)
    if needed + surge > wall.connections:
        raise _too_large(running, needed, surge, wall)
    sizes = _spread(running, dict(floors), total=needed + surge, wall=wall.connections, most=most)
    return Plan(
        wall,
        tuple(
            Share(
                member.name,
                member.instances,
                sizes[member.name],
                floors[member.name],
                member.wait_s(sizes[member.name]),
            )
            for member in members
        ),
    )


def _spread(
    running: Sequence[Member], sizes: dict[str, int], *, total: int, wall: int, most: int | None
) -> dict[str, int]:
    """Give away what is left: each connection to the bot whose waiting it shortens most."""
    surge = max((sizes[member.name] for member in running), default=0)
    hungry = [_claim(member, sizes[member.name], place) for place, member in enumerate(running)]
    heapq.heapify(hungry)
    while hungry:
        _, _, place = heapq.heappop(hungry)
        member = running[place]
        size = sizes[member.name] + 1
        cost = member.instances + max(0, size - surge)
        # What does not fit now never will: each step spends at least what it makes cheaper.
        if total + cost > wall or (most is not None and size > max(most, member.floor)):
            continue
        sizes[member.name] = size
        total += cost
        surge = max(surge, size)
        heapq.heappush(hungry, _claim(member, size, place))
    return sizes


_LATE = 0.01
# A gain below this shortens no wait that anybody could measure: a microsecond in a second of all.
_NO_GAIN = 1e-6


def _claim(member: Member, size: int, place: int) -> tuple[float, float, int]:
    """Order claims: by seconds saved, per connection; then, by weight, those nobody measured."""
    gain = member.gain(size)
    # What no measured bot needs is shared like the unmeasured bots' part: bursts will come.
    return (-gain if gain > _NO_GAIN else 0.0, -member.weight / (size + 1), place)


def fleet_wait_s(members: Sequence[Member], shares: Sequence[Share]) -> float:
    """Return the 99th percentile of the waits of all checkouts of all measured bots, in seconds."""
    loads = [
        (member.instances * member.rate, member, share.size)
        for member, share in zip(members, shares, strict=True)
        if member.rate and member.instances
    ]
    total = sum(rate for rate, _, _ in loads)

    def late(than_s: float) -> float:
        return sum(
            rate * erlang.longer(member.rate or 0.0, member.hold_s, size, than_s, cv=member.cv)
            for rate, member, size in loads
        )

    if not total or late(0.0) <= _LATE * total:
        return 0.0
    low, high = 0.0, 1.0
    while late(high) > _LATE * total:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if late(middle) > _LATE * total else (low, middle)
    return high


def _check(members: Sequence[Member], most: int | None) -> None:
    if most is not None and most < 1:
        raise BadArgument(f"most = {most}: an instance needs at least 1 connection.")
    names = [member.name for member in members]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadArgument(f"bots need names of their own; given twice: {', '.join(sorted(twice))}.")
    for member in members:
        if member.instances < 0:
            raise BadArgument(f"{member.name}: instances = {member.instances}; give 0 or more.")
        for name in ("weight", "priority"):
            value = getattr(member, name)
            if not (math.isfinite(value) and value > 0):
                raise BadArgument(f"{member.name}: {name} = {value}; give a number above 0.")
        for name in ("hold_s", "cv") if member.rate is None else ("rate", "hold_s", "cv"):
            value = getattr(member, name)
            if not (math.isfinite(value) and value >= 0):
                raise BadArgument(f"{member.name}: {name} = {value}; give 0 or more.")


def _too_large(running: Iterable[Member], needed: int, surge: int, wall: Wall) -> FleetTooLarge:
    all_of_it, has = needed + surge, wall.connections
    greatest = max(running, key=lambda member: member.instances * member.floor)
    processes = sum(member.instances for member in running)
    return FleetTooLarge(
        f"the fleet needs at least {all_of_it} connections ({needed} for {processes} processes, and"
        f" {surge} for one that restarts) and may open {has} ({wall.words()});"
        f" {greatest.name} alone needs {greatest.instances} x {greatest.floor}:"
        f" set max_connections to {wall.max_connections + all_of_it - has} or more and restart the"
        " server, hold connections for less time, run fewer instances, or put PgBouncer in front"
        " of it.",
        wall=has,
        needed=all_of_it,
    )
