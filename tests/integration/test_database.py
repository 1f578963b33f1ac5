"""Engines, collector and report against a real PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

import outrider
from outrider.database import fleet, report, tally
from outrider.database import server as servers
from outrider.database.resizable import ResizablePool
from outrider.metrics import database as collector
from outrider.settings import Settings
from tests.servers import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTS = 8
THREADS = 10
TRANSACTIONS = 10
# One bot: waits for the start signal, then all its threads want connections at once.
BURST = """
import json, sys, threading
import sqlalchemy as sa, outrider

url, kind, threads, transactions = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
make = {"outrider": outrider.create_engine, "sqlalchemy": sa.create_engine}[kind]
options = {"pool_timeout": 60} if kind == "outrider" else {}
engine = make(url, **options)
finished, errors, gate = [], [], threading.Barrier(threads)

def handler():
    gate.wait()
    for _ in range(transactions):
        try:
            with engine.begin() as connection:
                connection.execute(sa.text("UPDATE seen SET times = times + 1"))
                connection.execute(sa.text("SELECT pg_sleep(0.005)"))
            finished.append(1)
        except Exception as error:
            errors.append(str(error))

workers = [threading.Thread(target=handler) for _ in range(threads)]
print("ready", flush=True)
sys.stdin.readline()
for worker in workers: worker.start()
for worker in workers: worker.join()
print(json.dumps({"finished": len(finished), "errors": errors}))
"""


@pytest.fixture(scope="module")
def small(postgres_binaries: postgres.Binaries) -> Iterator[postgres.Postgres]:
    """A server of our own with 20 connections, which a test may stop and start."""
    with postgres.Postgres(postgres_binaries, max_connections=20) as server:
        yield server


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OUTRIDER_PRESET", "OUTRIDER_POOL_SIZE", "OUTRIDER_BOT"):
        monkeypatch.delenv(name, raising=False)


def of_fleet(url: str, *, bots: int = BOTS, **database: Any) -> Settings:
    declared = {f"bot{number}": {"entry": "bots.main:run"} for number in range(bots)}
    return Settings.model_validate({"bots": declared, "database": {"url": url, **database}})


def show(engine: sa.Engine, name: str) -> str:
    with engine.connect() as connection:
        return str(connection.execute(sa.text(f"SHOW {name}")).scalar_one())


def burst(url: str, kind: str, sizes: list[int]) -> list[dict[str, Any]]:
    """Run all bots at once, each with a pool size, and return what they say of themselves."""
    command = [sys.executable, "-c", BURST, url, kind, str(THREADS), str(TRANSACTIONS)]
    bots = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OUTRIDER_POOL_SIZE": str(size)},
        )
        for size in sizes
    ]  # fmt: skip
    for bot in bots:
        assert bot.stdout is not None
        assert bot.stdout.readline() == "ready\n"
    for bot in bots:
        assert bot.stdin is not None
        bot.stdin.write("go\n")
        bot.stdin.flush()
    return [json.loads(bot.communicate(timeout=120)[0]) for bot in bots]


def refused(results: list[dict[str, Any]]) -> list[str]:
    return [
        text
        for result in results
        for text in result["errors"]
        if "too many clients" in text or "connection slots are reserved" in text
    ]


@pytest.fixture
def seen(small: postgres.Postgres) -> Iterator[None]:
    engine = sa.create_engine(collector.parse(small.url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE seen (times int NOT NULL)"))
        connection.execute(sa.text("INSERT INTO seen VALUES (0)"))
    yield
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE seen"))


def test_a_fleet_with_planned_pools_finishes_every_transaction(
    small: postgres.Postgres, seen: None
) -> None:
    settings = of_fleet(small.url, reserved=3)
    plan = fleet.plan(settings, servers.ask(small.url))
    assert plan is not None
    sizes = [share.size for share in plan.shares]
    assert sum(sizes) + max(sizes) == 17

    results = burst(small.url, "outrider", sizes)

    assert sum(result["finished"] for result in results) == BOTS * THREADS * TRANSACTIONS
    assert [result["errors"] for result in results] == [[]] * BOTS
    with sa.create_engine(collector.parse(small.url), poolclass=NullPool).connect() as connection:
        times = connection.execute(sa.text("SELECT times FROM seen")).scalar_one()
    assert times == BOTS * THREADS * TRANSACTIONS


def test_the_same_fleet_with_pools_that_nobody_sized_is_refused(
    small: postgres.Postgres, seen: None
) -> None:
    url = collector.parse(small.url).render_as_string(hide_password=False)

    assert refused(burst(url, "sqlalchemy", [15] * BOTS))


def test_timeouts_and_name_are_set_on_the_server(
    postgres_url: str, plain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_BOT", "canary")
    engine = outrider.create_engine(postgres_url, preset="production")

    expected = {
        "statement_timeout": "10s",
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "30s",
        "application_name": "canary",
    }
    assert {name: show(engine, name) for name in expected} == expected
    engine.dispose()


def test_the_preset_of_the_environment_is_used(
    postgres_url: str, plain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_PRESET", "high_performance")
    engine = outrider.create_engine(postgres_url)

    assert show(engine, "statement_timeout") == "5s"
    engine.dispose()


def test_a_statement_that_takes_too_long_is_ended_by_the_server(
    postgres_url: str, plain: None
) -> None:
    engine = outrider.create_engine(
        postgres_url, connect_args={"options": "-c statement_timeout=50"}
    )
    before = tally.TALLY.errors

    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError, match="timeout"):
        connection.execute(sa.text("SELECT pg_sleep(30)"))

    assert tally.TALLY.errors == before + 1
    engine.dispose()


def test_the_callers_options_win(postgres_url: str, plain: None) -> None:
    engine = outrider.create_engine(
        postgres_url,
        pool_size=2,
        max_overflow=1,
        connect_args={"application_name": "mine", "options": "-c lock_timeout=7s"},
    )

    assert isinstance(engine.pool, ResizablePool)
    assert tally.capacity(engine.pool) == 3
    assert show(engine, "application_name") == "mine"
    assert show(engine, "lock_timeout") == "7s"
    assert show(engine, "statement_timeout") == "30s"
    engine.dispose()


def test_empty_options_send_no_limits(postgres_url: str, plain: None) -> None:
    ours = outrider.create_engine(postgres_url, connect_args={"options": ""})
    theirs = sa.create_engine(collector.parse(postgres_url), poolclass=NullPool)

    assert show(ours, "statement_timeout") == show(theirs, "statement_timeout")
    ours.dispose()


def test_a_waiting_thread_is_counted_and_a_pool_that_stays_empty_times_out(
    postgres_url: str, plain: None
) -> None:
    engine = outrider.create_engine(postgres_url, pool_size=1, pool_timeout=30)
    got = threading.Event()

    def second() -> None:
        with engine.connect():
            got.set()

    with engine.connect():
        waiter = threading.Thread(target=second)
        waiter.start()
        waited = threading.Event()
        while tally.readings()["db.pool.waiting"] < 1:
            assert not waited.wait(0.001)
        assert not got.is_set()
        assert tally.readings()["db.pool.used"] == 1
    assert got.wait(10)
    waiter.join()
    assert tally.readings()["db.pool.waiting"] == 0

    hurried = outrider.create_engine(postgres_url, pool_size=1, pool_timeout=0.01)
    before = tally.readings()["db.pool.timeouts_total"]
    with hurried.connect(), pytest.raises(sa.exc.TimeoutError):
        hurried.connect()
    assert tally.readings()["db.pool.timeouts_total"] == before + 1
    hurried.dispose()
    engine.dispose()


def test_a_superuser_is_named_in_the_log(
    small: postgres.Postgres, plain: None, caplog: pytest.LogCaptureFixture
) -> None:
    ordinary = outrider.create_engine(small.url)
    show(ordinary, "server_version")
    assert "superuser" not in caplog.text

    engine = outrider.create_engine(small.superuser_url)
    show(engine, "server_version")

    assert "CREATE ROLE" in caplog.text
    engine.dispose()
    ordinary.dispose()


def test_a_forked_child_leaves_its_parents_connections_alone(
    postgres_url: str, plain: None
) -> None:
    """Run in a process of its own, since a fork of pytest would take its threads along."""
    script = """
