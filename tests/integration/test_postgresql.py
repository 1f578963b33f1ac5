"""What the collector tells of real PostgreSQL servers, of each version that is here."""

from __future__ import annotations

import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from outrider.metrics import database
from outrider.metrics.database import DEAR_EVERY_S, DatabaseCollector
from tests.servers import postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOON_S = 20.0


def found() -> list[postgres.Binaries]:
    wheel = [postgres.Binaries(path.parent, "the wheel's") for path in postgres._in_wheel()]
    first = postgres.find()
    return [first, *(each for each in wheel if each.folder != first.folder)]


@pytest.fixture(scope="module", params=found(), ids=lambda binaries: binaries.folder.parent.name)
def server(request: pytest.FixtureRequest) -> Iterator[postgres.Postgres]:
    with postgres.Postgres(request.param) as server:
        yield server


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline


def engine(server: postgres.Postgres) -> sa.Engine:
    return sa.create_engine(database.parse(server.url), poolclass=NullPool)


def test_an_ordinary_role_learns_all_that_an_operator_needs(server: postgres.Postgres) -> None:
    values = database.collect(server.url)
    expected = {
        "connections.active", "locks.waiting", "deadlocks_total", "conflicts_total",
        "temp_bytes_total", "temp_files_total", "rows_written_total", "blocks_read_total",
        "xid_age", "xid_used_ratio", "started_at_s", "size_bytes", "wal_bytes_total",
        "replication.is_replica", "replication.replicas", "checkpoints.timed_total",
        "checkpoints.requested_total", "checkpoints.write_seconds_total",
    }  # fmt: skip

    assert {f"db.server.{name}" for name in expected} <= values.keys()
    assert values["db.server.replication.is_replica"] == 0
    assert 0 <= values["db.server.xid_used_ratio"] < 0.01
    assert abs(values["db.server.started_at_s"] - time.time()) < 600
    assert values["db.server.size_bytes"] > 1_000_000


def test_who_waits_for_a_lock_is_counted(server: postgres.Postgres) -> None:
    server.run("CREATE TABLE IF NOT EXISTS held (x int)", f"GRANT ALL ON held TO {postgres.ROLE}",
               database=postgres.DATABASE)  # fmt: skip
    assert database.collect(server.url)["db.server.locks.waiting"] == 0

    def second() -> None:
        with engine(server).begin() as waiting:
            waiting.execute(sa.text("LOCK TABLE held"))

    with engine(server).begin() as first:
        first.execute(sa.text("LOCK TABLE held"))
        waiter = threading.Thread(target=second)
        waiter.start()
        until(lambda: database.collect(server.url)["db.server.locks.waiting"] == 1)
    waiter.join(SOON_S)

    assert database.collect(server.url)["db.server.locks.waiting"] == 0


def test_what_spills_to_disk_and_what_is_written_is_counted(server: postgres.Postgres) -> None:
    # Rows of a table that is gone when its session ends are not counted.
    with engine(server).begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (x int)"))
    before = database.collect(server.url)
    with engine(server).begin() as connection:
        connection.execute(sa.text("INSERT INTO t SELECT generate_series(1, 20000)"))
        connection.execute(sa.text("SET LOCAL work_mem = '64kB'"))
        connection.execute(sa.text("SELECT * FROM t ORDER BY md5(x::text)")).all()

    def grown(name: str) -> float:
        return database.collect(server.url)[f"db.server.{name}"] - before[f"db.server.{name}"]

    until(lambda: grown("temp_bytes_total") > 100_000)
    until(lambda: grown("rows_written_total") >= 20_000)
    assert grown("temp_files_total") >= 1
    assert grown("wal_bytes_total") > 0
    assert grown("commits_total") >= 1


def test_the_size_is_asked_once_a_minute(server: postgres.Postgres) -> None:
    asked = 0

    def count(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal asked
        asked += "pg_database_size" in statement

    watched = engine(server)
    sa.event.listen(watched, "before_cursor_execute", count)
    collector = DatabaseCollector(watched)
    rows = [collector.collect(1000.0 + 10 * tick) for tick in range(int(DEAR_EVERY_S / 10) + 1)]

    assert asked == 2
    assert all("db.server.size_bytes" in row for row in rows)


def test_what_a_server_forbids_costs_nothing_else(server: postgres.Postgres) -> None:
    forbid = "FUNCTION pg_current_wal_lsn() {} PUBLIC"
    server.run("REVOKE EXECUTE ON " + forbid.format("FROM"), database=postgres.DATABASE)
    try:
        values = database.collect(server.url)
    finally:
        server.run("GRANT EXECUTE ON " + forbid.format("TO"), database=postgres.DATABASE)

    assert "db.server.wal_bytes_total" not in values
    assert values["db.server.up"] == 1.0
    assert "db.server.checkpoints.timed_total" in values
    assert "db.server.size_bytes" in values


class Standby(postgres.Postgres):
    """A copy of another server that follows it."""

    def __init__(self, leader: postgres.Postgres) -> None:
        self.leader = leader
        super().__init__(leader.binaries)

    def _make(self) -> None:
        self.leader.stop()
        shutil.copytree(self.leader._data, self._data)
        self.leader.start()
        (self._data / "standby.signal").touch()
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        follow = f"host={self.leader._folder} port={self.leader.port} user=postgres"
        with (self._data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{follow}'\n")
        if self._account:
            for path in (self._data, *self._data.rglob("*")):
                shutil.chown(path, self._account.pw_uid, self._account.pw_gid)

    def run(self, *_statements: str, database: str = "") -> None:
        """Do nothing: what the leader has comes by itself."""


def test_a_replica_and_its_leader_say_how_far_it_is_behind(server: postgres.Postgres) -> None:
    with Standby(server) as standby:
        until(lambda: database.collect(server.url)["db.server.replication.replicas"] == 1)
        until(lambda: "db.server.replication.lag_bytes" in database.collect(server.superuser_url))
        leading, following = database.collect(server.superuser_url), database.collect(standby.url)

    assert leading["db.server.replication.lag_bytes"] >= 0
    assert following["db.server.replication.is_replica"] == 1
    assert following["db.server.replication.behind_s"] >= 0
    assert following["db.server.wal_bytes_total"] > 0
    assert "db.server.replication.replicas" not in following
