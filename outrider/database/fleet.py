"""The pool plan of the fleet in the settings, and putting it in force.

The supervisor gives each bot its part by environment: ``OUTRIDER_POOL_SIZE``, and with leases (the
default) ``OUTRIDER_POOL_FLOOR``, what it may open without one. ``outrider.tune.pools`` plans anew
as the load moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.database import budget, pools, presets
from outrider.database.wall import Wall
from outrider.metrics import database as reach
from outrider.settings import instance_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa

    from outrider.database.load import Load
    from outrider.database.server import Server
    from outrider.settings import Settings

# What a server keeps for superusers unless it says otherwise.
_RESERVED = 3


def members(settings: Settings, loads: Mapping[str, Load] | None = None) -> list[pools.Member]:
    """Return the fleet's bots, each with its measured load per instance where there is one."""
    known = loads or {}
    return [
        pools.Member(
            name,
            bot.most_instances,
            rate=known[name].rate if name in known else None,
            hold_s=known[name].hold_s if name in known else 0.0,
            cv=known[name].cv if name in known else 1.0,
            priority=bot.priority,
        )
        for name, bot in settings.bots.items()
    ]


def wall(settings: Settings, server: Server | None = None, *, others: int = 0) -> Wall | None:
    """Return what the bots may open together; None when neither server nor settings know a limit.

    Of two limits the lower counts. ``[database] reserved`` includes what the server reserves.

    Raises:
        BadArgument: nothing is left for the bots.
    """
    limits = [settings.database.max_connections, server.max_connections if server else None]
    known = [limit for limit in limits if limit is not None]
    if not known:
        return None
    reserved = server.reserved if server else min(_RESERVED, settings.database.reserved)
    operations = max(0, settings.database.reserved - reserved)
    return Wall(min(known), reserved=reserved, others=others, operations=operations)


def plan(
    settings: Settings,
    server: Server | None = None,
    *,
    loads: Mapping[str, Load] | None = None,
    others: int = 0,
) -> pools.Plan | None:
    """Return the fleet's plan; None when neither server nor settings know a limit.

    Raises:
        FleetTooLarge: the fleet does not fit the server.
        BadArgument: nothing is left for the bots.
    """
    limit = wall(settings, server, others=others)
    if limit is None:
        return None
    most = presets.by_name(settings.environment).pool_most
    return pools.plan(members(settings, loads), limit, most=most)


def parts(settings: Settings, planned: pools.Plan) -> dict[str, budget.Part]:
    """Return the part of each instance, by its name."""
    return {
        instance: budget.Part(share.floor, share.size)
        for share in planned.shares
        for instance in instance_names(share.name, settings.bots[share.name].most_instances)
    }


def server_name(settings: Settings) -> str | None:
    """Return the name of the fleet's database server in the budget; None where it has no limit."""
    url = settings.database.url
    if url is None:
        return None
    parsed: sa.URL = reach.parse(url.get_secret_value())
    return budget.server_of(parsed) if parsed.get_backend_name() == "postgresql" else None


def put_in_force(settings: Settings, planned: pools.Plan, made: budget.Budget) -> int:
    """Publish a plan to the processes that lease their connections. Return the sum of the floors.

    Raises:
        redis.RedisError: Redis is away.
    """
    surge = max((share.floor for share in planned.shares if share.instances), default=0)
    return made.publish(planned.wall, surge, parts(settings, planned))
