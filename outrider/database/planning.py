"""Plans the fleet's pools anew as its load moves, and frees what dead processes had.

Run by ``outrider.tune.pools``: at every tick the server is asked who has how many connections open,
once a minute the plan is made anew from what was measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from outrider.database import budget, fleet, load
from outrider.database import server as servers
from outrider.errors import OutriderError
from outrider.metrics import database as reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import redis

    from outrider.samples import Window
    from outrider.settings import Settings

PLAN_EVERY_S = 60.0
# Long enough for busy minutes to be among it, short enough to follow the day.
RECENT_S = 1800.0
_OPEN = sa.text("""
SELECT application_name, count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' GROUP BY application_name
""")


def open_connections(engine: sa.Engine) -> dict[str, int]:
    """Return how many connections are open at the server, by application_name.

    Raises:
        DatabaseUnavailable: it does not answer.
    """
    try:
        with engine.connect() as connection:
            return {name: int(count) for name, count in connection.execute(_OPEN)}
    except sa.exc.SQLAlchemyError as error:
        raise servers.DatabaseUnavailable(
            f"the database does not answer ({servers.first_line(error)}); connections of bots that"
            " ended are not lent again until it does."
        ) from None


def audit(made: budget.Budget, open_: dict[str, int]) -> int:
    """Free what lost processes have no more. Return the connections of other clients."""
    holders = made.holders()
    dead = [each.name for each in holders if not each.lost and budget.is_dead(each.process)]
    if dead:
        made.bury(*dead)
        holders = made.holders()
    made.audit(budget.count_open(holders, open_))
    ours = {holder.application for holder in holders}
    return sum(count for name, count in open_.items() if name not in ours)


def tick(
    settings: Settings,
    client: redis.Redis,
    windows: Callable[[], Iterable[Window]],
    *,
    now_s: float,
) -> dict[str, Any]:
    """Audit the budget and, when due, plan anew. Return what was done, as plain data.

    Raises:
        redis.RedisError: Redis is away.
    """
    server = fleet.server_name(settings)
    url = settings.database.url
    if server is None or url is None or not settings.database.leases:
        return {"leases": False}
    made = budget.Budget(client, server)
    try:
        engine = reach.observer(url.get_secret_value())
        others = audit(made, open_connections(engine))
        if not made.is_due(now_s, PLAN_EVERY_S):
            return {"leases": True, **made.state()}
        # Our own look is among the others, and those are counted by the reserve already.
        planned = fleet.plan(
            settings,
            servers.ask(engine),
            loads=load.of_bots(settings.bots, windows()),
            others=max(0, others - settings.database.reserved),
        )
    except OutriderError as error:
        return {"leases": True, "error": str(error), **made.state()}
    if planned is not None:
        fleet.put_in_force(settings, planned, made)
    return {"leases": True, **made.state()}
