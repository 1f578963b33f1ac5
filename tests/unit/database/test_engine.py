from __future__ import annotations

import logging
import sqlite3
import sys
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool, QueuePool, SingletonThreadPool

from outrider.database import drivers, presets, tally
from outrider.database import engine as engines
from outrider.database.resizable import ResizablePool
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from pathlib import Path

POSTGRES = "postgresql://bot:secret@db.invalid/fleet"


def queue_of(engine: sa.Engine) -> QueuePool:
    assert isinstance(engine.pool, QueuePool)
    return engine.pool


def test_the_pool_is_as_large_as_the_preset_says_and_never_larger() -> None:
    engine = engines.create_engine(POSTGRES, presets.PRODUCTION)

    assert isinstance(engine.pool, ResizablePool)
    assert tally.capacity(engine.pool) == queue_of(engine).size() == 8
    assert queue_of(engine).timeout() == 5.0
    assert not engine.pool._pre_ping  # it sees for itself
    assert engine.dialect.driver == "psycopg"


def test_the_plan_goes_before_the_preset() -> None:
    engine = engines.create_engine(POSTGRES, presets.PRODUCTION, planned_size=3)

    assert tally.capacity(queue_of(engine)) == 3


def test_processes_recycle_at_moments_of_their_own() -> None:
    made = {engines.create_engine(POSTGRES, presets.PRODUCTION).pool._recycle for _ in range(20)}

    assert len(made) > 5
    assert all(1440 <= seconds <= 2160 for seconds in made)


def test_every_option_of_sqlalchemy_wins() -> None:
    engine = engines.create_engine(
        POSTGRES, pool_size=2, max_overflow=4, pool_timeout=1, pool_recycle=7,
        pool_pre_ping=False, pool_use_lifo=False, echo=False, isolation_level="AUTOCOMMIT",
    )  # fmt: skip
    pool = queue_of(engine)

    assert tally.capacity(pool) == 6
    assert (pool.timeout(), pool._recycle, pool._pre_ping) == (1, 7, False)


def test_a_pool_without_a_queue_gets_no_size() -> None:
    assert isinstance(engines.create_engine(POSTGRES, poolclass=NullPool).pool, NullPool)


def test_a_plain_queue_pool_of_the_callers_is_sized_too() -> None:
    engine = engines.create_engine(POSTGRES, presets.STAGING, poolclass=QueuePool)

    assert type(engine.pool) is QueuePool
    assert tally.capacity(engine.pool) == 5


def test_a_ready_pool_is_taken_as_it_is() -> None:
    pool = sa.create_engine("sqlite:///never-opened.db").pool

    assert engines.create_engine("sqlite://", pool=pool).pool is pool


def test_a_pool_without_a_bound_is_refused() -> None:
    with pytest.raises(BadArgument, match="no bound"):
        engines.create_engine(POSTGRES, pool_size=0)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("no url at all", "write it like postgresql://"),
        ("postgresql://bot:secret@db:port/fleet", "write it like postgresql://"),
        ("postgrsql://bot:secret@db/fleet", "knows no database 'postgrsql'"),
        ("postgresql+asyncpg://bot:secret@db/fleet", "write the URL with postgresql://"),
        ("mysql+pymysql://bot:secret@db/fleet", "pip install 'pymysql'"),
    ],
)
def test_a_url_that_can_not_be_used_names_the_remedy_and_not_the_password(
    url: str, words: str
) -> None:
    with pytest.raises(BadArgument, match=words) as caught:
        engines.create_engine(url)

    assert "secret" not in str(caught.value)


def test_a_missing_driver_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(BadArgument, match=r"pip install 'outrider\[postgresql\]'"):
        engines.create_engine(POSTGRES)


LIMITS = (
    "-c statement_timeout=10000 -c lock_timeout=2000 -c idle_in_transaction_session_timeout=30000"
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, LIMITS), ("-c work_mem=8MB", f"{LIMITS} -c work_mem=8MB"), ("", "")],
)
def test_options_for_the_server_are_added_to_or_left_out(given: str | None, expected: str) -> None:
    assert expected == drivers.server_options(presets.PRODUCTION, given)


def test_what_the_url_says_is_not_overridden() -> None:
    url = sa.make_url("postgresql+psycopg://bot@db/fleet?application_name=mine&connect_timeout=3")
    arguments = drivers.connect_args(url, presets.PRODUCTION, "canary", {})

    assert not {"application_name", "connect_timeout"} & set(arguments)
    assert "statement_timeout" in arguments["options"]


def test_a_second_engine_on_the_planned_server_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = engines.create_engine("postgresql://bot@one.invalid/a", planned_size=4)
    assert caplog.text == ""

    second = engines.create_engine("postgresql://bot@one.invalid/b", planned_size=4)

    assert "can open 8 connections" in caplog.text
    assert first is not second


def test_a_pool_larger_than_planned_wins_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    engine = engines.create_engine("postgresql://bot@two.invalid/a", planned_size=4, pool_size=9)

    assert queue_of(engine).size() == 9
    assert "plan has 4" in caplog.text


def test_sqlite_files_are_journaled_ahead_and_keep_foreign_keys(tmp_path: Path) -> None:
    engine = engines.create_engine(f"sqlite:///{tmp_path}/bot.db", presets.DEVELOPMENT)

    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 5000}
    assert tally.capacity(queue_of(engine)) == 3
    engine.dispose()


def test_a_sqlite_file_that_another_process_locks_still_opens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "bot.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE t (x)")
    other.execute("BEGIN EXCLUSIVE")
    engine = engines.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0.01})

    with caplog.at_level(logging.DEBUG, "outrider"), engine.connect():
        assert "keeps its old journal" in caplog.text
    other.close()
    engine.dispose()


def test_sqlite_in_memory_keeps_the_pool_that_sqlalchemy_chose() -> None:
    engine = engines.create_engine("sqlite://")

    assert isinstance(engine.pool, SingletonThreadPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 0
    engine.dispose()
