"""The database as a bot meets it: connect, check out, ask, write; and whether the fleet fits it.

Everything goes through ``outrider.create_engine``. On a database of the user's the transactions
write to a temporary table only, which no other session sees and which ends with ours.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from outrider.database import fleet, server
from outrider.database.pools import FleetTooLarge
from outrider.sdk.database import create_engine
from outrider.validation import timing
from outrider.validation.figure import Figure, fact
from outrider.validation.targets import judge, unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outrider.validation.env import Env

CONNECTS, CHECKOUTS, QUERIES, TRANSACTIONS = 10, 500, 500, 200
# Each kind of operation ends after this, however slow the server is.
BUDGET_S = 3.0
_OWN_FILE = "measured on a SQLite file of its own, as [database] url is not set"


def run(env: Env) -> Iterator[Figure]:
    """Measure the fleet's database; without one, a SQLite file in the data folder.

    Raises:
        DatabaseUnavailable: it does not answer.
        BadArgument: its URL or driver can't be used.
    """
    url = env.settings.database.url
    with contextlib.ExitStack() as cleanup:
        if url is not None:
            address = url.get_secret_value()
        else:
            env.settings.data_dir.mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(dir=env.settings.data_dir, prefix="validation-")
            address = f"sqlite:///{Path(cleanup.enter_context(folder)) / 'validation.db'}"
        engine = create_engine(address, preset=env.settings.environment)
        cleanup.callback(engine.dispose)
        asked = server.ask(engine)
        where = server.shown(engine.url) if url is not None else _OWN_FILE
        yield fact("database.server", f"{asked.kind} {asked.version}", "", where)
        try:
            yield from _connects(engine)
            yield from _checkouts(engine)
            yield from _queries(engine)
            yield from _transactions(engine, temporary=url is not None)
        except sa.exc.SQLAlchemyError as error:
            raise server.DatabaseUnavailable(
                f"the database broke off while it was measured ({server.first_line(error)}); "
                "see its log."
            ) from None
        yield from _plan(env, asked)


def _connects(engine: sa.Engine) -> Iterator[Figure]:
    def connect() -> None:
        engine.dispose()
        engine.connect().close()

    yield from _quantiles("database.connect", timing.repeat(connect, CONNECTS, budget_s=BUDGET_S))


def _checkouts(engine: sa.Engine) -> Iterator[Figure]:
    """Take a connection from the warm pool and give it back."""
    took = timing.repeat(lambda: engine.connect().close(), CHECKOUTS, budget_s=BUDGET_S)
    yield from _quantiles("database.checkout", took)


def _queries(engine: sa.Engine) -> Iterator[Figure]:
    select = sa.text("SELECT 1")
    with engine.connect() as held:
        took = timing.repeat(lambda: held.execute(select).scalar(), QUERIES, budget_s=BUDGET_S)
    yield from _quantiles("database.query", took)


def _transactions(engine: sa.Engine, *, temporary: bool) -> Iterator[Figure]:
    """Write a row, read it back, commit."""
    name = f"outrider_validation_{time.time_ns()}"
    table = sa.Table(
        name,
        sa.MetaData(),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("text", sa.String(100), nullable=False),
        prefixes=["TEMPORARY"] if temporary else [],
    )
    with engine.connect() as held:
        table.create(held)
        held.commit()
        try:
            operations = (functools.partial(_write, held, table, n) for n in range(TRANSACTIONS))
            took = timing.each(operations, budget_s=BUDGET_S)
            kept = held.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            held.rollback()
        finally:
            held.rollback()
            table.drop(held)
            held.commit()
    note = "in a temporary table, which is not flushed to disk" if temporary else ""
    yield from _quantiles("database.transaction", took, note)
    note = f"{kept} of {len(took)} were there afterwards"
    yield judge("database.transactions.lost", len(took) - kept, note)


def _write(held: sa.Connection, table: sa.Table, number: int) -> None:
    held.execute(table.insert().values(number=number, text="validation"))
    row: Any = held.execute(sa.select(table.c.text).where(table.c.number == number))
    row.scalar_one()
    held.commit()


def _plan(env: Env, asked: server.Server) -> Iterator[Figure]:
    """Compare what the fleet may open with what the server has for it."""
    name = "database.plan.used_ratio"
    try:
        planned = fleet.plan(env.settings, asked)
    except FleetTooLarge as error:
        yield judge(name, error.needed / error.wall if error.wall > 0 else None, str(error))
        return
    if planned is None:
        yield unmeasured(name, "neither the settings nor the server tell a limit of connections")
        return
    note = f"{planned.total} of {planned.wall} connections, a restart's surge included"
    yield judge(name, planned.total / planned.wall, note)


def _quantiles(prefix: str, took: list[float], note: str = "") -> Iterator[Figure]:
    counted = f"{len(took)} measured" + (f"; {note}" if note else "")
    yield judge(f"{prefix}.p50_s", timing.quantile(took, 0.5), counted)
    slow = timing.quantile(took, 0.99)
    if prefix == "database.connect":  # too few for a share of one in a hundred
        yield fact(f"{prefix}.max_s", slow, "s")
    else:
        yield judge(f"{prefix}.p99_s", slow)