import os, sys
import sqlalchemy as sa, outrider
engine = outrider.create_engine(sys.argv[1], pool_size=1)
pid = sa.text("SELECT pg_backend_pid()")
with engine.connect() as connection: parents = connection.execute(pid).scalar_one()
child = os.fork()
if not child:
    with engine.connect() as connection: own = connection.execute(pid).scalar_one()
    os._exit(0 if own != parents else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
with engine.connect() as connection: assert connection.execute(pid).scalar_one() == parents
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, postgres_url],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stderr


def test_the_server_says_what_it_allows(small: postgres.Postgres) -> None:
    server = servers.ask(small.url)

    assert (server.kind, server.max_connections, server.reserved) == ("postgresql", 20, 3)
    assert server.version[0].isdigit()
    assert not server.superuser
    assert servers.ask(small.superuser_url).superuser


def test_the_collector_counts_connections_also_of_other_roles(small: postgres.Postgres) -> None:
    before = collector.collect(small.url)
    theirs = sa.create_engine(collector.parse(small.superuser_url), poolclass=NullPool)
    ours = sa.create_engine(collector.parse(small.url), poolclass=NullPool)
    with theirs.connect() as one, ours.connect() as two:
        one.execute(sa.text("SELECT 1"))
        two.execute(sa.text("SELECT 1"))
        values = collector.collect(small.url)

    assert values["db.server.up"] == 1.0
    assert values["db.server.connections.max"] == 20
    assert values["db.server.connections.used"] == before["db.server.connections.used"] + 2
    assert values["db.server.connections.used_ratio"] == pytest.approx(
        values["db.server.connections.used"] / 20
    )
    assert values["db.server.connections.idle_in_transaction"] >= 1
    assert values["db.server.longest_transaction_s"] > 0
    assert values["db.server.commits_total"] > 0
    assert values["db.server.rollbacks_total"] >= 0
    assert 0 <= values["db.server.cache_hit_ratio"] <= 1


