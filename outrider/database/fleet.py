"""The pool plan of the fleet in the settings.

The supervisor gives each bot its part as ``OUTRIDER_POOL_SIZE``; the report explains it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.database import pools, presets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.database.server import Server
    from outrider.settings import Settings


def members(
    settings: Settings, *, weights: Mapping[str, float] | None = None
) -> list[pools.Member]:
    """Return the fleet's bots; a bot without a weight has 1."""
    given = weights or {}
    return [
        pools.Member(name, bot.most_instances, given.get(name, 1.0))
        for name, bot in settings.bots.items()
    ]


def plan(
    settings: Settings,
    server: Server | None = None,
    *,
    weights: Mapping[str, float] | None = None,
) -> pools.Plan | None:
    """Return the fleet's plan; None when neither server nor settings know a limit.

    Of two limits the lower counts, and of two reserves the higher.

    Raises:
        FleetTooLarge: the fleet does not fit the server.
    """
    limits = [settings.database.max_connections, server.max_connections if server else None]
    known = [limit for limit in limits if limit is not None]
    if not known:
        return None
    return pools.plan(
        members(settings, weights=weights),
        max_connections=min(known),
        reserved=max(settings.database.reserved, server.reserved if server else 0),
        most=presets.by_name(settings.environment).pool_most,
    )
