"""SQLAlchemy engines, sync and async, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

import outrider
from outrider.database import tally
from outrider.sdk import bot as bots
from outrider.sdk import database
from tests.recorder import Recorder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """The process's bot, in a process that has counted no query yet."""
    recorder = Recorder()
    monkeypatch.setattr(bots, "_CURRENT", [recorder])
    monkeypatch.setattr(database, "_REPORTING", [])
    monkeypatch.setattr(tally, "_ENGINES", type(tally._ENGINES)())
    tally.TALLY.reset()
    return recorder


def use(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (id INTEGER PRIMARY KEY)"))
        connection.execute(sa.text("INSERT INTO t VALUES (:id)"), [{"id": 1}, {"id": 2}])
        connection.execute(sa.text("INSERT INTO t VALUES (3)"))
        connection.execute(sa.text("  select 1"))
        connection.execute(sa.text("WITH a AS (SELECT 1) SELECT * FROM a"))
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO t VALUES (3)"))


QUERIES = {
    "db.statement.create": 1, "db.statement.insert": 3,
    "db.statement.select": 1, "db.statement.with": 1,
}  # fmt: skip
ERRORS = {"db.statement.insert.errors": 1, "db.errors.IntegrityError": 1}


def test_statements_are_told_by_kind_and_errors_by_type(recorder: Recorder, tmp_path: Path) -> None:
    engine = recorder.instrument(sa.create_engine(f"sqlite:///{tmp_path / 'a.db'}"))
    recorder.instrument(engine)
    recorder.instrument(engine.execution_options(isolation_level="AUTOCOMMIT"))  # shares all
    use(engine)

    assert recorder.timed("db.statement") == QUERIES
    assert recorder.counters == ERRORS
    assert recorder.timed("db.pool") == {"db.pool.checkout": 2}
    assert recorder.gauges["db.queries_total"] == 6
    assert recorder.gauges["db.errors_total"] == 1
    assert recorder.gauges["db.pool.size"] == 5
    engine.dispose()


def test_an_engine_of_ours_is_not_counted_twice(recorder: Recorder, tmp_path: Path) -> None:
    engine = outrider.create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    recorder.instrument(engine)
    use(engine)

    timed = recorder.timed("db.statement")
    pragmas = timed.pop("db.statement.pragma", 0)
    assert timed == QUERIES
    assert recorder.gauges["db.queries_total"] == 6 + pragmas
    assert len(recorder._sources) == 1
    engine.dispose()


def test_a_wait_for_a_connection_is_timed(recorder: Recorder, tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'a.db'}", pool_size=1, max_overflow=0)
    recorder.instrument(engine)
    engine.dispose()  # makes a new pool of the same kind
    asking = threading.Event()

    def wait() -> None:
        asking.set()
        with engine.connect():
            pass

    with engine.connect():
        thread = threading.Thread(target=wait)
        thread.start()
        asking.wait()
        deadline = 10.0
        while not tally.TALLY.asking and deadline > 0:
            threading.Event().wait(0.01)
            deadline -= 0.01
        assert recorder.gauges["db.pool.waiting"] == 1
    thread.join()

    assert recorder.timed("db.pool") == {"db.pool.checkout": 2}
    waited_s = max(recorder.timings["db.pool.checkout"])
    assert recorder.gauges["db.pool.wait_seconds_total"] >= waited_s
    engine.dispose()


def test_an_async_engine_tells_the_same(recorder: Recorder, postgres_url: str) -> None:
    url = sa.make_url(postgres_url).set(drivername="postgresql+psycopg")

    async def query() -> None:
        engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.05)
        assert recorder.instrument(engine) is engine
        async with engine.connect() as connection:
            assert (await connection.execute(sa.text("SELECT 7"))).scalar_one() == 7
            with pytest.raises(sa.exc.ProgrammingError):
                await connection.execute(sa.text("SELECT * FROM nowhere"))
            await connection.rollback()
            sleep = asyncio.create_task(connection.execute(sa.text("SELECT pg_sleep(30)")))
            await asyncio.sleep(0.1)
            sleep.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sleep
        await engine.dispose()

    asyncio.run(query())

    timed = recorder.timed("db.statement")
    assert timed["db.statement.select"] >= 3
    assert recorder.counters["db.statement.select.errors"] == 1
    assert recorder.counters["db.errors.UndefinedTable"] == 1
    assert recorder.timed("db.pool")["db.pool.checkout"] >= 1
    assert recorder.counted("instrument") == {}