def test_a_stopped_server_is_down_and_a_started_one_up_again(small: postgres.Postgres) -> None:
    assert collector.collect(small.url)["db.server.up"] == 1.0

    small.stop()
    try:
        assert collector.collect(small.url) == {"db.server.up": 0.0}
        with pytest.raises(servers.DatabaseUnavailable, match="start it"):
            servers.ask(small.url)
        away = report.build(of_fleet(small.url, max_connections=20, reserved=3))
    finally:
        small.start()

    assert collector.collect(small.url)["db.server.up"] == 1.0
    assert away["server"] is None
    assert away["plan"]["total"] <= 17
    assert "unavailable" in {warning["code"] for warning in away["warnings"]}


def test_an_engine_survives_a_restart_of_its_server(small: postgres.Postgres, plain: None) -> None:
    engine = outrider.create_engine(small.url, preset="production")
    show(engine, "server_version")

    small.stop()
    small.start()

    assert show(engine, "application_name")
    engine.dispose()


def test_report_without_statistics_tells_how_to_get_them(small: postgres.Postgres) -> None:
    found = report.build(of_fleet(small.url, reserved=3))

    assert found["slow_statements"] == []
    assert "CREATE EXTENSION pg_stat_statements" in found["slow_statements_note"]
    assert found["plan"]["max_connections"] == 20
    assert found["plan"]["total"] <= 17
    assert {"unsized_pools"} == {warning["code"] for warning in found["warnings"]}
    assert json.loads(json.dumps(found)) == found


def test_report_names_the_slowest_statements(small: postgres.Postgres) -> None:
    if not small.binaries.has_statistics():
        pytest.skip(f"pg_stat_statements is not among {small.binaries.origin}")
    install = "CREATE EXTENSION pg_stat_statements SCHEMA elsewhere"
    small.run("CREATE SCHEMA elsewhere", install, database=postgres.DATABASE)
    try:
        small.run("SELECT pg_sleep(0.2), 'slow'", database=postgres.DATABASE)
        found = report.build(of_fleet(small.superuser_url, reserved=3))
        locked_out = report.build(of_fleet(small.url, reserved=3))
        small.run("GRANT USAGE ON SCHEMA elsewhere TO PUBLIC", database=postgres.DATABASE)
        hidden = report.build(of_fleet(small.url, reserved=3))
    finally:
        small.run("DROP SCHEMA elsewhere CASCADE", database=postgres.DATABASE)

    slowest = next(
        line for line in found["slow_statements"] if line["text"] == "SELECT pg_sleep($1), $2"
    )
    assert slowest["mean_s"] >= 0.2
    assert slowest["calls"] == 1
    assert found["slow_statements_note"] == ""
    assert "superuser" in {warning["code"] for warning in found["warnings"]}
    assert "GRANT USAGE ON SCHEMA elsewhere" in locked_out["slow_statements_note"]
    assert locked_out["slow_statements"] == []
    assert "GRANT pg_read_all_stats" in hidden["slow_statements_note"]


def test_report_says_that_a_fleet_does_not_fit(small: postgres.Postgres) -> None:
    found = report.build(of_fleet(small.url, bots=20, reserved=3))

    assert found["plan"] is None
    text = next(line["text"] for line in found["warnings"] if line["code"] == "fleet_too_large")
    assert "set max_connections to 24 or more" in text
