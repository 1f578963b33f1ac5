"""``outrider.create_engine``: SQLAlchemy's, with a preset, the fleet's budget and gauges.

SQLAlchemy is imported when an engine is made, so that a bot without a database does not pay for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import AsyncEngine

    from outrider.sdk.bot import Bot

E = TypeVar("E", "sa.Engine", "AsyncEngine")

_REPORTING: list[Bot] = []
# Who sizes a pool itself keeps that size, and is told when it breaks the plan.
_OWN_SIZE = frozenset({"pool_size", "max_overflow", "pool", "poolclass"})


def create_engine(
    url: sa.URL | str, *, preset: str | None = None, **sqlalchemy_options: Any
) -> sa.Engine:
    """Return a SQLAlchemy engine for this bot; it connects when first used.

    The preset is ``preset``, or ``OUTRIDER_PRESET``, or development. A supervised bot leases the
    connections of its pool from the fleet's budget: it begins with ``OUTRIDER_POOL_FLOOR``, grows
    when callers wait, and gives back what others need. Without leases it has as many as were
    planned for this process (``OUTRIDER_POOL_SIZE``), or as the preset says; overflow is 0. Every
    option of ``sqlalchemy.create_engine`` may be given, and wins.
    ``connect_args={"options": "-c statement_timeout=0"}`` is added to the preset's limits, an empty
    text replaces them. ``behind_pooler=True`` says that PgBouncer or another stands before the
    server: nothing is prepared then, and the preset's limits belong to the role (``ALTER ROLE``).

    ``postgresql://`` means psycopg 3. SQLite files get write-ahead logging and foreign keys.
    What the pool and the queries do is sent with the bot's heartbeat, as series ``db.*``.

    Raises:
        BadArgument: the URL, its driver, the preset or an option can't be used.
    """
    from outrider.database import engine as engines

    engine = engines.create_engine(url, **_asked(preset, sqlalchemy_options))
    _report(engine)
    return engine


def create_async_engine(
    url: sa.URL | str, *, preset: str | None = None, **sqlalchemy_options: Any
) -> AsyncEngine:
    """Return an engine for asyncio, in everything else as :func:`create_engine` does.

    ``postgresql://`` means psycopg 3, ``postgresql+asyncpg://`` asyncpg, which is quicker;
    ``sqlite:///`` means aiosqlite. Settings of a session are ``connect_args={"options": ...}`` to
    the first and ``connect_args={"server_settings": {...}}`` to the second.

    Raises:
        BadArgument: the URL, its driver, the preset or an option can't be used.
    """
    from outrider.database import engine as engines

    engine = engines.create_async_engine(url, **_asked(preset, sqlalchemy_options))
    _report(engine.sync_engine)
    return engine


def for_reads(engine: E) -> E:
    """Return the same engine, sync or async, for work that only reads.

    There is no BEGIN and ROLLBACK around its work, so a short read takes half the time. Each
    statement sees the state of its own moment; it shares pool and lease with the engine.
    """
    from outrider.database import engine as engines

    return engines.for_reads(engine)


def _asked(preset: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return what the engine is asked to be, by this process's environment and the caller."""
    from outrider.database import engine as engines
    from outrider.database import presets

    floor = None if options.keys() & _OWN_SIZE else _number("OUTRIDER_POOL_FLOOR", 0)
    redis_url = os.environ.get("OUTRIDER_REDIS_URL")
    return {
        "preset": presets.by_name(preset or os.environ.get("OUTRIDER_PRESET") or presets.DEFAULT),
        "application_name": _bot_name(),
        "planned_size": _number("OUTRIDER_POOL_SIZE", 1),
        "leased": engines.Leased(redis_url, floor) if redis_url and floor is not None else None,
        **options,
    }


def _bot_name() -> str | None:
    from outrider.sdk import bot

    current = bot.current()
    return current.name if current else os.environ.get("OUTRIDER_BOT")


def _number(variable: str, least: int) -> int | None:
    from outrider.errors import BadArgument

    text = os.environ.get(variable)
    if not text:
        return None
    if not text.isdecimal() or int(text) < least:
        raise BadArgument(
            f"{variable} = {text!r} is not a number of connections; give {least} or more,"
            " or unset it to use the preset's."
        )
    return int(text)


def _report(engine: sa.Engine) -> None:
    """Add the gauges to the bot now or, as engines are often made first, once it is there."""
    from sqlalchemy import event

    if not _add_source():
        event.listen(engine, "connect", lambda _connection, _record: _add_source())


def _add_source() -> bool:
    from outrider.database import reporter, tally
    from outrider.sdk import bot

    current = bot.current()
    if current is None:
        return False
    if current not in _REPORTING:
        _REPORTING.append(current)
        current.add_source(tally.readings)
        current.add_timings(tally.timings)
        reporter.start()
    return True
