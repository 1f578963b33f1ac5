from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from outrider.database import engine as engines
from outrider.database import tally
from outrider.database.resizable import ResizablePool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    for other in tally.engines():
        tally._ENGINES.discard(other)
    tally.TALLY.reset()
    made = engines.create_engine(f"sqlite:///{tmp_path}/bot.db")
    yield made
    made.dispose()


def test_a_process_without_engines_has_no_series(engine: sa.Engine) -> None:
    tally._ENGINES.discard(engine)

    assert tally.readings() == {}


def test_statements_of_every_kind_are_counted_and_timed(engine: sa.Engine) -> None:
    table = sa.Table("t", sa.MetaData(), sa.Column("x", sa.Integer))
    with engine.begin() as connection:
        before = tally.TALLY.queries
        table.create(connection, checkfirst=False)
        connection.execute(table.insert(), [{"x": 1}, {"x": 2}])
        connection.execute(table.update().values(x=3))
        connection.exec_driver_sql("SELECT x FROM t")

    assert tally.TALLY.queries == before + 4
    assert 0 < tally.readings()["db.query_seconds_total"] < 10
    assert tally.readings()["db.errors_total"] == 0


def test_a_failed_statement_counts_as_error(engine: sa.Engine) -> None:
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError):
        connection.exec_driver_sql("SELECT * FROM nowhere")

    assert tally.readings()["db.errors_total"] == 1


def test_a_failed_connect_counts_as_error(engine: sa.Engine, tmp_path: Path) -> None:
    broken = engines.create_engine(f"sqlite:///{tmp_path}/no/such/folder/bot.db")

    with pytest.raises(sa.exc.OperationalError):
        broken.connect()
    assert tally.readings()["db.errors_total"] == 1


def test_connections_in_use_are_seen_and_given_back(engine: sa.Engine) -> None:
    with engine.connect(), engine.connect():
        inside = tally.readings()
    outside = tally.readings()

    assert (inside["db.pool.size"], inside["db.pool.used"]) == (3, 2)
    assert inside["db.pool.used_ratio"] == pytest.approx(2 / 3)
    assert (outside["db.pool.used"], outside["db.pool.waiting"]) == (0, 0)


def test_two_engines_are_added_up(engine: sa.Engine, tmp_path: Path) -> None:
    second = engines.create_engine(f"sqlite:///{tmp_path}/other.db", pool_size=5)
    with engine.connect(), second.connect():
        values = tally.readings()
    second.dispose()

    assert (values["db.pool.size"], values["db.pool.used"]) == (8, 2)


def test_a_pool_without_a_bound_has_no_ratio(engine: sa.Engine, tmp_path: Path) -> None:
    endless = engines.create_engine(f"sqlite:///{tmp_path}/other.db", max_overflow=-1)

    assert "db.pool.used_ratio" not in tally.readings()
    endless.dispose()


def test_engines_without_a_queue_report_their_queries_only(engine: sa.Engine) -> None:
    tally._ENGINES.discard(engine)
    memory = engines.create_engine("sqlite://")

    expected = {"db.queries_total", "db.query_seconds_total", "db.errors_total", "db.rows_total"}
    assert expected == set(tally.readings())
    memory.dispose()


def test_counting_goes_on_after_the_pool_was_disposed(engine: sa.Engine) -> None:
    engine.dispose()
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")

    assert isinstance(engine.pool, ResizablePool)
    assert tally.readings()["db.queries_total"] >= 1
