from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import outrider
from outrider.database import calls, findings, holds, tally
from outrider.database import engine as engines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("outrider.database.tally.perf_counter", made)
    monkeypatch.setattr("outrider.database.resizable.perf_counter", made)
    return made


@pytest.fixture
def engine(tmp_path: Path, clock: Clock) -> Iterator[sa.Engine]:
    for other in tally.engines():
        tally._ENGINES.discard(other)
    tally.TALLY.reset()
    made = engines.create_engine(f"sqlite:///{tmp_path}/bot.db")
    yield made
    made.dispose()
    tally.TALLY.reset()


def take(engine: sa.Engine) -> sa.Connection:
    return engine.connect()  # the place that leaks


def kinds() -> dict[str, int]:
    return {found.kind: found.count for found in tally.findings()}


def test_a_connection_that_nobody_gives_back_is_told_with_the_stack_that_took_it(
    engine: sa.Engine, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        connection = take(engine)
        clock.now_s += 4.0
        connection.close()
    leaked = take(engine)
    clock.now_s += 11.9
    assert tally.readings()["db.pool.leaked"] == 0
    clock.now_s += 0.2
    readings = tally.readings()
    tally.readings()

    assert (readings["db.pool.leaked"], readings["db.pool.longest_hold_s"]) == (1, 12.1)
    assert kinds() == {"leak": 1}
    (found,) = tally.findings()
    assert "came back after 4 s at most" in found.text
    assert "test_holds.py:" in found.text
    assert "in take\n" in found.text
    assert found.text in caplog.text
    leaked.close()
    assert tally.readings()["db.pool.leaked"] == 0


def test_one_whose_place_always_takes_long_is_no_leak(engine: sa.Engine, clock: Clock) -> None:
    connection = take(engine)
    clock.now_s += 100.0
    connection.close()
    with take(engine):
        clock.now_s += 250.0
        assert tally.readings()["db.pool.leaked"] == 0
        clock.now_s += 100.0
        assert tally.readings()["db.pool.leaked"] == 1


def test_one_that_never_came_back_before_gets_a_minute(engine: sa.Engine, clock: Clock) -> None:
    with engine.connect():
        clock.now_s += 59.0
        assert tally.readings()["db.pool.leaked"] == 0
        clock.now_s += 2.0
        assert tally.readings()["db.pool.leaked"] == 1


def test_one_that_is_used_all_the_time_is_no_leak(engine: sa.Engine, clock: Clock) -> None:
    with engine.connect() as connection:
        for _ in range(100):
            clock.now_s += 9.0
            connection.exec_driver_sql("SELECT 1")
            assert tally.readings()["db.pool.leaked"] == 0


def test_the_place_is_found_below_the_orm_and_context_managers_too(
    engine: sa.Engine, clock: Clock
) -> None:
    with Session(engine) as session:
        session.execute(sa.text("SELECT 1"))
        clock.now_s += 61
        tally.readings()
    with engine.begin():
        clock.now_s += 61
        tally.readings()

    leaks = [found for found in tally.findings() if found.kind == "leak"]
    texts = [found.text.split("taken at\n    ")[1] for found in leaks]
    assert len(texts) == 2
    assert all(text.startswith(__file__) for text in texts), texts


def test_the_place_of_a_task_is_the_coroutine_that_awaits(tmp_path: Path) -> None:
    tally.TALLY.reset()

    async def handler() -> str:
        made = engines.create_async_engine(f"sqlite:///{tmp_path}/bot.db")
        async with made.connect():
            (hold,) = tally.TALLY.holds.open
            place = holds.words(hold.site)
        await made.dispose()
        return place

    assert asyncio.run(handler()).split("\n")[0].endswith("handler")


def run(connection: sa.Connection, text: str, times: int) -> None:
    for _ in range(times):
        connection.exec_driver_sql(text)


def test_a_statement_in_a_loop_is_told(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        run(connection, "SELECT 1", holds.MOST_REPEATS)
        run(connection, "SELECT 2", holds.MOST_REPEATS + 1)

    assert kinds() == {"n_plus_one": 1}
    assert "SELECT 2" in tally.findings()[0].text
    assert tally.readings()["db.n_plus_one_total"] == 1


def test_the_same_in_several_transactions_or_slowly_is_no_loop(
    engine: sa.Engine, clock: Clock
) -> None:
    with engine.connect() as connection:
        for _ in range(4):
            run(connection, "SELECT 1", 9)
            connection.commit()
        for _ in range(30):
            clock.now_s += 2.0
            connection.exec_driver_sql("SELECT 1")

    assert "n_plus_one" not in kinds()


def test_a_transaction_that_waits_for_others_is_told(engine: sa.Engine, clock: Clock) -> None:
    for outside_s in (0.04, 0.9):
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT 1")
            clock.now_s += outside_s
            connection.exec_driver_sql("SELECT 2")

    assert kinds() == {"external_call": 1}
    assert "stood idle for 900 ms (100%)" in tally.findings()[0].text
    assert tally.readings()["db.pool.idle_in_transaction_seconds_total"] == pytest.approx(0.94)
    assert tally.readings()["db.pool.outside_seconds_total"] == pytest.approx(0.94)


def test_without_a_transaction_nothing_stands_idle(engine: sa.Engine, clock: Clock) -> None:
    with outrider.for_reads(engine).connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        clock.now_s += 5.0
        connection.exec_driver_sql("SELECT 1")

    assert kinds() == {}
    assert tally.readings()["db.pool.idle_in_transaction_seconds_total"] == 0
    assert tally.readings()["db.pool.outside_seconds_total"] == pytest.approx(5.0)


def test_holds_are_counted_with_their_squares(engine: sa.Engine, clock: Clock) -> None:
    for seconds in (1.0, 3.0):
        with engine.connect():
            clock.now_s += seconds
    values, timings = tally.readings(), tally.timings()

    assert values["db.pool.hold_seconds_total"] == 4.0
    assert values["db.pool.hold_squares_total"] == 10.0
    assert timings["db.pool.hold_time"][:3] == (2, 4.0, 3.0)
    assert sum(timings["db.pool.hold_time"][3].values()) == 2
    assert timings["db.pool.wait_time"][0] == 2
    assert tally.timings()["db.pool.hold_time"][2] == 0.0  # the longest begins anew


def test_statements_are_told_apart_and_bounded(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
        connection.execute(sa.text("INSERT INTO t VALUES (:x)"), [{"x": n} for n in range(3)])
        for number in range(calls.MOST_STATEMENTS + 10):
            connection.exec_driver_sql(f"SELECT {number}")
    costs = tally.statements()

    assert costs["INSERT INTO t VALUES (?)"].calls == 1
    assert costs["INSERT INTO t VALUES (?)"].rows == 3
    assert len(costs) == calls.MOST_STATEMENTS + 1
    assert costs[calls.OTHER].calls >= 10


def test_a_finding_is_logged_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now: list[float] = [0.0]
    monkeypatch.setattr("outrider.database.findings.time.time", lambda: now[0])
    kept = findings.Findings()

    def add(at_s: float, text: str) -> None:
        now[0] = at_s
        with caplog.at_level(logging.WARNING):
            kept.add("leak", "here", lambda: text)

    for at_s, text in ((0, "first"), (1, "second"), (findings.TELL_EVERY_S, "third")):
        add(at_s, text)

    assert [record.message for record in caplog.records] == ["first", "third"]
    assert [(found.text, found.count) for found in kept.all()] == [("third", 3)]


def test_findings_are_bounded() -> None:
    kept = findings.Findings()
    for number in range(findings.MOST + 5):
        kept.add("leak", number, lambda: "a leak")

    assert len(kept.all()) == findings.MOST
    assert kept.counts["leak"] == findings.MOST + 5


def test_a_bots_frame_has_the_histograms(engine: sa.Engine, monkeypatch: Any) -> None:
    from outrider.metrics import frame
    from outrider.sdk import bot as bots
    from outrider.sdk import database

    monkeypatch.setattr(bots, "_CURRENT", [])
    monkeypatch.setattr(database, "_REPORTING", [])
    sent: list[bytes] = []

    def transport(message: bytes) -> bool:
        sent.append(message)
        return True

    bot = outrider.Bot("canary", transport=transport)
    database._report(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    bot.flush()
    told = frame.decode(sent[-1])

    assert {"db.query_time", "db.pool.wait_time", "db.pool.hold_time"} <= told.timings.keys()
    assert sum(told.buckets["db.query_time"].values()) == told.timings["db.query_time"][0]
