"""SQLAlchemy: statements by kind, errors, and waits for a connection, of sync and async engines.

Seen at the dialect's methods and the pool's own door, as ``database.tally`` does and for its
reasons. An engine that is not yet in the tally gets there, so that ``db.*`` is the same whether it
came from ``outrider.create_engine`` or not, and nothing counts twice.

``db.statement.KIND`` is how long statements took, its ``.errors`` and ``db.errors.TYPE`` count
those that failed, ``db.pool.checkout`` is how long it took to get a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.sdk.integrations.meter import (
    Names,
    given,
    is_watched,
    now,
    subclass,
    watched,
)

if TYPE_CHECKING:
    from outrider.sdk.integrations.meter import Look, Meter

MOST_ERRORS = 20
# The first words of statements worth telling apart; the rest is "other".
_KINDS = {
    word.upper(): f"db.statement.{word}"
    for word in (
        *("select", "insert", "update", "delete", "with", "merge", "call", "copy", "pragma"),
        *("create", "alter", "drop", "truncate", "set", "show", "explain", "values"),
    )
}
_OTHER = "db.statement.other"
_LONGEST_WORD = 10


def attach(engine: Any, meter: Meter) -> None:
    """Measure an engine, or the one below an AsyncEngine; engines that share its dialect too."""
    from outrider.database import tally
    from outrider.sdk import database

    engine = getattr(engine, "sync_engine", engine)
    dialect = engine.dialect
    if is_watched(dialect.do_execute):
        return
    if engine not in tally.engines():
        tally.attach(engine)
        database._report(engine)  # noqa: SLF001 - same room
    _attach_pool(engine, meter)
    look = meter.guard(_look(meter))
    for name in ("do_execute", "do_executemany", "do_execute_no_params"):
        setattr(dialect, name, watched(getattr(dialect, name), look))


def kind_of(statement: str) -> str:
    """Return the timing's name for a statement.

    >>> kind_of("SELECT 1"), kind_of("  insert into t"), kind_of("-- why"), kind_of("BEGIN")
    ('db.statement.select', 'db.statement.insert', 'db.statement.other', 'db.statement.other')
    """
    word = statement[:_LONGEST_WORD]
    if word[:1].isspace():
        word = statement.lstrip()[:_LONGEST_WORD]
    return _KINDS.get(word.split(None, 1)[0].upper(), _OTHER) if word else _OTHER


def _look(meter: Meter) -> Look:
    errors = Names("db.errors", most=MOST_ERRORS, ending=0)

    def look(
        args: Any, kwargs: Any, start: float, error: BaseException | None, _result: Any
    ) -> None:
        meter.ended(kind_of(given(args, kwargs, 1, "statement")), start, error, errors)

    return look


def _attach_pool(engine: Any, meter: Meter) -> None:
    """Time the wait for a connection. ``recreate`` keeps the class, and so does ``dispose``."""
    from sqlalchemy.pool import QueuePool

    from outrider.database.tally import CountedPool

    pool = engine.pool
    if not isinstance(pool, QueuePool):
        return
    base: Any = type(pool)
    if not isinstance(pool, CountedPool):
        base = type(base.__name__, (CountedPool, base), {"__module__": base.__module__})
        pool.__class__ = base
    observe = meter.observe

    def _do_get(self: Any) -> Any:
        start = now()
        try:
            return base._do_get(self)  # noqa: SLF001 - what pools override
        finally:
            observe("db.pool.checkout", now() - start)

    subclass(pool, _do_get=_do_get)
