"""How many connections each bot may open, so that the whole fleet fits its server.

Presets are made for one process, and a server is shared by all: eight processes of 5+10 can ask
for 120 connections of a server that has 97. The plan starts with one connection for every
instance, then gives the rest away one by one to the bot that has least for its weight (D'Hondt's
rule). What it never does is promise more than the wall: a fleet that can't fit is an error.

A restarting instance may overlap its successor, so one more pool of the largest size (``surge``)
counts as used.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider.errors import BadArgument, OutriderError

if TYPE_CHECKING:
    from collections.abc import Sequence


class FleetTooLarge(OutriderError):  # noqa: N818 - reads as the message it is
    """The server has fewer connections than the fleet has processes.

    Raise ``max_connections``, run fewer instances, or put PgBouncer in front of the server.
    """

    def __init__(self, text: str, *, wall: int, needed: int) -> None:
        super().__init__(text)
        self.wall = wall
        self.needed = needed


@dataclass(frozen=True, slots=True)
class Member:
    """One bot: its processes, and the load of one of them compared with the other bots'."""

    name: str
    instances: int = 1
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Share:
    """What one bot gets: ``size`` connections for each of its instances."""

    name: str
    instances: int
    size: int

    @property
    def connections(self) -> int:
        """Return what all its instances may open together."""
        return self.instances * self.size


@dataclass(frozen=True, slots=True)
class Plan:
    """Pool sizes for a fleet. ``total`` counts the surge and never exceeds ``wall``."""

    max_connections: int
    reserved: int
    shares: tuple[Share, ...]

    @property
    def wall(self) -> int:
        """Return the connections that the fleet may open."""
        return self.max_connections - self.reserved

    @property
    def surge(self) -> int:
        """Return the connections of one more instance, which starts while the old one ends."""
        return max((share.size for share in self.shares if share.instances), default=0)

    @property
    def total(self) -> int:
        """Return the most connections that the fleet can have at any moment."""
        return sum(share.connections for share in self.shares) + self.surge

    def size_of(self, name: str) -> int:
        """Return the pool size of each instance of a bot.

        Raises:
            BadArgument: the plan has no bot of that name.
        """
        for share in self.shares:
            if share.name == name:
                return share.size
        names = ", ".join(share.name for share in self.shares) or "none"
        raise BadArgument(f"the pool plan has no bot {name!r}; it has {names}.")


def plan(
    members: Sequence[Member],
    *,
    max_connections: int,
    reserved: int = 0,
    most: int | None = None,
) -> Plan:
    """Share a server's connections among a fleet; no instance gets more than ``most``.

    >>> fleet = [Member("canary", 2), Member("owl", 1, weight=3)]
    >>> shares = plan(fleet, max_connections=20, reserved=4).shares
    >>> [(share.name, share.size) for share in shares]
    [('canary', 2), ('owl', 6)]

    Raises:
        FleetTooLarge: not even one connection for each instance fits; says what would.
        BadArgument: a number is out of its range, or two bots have one name.
    """
    _check(members, max_connections=max_connections, reserved=reserved, most=most)
    wall = max_connections - reserved
    sizes = {member.name: 1 for member in members}
    total = sum(member.instances for member in members)
    surge = 1 if total else 0
    if total + surge > wall:
        raise _too_large(total, surge, max_connections=max_connections, reserved=reserved)
    total += surge
    hungry = [(-member.weight / 2, place) for place, member in enumerate(members)]
    heapq.heapify(hungry)
    while hungry:
        _, place = heapq.heappop(hungry)
        member = members[place]
        size = sizes[member.name] + 1
        cost = member.instances + max(0, size - surge)
        # What does not fit now never will: each step spends at least what it makes cheaper.
        if not member.instances or total + cost > wall or (most is not None and size > most):
            continue
        sizes[member.name] = size
        total += cost
        surge = max(surge, size)
        heapq.heappush(hungry, (-member.weight / (size + 1), place))
    shares = tuple(Share(member.name, member.instances, sizes[member.name]) for member in members)
    return Plan(max_connections, reserved, shares)


def _check(
    members: Sequence[Member], *, max_connections: int, reserved: int, most: int | None
) -> None:
    if not 0 <= reserved < max_connections:
        raise BadArgument(
            f"reserved = {reserved} of max_connections = {max_connections}: "
            "reserve 0 or more, and leave the bots at least 1."
        )
    if most is not None and most < 1:
        raise BadArgument(f"most = {most}: an instance needs at least 1 connection.")
    names = [member.name for member in members]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadArgument(f"bots need names of their own; given twice: {', '.join(sorted(twice))}.")
    for member in members:
        if member.instances < 0:
            raise BadArgument(f"{member.name}: instances = {member.instances}; give 0 or more.")
        if not (math.isfinite(member.weight) and member.weight > 0):
            raise BadArgument(f"{member.name}: weight = {member.weight}; give a number above 0.")


def _too_large(total: int, surge: int, *, max_connections: int, reserved: int) -> FleetTooLarge:
    wall, needed = max_connections - reserved, total + surge
    return FleetTooLarge(
        f"the fleet needs at least {needed} connections ({total} processes, and {surge} for one"
        f" that restarts) and may open {wall} (max_connections {max_connections} - {reserved}"
        f" reserved); set max_connections to {needed + reserved} or more and restart the server,"
        f" run {needed - wall} fewer instances, or put PgBouncer in front of it.",
        wall=wall,
        needed=needed,
    )
