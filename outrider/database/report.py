"""The database report: preset with reasons, pool plan, warnings, slow statements, indexes.

Plain data, so that it can be stored, shown and compared. It never holds a password, and a server
that is away is a part of the report, not a failure of it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from outrider.database import fleet, health, presets, statements, workload
from outrider.database import server as servers
from outrider.errors import OutriderError
from outrider.metrics import database as reach

if TYPE_CHECKING:
    import sqlalchemy as sa
    from redis import Redis

    from outrider.database.pools import Plan
    from outrider.database.server import Server
    from outrider.settings import Settings

# What an engine opens that nobody sized: pool_size 5 and max_overflow 10.
UNSIZED = 15


def build(settings: Settings, redis: Redis | None = None, *, now_s: float = 0.0) -> dict[str, Any]:
    """Return the report for the fleet and the database of the settings. Asks the server.

    With ``redis`` it learns what is normal for each statement, and says what became slower.
    """
    url = settings.database.url
    engine, server, away = _look(url.get_secret_value() if url else None)
    slow = statements.Slowest(note="the server was not asked.")
    if engine is not None and server is not None:
        slow = (
            statements.slowest(engine)
            if server.kind == "postgresql"
            else statements.Slowest(note=f"{server.kind} keeps no statistics of statements.")
        )
    queries = None
    if engine is not None and server is not None and server.kind == "postgresql":
        seen = workload.look(engine, redis, now_s=now_s, learn=redis is not None)
        queries = health.build(engine, seen)
    planned, too_large = _plan(settings, server)
    preset = presets.by_name(settings.environment)
    return {
        "preset": {
            "name": preset.name,
            "values": [
                {"name": name, "value": value, "reason": reason}
                for name, value, reason in presets.explain(preset)
            ],
        },
        "server": dataclasses.asdict(server) if server else None,
        "plan": _shown(planned) if planned else None,
        "warnings": away + too_large + warnings(settings, server, planned),
        "slow_statements": [dataclasses.asdict(statement) for statement in slow.statements],
        "slow_statements_note": slow.note,
        "queries": queries,
    }


def warnings(settings: Settings, server: Server | None, plan: Plan | None) -> list[dict[str, str]]:
    """Return what is risky about this fleet on this server, each with its remedy."""
    found = []
    if server and server.superuser:
        found.append(
            _warning(
                "superuser",
                "the role in [database] url is a superuser: it can take the connections reserved"
                " for repair.",
                "Make a role of its own for the bots, and GRANT what they need.",
            )
        )
    limit = server.max_connections if server else settings.database.max_connections
    if server and limit and (settings.database.max_connections or 0) > limit:
        found.append(
            _warning(
                "limit_too_high",
                f"[database] max_connections is {settings.database.max_connections}, and the"
                f" server allows {limit}; the lower counts.",
                "Raise the server's and restart it, or remove the setting.",
            )
        )
    processes = sum(bot.most_instances for bot in settings.bots.values())
    ordinary = limit - (server.reserved if server else 0) if limit else None
    if ordinary is not None and processes * UNSIZED > ordinary:
        found.append(
            _warning(
                "unsized_pools",
                f"{processes} processes with SQLAlchemy's own 5+10 could ask for"
                f" {processes * UNSIZED} connections, and bots may have {ordinary}.",
                "Make every engine with outrider.create_engine, which keeps to the plan.",
            )
        )
    return found + (_too_few(settings, plan) if plan else [])


def _too_few(settings: Settings, plan: Plan) -> list[dict[str, str]]:
    least = presets.by_name(settings.environment).pool_least
    short = [share.name for share in plan.shares if share.instances and share.size < least]
    if not short:
        return []
    return [
        _warning(
            "too_few",
            f"{', '.join(short)}: the plan has fewer than the {least} connections an instance"
            f" that {settings.environment} asks for.",
            "Raise max_connections, run fewer instances, or put PgBouncer in front.",
        )
    ]


def _look(
    url: str | None,
) -> tuple[sa.Engine | None, Server | None, list[dict[str, str]]]:
    if url is None:
        remedy = "Set url in [database], or OUTRIDER_DATABASE__URL."
        return None, None, [_warning("no_database", "no database is named.", remedy)]
    try:
        engine = reach.observer(url)
        return engine, servers.ask(engine), []
    except OutriderError as error:
        return None, None, [_warning("unavailable", str(error), "")]


def _plan(settings: Settings, server: Server | None) -> tuple[Plan | None, list[dict[str, str]]]:
    try:
        return fleet.plan(settings, server), []
    except OutriderError as error:
        return None, [_warning("fleet_too_large", str(error), "")]


def _shown(plan: Plan) -> dict[str, Any]:
    return {
        "max_connections": plan.server.max_connections,
        "why": plan.server.words(),
        "wall": plan.wall,
        "surge": plan.surge,
        "total": plan.total,
        "bots": [
            {
                "name": share.name,
                "instances": share.instances,
                "pool_size": share.size,
                "floor": share.floor,
                "wait_p99_s": share.wait_p99_s,
                "connections": share.connections,
            }
            for share in plan.shares
        ],
    }


def _warning(code: str, text: str, remedy: str) -> dict[str, str]:
    return {"code": code, "text": text, "remedy": remedy}
